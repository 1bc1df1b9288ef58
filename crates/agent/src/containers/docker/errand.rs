//! Errands of the app, each in a container of its own.

use std::collections::BTreeMap;

use bollard::query_parameters::AttachContainerOptionsBuilder;
use futures::StreamExt;
use togather_compose::{Healthcheck, Restart, Service};
use togather_model::Ulid;
use tokio::time::timeout;
use url::Url;

use super::{
    super::{ContainersError, Errand, ErrandEnd, Output},
    Docker,
    create::Extra,
    exec::{KEPT_OUTPUT, pieces},
    labels,
    one_shot::{Container, exit_code},
    refused,
    tail::Tail,
};

/// How much of an errand's standard output is kept, in bytes.
const KEPT_STDOUT: usize = 256 * 1024;

/// The variable that tells the app where its database is.
const DATABASE_URL: &str = "DATABASE_URL";

impl Docker {
    /// The role that the app logs in to its database as.
    pub(super) fn role_of_app(&self) -> Option<String> {
        let url = Url::parse(self.compose.app.environment.get(DATABASE_URL)?).ok()?;
        let user = percent_encoding::percent_decode_str(url.username());
        let user = user.decode_utf8().ok()?;
        (!user.is_empty()).then(|| user.into_owned())
    }

    pub(super) async fn carry_out(&self, errand: &Errand) -> Result<ErrandEnd, ContainersError> {
        let program = errand.command.first().cloned().unwrap_or_default();
        let mut service = service_of(&self.compose.app, errand)?;
        self.supply(&mut service).await?;
        let limit = service.mem_limit;
        let unique = Ulid::generate().to_string().to_lowercase();
        let name = format!("togather-prepare-{unique}");
        let extra = Extra {
            image: &errand.app.image.reference(),
            labels: labels::of_program(self.compose.project(), &program, Some(errand.job)),
            alias: &name,
            port: None,
            environment: &[],
        };
        let client = self.client().await?;
        let id = self.create(&name, &service, extra).await?;
        let container = Container::of(client.clone(), id.clone());

        // Before the start, so that not a byte is missed.
        let options = AttachContainerOptionsBuilder::new()
            .stream(true)
            .stdout(true)
            .stderr(true);
        let attached = client.attach_container(&id, Some(options.build())).await;
        let attached = attached.map_err(|e| refused(format!("listen to `{program}`"), e))?;
        let mut printed = pieces(attached.output, program.clone());
        self.start(&id).await?;

        let (mut output, mut stdout) = (Tail::of(KEPT_OUTPUT), Tail::of(KEPT_STDOUT));
        let ended = timeout(errand.timeout, async {
            while let Some(piece) = printed.next().await {
                match piece? {
                    Output::Stdout(bytes) => {
                        output.push(&bytes);
                        stdout.push(&bytes);
                    }
                    Output::Stderr(bytes) => output.push(&bytes),
                }
            }
            exit_code(&container, &program, limit).await
        })
        .await;
        if let Err(error) = container.remove().await {
            tracing::warn!(%error, "the container of `{program}` is left until the agent starts again");
        }
        match ended {
            Ok(exit_code) => Ok(ErrandEnd {
                exit_code: exit_code?,
                output: output.text(),
                stdout: stdout.text(),
            }),
            Err(_) => Err(ContainersError::WasEnded {
                command: errand.command.join(" "),
                limit: errand.timeout,
                output: output.text(),
            }),
        }
    }
}

/// The app's service, as one that does this and ends.
fn service_of(app: &Service, errand: &Errand) -> Result<Service, ContainersError> {
    let (program, arguments) = match errand.command.split_first() {
        Some((program, arguments)) => (vec![program.clone()], arguments.to_vec()),
        None => (vec![], vec![]),
    };
    let mut environment = app.environment.clone();
    if let Some(database) = &errand.database {
        point_to(database, &mut environment)?;
    }
    Ok(Service {
        entrypoint: Some(program),
        command: Some(arguments),
        environment,
        ports: vec![],
        restart: Restart::No,
        healthcheck: Some(Healthcheck {
            test: Some(vec!["NONE".into()]),
            interval: None,
            timeout: None,
            retries: None,
            start_period: None,
        }),
        ..app.clone()
    })
}

/// Has the app's address of its database name another one on the same server.
fn point_to(
    database: &str,
    environment: &mut BTreeMap<String, String>,
) -> Result<(), ContainersError> {
    let url = environment.get(DATABASE_URL);
    let mut url = url
        .and_then(|url| Url::parse(url).ok())
        .filter(|url| matches!(url.scheme(), "postgres" | "postgresql"))
        .ok_or(ContainersError::NoDatabaseUrl)?;
    url.set_path(database);
    environment.insert(DATABASE_URL.to_owned(), url.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointed(url: &str) -> Result<String, ContainersError> {
        let mut environment = BTreeMap::from([(DATABASE_URL.to_owned(), url.to_owned())]);
        point_to("togather_scratch_1", &mut environment)?;
        Ok(environment.remove(DATABASE_URL).unwrap())
    }

    #[test]
    fn only_the_databases_name_is_another() {
        assert_eq!(
            pointed("postgres://app:p%40ss%2Fword@db:5432/togather?sslmode=disable").unwrap(),
            "postgres://app:p%40ss%2Fword@db:5432/togather_scratch_1?sslmode=disable"
        );
        for unusable in ["host=db dbname=togather password=hush", "mysql://db/x", ""] {
            let error = pointed(unusable).unwrap_err().to_string();
            assert!(
                !error.contains("hush") && error.contains("DATABASE_URL"),
                "{error}"
            );
        }
    }
}
