//! Where PostgreSQL's own programs run, and how they find the database from there.

use std::sync::Arc;

use togather_model::Ulid;

use super::{Dumps, error::SnapshotError, program::Sink};
use crate::{
    containers::{Exec, FILES, OneShot, OneShotFile, OneShots, Process},
    database::{Login, Postgres, major_of},
};

/// More than any version takes to say.
const MOST_VERSION: usize = 4096;

/// Where PostgreSQL's own programs run.
#[derive(Clone)]
pub enum Programs {
    /// In the database's own container: they fit it, and log in over its local socket.
    InService {
        /// What runs a program there.
        exec: Arc<dyn Exec>,
        /// The Compose service.
        service: String,
    },
    /// Each in a container of its own, over the network: the database is elsewhere.
    OneShot {
        /// What runs a program in one.
        containers: Arc<dyn OneShots>,
        /// The image that has the programs.
        image: String,
    },
}

impl Programs {
    /// Where they run, for people.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::InService { service, .. } => {
                format!("pg_dump and pg_restore run in the container of the service `{service}`")
            }
            Self::OneShot { image, .. } => format!(
                "the database is elsewhere: pg_dump and pg_restore run each in a container of their own, of the image `{image}`"
            ),
        }
    }

    /// Starts a program that belongs to this job, known to the server as `application`.
    pub(super) async fn start(
        &self,
        database: &Postgres,
        program: &'static str,
        command: &[String],
        application: String,
        job: Ulid,
    ) -> Result<Process, SnapshotError> {
        let application = ("PGAPPNAME".to_owned(), application);
        let started = match self {
            Self::InService { exec, service } => exec.exec(service, command, &[application]).await,
            Self::OneShot { containers, image } => {
                let mut one_shot = one_shot(image, command, database.login()?);
                one_shot.environment.push(application);
                one_shot.job = Some(job);
                containers.run_once(&one_shot).await
            }
        };
        started.map_err(|source| SnapshotError::Container { program, source })
    }

    /// Ends what an interruption of this job left running, where more than the end of its session
    /// is needed for that.
    pub(super) async fn end(&self, job: Ulid) -> Result<(), SnapshotError> {
        match self {
            Self::InService { .. } => Ok(()),
            Self::OneShot { containers, .. } => {
                let ended = containers.end_one_shots(job).await;
                ended.map_err(SnapshotError::LeftOvers)
            }
        }
    }

    /// Removes what an earlier run of the agent left running.
    pub(super) async fn remove_left_overs(&self) -> Result<(), SnapshotError> {
        match self {
            Self::InService { .. } => Ok(()),
            Self::OneShot { containers, .. } => {
                let removed = containers.remove_left_overs().await;
                removed.map_err(SnapshotError::LeftOvers)
            }
        }
    }
}

fn one_shot(image: &str, command: &[String], login: Login) -> OneShot {
    let environment = login.environment.into_iter();
    let mut environment: Vec<_> = environment
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let mut files = Vec::new();
    for file in login.files {
        environment.push((file.variable.to_owned(), format!("{FILES}/{}", file.name)));
        files.push(OneShotFile {
            name: file.name,
            content: file.content,
        });
    }
    OneShot {
        image: image.to_owned(),
        command: command.to_vec(),
        environment,
        files,
        job: None,
    }
}

impl Dumps {
    /// Refuses programs that do not fit the server. Those in its own container do. With `fetch` an
    /// image that is not on the node is pulled; without, that is left for later.
    pub(super) async fn must_fit(&self, fetch: bool) -> Result<(), SnapshotError> {
        let Programs::OneShot { containers, image } = &self.programs else {
            return Ok(());
        };
        if !fetch {
            let is_here = containers.is_here(image).await;
            let is_here = is_here.map_err(|source| SnapshotError::Container {
                program: "pg_dump",
                source,
            });
            if !is_here? {
                return Ok(());
            }
        }
        let command = ["pg_dump", "--version"].map(str::to_owned);
        let (_stdin, program) = self.launch("pg_dump", &command, Ulid::generate()).await?;
        let mut said = Vec::new();
        program
            .follow(Sink::Memory(&mut said, MOST_VERSION))
            .await?;
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        let server = self.database.server_version().await?;
        // A newer one could read the server, but what it writes is only sure to be taken back by
        // a server as new as itself: pg_restore 17 sets what PostgreSQL 16 does not know.
        let major = major_of(&server);
        if said_major(&said) == Some(major) {
            return Ok(());
        }
        Err(SnapshotError::DoesNotFit {
            image: image.clone(),
            said,
            server,
            major,
        })
    }
}

/// The major version in what `pg_dump --version` prints.
fn said_major(said: &str) -> Option<u32> {
    let (_, version) = said.split_once("(PostgreSQL) ")?;
    Some(major_of(version))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::database::LoginFile;

    #[test]
    fn the_major_version_is_read_from_what_distributions_print() {
        for (said, expected) in [
            (
                "pg_dump (PostgreSQL) 17.6 (Debian 17.6-1.pgdg13+1)",
                Some(17),
            ),
            ("pg_dump (PostgreSQL) 18beta1", Some(18)),
            ("pg_dump (PostgreSQL) 9.6.24", Some(9)),
            ("pg_dump: command not found", None),
            ("", None),
        ] {
            assert_eq!(said_major(said), expected, "{said}");
        }
    }

    #[test]
    fn a_login_names_its_files_and_keeps_what_is_in_them_apart() {
        let login = Login {
            environment: vec![("PGHOST", "db.internal".into())],
            files: vec![LoginFile {
                variable: "PGPASSFILE",
                name: "pgpass",
                content: b"*:*:*:*:hush".to_vec().into(),
            }],
        };
        let one_shot = one_shot("postgres:17", &["pg_dump".into()], login);
        assert_eq!(
            one_shot.environment,
            [
                ("PGHOST".to_owned(), "db.internal".to_owned()),
                ("PGPASSFILE".to_owned(), "/run/togather/pgpass".to_owned()),
            ]
        );
        assert_eq!(one_shot.files[0].content.expose_secret(), b"*:*:*:*:hush");
    }
}
