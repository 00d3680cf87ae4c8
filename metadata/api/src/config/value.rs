//! Values of configs: whether they are valid, and how they are shown.

use std::collections::BTreeSet;

use super::{
    ConfigError, ConfigType,
    ConfigType::{Boolean, Class, Double, Int, List, Long, Password, Short, String as Text},
    ValidValues,
    ValidValues::{
        AtLeast, Between, BetweenOr, OneOf, OneOfAnyCase, OnlyFalse, Ratio, ThrottledReplicas,
    },
};

/// Checks a value as Kafka's `ConfigDef` does; the texts are Kafka's, since tools show them. A NaN, which
/// Kafka takes, is refused.
pub(super) fn check(
    name: &str,
    kind: ConfigType,
    valid: ValidValues,
    value: &str,
) -> Result<(), ConfigError> {
    let wrong = |value: &str, reason: String| ConfigError::Invalid {
        name: name.to_owned(),
        value: value.to_owned(),
        reason,
    };
    let unreadable = |reason: &str| wrong(value, reason.to_owned());
    let trimmed = value.trim();
    match kind {
        Boolean => match (parse_bool(value), valid) {
            (None, _) => Err(unreadable("Expected value to be either true or false")),
            (Some(true), OnlyFalse) => Err(ConfigError::NoTieredStorage),
            (Some(_), _) => Ok(()),
        },
        Int | Short | Long => {
            let number = parse_integer(kind, trimmed);
            let number = number.ok_or_else(|| {
                let kind = match kind {
                    Int => "INT",
                    Short => "SHORT",
                    _ => "LONG",
                };
                unreadable(&format!("Not a number of type {kind}"))
            })?;
            check_number(valid, number).map_err(|reason| wrong(&number.to_string(), reason))
        }
        Double => {
            let number: f64 = trimmed
                .parse()
                .map_err(|_| unreadable("Not a number of type DOUBLE"))?;
            check_ratio(valid, number).map_err(|reason| wrong(&show_double(number), reason))
        }
        Text => check_one_of(valid, trimmed).map_err(|reason| wrong(trimmed, reason)),
        List if valid == ThrottledReplicas => check_throttled(name, value).map_err(|reason| {
            let items: Vec<&str> = list(value).collect();
            wrong(&format!("[{}]", items.join(", ")), reason)
        }),
        List => list(value).try_for_each(|item| {
            if item.is_empty() {
                let name = name.to_owned();
                return Err(ConfigError::EmptyItem { name });
            }
            check_one_of(valid, item).map_err(|reason| wrong(item, reason))
        }),
        Class | Password => Ok(()),
    }
}

fn parse_integer(kind: ConfigType, text: &str) -> Option<i64> {
    match kind {
        Int => text.parse::<i32>().ok().map(i64::from),
        Short => text.parse::<i16>().ok().map(i64::from),
        _ => text.parse::<i64>().ok(),
    }
}

fn check_number(valid: ValidValues, number: i64) -> Result<(), String> {
    match valid {
        AtLeast(min) if number < min => Err(format!("Value must be at least {min}")),
        Between(min, _) if number < min => Err(format!("Value must be at least {min}")),
        Between(_, max) if number > max => Err(format!("Value must be no more than {max}")),
        BetweenOr(min, max, or) if number != or && !(min..=max).contains(&number) => Err(format!(
            "Value must be between {min} and {max} or equal to {or}"
        )),
        _ => Ok(()),
    }
}

fn check_ratio(valid: ValidValues, number: f64) -> Result<(), String> {
    match valid {
        Ratio(min, max) if (min..=max).contains(&number) => Ok(()),
        Ratio(_, max) if number > max => Err(format!("Value must be no more than {max}")),
        Ratio(min, _) => Err(format!("Value must be at least {min}")),
        _ if number.is_nan() => Err("Value must be a number".to_owned()),
        _ => Ok(()),
    }
}

fn check_one_of(valid: ValidValues, value: &str) -> Result<(), String> {
    match valid {
        OneOf(names) if !names.contains(&value) => {
            Err(format!("String must be one of: {}", names.join(", ")))
        }
        OneOfAnyCase(names) if !names.iter().any(|name| name.eq_ignore_ascii_case(value)) => {
            Err(format!(
                "String must be one of (case insensitive): {}",
                names.join(", ")
            ))
        }
        _ => Ok(()),
    }
}

fn check_throttled(name: &str, value: &str) -> Result<(), String> {
    let pair = |item: &str| {
        item.split_once(':').is_some_and(|(partition, broker)| {
            [partition, broker]
                .iter()
                .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        })
    };
    if value.trim() == "*" || list(value).all(|item| item.is_empty() || pair(item)) {
        return Ok(());
    }
    Err(format!(
        "{name} must be the literal '*' or a list of replicas in the following format: \
         [partitionId]:[brokerId],[partitionId]:[brokerId],..."
    ))
}

/// The items of a list.
pub(super) fn list(value: &str) -> impl Iterator<Item = &str> {
    let value = value.trim();
    value
        .split(',')
        .map(str::trim)
        .filter(move |_| !value.is_empty())
}

/// A boolean as Kafka reads it.
pub(super) fn parse_bool(value: &str) -> Option<bool> {
    let value = value.trim();
    if value.eq_ignore_ascii_case("true") {
        Some(true)
    } else if value.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// A value as Kafka shows it after having read it: numbers, booleans and lists in one spelling each. What
/// cannot be read is shown as it is.
pub(super) fn show(kind: ConfigType, value: &str) -> String {
    let trimmed = value.trim();
    let shown = match kind {
        Boolean => parse_bool(value).map(|value| value.to_string()),
        Int | Short | Long => parse_integer(kind, trimmed).map(|number| number.to_string()),
        Double => trimmed.parse().ok().map(show_double),
        List => Some(show_list(value)),
        Text | Class => Some(trimmed.to_owned()),
        Password => None,
    };
    shown.unwrap_or_else(|| value.to_owned())
}

/// The items of a list, each once.
fn show_list(value: &str) -> String {
    let mut known = BTreeSet::new();
    let items: Vec<&str> = list(value).filter(|item| known.insert(*item)).collect();
    items.join(",")
}

/// As Java's `Double.toString`: a decimal point always, an exponent outside of 0.001 to 10,000,000.
fn show_double(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 || (1e-3..1e7).contains(&size) || !number.is_finite() {
        return format!("{number:?}");
    }
    let text = format!("{number:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_kafka_shows_them() {
        for (kind, value, shown) in [
            (Boolean, " TRUE ", "true"),
            (Int, " +5 ", "5"),
            (Int, "x", "x"),
            (Long, "-1", "-1"),
            (Double, "5", "5.0"),
            (Double, "0.5", "0.5"),
            (Double, "1e10", "1.0E10"),
            (Double, "12345678", "1.2345678E7"),
            (Double, "0.0001", "1.0E-4"),
            (Double, "1.7976931348623157E308", "1.7976931348623157E308"),
            (List, " compact , delete", "compact,delete"),
            (List, "delete,delete", "delete"),
            (List, "  ", ""),
            (Text, " gzip ", "gzip"),
        ] {
            assert_eq!(show(kind, value), shown, "{kind:?} {value:?}");
        }
    }
}
