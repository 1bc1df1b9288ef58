//! What a file that failed left behind, judged from what is known for certain.

use super::statements::Statements;

/// How many differences are told; the rest is counted.
const TOLD: usize = 8;

/// What a failed file left behind.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Remains {
    /// Nothing, and that is proven.
    Nothing,
    /// Something, or nobody can tell; the text says which.
    Something(String),
}

impl Remains {
    /// Judges by how the catalogue differs from what it was before, by what the file does, and by
    /// whether the session was lost so that nobody heard how the file ended.
    pub(super) fn judge(differences: Vec<String>, file: &Statements<'_>, lost: bool) -> Self {
        if !differences.is_empty() {
            let left = differences.len().saturating_sub(TOLD);
            let mut told: Vec<String> = differences.into_iter().take(TOLD).collect();
            if left > 0 {
                told.push(format!("and {left} more"));
            }
            let mut why = format!("parts of it remain ({})", told.join("; "));
            if lost {
                why.push_str(", and as the session was lost, nobody heard whether all of it ran");
            }
            return Self::Something(why);
        }
        // The catalogue says nothing about rows; these are the two ways rows can have changed.
        if file.may_commit_before_its_end() {
            return Self::Something(
                "the tables are as they were, but the file ends transactions itself, so rows may have changed"
                    .into(),
            );
        }
        if lost && !file.only_defines() {
            return Self::Something(
                "the tables are as they were, but as the session was lost, nobody heard whether the file's \
                 changes to rows were committed"
                    .into(),
            );
        }
        Self::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(differences: &[&str], sql: &str, lost: bool) -> bool {
        let differences = differences.iter().map(ToString::to_string).collect();
        Remains::judge(differences, &Statements::of(sql), lost) == Remains::Nothing
    }

    #[test]
    fn only_a_proof_counts() {
        assert!(judge(&[], "UPDATE t SET a = 1; SELECT 1/0", false));
        assert!(judge(
            &[],
            "CREATE TABLE t (); ALTER TABLE t ADD a int",
            true
        ));
        assert!(!judge(&["new: table t"], "CREATE TABLE t ()", false));
        assert!(!judge(&[], "UPDATE t SET a = 1", true));
        let again = "ALTER TABLE t ALTER a TYPE int USING a * 100";
        assert!(judge(&[], again, false) && !judge(&[], again, true));
        assert!(judge(&[], "ALTER TABLE housing ADD using_it int", true));
        assert!(!judge(&[], "UPDATE t SET a = 1; COMMIT; SELECT 1/0", false));
        assert!(!judge(&[], "DO $$ BEGIN COMMIT; END $$", false));
    }
}
