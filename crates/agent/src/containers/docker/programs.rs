//! Which programs an image has, found out without running anything of it: a container is created,
//! looked into through Docker's archive, and removed.

use bollard::{
    container::PathStatResponse,
    models::ContainerCreateBody,
    query_parameters::{ContainerArchiveInfoOptionsBuilder, CreateContainerOptionsBuilder},
};
use togather_model::Ulid;

use super::{
    super::ContainersError, Docker, connection::has_status, labels, one_shot::Container, refused,
};

/// So many links may lead from a name to its file.
const LINKS: usize = 16;

/// Go's bits for what is no plain file: Docker tells modes as Go does.
const FOLDER: u32 = 1 << 31;
const LINK: u32 = 1 << 27;
/// Somebody may run it.
const RUNNABLE: u32 = 0o111;

/// Where programs are looked for when an image says nothing about it; Docker's own default.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Docker {
    /// The ones of these programs that the image lacks.
    pub(super) async fn missing_from(
        &self,
        image: &str,
        programs: &[String],
    ) -> Result<Vec<String>, ContainersError> {
        let client = self.client().await?;
        let unique = Ulid::generate().to_string().to_lowercase();
        let name = format!("togather-look-{unique}");
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            // Never started; an image without a command of its own needs one all the same.
            cmd: Some(programs.to_vec()),
            labels: Some(labels::of_program(self.compose.project(), "look", None)),
            ..ContainerCreateBody::default()
        };
        let created = client.create_container(Some(options), body).await;
        let created = created.map_err(|e| refused(format!("create the container {name}"), e))?;
        let container = Container::of(client.clone(), created.id.clone());
        let missing = self.look_into(&client, &created.id, programs).await;
        if let Err(error) = container.remove().await {
            tracing::warn!(%error, "the container {name} is left until the agent starts again");
        }
        missing
    }

    async fn look_into(
        &self,
        client: &bollard::Docker,
        id: &str,
        programs: &[String],
    ) -> Result<Vec<String>, ContainersError> {
        let found = client.inspect_container(id, None).await;
        let found = found.map_err(|e| refused("look at an image's settings", e))?;
        let config = found.config.unwrap_or_default();
        let app = &self.compose.app;
        let of_image = config.env.unwrap_or_default();
        let of_image = of_image.iter().find_map(|line| line.strip_prefix("PATH="));
        let path = app.environment.get("PATH").map(String::as_str);
        let path = path.or(of_image).unwrap_or(PATH);
        let folder = app.working_dir.clone().or(config.working_dir);
        let folder = folder.filter(|folder| !folder.is_empty());
        let folder = folder.unwrap_or_else(|| "/".to_owned());
        let mut missing = Vec::new();
        for program in programs {
            let mut is_there = false;
            for candidate in candidates(program, path, &folder) {
                is_there = is_there || is_program(client, id, candidate).await?;
            }
            if !is_there {
                missing.push(program.clone());
            }
        }
        Ok(missing)
    }
}

/// Where a program of this name may be.
fn candidates(program: &str, path: &str, folder: &str) -> Vec<String> {
    match program {
        absolute if absolute.starts_with('/') => vec![absolute.to_owned()],
        relative if relative.contains('/') => vec![format!("{folder}/{relative}")],
        name => path
            .split(':')
            .filter(|folder| !folder.is_empty())
            .map(|folder| format!("{folder}/{name}"))
            .collect(),
    }
}

/// Whether there is a file that may be run, behind however many links.
async fn is_program(
    client: &bollard::Docker,
    id: &str,
    mut path: String,
) -> Result<bool, ContainersError> {
    for _ in 0..LINKS {
        let options = ContainerArchiveInfoOptionsBuilder::new()
            .path(&path)
            .build();
        let found = match client.get_container_archive_info(id, Some(options)).await {
            Ok(found) => found,
            Err(error) if has_status(&error, 404) => return Ok(false),
            Err(error) => return Err(refused(format!("look for {path} in the image"), error)),
        };
        match follow(&path, &found) {
            Some(next) => path = next,
            None => {
                let mode = found.file_mode;
                return Ok(mode & FOLDER == 0 && mode & RUNNABLE != 0);
            }
        }
    }
    Ok(false)
}

/// Where a link leads; `None`: it is none.
fn follow(path: &str, found: &PathStatResponse) -> Option<String> {
    if found.file_mode & LINK == 0 || found.link_target.is_empty() {
        return None;
    }
    let target = &found.link_target;
    if target.starts_with('/') {
        // Docker has followed it already, inside the container.
        return (target != path).then(|| target.clone());
    }
    let (folder, _) = path.rsplit_once('/').unwrap_or(("", path));
    Some(format!("{folder}/{target}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_where_the_system_would() {
        assert_eq!(candidates("/app/server", "/bin", "/app"), ["/app/server"]);
        assert_eq!(candidates("./server", "/bin", "/app"), ["/app/./server"]);
        assert_eq!(
            candidates("server", "/bin::/x", "/"),
            ["/bin/server", "/x/server"]
        );
    }

    #[test]
    fn a_link_leads_on() {
        let link = |target: &str| PathStatResponse {
            name: "sh".into(),
            size: 4,
            file_mode: LINK | 0o777,
            modification_time: None,
            link_target: target.into(),
        };
        assert_eq!(
            follow("/bin/sh", &link("dash")).as_deref(),
            Some("/bin/dash")
        );
        assert_eq!(follow("/bin/sh", &link("/x/sh")).as_deref(), Some("/x/sh"));
        let file = PathStatResponse {
            file_mode: 0o755,
            ..link("")
        };
        assert_eq!(follow("/bin/dash", &file), None);
    }
}
