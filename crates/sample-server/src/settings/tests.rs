use super::*;

const DATABASE: (&str, &str) = ("DATABASE_URL", "postgres://me:secret@db/togather");
const LONG: &str = "0123456789abcdef0123456789abcdef";
const SHORT: &str = "0123456789abcdef0123456789abcde";

fn looked_up(variables: &[(&str, &str)], key: &str) -> Option<String> {
    // The last one counts, so that a test can put one in another's place.
    let found = variables.iter().rev().find(|(name, _)| *name == key);
    found.map(|(_, value)| (*value).to_owned())
}

fn read(variables: &[(&str, &str)]) -> Result<Settings, String> {
    Settings::read(|key| looked_up(variables, key)).map_err(|error| error.to_string())
}

/// What a server in production says to its environment, with these differences.
fn served(differences: &[(&str, &str)]) -> Result<Settings, String> {
    let mut variables = vec![
        DATABASE,
        ("ENVIRONMENT", "production"),
        ("JWT_SECRET", LONG),
        ("CORS_ALLOWED_ORIGINS", "https://events.example.org"),
    ];
    variables.extend(differences);
    Settings::of_a_server(|key| looked_up(&variables, key)).map_err(|error| error.to_string())
}

#[test]
fn a_database_is_enough_for_what_does_not_serve() {
    let settings = read(&[DATABASE, ("FAULT", ""), ("DEPLOYMENT_SLOT", "")]).unwrap();
    assert_eq!(settings.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(settings.fault, None);
    assert_eq!(settings.slot, None);
    assert_eq!(settings.limits.public_per_minute, NonZeroU32::new(60));
}

#[test]
fn a_server_is_refused_for_each_reason_the_togather_server_has() {
    assert!(served(&[]).is_ok());
    for (key, value, says) in [
        ("DATABASE_URL", "", "DATABASE_URL is not set"),
        ("JWT_SECRET", "", "JWT_SECRET is not set"),
        ("JWT_SECRET", SHORT, "JWT_SECRET has 31 characters"),
        ("CSRF_KEY", SHORT, "CSRF_KEY has 31 characters"),
        (
            "CORS_ALLOWED_ORIGINS",
            "",
            "CORS_ALLOWED_ORIGINS is not set",
        ),
        (
            "CORS_ALLOWED_ORIGINS",
            " , ",
            "CORS_ALLOWED_ORIGINS is not set",
        ),
        (
            "SHUTDOWN_POOL_CLOSE_TIMEOUT_SECONDS",
            "0",
            "SHUTDOWN_POOL_CLOSE_TIMEOUT_SECONDS is `0`",
        ),
        (
            "SCRAPER_POLL_BACKOFF_START_MS",
            "0",
            "SCRAPER_POLL_BACKOFF_START_MS is `0`",
        ),
        (
            "SCRAPER_POLL_BACKOFF_MAX_MS",
            "100",
            "SCRAPER_POLL_BACKOFF_MAX_MS is `100`: expected at least 200 ms",
        ),
        (
            "SCRAPER_POLL_TIMEOUT_MS",
            "1999",
            "SCRAPER_POLL_TIMEOUT_MS is `1999`",
        ),
    ] {
        let error = served(&[(key, value)]).unwrap_err();
        assert!(error.starts_with(says), "{key}={value}: {error}");
        assert!(!error.contains(SHORT), "secrets are not shown: {error}");
        assert!(!error.contains('\n'), "one line: {error}");
    }
}

#[test]
fn what_the_togather_server_lets_pass_is_let_pass() {
    for (key, value) in [
        ("CSRF_KEY", LONG),
        ("CORS_ALLOWED_ORIGINS", "*"),
        ("SHUTDOWN_POOL_CLOSE_TIMEOUT_SECONDS", "soon"),
        ("RATE_LIMIT_PUBLIC", "many"),
        ("SCRAPER_POLL_TIMEOUT_MS", "2000"),
    ] {
        assert!(served(&[(key, value)]).is_ok(), "{key}={value}");
    }
    for environment in ["development", "test"] {
        let origins = ("CORS_ALLOWED_ORIGINS", "");
        assert!(served(&[("ENVIRONMENT", environment), origins]).is_ok());
    }
    let origins = ("CORS_ALLOWED_ORIGINS", "");
    assert!(served(&[("ENVIRONMENT", "staging"), origins]).is_err());
}

#[test]
fn no_limit_is_said_with_a_nought_and_networks_that_are_none_are_passed_over() {
    let limits = read(&[
        DATABASE,
        ("RATE_LIMIT_PUBLIC", "0"),
        ("TRUSTED_PROXY_CIDRS", "172.18.0.1/32, proxy,2001:db8::/64"),
    ])
    .unwrap()
    .limits;
    assert_eq!(limits.public_per_minute, None);
    let networks: Vec<_> = limits
        .trusted_proxies
        .iter()
        .map(IpNet::to_string)
        .collect();
    assert_eq!(networks, ["172.18.0.1/32", "2001:db8::/64"]);
}

#[test]
fn the_slot_has_two_names() {
    for (deployment, slot, shown, of_jobs) in [
        ("", "", None, None),
        ("blue", "", Some("blue"), None),
        ("", "green", Some("green"), Some("green")),
        ("blue", "green", Some("blue"), Some("green")),
    ] {
        let settings = read(&[DATABASE, ("DEPLOYMENT_SLOT", deployment), ("SLOT", slot)]);
        let settings = settings.unwrap();
        assert_eq!(settings.slot.as_deref(), shown);
        assert_eq!(settings.job_slot.as_deref(), of_jobs);
    }
}

#[test]
fn an_unknown_fault_is_refused_and_the_known_ones_are_named() {
    let error = read(&[DATABASE, ("FAULT", "never-healty")]).unwrap_err();
    assert!(error.contains("`never-healty`"), "{error}");
    for fault in Fault::ALL {
        assert!(error.contains(fault.as_str()), "{error}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    for (key, value) in [
        ("SERVER_HOST", "localhost"),
        ("SERVER_PORT", "65536"),
        ("DEPLOYMENT_SLOT", "red"),
        ("LOG_LEVEL", "loud"),
        ("SLOW_START", "-1"),
    ] {
        let error = read(&[DATABASE, (key, value)]).unwrap_err();
        assert!(error.starts_with(&format!("{key} is `{value}`")), "{error}");
    }
}

#[test]
fn a_wrong_database_address_is_not_shown() {
    assert!(read(&[]).unwrap_err().contains("DATABASE_URL is not set"));
    let error = read(&[("DATABASE_URL", "postgres//me:secret@db")]).unwrap_err();
    assert!(
        error.contains("DATABASE_URL") && !error.contains("secret"),
        "{error}"
    );
}
