//! The small notations inside a Compose file: sizes, durations, ports, mounts, restart policies.
//! Each gives `None` for a text that is none; the caller says what was expected and where.

use std::time::Duration;

use jiff::SignedDuration;

use crate::service::{Port, Restart};

pub(crate) const SIZE: &str = "a size such as `64m` or `1g`";

/// Bytes, in Docker's notation: a number and perhaps `b`, `k`, `m` or `g`, in powers of 1024.
pub(crate) fn size(text: &str) -> Option<i64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..)? {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        _ => return None,
    };
    let number: i64 = digits.trim_end().parse().ok().filter(|n| *n >= 0)?;
    number.checked_mul(1 << shift)
}

pub(crate) const DURATION: &str = "a duration such as `30s` or `1m30s`";

pub(crate) fn duration(text: &str) -> Option<Duration> {
    let duration: SignedDuration = text.trim().parse().ok()?;
    duration.try_into().ok()
}

pub(crate) const CPUS: &str = "a number of CPUs such as `2` or `0.5`";

/// Billionths of one CPU.
pub(crate) fn nano_cpus(text: &str) -> Option<i64> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let only_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 9 || !only_digits(whole) || !only_digits(fraction) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let fraction: i64 = format!("{fraction:0<9}").parse().ok()?;
    whole.checked_mul(1_000_000_000)?.checked_add(fraction)
}

pub(crate) const SWITCH: &str = "`true` or `false`";

pub(crate) fn switch(text: &str) -> Option<bool> {
    text.trim().parse().ok()
}

pub(crate) const RESTART: &str =
    "`no`, `always`, `unless-stopped`, `on-failure` or `on-failure:TIMES`";

pub(crate) fn restart(text: &str) -> Option<Restart> {
    Some(match text {
        // YAML 1.1 reads a bare `no` as a boolean, so files have it quoted, bare, or as `false`.
        "no" | "false" => Restart::No,
        "always" => Restart::Always,
        "unless-stopped" => Restart::UnlessStopped,
        "on-failure" => Restart::OnFailure { retries: 0 },
        _ => Restart::OnFailure {
            retries: text.strip_prefix("on-failure:")?.parse().ok()?,
        },
    })
}

pub(crate) const PORT: &str =
    "`HOST:CONTAINER`, perhaps with an address before and `/udp` after: `127.0.0.1:5432:5432/tcp`";

pub(crate) fn port(text: &str) -> Option<Port> {
    let (addresses, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if !matches!(protocol, "tcp" | "udp" | "sctp") {
        return None;
    }
    let (rest, container) = addresses.rsplit_once(':')?;
    let (ip, host) = match rest.rsplit_once(':') {
        Some((ip, host)) => (Some(ip), host),
        None => (None, rest),
    };
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    let ip = match ip {
        Some(ip) => Some(
            ip.trim_start_matches('[')
                .trim_end_matches(']')
                .parse()
                .ok()?,
        ),
        None => None,
    };
    Some(Port {
        ip,
        host: number(host)?,
        container: format!("{}/{protocol}", number(container)?),
    })
}

pub(crate) const MOUNT: &str =
    "`VOLUME:/PATH` or `/HOST/PATH:/PATH`, perhaps with `:ro` after it; paths are absolute";

/// A mount as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mount<'a> {
    /// A volume's name, or an absolute path on the host.
    pub(crate) source: &'a str,
    /// An absolute path in the container.
    pub(crate) target: &'a str,
    pub(crate) read_only: bool,
}

pub(crate) fn mount(text: &str) -> Option<Mount<'_>> {
    let mut parts = text.split(':');
    let (source, target, mode) = (parts.next()?, parts.next()?, parts.next());
    let read_only = match mode {
        Some("ro") => true,
        Some("rw") | None => false,
        Some(_) => return None,
    };
    let a_name = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
    };
    let fits = (source.starts_with('/') || a_name(source)) && target.starts_with('/');
    (fits && parts.next().is_none()).then_some(Mount {
        source,
        target,
        read_only,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_count_in_powers_of_1024() {
        for (text, bytes) in [("0", 0), ("10b", 10), ("256m", 256 << 20), ("1GB", 1 << 30)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "m", "1.5g", "-1", "64 apples", "9999999999g"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        for text in ["", "30", "-5s", "soon"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn cpus_are_decimal_numbers() {
        assert_eq!(nano_cpus("0.50"), Some(500_000_000));
        assert_eq!(nano_cpus("2"), Some(2_000_000_000));
        for text in ["", ".", "-1", "1e3", "0.5.5"] {
            assert_eq!(nano_cpus(text), None, "{text}");
        }
    }

    #[test]
    fn ports_name_host_and_container() {
        let published = port("127.0.0.1:5433:5432").unwrap();
        assert_eq!(published.ip, Some([127, 0, 0, 1].into()));
        assert_eq!((published.host, &*published.container), (5433, "5432/tcp"));
        assert_eq!(port("53:5353/udp").unwrap().container, "5353/udp");
        assert!(port("[::1]:80:80").unwrap().ip.unwrap().is_ipv6());
        for text in [
            "8080",
            "80:http",
            "0:80",
            "80:80/icmp",
            "host:80:80",
            "70000:80",
        ] {
            assert_eq!(port(text), None, "{text}");
        }
    }

    #[test]
    fn mounts_name_a_volume_or_an_absolute_path() {
        let data = mount("data:/var/lib/data:ro").unwrap();
        assert_eq!((data.source, data.target), ("data", "/var/lib/data"));
        assert!(data.read_only);
        assert!(!mount("/srv/files:/files").unwrap().read_only);
        for text in [
            "/only",
            "./here:/there",
            "data:there",
            "data:/a:z",
            "a:/b:ro:x",
            ":/x",
        ] {
            assert_eq!(mount(text), None, "{text}");
        }
    }

    #[test]
    fn restart_policies_are_dockers() {
        assert_eq!(restart("unless-stopped"), Some(Restart::UnlessStopped));
        assert_eq!(
            restart("on-failure:3"),
            Some(Restart::OnFailure { retries: 3 })
        );
        assert_eq!(restart("sometimes"), None);
    }
}
