//! Published ports, in both notations.

use std::{net::IpAddr, ops::RangeInclusive};

use crate::{
    reader::Value,
    service::Port,
    values::{NUMBER, number},
};

const SHORT: &str =
    "`HOST:CONTAINER`, perhaps with an address before and `/udp` after: `127.0.0.1:5432:5432/tcp`";

/// What a list of ports publishes.
pub(crate) fn ports(list: &Value<'_>) -> Vec<Port> {
    let items = list.items("a list of ports, each such as `127.0.0.1:5432:5432`");
    let published = items.iter().filter_map(|item| {
        if item.is_map() {
            long(item)
        } else {
            item.parsed(SHORT, short)
        }
    });
    published.flatten().collect()
}

/// `[ADDRESS:]HOST:CONTAINER[/PROTOCOL]`; two ranges must be of one length.
fn short(text: &str) -> Option<Vec<Port>> {
    let (addresses, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol_of(protocol)?;
    let (rest, container) = addresses.rsplit_once(':')?;
    let (ip, host) = match rest.rsplit_once(':') {
        // Without brackets its last colon could be any.
        Some((ip, _)) if ip.contains(':') && !ip.starts_with('[') => return None,
        Some((ip, host)) => (Some(address(ip)?), host),
        None => (None, rest),
    };
    pairs(ip, range(host)?, range(container)?, &protocol)
}

fn long(item: &Value<'_>) -> Option<Vec<Port>> {
    const PUBLISHED: &str = "the port on the host, such as `8080`";
    let section = item.section("a port");
    let target = section.parsed("target", "the container's port, such as `5432`", |text| {
        range(text).filter(|target| target.len() == 1)
    });
    let published = section.parsed("published", PUBLISHED, range);
    let ip = section.parsed("host_ip", "an IP address", address);
    let protocol = section
        .get("protocol")
        .map_or(Some("tcp".to_owned()), |given| {
            given.parsed("`tcp`, `udp` or `sctp`", protocol_of)
        });
    section.parsed("mode", "`host` or `ingress`", |text| {
        matches!(text, "host" | "ingress").then_some(())
    });
    section.ignore(&["name", "app_protocol"]);
    for (key, value) in [("target", &target), ("published", &published)] {
        if value.is_none() && !section.has(key) {
            section.value().wrong(format!(
                "the key `{key}` is missing; a port has `target` (in the container) and `published` (on the host), or is written in short as `HOST:CONTAINER`"
            ));
        }
    }
    section.finish();
    let pairs = pairs(ip, published?, target?, &protocol?);
    if pairs.is_none() {
        item.wrong("`published` and `target` must be as many ports");
    }
    pairs
}

fn pairs(
    ip: Option<IpAddr>,
    host: RangeInclusive<u16>,
    container: RangeInclusive<u16>,
    protocol: &str,
) -> Option<Vec<Port>> {
    let pairs = host
        .clone()
        .zip(container.clone())
        .map(|(host, container)| Port {
            ip,
            host,
            container: format!("{container}/{protocol}"),
        });
    (host.len() == container.len()).then(|| pairs.collect())
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let port = |text: &str| number::<u16>(text).filter(|port| *port != 0);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some(first..=last)
}

fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(text).parse().ok()
}

fn protocol_of(text: &str) -> Option<String> {
    let protocol = text.to_ascii_lowercase();
    matches!(&*protocol, "tcp" | "udp" | "sctp").then_some(protocol)
}

/// What is asked of a whole number from -1 on.
pub(crate) fn limit(value: &Value<'_>) -> Option<i64> {
    value.parsed(&format!("{NUMBER}, or `-1` for no limit"), |text| {
        number::<i64>(text).filter(|n| *n >= -1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_name_host_and_container() {
        let one = |text: &str| short(text).unwrap().remove(0);
        let published = one("127.0.0.1:5433:5432");
        assert_eq!(published.ip, Some([127, 0, 0, 1].into()));
        assert_eq!((published.host, &*published.container), (5433, "5432/tcp"));
        assert_eq!(one("53:5353/UDP").container, "5353/udp");
        assert!(one("[::1]:80:80").ip.unwrap().is_ipv6());
        let range = short("8000-8002:9000-9002").unwrap();
        assert_eq!((range[2].host, &*range[2].container), (8002, "9002/tcp"));
        for text in [
            "8080",
            "80:http",
            "0:80",
            "80:80/icmp",
            "host:80:80",
            "70000:80",
            "8000-8002:80",
            "9-8:9-8",
            "::1:80:80",
        ] {
            assert_eq!(short(text), None, "{text}");
        }
    }
}
