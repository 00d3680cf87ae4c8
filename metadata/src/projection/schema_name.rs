//! Names of the schema that the tables are in.

use std::{fmt, str::FromStr};

/// Longest name that Postgres does not cut.
const CHARS_MAX: usize = 63;

/// The name of a Postgres schema that needs no quotes: small letters, digits and `_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaName(String);

impl SchemaName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether unqualified names are looked for in this schema, in sessions of `role` whose `search_path`
    /// is `path`. There the tables could be taken for others of the same names, and those that somebody
    /// creates without naming a schema (the journal's, by a migration) could come to stand there.
    pub(crate) fn is_on(&self, path: &str, role: &str) -> bool {
        path.split(',').any(|entry| {
            let entry = entry.trim();
            let quoted = entry
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'));
            match quoted.unwrap_or(entry) {
                "$user" => role == self.0,
                name => name == self.0,
            }
        })
    }
}

impl Default for SchemaName {
    fn default() -> Self {
        Self("aquifer_projection".to_owned())
    }
}

impl FromStr for SchemaName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        if !begins || !text.chars().all(plain) || text.len() > CHARS_MAX {
            return Err(format!(
                "{text:?} is no name for a schema: up to {CHARS_MAX} small letters, digits and _, not \
                 beginning with a digit"
            ));
        }
        if text.starts_with("pg_") || text == "information_schema" {
            return Err(format!("{text:?} is a name that Postgres keeps for itself"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SchemaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_need_no_quotes_are_taken() {
        for name in ["aquifer_projection", "a", "_1", &"x".repeat(63)] {
            let taken: SchemaName = name.parse().unwrap();
            assert_eq!(taken.to_string(), name);
        }
        let long = "x".repeat(64);
        for name in [
            "",
            "1a",
            "A",
            "a-b",
            "a b",
            "a\"; DROP SCHEMA x; --",
            "é",
            "pg_x",
            "information_schema",
            &long,
        ] {
            assert!(name.parse::<SchemaName>().is_err(), "{name:?}");
        }
        assert_eq!(
            SchemaName::default().to_string().parse(),
            Ok(SchemaName::default())
        );
    }

    #[test]
    fn a_schema_in_which_unqualified_names_are_looked_for_is_recognized() {
        for (path, role, on) in [
            (r#""$user", public"#, "aquifer", true),
            (r#""$user", public"#, "postgres", false),
            ("public", "aquifer", false),
            ("public,aquifer", "postgres", true),
            (r#""aquifer""#, "postgres", true),
            (r#""aquifer-2", "Aquifer""#, "postgres", false),
            ("", "postgres", false),
        ] {
            let name: SchemaName = "aquifer".parse().unwrap();
            assert_eq!(name.is_on(path, role), on, "{path} {role}");
        }
    }
}
