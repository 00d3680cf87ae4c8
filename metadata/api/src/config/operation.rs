//! Operations on configs: set, delete, and for lists append and subtract.
//!
//! Lists are handled as in Kafka (`ConfigurationControlManager`): as text that is cut at commas, spaces and
//! all, and one that is not set counts as its default.

use std::collections::{BTreeMap, BTreeSet};

use super::Configs;

/// What happens to a config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation<'a> {
    Set(&'a str),
    Delete,
    Append(&'a str),
    Subtract(&'a str),
}

impl<'a> Operation<'a> {
    /// Kafka's `AlterConfigOp.OpType` numbers.
    pub(super) const SET: i8 = 0;
    pub(super) const DELETE: i8 = 1;
    const APPEND: i8 = 2;
    const SUBTRACT: i8 = 3;

    /// None = there is no such operation.
    pub(super) fn from_wire(code: i8, value: &'a str) -> Option<Self> {
        match code {
            Self::SET => Some(Self::Set(value)),
            Self::DELETE => Some(Self::Delete),
            Self::APPEND => Some(Self::Append(value)),
            Self::SUBTRACT => Some(Self::Subtract(value)),
            _ => None,
        }
    }

    /// Whether it works on lists only.
    pub(super) fn is_of_list(self) -> bool {
        matches!(self, Self::Append(_) | Self::Subtract(_))
    }

    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Set(_) => "set",
            Self::Delete => "delete",
            Self::Append(_) => "append",
            Self::Subtract(_) => "subtract",
        }
    }
}

/// An operation on one config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) name: &'a str,
    pub(super) operation: Operation<'a>,
}

/// `base` after all operations. `list_default`: the default of a list, None for what is no list; an
/// operation on lists that meets such a one is the error, with its verb.
pub(super) fn operate<'a>(
    base: &Configs,
    parts: &[Part<'a>],
    list_default: impl Fn(&str) -> Option<&'static str>,
) -> Result<Configs, (&'a str, &'static str)> {
    let mut configs = base.clone();
    for part in parts {
        let before = || -> Result<&str, (&'a str, &'static str)> {
            let default = list_default(part.name).ok_or((part.name, part.operation.verb()))?;
            Ok(base.get(part.name).map_or(default, String::as_str))
        };
        let value = match part.operation {
            Operation::Set(value) => Some(value.to_owned()),
            Operation::Delete => None,
            Operation::Append(items) => Some(append(before()?, items)),
            Operation::Subtract(items) => Some(subtract(before()?, items)),
        };
        match value {
            Some(value) => configs.insert(part.name.to_owned(), value),
            None => configs.remove(part.name),
        };
    }
    Ok(configs)
}

/// Adds the items that the list does not have. They are as many as a request can carry, and the leader
/// handles nothing else meanwhile.
fn append(list: &str, items: &str) -> String {
    let mut all = filled(list);
    let mut known: BTreeSet<&str> = all.iter().copied().collect();
    let new = split(items).into_iter().filter(|item| known.insert(*item));
    all.extend(new);
    all.join(",")
}

/// Takes the first occurrence of each item away; of an item that is given twice, the first two.
fn subtract(list: &str, items: &str) -> String {
    let mut doomed: BTreeMap<&str, usize> = BTreeMap::new();
    for item in split(items) {
        *doomed.entry(item).or_default() += 1;
    }
    let mut all = filled(list);
    all.retain(|item| match doomed.get_mut(item) {
        Some(left) if *left > 0 => {
            *left -= 1;
            false
        }
        _ => true,
    });
    all.join(",")
}

/// The items of a list that are not empty.
fn filled(list: &str) -> Vec<&str> {
    list.split(',').filter(|item| !item.is_empty()).collect()
}

/// As Java's `String.split(",")`: without empty items at the end, but one for an empty text.
fn split(items: &str) -> Vec<&str> {
    if items.is_empty() {
        return vec![""];
    }
    let mut all: Vec<&str> = items.split(',').collect();
    while all.last().is_some_and(|item| item.is_empty()) {
        all.pop();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_cut_at_commas_as_in_kafka() {
        let appended = [
            ("delete", "compact", "delete,compact"),
            ("delete,compact", "compact,delete", "delete,compact"),
            ("delete", " delete", "delete, delete"),
            ("", "a", "a"),
            ("a,,b", "c", "a,b,c"),
            ("a", "b,c,", "a,b,c"),
            ("a", "", "a,"),
            ("a", ",", "a"),
            ("a", "b,b", "a,b"),
        ];
        for (list, items, expected) in appended {
            assert_eq!(append(list, items), expected, "{list:?} + {items:?}");
        }
        let subtracted = [
            ("delete,compact", "delete", "compact"),
            ("delete", "delete", ""),
            ("compact, delete", "delete", "compact, delete"),
            ("a,a,b", "a", "a,b"),
            ("a,b", "c", "a,b"),
            ("a,b", "b,a", ""),
            ("", "a", ""),
            ("a,b,a,a", "a,a", "b,a"),
            ("a", "a,a", ""),
        ];
        for (list, items, expected) in subtracted {
            assert_eq!(subtract(list, items), expected, "{list:?} - {items:?}");
        }
    }

    #[test]
    fn a_list_that_is_not_set_begins_with_its_default() {
        let default = |name: &str| (name == "list").then_some("x");
        let append = |name| Part {
            name,
            operation: Operation::Append("y"),
        };
        let configs = operate(&Configs::new(), &[append("list")], default).unwrap();
        assert_eq!(configs["list"], "x,y");
        let refused = operate(&Configs::new(), &[append("number")], default);
        assert_eq!(refused, Err(("number", "append")));
    }

    /// A request of some megabytes of items kept the leader for minutes: each item was compared with all
    /// before it.
    #[test]
    fn regression_long_lists_are_altered_in_one_pass() {
        let items: Vec<String> = (0..300_000).map(|item| item.to_string()).collect();
        let items = items.join(",");
        let twice = format!("{items},{items}");
        assert_eq!(append("", &twice), items);
        assert_eq!(append(&items, &items), items);
        assert_eq!(subtract(&items, &items), "");
        assert_eq!(subtract(&twice, &items), items);
    }
}
