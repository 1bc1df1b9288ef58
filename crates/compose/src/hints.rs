//! What to do without a key that the agent does not take.

use std::collections::BTreeSet;

/// What is said of a key that nobody asked for.
pub(crate) fn unknown(key: &str, known: &BTreeSet<&'static str>) -> String {
    let told =
        format!("the key `{key}` is not one this agent knows, and nothing is left out silently");
    if let Some(hint) = instead(key) {
        return format!("{told}. {hint}");
    }
    if let Some(near) = known.iter().find(|known| is_near(key, known)) {
        return format!("{told}; did you mean `{near}`?");
    }
    let known: Vec<_> = known.iter().copied().collect();
    format!("{told}; it knows {}", known.join(", "))
}

fn instead(key: &str) -> Option<&'static str> {
    Some(match key {
        "build" => {
            "Images are not built on a node: build it where you build releases, push it, and name it under `image`"
        }
        "extends" => {
            "Write the keys of the other service here, or share them in this file with an anchor: `x-base: &base {…}` and `<<: *base`"
        }
        "include" => "The agent reads this one file: copy the services of the others into it",
        "secrets" => {
            "Put the value into the environment file and name it under `environment`, or mount a file of the node under `volumes`"
        }
        "configs" => "Mount a file or folder of the node under `volumes`, with `:ro` after it",
        "deploy" => {
            "It is for Swarm: write `mem_limit`, `cpus`, `pids_limit` and `restart` instead; each service runs once, the app once a slot"
        }
        "network_mode" => {
            "Name networks of the file under `networks`; a service without them is in `default`"
        }
        "links" => "Services of one network reach each other by their names already",
        "scale" => "Each service runs once, the app once a slot",
        "privileged" | "devices" => {
            "Give the service what it needs with `cap_add`, or run it outside of the agent's file"
        }
        "label_file" => "Write the labels under `labels`",
        "volumes_from" => "Name the same volumes under `volumes` in both services",
        "develop" | "watch" => {
            "It is for a developer's machine: remove it, or keep it in a file of its own"
        }
        "models" | "provider" | "use_api_socket" | "gpus" => "Run it outside of the agent's file",
        "ipam" | "enable_ipv4" | "enable_ipv6" | "attachable" => {
            "Make the network with `docker network create`, and say `external: true` here"
        }
        "ipv4_address" | "ipv6_address" | "mac_address" | "link_local_ips" => {
            "Docker gives addresses; reach the service by its name"
        }
        "start_interval" => {
            "Docker before version 25 does not know it; use `interval` and `start_period`"
        }
        _ => return None,
    })
}

/// Whether one key is the other with a letter changed, added, left out, or two swapped.
fn is_near(one: &str, other: &str) -> bool {
    let (one, other): (Vec<_>, Vec<_>) = (one.chars().collect(), other.chars().collect());
    if one.len() < 3 || one.len().abs_diff(other.len()) > 1 {
        return false;
    }
    let same = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[same..], &other[same..]);
    let tail = |list: &[char], from: usize| list.get(from..).unwrap_or_default().to_vec();
    tail(one, 1) == tail(other, 1)
        || tail(one, 1) == other
        || one == tail(other, 1)
        || (one.len() > 1
            && other.len() > 1
            && one[0] == other[1]
            && one[1] == other[0]
            && tail(one, 2) == tail(other, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_nearly_one_is_named() {
        let known = BTreeSet::from(["image", "environment", "mem_limit"]);
        for (key, near) in [
            ("iamge", "image"),
            ("enviroment", "environment"),
            ("mem_limits", "mem_limit"),
            ("imege", "image"),
        ] {
            assert!(
                unknown(key, &known).contains(&format!("did you mean `{near}`")),
                "{key}"
            );
        }
        assert!(unknown("sysctls", &known).ends_with("it knows environment, image, mem_limit"));
        assert!(unknown("build", &known).contains("name it under `image`"));
    }
}
