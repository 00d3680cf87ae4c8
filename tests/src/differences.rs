//! What differs from Apache Kafka, held against the tables of `docs/kafka-differences.md`: a difference that they don't
//! have fails a test, and so does one that they have and that is gone.
//!
//! The last column of a table says how tests see a difference: patterns `TEST CASE TEXT` in backticks, none where
//! no comparison shows it. `*` stands for any text; `TEXT` is looked for anywhere in what differs, and may be missing.

use std::{fmt::Write as _, path::Path};

/// One thing in which the two brokers differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The case of the test that shows it, without spaces.
    pub case: String,
    /// What differs, in one line.
    pub what: String,
}

impl Difference {
    /// A difference.
    #[must_use]
    pub fn new(case: &str, what: String) -> Self {
        assert!(
            !case.contains(' '),
            "{case:?}: patterns are split at spaces"
        );
        let case = case.to_owned();
        Self { case, what }
    }
}

/// A pattern of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    line: usize,
    test: String,
    case: String,
    text: String,
}

impl Pattern {
    fn matches(&self, difference: &Difference) -> bool {
        let text = format!("*{}*", self.text);
        matches(&self.case, &difference.case) && matches(&text, &difference.what)
    }
}

/// Whether a pattern matches a whole text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, mut pattern)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    while let Some((part, rest)) = pattern.split_once('*') {
        let Some(at) = text.find(part) else {
            return false;
        };
        (text, pattern) = (&text[at + part.len()..], rest);
    }
    text.ends_with(pattern)
}

/// The cells of a table's row.
fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    let escaped = inner.replace("\\|", "\u{0}");
    let cells = escaped.split('|').map(|c| c.replace('\u{0}', "|"));
    Some(cells.map(|c| c.trim().to_owned()).collect())
}

/// All patterns in a text: those in the fifth column of its tables.
fn patterns(text: &str) -> Result<Vec<Pattern>, String> {
    let mut found = Vec::new();
    for (line, row) in (1..).zip(text.lines().map(cells)) {
        let Some(Some(cell)) = row.map(|cells| cells.get(4).cloned()) else {
            continue;
        };
        for text in cell.split('`').skip(1).step_by(2) {
            let mut words = text.splitn(3, ' ');
            let (Some(test), Some(case)) = (words.next(), words.next()) else {
                return Err(format!("line {line}: `{text}` is not `TEST CASE TEXT`"));
            };
            found.push(Pattern {
                line,
                test: test.to_owned(),
                case: case.to_owned(),
                text: words.next().unwrap_or_default().to_owned(),
            });
        }
    }
    Ok(found)
}

/// What is to be said about the differences that a test found; nothing if the tables have just these.
fn complaint(test: &str, text: &str, found: &[Difference], all_ran: bool) -> Option<String> {
    let patterns = match patterns(text) {
        Ok(patterns) => patterns,
        Err(error) => return Some(error),
    };
    let mine: Vec<_> = patterns.iter().filter(|p| p.test == test).collect();
    let mut said = String::new();
    for difference in found {
        if !mine.iter().any(|p| p.matches(difference)) {
            let Difference { case, what } = difference;
            let _ = writeln!(said, "not documented: `{test} {case} {what}`");
        }
    }
    for pattern in mine {
        if all_ran && !found.iter().any(|d| pattern.matches(d)) {
            let Pattern {
                line, case, text, ..
            } = pattern;
            let _ = writeln!(
                said,
                "line {line}: `{test} {case} {text}` is not seen any more"
            );
        }
    }
    (!said.is_empty()).then_some(said)
}

/// Fails unless the tables have exactly the differences that a test found. `all_ran` is false if only some cases
/// were run, so that nothing can be said about what was not seen.
///
/// # Panics
/// If a difference is not documented, or is and does not show.
pub fn check(test: &str, found: &[Difference], all_ran: bool) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kafka-differences.md");
    let text = std::fs::read_to_string(&path).expect("docs/kafka-differences.md");
    if let Some(complaint) = complaint(test, &text, found, all_ran) {
        panic!("docs/kafka-differences.md and what was seen disagree:\n{complaint}");
    }
}

/// Which cases are to be run: a pattern in `AQUIFER_TEST_CASES`, or all.
#[derive(Clone, Debug)]
pub struct Selection(Option<String>);

impl Selection {
    /// What the environment says.
    #[must_use]
    pub fn from_environment() -> Self {
        Self(std::env::var("AQUIFER_TEST_CASES").ok())
    }

    /// Whether all are.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// Whether this one is.
    #[must_use]
    pub fn has(&self, case: &str) -> bool {
        self.0
            .as_deref()
            .is_none_or(|pattern| matches(pattern, case))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("", "", true),
            ("*", "", true),
            ("*", "abc", true),
            ("a*", "abc", true),
            ("a*", "ba", false),
            ("*c", "abc", true),
            ("*b*", "abc", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcd", false),
            ("ab*ba", "aba", false),
            ("a**b", "a-b", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    const TEXT: &str = "# Title\n\
        | what | Kafka | Aquifer | why | seen |\n|---|---|---|---|---|\n\
        | ids | a \\| b | c | so | `raw Metadata/* rack: null`, `tools x` |\n\
        | elsewhere | a | b | c | |\n\
        | from others | a | b | c |\n";

    #[test]
    fn patterns_are_in_the_last_column() {
        let pattern = |test: &str, case: &str, text: &str| Pattern {
            line: 4,
            test: test.to_owned(),
            case: case.to_owned(),
            text: text.to_owned(),
        };
        assert_eq!(
            patterns(TEXT),
            Ok(vec![
                pattern("raw", "Metadata/*", "rack: null"),
                pattern("tools", "x", "")
            ])
        );
        assert!(patterns("| a | b | c | d | `raw` |").is_err());
    }

    #[test]
    fn exactly_what_is_documented_passes() {
        let rack = Difference::new("Metadata/all", "brokers[0].rack: null -> \"a\"".to_owned());
        let other = Difference::new("Metadata/all", "cluster_id: null -> \"a\"".to_owned());
        assert_eq!(
            complaint("raw", TEXT, std::slice::from_ref(&rack), true),
            None
        );
        let said = complaint("raw", TEXT, &[rack, other.clone()], true);
        assert!(said.is_some_and(|s| s.starts_with("not documented") && s.lines().count() == 1));
        let said = complaint("raw", TEXT, &[], true);
        assert!(said.is_some_and(|s| s.starts_with("line 4")));
        assert_eq!(complaint("raw", TEXT, &[], false), None);
        assert_eq!(complaint("python", TEXT, &[], true), None);
    }
}
