//! Changing a fleet file's text with as light a hand as possible, so that comments stay.
//!
//! The edits are simple and may fail on a file of unusual shape: the caller parses what comes out
//! and falls back to [`render`], which writes the whole file anew.

use std::fmt::Write as _;

use super::{Fleet, Node, SCHEMA};

/// The whole file.
pub(super) fn render(fleet: &Fleet) -> String {
    let operator = &fleet.operator;
    let nodes: String = match fleet.nodes.as_slice() {
        [] => " []\n".into(),
        some => format!("\n{}", some.iter().map(node).collect::<String>()),
    };
    format!(
        "# A Togather fleet. Paths are relative to this file: copy the folder to act from elsewhere.\n\
         schema: {SCHEMA}\n\
         # Every command names this id; nodes of other fleets refuse it.\n\
         id: {id}\n\
         name: {name}\n\
         # The authority's certificate; its key (ca.key) is needed only to enrol nodes and operators.\n\
         authority: {authority}\n\
         # Who acts: a certificate for the connection, and the SSH key that signs commands.\n\
         operator:\n\
         \x20 name: {operator_name}\n\
         \x20 certificate: {certificate}\n\
         \x20 key: {key}\n\
         \x20 identity: {identity}\n\
         # In the order in which rollouts walk through them.\n\
         nodes:{nodes}",
        id = fleet.id,
        name = quoted(&fleet.name),
        authority = quoted(&fleet.authority.to_string_lossy()),
        operator_name = quoted(operator.name.as_str()),
        certificate = quoted(&operator.certificate.to_string_lossy()),
        key = quoted(&operator.key.to_string_lossy()),
        identity = quoted(&operator.identity.to_string_lossy()),
    )
}

fn node(node: &Node) -> String {
    let mut text = format!(
        "  - name: {}\n    id: {}\n    address: {}\n",
        quoted(node.name.as_str()),
        node.id,
        quoted(&node.address)
    );
    if !node.labels.is_empty() {
        text.push_str("    labels:\n");
        for (label, value) in &node.labels {
            let _ = writeln!(text, "      {}: {}", quoted(label), quoted(value));
        }
    }
    text
}

/// A YAML string in double quotes is a JSON string; unquoted, `no` or `007` would be something else.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The text with the node appended; right only if the nodes come last in the file.
pub(super) fn with_node(text: &str, added: &Node) -> Option<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let start = lines.iter().position(|line| line.starts_with("nodes:"))?;
    if lines[start]
        .trim_start_matches("nodes:")
        .trim_start()
        .starts_with("[]")
    {
        lines[start] = "nodes:";
    }
    Some(format!("{}\n{}", lines.join("\n"), node(added)))
}

/// The text without the lines of this node; right only if each node begins with its name.
pub(super) fn without_node(text: &str, name: &str) -> Option<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let names_it = |line: &&str| {
        let Some(value) = line.trim_start().strip_prefix("- name:") else {
            return false;
        };
        let value = value.split(" #").next().unwrap_or_default().trim();
        value == name || value == quoted(name)
    };
    let start = lines.iter().position(names_it)?;
    let indent = |line: &str| line.len() - line.trim_start().len();
    let depth = indent(lines[start]);
    let length = lines[start + 1..]
        .iter()
        .position(|line| !line.trim().is_empty() && indent(line) <= depth)
        .map_or(lines.len() - start, |index| index + 1);
    lines.drain(start..start + length);
    Some(lines.join("\n") + "\n")
}
