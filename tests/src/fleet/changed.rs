//! What a test changes on a node. It is taken back when the test is over, however it ends.

use std::process::Command;

use super::Fleet;
use crate::program::{checkout, programs};

/// Edits the file $1 by the sed expression $2, and keeps it as it was.
const EDIT: &str = r#"set -e
kept="/var/lib/fleet-tests/kept$1"
mkdir -p "$(dirname "$kept")"
[ -e "$kept" ] || cp -p "$1" "$kept"
sed -i "$2" "$1"
if cmp -s "$kept" "$1"; then echo "nothing in $1 was edited" >&2; exit 1; fi"#;

/// Puts every edited file of the node back.
const PUT_BACK: &str = r#"cd /var/lib/fleet-tests/kept 2> /dev/null || exit 0
find . -type f | while read -r kept; do cat "$kept" > "/$kept" && rm "$kept"; done"#;

/// A change on a node; dropping this takes it back.
#[derive(Debug)]
#[must_use = "a change that is dropped at once is none"]
pub struct Changed<'a> {
    node: String,
    back: &'static str,
    _fleet: &'a Fleet,
}

impl Fleet {
    /// Runs a command on a node, and at the end the script that takes it back.
    ///
    /// # Panics
    /// The command fails.
    pub async fn change(&self, node: &str, command: &[&str], back: &'static str) -> Changed<'_> {
        let changed = Changed {
            node: node.to_owned(),
            back,
            _fleet: self,
        };
        self.on_node(node, command).run().await.ended_with(0);
        changed
    }

    /// Edits a file on a node by this sed expression; what runs there is not made anew by that. With
    /// the first of several edits on a node all of them are taken back.
    ///
    /// # Panics
    /// Nothing in the file was edited.
    pub async fn edit(&self, node: &str, path: &str, expression: &str) -> Changed<'_> {
        let edit = ["sh", "-c", EDIT, "sh", path, expression];
        self.change(node, &edit, PUT_BACK).await
    }

    /// Puts back what tests edited on a node that were killed before they could.
    pub(super) async fn put_back(&self, node: &str) {
        let put_back = self.on_node(node, &["sh", "-c", PUT_BACK]);
        put_back.run().await.ended_with(0);
    }
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        let taken_back = Command::new(programs().join("devfleet"))
            .args(["exec", &self.node, "--", "sh", "-c", self.back])
            .current_dir(checkout())
            .status();
        let is_back = taken_back.is_ok_and(|status| status.success());
        assert!(
            is_back || std::thread::panicking(),
            "what was changed on {} could not be taken back",
            self.node
        );
    }
}
