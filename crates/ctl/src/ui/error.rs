//! An error for people: what happened, why, and what to do next.

use std::fmt::Write as _;

use crate::error::Error;

/// The text of an error, and of those that came with it.
#[must_use]
pub fn text(error: &Error) -> String {
    let mut text = String::new();
    one(&mut text, error);
    for other in &error.others {
        one(&mut text, other);
    }
    text
}

/// Writing to a string cannot fail.
fn one(text: &mut String, error: &Error) {
    let _ = writeln!(text, "error: {}", error.what);
    for cause in &error.causes {
        let _ = writeln!(text, "  because: {}", indented(cause));
    }
    for next in &error.next {
        let _ = writeln!(text, "  next: {}", indented(next));
    }
}

fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_why_and_next_each_on_its_line() {
        let mut error = Error::unreachable("node-1 cannot be reached at host:7443")
            .cause("connection refused")
            .next("check that the node is up");
        error
            .others
            .push(Error::held("node-2: bob holds this node"));
        insta::assert_snapshot!(text(&error), @r"
        error: node-1 cannot be reached at host:7443
          because: connection refused
          next: check that the node is up
        error: node-2: bob holds this node
        ");
    }
}
