//! What stands in the schema before the tables are made.

/// What a comment of one of the projection's tables begins with, in any layout.
const OURS: &str = "Aquifer SQL projection, layout ";
/// The same in the layout of this program.
const CURRENT: &str = "Aquifer SQL projection, layout 1.";

/// The tables.
pub(super) const NAMES: [&str; 4] = ["refresh", "topics", "partitions", "objects"];

/// What stands in the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Tables of this layout, some or all; `refresh`: whether that is among them.
    Current { refresh: bool, complete: bool },
    /// Tables of another layout, some or all.
    Outdated { refresh: bool },
    /// Somebody else's, of this name.
    Foreign(String),
}

/// Judges tables by their names and comments.
pub(super) fn standing(tables: &[(String, String)]) -> Standing {
    let foreign = tables
        .iter()
        .find(|(_, comment)| !comment.starts_with(OURS));
    if let Some((name, _)) = foreign {
        return Standing::Foreign(name.clone());
    }
    let refresh = tables.iter().any(|(name, _)| name == "refresh");
    let current = tables
        .iter()
        .all(|(_, comment)| comment.starts_with(CURRENT));
    if !current {
        return Standing::Outdated { refresh };
    }
    Standing::Current {
        refresh,
        complete: tables.len() >= NAMES.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tables_that_say_so_are_the_projections() {
        let ours = "Aquifer SQL projection, layout 1. Every topic.";
        let older = "Aquifer SQL projection, layout 0. Every topic.";
        let tables = |all: &[(&str, &str)]| -> Vec<(String, String)> {
            let owned =
                |(name, comment): &(&str, &str)| ((*name).to_owned(), (*comment).to_owned());
            all.iter().map(owned).collect()
        };
        let current = |refresh, complete| Standing::Current { refresh, complete };
        let whole = NAMES.map(|name| (name, ours));
        for (found, expected) in [
            (&[][..], current(false, false)),
            (&[("topics", ours)], current(false, false)),
            (&[("refresh", ours), ("topics", ours)], current(true, false)),
            (&whole, current(true, true)),
            (
                &[("refresh", older), ("topics", ours)],
                Standing::Outdated { refresh: true },
            ),
            (&[("topics", older)], Standing::Outdated { refresh: false }),
            (
                &[("refresh", ours), ("topics", "my topics")],
                Standing::Foreign("topics".to_owned()),
            ),
            (
                &[("objects", ""), ("refresh", older)],
                Standing::Foreign("objects".to_owned()),
            ),
        ] {
            assert_eq!(standing(&tables(found)), expected, "{found:?}");
        }
    }

    #[test]
    fn every_table_and_column_of_the_layout_says_what_it_is() {
        let layout = super::super::sql::LAYOUT;
        for name in NAMES {
            let begin = format!("COMMENT ON TABLE {name} IS");
            let (_, rest) = layout.split_once(&begin).expect(name);
            let comment = rest.trim_start().strip_prefix('\'').expect(name);
            assert!(comment.starts_with(CURRENT), "{name}");
            let begin = format!("CREATE UNLOGGED TABLE IF NOT EXISTS {name} (\n");
            let (_, rest) = layout.split_once(&begin).expect(name);
            let (columns, _) = rest.split_once("\n)").expect(name);
            let columns = columns
                .lines()
                .filter_map(|line| line.split_whitespace().next())
                .filter(|word| *word != "PRIMARY");
            for column in columns {
                let comment = format!("COMMENT ON COLUMN {name}.{column} IS");
                assert!(layout.contains(&comment), "{name}.{column}");
            }
        }
    }
}
