//! How PostgreSQL's own programs log in where the agent does: the address in `database.url` as
//! libpq's environment, and every secret of it as a file.

use std::{fmt, fs};

use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgSslMode},
};

use super::{Postgres, error::DatabaseError};

/// What `sslrootcert`, `sslcert` and `sslkey` of the address are called by libpq, and by us.
const CERTIFICATES: [(&str, &str, &str); 3] = [
    ("sslrootcert", "PGSSLROOTCERT", "root.crt"),
    ("sslcert", "PGSSLCERT", "client.crt"),
    ("sslkey", "PGSSLKEY", "client.key"),
];

/// How long a program may take to get a session, in seconds: the default would be for ever.
const CONNECT_TIMEOUT: &str = "30";

/// How a program logs in.
pub(crate) struct Login {
    /// libpq's own variables. No secret is among them.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Files that other variables name.
    pub(crate) files: Vec<LoginFile>,
}

/// A file that a program needs to log in.
pub(crate) struct LoginFile {
    /// The variable that tells libpq where it is.
    pub(crate) variable: &'static str,
    /// Its name.
    pub(crate) name: &'static str,
    /// What is in it.
    pub(crate) content: SecretSlice<u8>,
}

impl Postgres {
    /// How a program in another container, but in the network of this machine, logs in.
    ///
    /// # Errors
    /// The address names what only the agent itself can reach, or a file that cannot be read.
    pub(crate) fn login(&self) -> Result<Login, DatabaseError> {
        Login::to(self.sessions.options())
    }
}

impl Postgres {
    /// What the address asks of the server for each session, as `PGOPTIONS` would.
    pub(crate) fn session_options(&self) -> &str {
        self.sessions.options().get_options().unwrap_or_default()
    }
}

impl Login {
    fn to(options: &PgConnectOptions) -> Result<Self, DatabaseError> {
        if options.get_socket().is_some() {
            return Err(DatabaseError::Address(
                "it is a socket, which the programs in a container of their own do not have; \
                 give it a host"
                    .into(),
            ));
        }
        let mut environment = vec![
            ("PGHOST", options.get_host().to_owned()),
            ("PGPORT", options.get_port().to_string()),
            ("PGSSLMODE", mode(options.get_ssl_mode()).to_owned()),
            ("PGCONNECT_TIMEOUT", CONNECT_TIMEOUT.to_owned()),
        ];
        if let Some(options) = options.get_options() {
            environment.push(("PGOPTIONS", options.to_owned()));
        }
        // What has no getter of its own is in the address as sqlx understood it. Who and where are
        // not taken from there: it does not escape them.
        let address = options.clone().username("user").host("host");
        let address = address.to_url_lossy();
        let mut files = Vec::new();
        if let Some(password) = address.password() {
            files.push(password_file(password)?);
        }
        for (parameter, variable, name) in CERTIFICATES {
            let written = address.query_pairs().find(|(name, _)| name == parameter);
            if let Some((_, written)) = written {
                files.push(LoginFile {
                    variable,
                    name,
                    content: certificate(parameter, &written)?,
                });
            }
        }
        let verifies = matches!(
            options.get_ssl_mode(),
            PgSslMode::VerifyCa | PgSslMode::VerifyFull
        );
        if verifies && files.iter().all(|file| file.variable != "PGSSLROOTCERT") {
            return Err(DatabaseError::Address(
                "with this `sslmode` the server's certificate is checked, so it must also say \
                 `sslrootcert=FILE`: the authorities to be believed, in PEM"
                    .into(),
            ));
        }
        Ok(Self { environment, files })
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}

const fn mode(mode: PgSslMode) -> &'static str {
    match mode {
        PgSslMode::Disable => "disable",
        PgSslMode::Allow => "allow",
        PgSslMode::Prefer => "prefer",
        PgSslMode::Require => "require",
        PgSslMode::VerifyCa => "verify-ca",
        PgSslMode::VerifyFull => "verify-full",
    }
}

/// libpq's password file, in which `:` and `\` are escaped. Whatever host and name libpq looks for:
/// the program that gets the file talks to one server only.
fn password_file(percent_encoded: &str) -> Result<LoginFile, DatabaseError> {
    let password = percent_encoding::percent_decode_str(percent_encoded).decode_utf8_lossy();
    let password = SecretString::from(password.into_owned());
    let password = password.expose_secret();
    if password.contains(['\n', '\r']) {
        return Err(DatabaseError::Address(
            "its password has a line break, which PostgreSQL's programs do not take".into(),
        ));
    }
    let escaped = password.replace('\\', "\\\\").replace(':', "\\:");
    Ok(LoginFile {
        variable: "PGPASSFILE",
        name: "pgpass",
        content: format!("*:*:*:*:{escaped}\n").into_bytes().into(),
    })
}

/// A certificate or key: sqlx writes the name of a file as `file: NAME`, and one that stood in the
/// agent's environment (`PGSSLROOTCERT`) as it is.
fn certificate(parameter: &str, written: &str) -> Result<SecretSlice<u8>, DatabaseError> {
    let Some(path) = written.strip_prefix("file: ") else {
        return Ok(written.as_bytes().to_vec().into());
    };
    let content = fs::read(path).map_err(|error| {
        DatabaseError::Address(format!("its `{parameter}` cannot be read: {path}: {error}"))
    })?;
    Ok(content.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(url: &str) -> Result<Login, String> {
        Login::to(&url.parse().unwrap()).map_err(|error| error.to_string())
    }

    fn files(login: &Login) -> Vec<(&'static str, String)> {
        let text = |file: &LoginFile| String::from_utf8_lossy(file.content.expose_secret()).into();
        let files = login.files.iter();
        files.map(|file| (file.variable, text(file))).collect()
    }

    #[test]
    fn the_password_is_a_file_and_nowhere_else() {
        let login = login(
            "postgres://who%40x:a%3Ab%5Cc%20d%40@db.internal:6432/events?sslmode=require&options=-c%20geqo%3Doff",
        );
        let login = login.unwrap();
        assert_eq!(
            login.environment,
            [
                ("PGHOST", "db.internal".to_owned()),
                ("PGPORT", "6432".into()),
                ("PGSSLMODE", "require".into()),
                ("PGCONNECT_TIMEOUT", "30".into()),
                ("PGOPTIONS", "-c geqo=off".into()),
            ]
        );
        assert_eq!(
            files(&login),
            [("PGPASSFILE", "*:*:*:*:a\\:b\\\\c d@\n".to_owned())]
        );
        assert!(!format!("{login:?}").contains("c d@"));
    }

    #[test]
    fn certificates_are_handed_over_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let authorities = folder.path().join("rds ca.pem");
        fs::write(&authorities, "PEM").unwrap();
        let mut url = url::Url::parse("postgres://who@db/x?sslmode=verify-full").unwrap();
        assert!(
            login(url.as_str())
                .unwrap_err()
                .contains("sslrootcert=FILE")
        );
        url.query_pairs_mut()
            .append_pair("sslrootcert", authorities.to_str().unwrap());
        let complete = login(url.as_str()).unwrap();
        assert_eq!(files(&complete), [("PGSSLROOTCERT", "PEM".to_owned())]);
        fs::remove_file(&authorities).unwrap();
        let told = login(url.as_str()).unwrap_err();
        assert!(
            told.contains("`sslrootcert` cannot be read") && told.contains("rds ca.pem"),
            "{told}"
        );
    }

    #[test]
    fn what_a_container_cannot_use_is_refused() {
        for (url, why) in [
            ("postgres:///x?host=/run/postgresql", "it is a socket"),
            ("postgres://who:a%0Ab@db/x", "line break"),
        ] {
            let told = login(url).unwrap_err();
            assert!(told.contains(why) && !told.contains("a\nb"), "{told}");
        }
    }
}
