//! Whether the version that is live can work with the schema that a restored database holds, line by
//! line.

use togather_model::Line;

use crate::snapshots::Manifest;

/// What a version bears of one line.
pub(super) struct Fit {
    pub(super) line: Line,
    /// The oldest schema that it runs on.
    pub(super) oldest: u64,
    /// The one that its own migrations end at.
    pub(super) built_for: u64,
}

impl Fit {
    /// What is to be said, with what joins it to a sentence before; empty: it fits.
    pub(super) fn told(&self, schema: u64, version: &str) -> String {
        let whose = match self.line {
            Line::App => "its schema",
            Line::River => self.line.schema(),
        };
        let Self {
            oldest, built_for, ..
        } = self;
        if schema < *oldest {
            format!(
                "; {whose} {schema} is older than {version} tolerates ({oldest}): deploy {version} again to migrate it"
            )
        } else if schema > *built_for {
            format!("; {whose} {schema} is newer than {version} was built for ({built_for})")
        } else {
            String::new()
        }
    }
}

/// The schema of a line in this snapshot; `None`: it has the line, and was taken before its schema
/// was noted.
pub(super) fn held(snapshot: &Manifest, line: Line) -> Option<u64> {
    let noted = match line {
        Line::App => snapshot.schema,
        Line::River => snapshot.other_lines.get(&line).copied(),
    };
    let has_table = snapshot
        .rows
        .keys()
        .any(|table| table.ends_with(&format!(".{}", line.table())));
    match noted {
        None if has_table && line != Line::App => None,
        noted => Some(noted.unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use togather_model::{Timestamp, Ulid};

    use super::*;
    use crate::{
        deploy::tests::fakes,
        snapshots::{Reason, Wanted},
    };

    fn snapshot() -> Manifest {
        let wanted = Wanted {
            id: Ulid::nil(),
            at: Timestamp::UNIX_EPOCH,
            reason: Reason::Manual,
            git_commit: String::new(),
        };
        fakes::manifest(&wanted, Some(3))
    }

    #[test]
    fn each_line_is_told_by_itself() {
        let fit = |line| Fit {
            line,
            oldest: 5,
            built_for: 6,
        };
        assert_eq!(
            fit(Line::River).told(4, "1.2.0"),
            "; River's schema 4 is older than 1.2.0 tolerates (5): deploy 1.2.0 again to migrate it"
        );
        assert_eq!(
            fit(Line::App).told(7, "1.2.0"),
            "; its schema 7 is newer than 1.2.0 was built for (6)"
        );
        assert_eq!(fit(Line::River).told(5, "1.2.0"), "");
    }

    #[test]
    fn what_an_older_snapshot_does_not_say_is_not_made_up() {
        let mut snapshot = snapshot();
        assert_eq!(held(&snapshot, Line::App), Some(3));
        assert_eq!(held(&snapshot, Line::River), Some(0), "none ran");
        snapshot.rows.insert("public.river_migration".into(), 6);
        assert_eq!(held(&snapshot, Line::River), None);
        snapshot.other_lines.insert(Line::River, 6);
        assert_eq!(held(&snapshot, Line::River), Some(6));
        let text = serde_json::to_string(&snapshot).unwrap();
        assert!(text.contains(r#""other_lines":{"river":6}"#), "{text}");
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), snapshot);
        let older = text.replace(r#""other_lines":{"river":6},"#, "");
        let read: Manifest = serde_json::from_str(&older).unwrap();
        assert!(read.other_lines.is_empty());
    }
}
