//! Pages that a release must answer as expected: `app.expect` in deployment.yml.

use std::{collections::BTreeSet, fmt, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

/// The most pages. Each is asked twice, in the slot and through the proxy, and a deployment asks eight
/// times anyway: of the twenty questions a minute that the agent allows itself, six are left for the
/// soak, enough to count errors every ten seconds.
pub const MOST_PAGES: usize = 3;

/// What HTTP knows as a status.
const STATUSES: RangeInclusive<u16> = 100..=599;

/// A page, and what it must answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Its path, with its query if it has one.
    pub path: String,
    /// The HTTP status. Redirects are not followed.
    #[serde(default = "ok")]
    pub status: u16,
    /// A word that must be in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
}

/// Pages that can be asked: few enough, and each once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Page>", into = "Vec<Page>")]
pub struct Pages(Vec<Page>);

/// Everything that is wrong with the pages that were to be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct NotPages(Vec<String>);

const fn ok() -> u16 {
    200
}

impl Page {
    /// Whether an answer is as expected.
    ///
    /// # Errors
    /// What was expected and what came, without the answer's text.
    pub fn judge(&self, status: u16, body: &[u8]) -> Result<(), String> {
        if status != self.status {
            return Err(format!("expected {self}, found HTTP {status}"));
        }
        match &self.contains {
            Some(word) if !holds(body, word.as_bytes()) => Err(format!(
                "expected {self}, found HTTP {status} without that word in {} bytes",
                body.len()
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn problems(&self, nth: usize) -> Vec<String> {
        let mut problems = Vec::new();
        let mut wrong =
            |key: &str, problem: String| problems.push(format!("page {nth}, `{key}`: {problem}"));
        if !self.path.starts_with('/') {
            let found = &self.path;
            wrong(
                "path",
                format!("expected a path that begins with `/`, found `{found}`"),
            );
        } else if self
            .path
            .contains(|c: char| c.is_whitespace() || c.is_control() || c == '#')
        {
            let problem = "expected a path as it is asked for, without blanks and `#`";
            wrong("path", problem.to_owned());
        }
        if !STATUSES.contains(&self.status) {
            let found = self.status;
            wrong(
                "status",
                format!("expected an HTTP status from 100 to 599, found {found}"),
            );
        }
        if self.contains.as_deref() == Some("") {
            wrong(
                "contains",
                "is empty, which every answer contains; leave it out".to_owned(),
            );
        }
        problems
    }
}

fn holds(body: &[u8], word: &[u8]) -> bool {
    word.is_empty() || body.windows(word.len()).any(|part| part == word)
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {}", self.status)?;
        match &self.contains {
            Some(word) => write!(f, " with `{word}` in it"),
            None => Ok(()),
        }
    }
}

impl Pages {
    /// The pages, in the order in which they are asked.
    #[must_use]
    pub fn as_slice(&self) -> &[Page] {
        &self.0
    }
}

impl TryFrom<Vec<Page>> for Pages {
    type Error = NotPages;

    fn try_from(pages: Vec<Page>) -> Result<Self, NotPages> {
        let numbered = (1..).zip(&pages);
        let mut problems: Vec<String> = numbered
            .flat_map(|(nth, page)| page.problems(nth))
            .collect();
        let mut seen = BTreeSet::new();
        for (nth, page) in (1..).zip(&pages) {
            if !seen.insert(page.path.as_str()) {
                let path = &page.path;
                problems.push(format!(
                    "page {nth}, `path`: `{path}` is there already; each page is asked once"
                ));
            }
        }
        if pages.len() > MOST_PAGES {
            problems.push(format!(
                "expected at most {MOST_PAGES} pages, found {}: each is asked twice, and more would leave too few of \
                 the agent's 20 questions a minute for watching errors in the soak",
                pages.len()
            ));
        }
        match problems.is_empty() {
            true => Ok(Self(pages)),
            false => Err(NotPages(problems)),
        }
    }
}

impl From<Pages> for Vec<Page> {
    fn from(pages: Pages) -> Self {
        pages.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(path: &str, status: u16, contains: Option<&str>) -> Page {
        Page {
            path: path.into(),
            status,
            contains: contains.map(Into::into),
        }
    }

    #[test]
    fn status_and_word_decide_and_the_answer_is_never_quoted() {
        let version = page("/version", 200, Some("git_commit"));
        assert_eq!(version.judge(200, br#"{"git_commit":"0123"}"#), Ok(()));
        assert_eq!(
            version.judge(200, b"hunter2").unwrap_err(),
            "expected HTTP 200 with `git_commit` in it, found HTTP 200 without that word in 7 bytes"
        );
        assert_eq!(
            version.judge(404, b"git_commit").unwrap_err(),
            "expected HTTP 200 with `git_commit` in it, found HTTP 404"
        );
        assert_eq!(page("/admin", 302, None).judge(302, b""), Ok(()));
        // Not every answer is a text.
        assert_eq!(
            page("/x", 200, Some("PNG")).judge(200, b"\x89PNG\xff"),
            Ok(())
        );
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let pages = vec![
            page("version", 200, None),
            page("/a b", 99, Some("")),
            page("/x", 600, None),
            page("/x", 200, None),
        ];
        let NotPages(problems) = Pages::try_from(pages).unwrap_err();
        let keys: Vec<_> = problems
            .iter()
            .map(|told| told.split(':').next().unwrap())
            .collect();
        assert_eq!(
            keys,
            [
                "page 1, `path`",
                "page 2, `path`",
                "page 2, `status`",
                "page 2, `contains`",
                "page 3, `status`",
                "page 4, `path`",
                "expected at most 3 pages, found 4"
            ],
            "{problems:#?}"
        );
    }

    #[test]
    fn a_path_alone_is_enough() {
        let pages: Pages = serde_json::from_str(r#"[{"path": "/?q=x"}]"#).unwrap();
        assert_eq!(pages.as_slice(), [page("/?q=x", 200, None)]);
        assert!(serde_json::from_str::<Pages>(r#"[{"path": "/", "state": 200}]"#).is_err());
    }
}
