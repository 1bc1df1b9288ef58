//! The private network of the fleet: made once, on a subnet that nothing else uses; nodes can be cut
//! off it and come back with the address they had.

use std::{fs, net::Ipv4Addr};

use anyhow::{Context, Result, bail};

use crate::{
    layout::{LABEL, NETWORK, Node},
    process::docker,
    report::Report,
    setup::outgoing_mtu,
};

/// The private network's first three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet([u8; 3]);

impl Subnet {
    /// An address in the subnet.
    pub(crate) fn host(self, number: u8) -> Ipv4Addr {
        let [a, b, c] = self.0;
        Ipv4Addr::new(a, b, c, number)
    }

    /// The first that no route of this machine touches is tried first. Away from 172.16/12 and
    /// 192.168/16, from which Docker inside the nodes takes its own.
    fn candidates() -> impl Iterator<Item = Self> {
        let taken = taken(&fs::read_to_string("/proc/net/route").unwrap_or_default());
        (77..=97)
            .map(|second| Self([10, second, 7]))
            .filter(move |subnet| !taken.iter().any(|route| route.touches(*subnet)))
    }

    fn parse(text: &str) -> Option<Self> {
        let address: Ipv4Addr = text.strip_suffix("/24")?.parse().ok()?;
        let [a, b, c, 0] = address.octets() else {
            return None;
        };
        Some(Self([a, b, c]))
    }
}

/// A route of this machine, other than the default one.
#[derive(Debug, PartialEq, Eq)]
struct Route {
    destination: u32,
    mask: u32,
}

impl Route {
    fn touches(&self, subnet: Subnet) -> bool {
        const WITHIN: u32 = 0xffff_ff00;
        let mask = self.mask & WITHIN;
        u32::from(subnet.host(0)) & mask == self.destination & mask
    }
}

/// Reads `/proc/net/route`, whose numbers are hexadecimal and in the machine's byte order.
fn taken(table: &str) -> Vec<Route> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let columns: Vec<_> = line.split_whitespace().collect();
            let number = |at: usize| u32::from_str_radix(columns.get(at)?, 16).ok();
            Some(Route {
                destination: u32::from_be(number(1)?),
                mask: u32::from_be(number(7)?),
            })
        })
        .filter(|route| route.mask != 0)
        .collect()
}

/// Carries the id of the fleet that the network was made for.
const FLEET: &str = "togather.devfleet.fleet";

/// The fleet's network, made if it is not there.
pub(crate) async fn ensure(report: &Report, fleet: &str) -> Result<Subnet> {
    if let Some(subnet) = find().await? {
        return Ok(subnet);
    }
    let mtu = format!("com.docker.network.driver.mtu={}", outgoing_mtu());
    let mut refusal = None;
    for subnet in Subnet::candidates() {
        let range = format!("{}/24", subnet.host(0));
        let create = docker(["network", "create", "--label", LABEL, "--opt", &mtu])
            .args(["--label", &format!("{FLEET}={fleet}")])
            .args(["--subnet", &range, NETWORK]);
        match create.run().await {
            Ok(_) => {
                report.say(format_args!("network {NETWORK}: {range}"));
                return Ok(subnet);
            }
            // Docker knows of networks that have no route yet; the next subnet may be free.
            Err(error) => refusal = Some(error),
        }
    }
    Err(refusal
        .unwrap_or_else(|| {
            anyhow::anyhow!("every subnet from 10.77.7.0/24 to 10.97.7.0/24 is taken")
        })
        .context("no private network could be made"))
}

/// The fleet's network, if it is there.
pub(crate) async fn find() -> Result<Option<Subnet>> {
    let inspect = docker(["network", "inspect", NETWORK, "--format"])
        .arg("{{(index .IPAM.Config 0).Subnet}}|{{index .Labels \"togather.devfleet\"}}");
    let ended = inspect.ended().await?;
    if !ended.status.success() {
        return Ok(None);
    }
    let Some((range, "1")) = ended.stdout.split_once('|') else {
        bail!("a network {NETWORK} exists that devfleet did not make; remove or rename it");
    };
    Subnet::parse(range)
        .map(Some)
        .with_context(|| format!("the network {NETWORK} has an unexpected subnet, {range}"))
}

/// The id of the fleet that is up on this machine, whole or in part; empty if that is not known.
pub(crate) async fn fleet() -> Result<Option<String>> {
    if find().await?.is_none() {
        return Ok(None);
    }
    let format = format!("{{{{index .Labels \"{FLEET}\"}}}}");
    let id = docker(["network", "inspect", NETWORK, "--format", &format]);
    Ok(Some(id.run().await?))
}

/// Cuts a node off: no packet reaches it or leaves it, its published ports included.
pub(crate) async fn cut(node: Node) -> Result<()> {
    docker(["network", "disconnect", NETWORK, &node.container()])
        .run()
        .await
        .with_context(|| format!("{node} cannot be cut off; is it already?"))?;
    Ok(())
}

/// Takes a node back in, at its old address and under its old name.
pub(crate) async fn heal(node: Node) -> Result<()> {
    let Some(subnet) = find().await? else {
        bail!("there is no fleet; `devfleet up` makes one");
    };
    let address = subnet.host(node.host_number()).to_string();
    docker([
        "network",
        "connect",
        "--ip",
        &address,
        "--alias",
        &node.to_string(),
    ])
    .args([NETWORK, &node.container()])
    .run()
    .await
    .with_context(|| format!("{node} cannot be taken back in; was it cut off?"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_that_a_route_touches_is_taken() {
        let table = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                     eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0\n\
                     vpn0 0000000A 00000000 0001 0 0 0 0000FEFF 0 0 0\n\
                     eth0 00074E0A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";
        let routes = taken(table);
        assert_eq!(
            routes.len(),
            2,
            "the default route touches everything and is left aside"
        );
        let touched = |second| routes.iter().any(|r| r.touches(Subnet([10, second, 7])));
        assert!(touched(1), "10.0.0.0/15");
        assert!(touched(78), "10.78.7.0/24");
        assert!(!touched(77));
    }

    #[test]
    fn only_whole_subnets_of_ours_are_read() {
        assert_eq!(Subnet::parse("10.77.7.0/24"), Some(Subnet([10, 77, 7])));
        for other in ["10.77.0.0/16", "10.77.7.1/24", "fd00::/64", ""] {
            assert_eq!(Subnet::parse(other), None, "{other}");
        }
    }
}
