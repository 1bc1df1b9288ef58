//! Programs that each run in a container of their own.
//!
//! The container is created, given its files, attached to, and only then started, so that not a byte
//! of what the program prints is missed. Its log is switched off: a dump would be written to disk a
//! second time. Docker's own `--rm` is not used, because the exit code would be gone with the
//! container.

use std::collections::HashMap;

use async_trait::async_trait;
use bollard::{
    errors::Error,
    models::{
        ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, RestartPolicy,
        RestartPolicyNameEnum,
    },
    query_parameters::{
        AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, ListContainersOptionsBuilder,
        RemoveContainerOptionsBuilder, UploadToContainerOptionsBuilder,
    },
};
use futures::{FutureExt, StreamExt};
use secrecy::ExposeSecret;
use togather_model::Ulid;
use tokio::time::timeout;

use super::{
    super::{
        ContainersError, OneShot, OneShots, Process,
        one_shot::{FILES, OneShotFile},
    },
    Docker,
    connection::has_status,
    exec::{LINGER, pieces},
    labels, refused,
};

/// `nobody`, in any image: the programs need no rights, not even to a name.
const NOBODY: u64 = 65_534;

/// More memory than the programs ever take (a row may have 1 GB, but hardly does), in bytes: one
/// that runs wild must not take the app's.
const MEMORY: i64 = 1 << 30;

/// How many processes a program may have.
const PROCESSES: i64 = 64;

/// A quarter of a container's usual share: where the processor is scarce, the app comes first.
const SHARES: i64 = 256;

/// The exit code of what was killed.
const KILLED: i64 = 137;

#[async_trait]
impl OneShots for Docker {
    async fn run_once(&self, wanted: &OneShot) -> Result<Process, ContainersError> {
        self.remove_left_overs().await?;
        self.pull_client_if_missing(&wanted.image).await?;
        let client = self.client().await?;
        let program = wanted.command.first().cloned().unwrap_or_default();
        let container = self.create_one_shot(&client, &program, wanted).await?;
        let id = &container.id;

        let options = UploadToContainerOptionsBuilder::new().path(FILES).build();
        let files = bollard::body_full(archive(&wanted.files)?.into());
        let given = client.upload_to_container(id, Some(options), files).await;
        given.map_err(|e| refused(format!("hand `{program}` its files"), e))?;

        let options = AttachContainerOptionsBuilder::new()
            .stream(true)
            .stdin(true)
            .stdout(true)
            .stderr(true);
        let attached = client.attach_container(id, Some(options.build())).await;
        let attached = attached.map_err(|e| refused(format!("listen to `{program}`"), e))?;

        let started = client.start_container(id, None).await;
        let image = &wanted.image;
        started.map_err(|e| refused(format!("start `{program}` of the image {image}"), e))?;
        Ok(Process {
            stdin: attached.input,
            output: pieces(attached.output, program.clone()),
            exit_code: end(container, program).boxed(),
        })
    }

    async fn is_here(&self, image: &str) -> Result<bool, ContainersError> {
        self.has(image).await
    }

    async fn end_one_shots(&self, job: Ulid) -> Result<(), ContainersError> {
        self.remove_one_shots(&format!("{}={job}", labels::JOB))
            .await
    }

    async fn remove_left_overs(&self) -> Result<(), ContainersError> {
        let remove = || self.remove_one_shots(labels::PROGRAM);
        self.left_overs_removed.get_or_try_init(remove).await?;
        Ok(())
    }
}

impl Docker {
    async fn create_one_shot(
        &self,
        client: &bollard::Docker,
        program: &str,
        wanted: &OneShot,
    ) -> Result<Container, ContainersError> {
        // Nobody asks for it by name; the name is for whoever looks at `docker ps`.
        let unique = Ulid::generate().to_string().to_lowercase();
        let name = format!("togather-{program}-{unique}");
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let labels = labels::of_program(self.compose.project(), program, wanted.job);
        let created = client
            .create_container(Some(options), body(wanted, labels))
            .await;
        let created = created.map_err(|e| refused(format!("create the container {name}"), e))?;
        Ok(Container::of(client.clone(), created.id))
    }

    /// Removes this project's containers of programs that carry this label.
    async fn remove_one_shots(&self, label: &str) -> Result<(), ContainersError> {
        let project = format!("{}={}", labels::PROJECT, self.compose.project());
        let wanted = vec![project, labels::PROGRAM.to_owned(), label.to_owned()];
        let filters = HashMap::from([("label", wanted)]);
        let options = ListContainersOptionsBuilder::new().all(true);
        let options = options.filters(&filters).build();
        let client = self.client().await?;
        let listed = client.list_containers(Some(options)).await;
        let listed = listed.map_err(|e| refused("list containers", e))?;
        for id in listed.into_iter().filter_map(|container| container.id) {
            remove(&client, &id).await?;
            self.await_gone(&id).await?;
        }
        Ok(())
    }
}

/// The whole body of a request for the container of a program.
fn body(wanted: &OneShot, labels: HashMap<String, String>) -> ContainerCreateBody {
    let (program, arguments) = match wanted.command.split_first() {
        Some((program, arguments)) => (vec![program.clone()], arguments.to_vec()),
        None => (vec![], vec![]),
    };
    let environment = wanted.environment.iter();
    let environment = environment.map(|(name, value)| format!("{name}={value}"));
    ContainerCreateBody {
        image: Some(wanted.image.clone()),
        // In place of the image's own, which would start a server.
        entrypoint: Some(program),
        cmd: Some(arguments),
        env: Some(environment.collect()),
        user: Some(format!("{NOBODY}:{NOBODY}")),
        working_dir: Some("/".into()),
        labels: Some(labels),
        healthcheck: Some(HealthConfig {
            test: Some(vec!["NONE".into()]),
            ..HealthConfig::default()
        }),
        // Of its own, because nothing can be put into a container that is read-only.
        volumes: Some(vec![FILES.into()]),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(true),
        stdin_once: Some(true),
        host_config: Some(HostConfig {
            network_mode: Some("host".into()),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".into()]),
            security_opt: Some(vec!["no-new-privileges".into()]),
            memory: Some(MEMORY),
            pids_limit: Some(PROCESSES),
            cpu_shares: Some(SHARES),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                maximum_retry_count: None,
            }),
            log_config: Some(HostConfigLogConfig {
                typ: Some("none".into()),
                config: None,
            }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// The files as Docker takes them: a tar archive, each of them nobody's but the program's.
fn archive(files: &[OneShotFile]) -> Result<Vec<u8>, ContainersError> {
    let mut archive = tar::Builder::new(Vec::new());
    for file in files {
        let content = file.content.expose_secret();
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_uid(NOBODY);
        header.set_gid(NOBODY);
        let added = archive.append_data(&mut header, file.name, content);
        added.map_err(unarchived)?;
    }
    archive.into_inner().map_err(unarchived)
}

fn unarchived(source: std::io::Error) -> ContainersError {
    ContainersError::Engine {
        what: "get the files for a program".into(),
        source: source.into(),
    }
}

/// The container of a program; let go of, it is removed, and the program ended with it.
pub(super) struct Container {
    client: bollard::Docker,
    id: String,
    removed: bool,
}

impl Container {
    pub(super) const fn of(client: bollard::Docker, id: String) -> Self {
        Self {
            client,
            id,
            removed: false,
        }
    }

    pub(super) async fn remove(mut self) -> Result<(), ContainersError> {
        self.removed = true;
        remove(&self.client, &self.id).await
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if self.removed {
            return;
        }
        let (client, id) = (self.client.clone(), std::mem::take(&mut self.id));
        runtime.spawn(async move {
            if let Err(error) = remove(&client, &id).await {
                tracing::warn!(%error, "the container {id} is left until the agent starts again");
            }
        });
    }
}

/// Ends and removes a container with the volumes that only it has; one that is gone, or going, is
/// fine.
async fn remove(client: &bollard::Docker, id: &str) -> Result<(), ContainersError> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true);
    match client.remove_container(id, Some(options.build())).await {
        Ok(()) => Ok(()),
        Err(error) if has_status(&error, 404) || has_status(&error, 409) => Ok(()),
        Err(error) => Err(refused(format!("remove the container {id}"), error)),
    }
}

/// Waits until the program has ended, and removes its container.
async fn end(container: Container, program: String) -> Result<i64, ContainersError> {
    let exit_code = exit_code(&container, &program, Some(MEMORY)).await?;
    if let Err(error) = container.remove().await {
        // How the program ended is what counts.
        tracing::warn!(%error, "the container of `{program}` is left until the agent starts again");
    }
    Ok(exit_code)
}

/// Waits until the program has ended, which closed its output already. `limit` is the memory it may
/// have, in bytes.
pub(super) async fn exit_code(
    container: &Container,
    program: &str,
    limit: Option<i64>,
) -> Result<i64, ContainersError> {
    let (client, id) = (&container.client, &container.id);
    let program = || program.to_owned();
    let what = || format!("say how `{}` ended", program());
    let mut waiting = client.wait_container(id, None);
    let exit_code = match timeout(LINGER, waiting.next()).await {
        Ok(Some(Ok(ended))) => ended.status_code,
        Ok(Some(Err(Error::DockerContainerWaitError { code, .. }))) => code,
        Ok(Some(Err(error))) => return Err(refused(what(), error)),
        Ok(None) => return Err(ContainersError::Stream { program: program() }),
        Err(_) => {
            return Err(ContainersError::StillRunning {
                program: program(),
                waited: LINGER,
            });
        }
    };
    drop(waiting);
    if let (KILLED, Some(limit)) = (exit_code, limit)
        && ran_out_of_memory(client, id).await
    {
        return Err(ContainersError::OutOfMemory {
            program: program(),
            limit: limit.unsigned_abs(),
        });
    }
    Ok(exit_code)
}

/// Whether the kernel ended it; where that cannot be asked any more, it is not claimed.
async fn ran_out_of_memory(client: &bollard::Docker, id: &str) -> bool {
    let found = client.inspect_container(id, None).await;
    let state = found.ok().and_then(|found| found.state);
    state.and_then(|state| state.oom_killed) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pg_dump() -> OneShot {
        OneShot {
            image: "postgres:17".into(),
            command: ["pg_dump", "--no-password", "a b; $c"]
                .map(str::to_owned)
                .into(),
            environment: vec![("PGHOST".into(), "db.internal".into())],
            files: vec![OneShotFile {
                name: "pgpass",
                content: b"*:*:*:*:hush".to_vec().into(),
            }],
            job: None,
        }
    }

    #[test]
    fn a_program_gets_no_shell_no_rights_and_no_secret_that_docker_shows() {
        let body = body(&pg_dump(), HashMap::new());
        assert_eq!(body.entrypoint.clone().unwrap(), ["pg_dump"]);
        assert_eq!(body.cmd.clone().unwrap(), ["--no-password", "a b; $c"]);
        assert_eq!(body.user.as_deref(), Some("65534:65534"));
        let shown = serde_json::to_string(&body).unwrap();
        assert!(shown.contains("PGHOST=db.internal"), "{shown}");
        assert!(!shown.contains("hush"), "{shown}");
        let host = body.host_config.unwrap();
        assert_eq!(host.cap_drop.unwrap(), ["ALL"]);
        assert_eq!(host.readonly_rootfs, Some(true));
        assert_eq!(host.auto_remove, None, "the exit code would go with it");
        assert_eq!(host.log_config.unwrap().typ.as_deref(), Some("none"));
    }

    #[test]
    fn its_files_are_for_it_alone() {
        let archive = archive(&pg_dump().files).unwrap();
        let mut archive = tar::Archive::new(&*archive);
        let mut entries = archive.entries().unwrap();
        let entry = entries.next().unwrap().unwrap();
        let header = entry.header();
        assert_eq!(entry.path().unwrap().to_str(), Some("pgpass"));
        assert_eq!(header.mode().unwrap(), 0o600);
        assert_eq!(
            (header.uid().unwrap(), header.gid().unwrap()),
            (NOBODY, NOBODY)
        );
        assert!(entries.next().is_none());
    }
}
