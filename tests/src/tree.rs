//! Two answers compared as trees, field by field.

use serde_json::{Map, Value};

/// Fields that tell the elements of an array apart, the first that an element has and that is not empty; if all are,
/// the empty text.
const KEYS: &[&str] = &[
    "name",
    "topic",
    "topic_name",
    "topicName",
    "resource_name",
    "resourceName",
    "config_name",
    "configName",
    "feature",
    "key",
    "partition_index",
    "partitionIndex",
    "partition_id",
    "partitionId",
    "partition",
    "index",
    "node_id",
    "nodeId",
    "broker_id",
    "replica_id",
    "api_key",
    "log_dir",
    "producer_id",
    "topic_id",
    "user",
    "group_id",
];

/// Characters of an element that are shown where the other side has none.
const SHOWN: usize = 160;

/// What differs, a line `PATH: KAFKA -> AQUIFER` each, by path. The order of objects in an array is nobody's
/// promise: those that have a name, a number or the like are compared by it, others by their place. Where error
/// codes differ, nothing else of that object is compared: all of it follows from the code.
#[must_use]
pub fn differences(kafka: &Value, aquifer: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", Some(kafka), Some(aquifer), &mut found);
    found
}

fn compare(path: &str, kafka: Option<&Value>, aquifer: Option<&Value>, found: &mut Vec<String>) {
    match (kafka, aquifer) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            if let (Some(a), Some(b)) = (a.get("error_code"), b.get("error_code"))
                && a != b
            {
                return compare(&below(path, "error_code"), Some(a), Some(b), found);
            }
            for name in a
                .keys()
                .chain(b.keys().filter(|name| !a.contains_key(*name)))
            {
                compare(&below(path, name), a.get(name), b.get(name), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if objects(a) && objects(b) => {
            let (a, b) = (keyed(a), keyed(b));
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                compare(&format!("{path}[{key}]"), a.get(key), b.get(key), found);
            }
        }
        _ if kafka == aquifer => {}
        _ => found.push(format!("{path}: {} -> {}", shown(kafka), shown(aquifer))),
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() {
        return name.to_owned();
    }
    format!("{path}.{name}")
}

fn objects(array: &[Value]) -> bool {
    array.iter().all(Value::is_object)
}

/// The elements by what tells them apart; a key that occurs again gets a number.
fn keyed(array: &[Value]) -> Map<String, Value> {
    let mut found = Map::new();
    for (place, element) in array.iter().enumerate() {
        let keys = KEYS.iter().filter_map(|key| match element.get(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        // `max_by_key` takes the last of equals: the first that is not empty
        let key = keys.rev().max_by_key(|key| !key.is_empty());
        let key = key.unwrap_or_else(|| place.to_string());
        let free = (1..).map(|n| match n {
            1 => key.clone(),
            n => format!("{key}#{n}"),
        });
        let free = free.into_iter().find(|key| !found.contains_key(key));
        found.insert(free.expect("numbers do not end"), element.clone());
    }
    found
}

fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else {
        return "absent".to_owned();
    };
    if let Some(code) = value.get("error_code") {
        return format!("with error_code {code}");
    }
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn elements_are_compared_by_name_and_fields_by_path() {
        for (kafka, aquifer, expected) in [
            (json!({"a": 1}), json!({"a": 1}), vec![]),
            (json!({"a": 1}), json!({"a": null}), vec!["a: 1 -> null"]),
            (
                json!({"a": 1}),
                json!({"b": 1}),
                vec!["a: 1 -> absent", "b: absent -> 1"],
            ),
            (json!([1, 2]), json!([2, 1]), vec![": [1,2] -> [2,1]"]),
            (
                json!({"topics": [{"name": "x", "error_code": 0}, {"name": "y", "error_code": 3}]}),
                json!({"topics": [{"name": "y", "error_code": 0}, {"name": "x", "error_code": 0}]}),
                vec!["topics[y].error_code: 3 -> 0"],
            ),
            (
                json!({"topics": [{"name": "x"}, {"name": "x"}]}),
                json!({"topics": [{"name": "x"}]}),
                vec!["topics[x#2]: {\"name\":\"x\"} -> absent"],
            ),
            (
                json!({"topics": [{"name": "", "e": 1}, {"name": "x", "e": 2}]}),
                json!({"topics": [{"name": "x", "e": 2}, {"name": "", "e": 3}]}),
                vec!["topics[].e: 1 -> 3"],
            ),
            (
                json!({"list": [{"name": "", "topic_id": "a"}, {"name": "", "topic_id": "b"}]}),
                json!({"list": [{"name": "", "topic_id": "b"}]}),
                vec!["list[a]: {\"name\":\"\",\"topic_id\":\"a\"} -> absent"],
            ),
            (
                json!({"list": [{"v": 1}, {"v": 2}]}),
                json!({"list": [{"v": 1}, {"v": 3}]}),
                vec!["list[1].v: 2 -> 3"],
            ),
            (json!({"l": []}), json!({"l": null}), vec!["l: [] -> null"]),
            (
                json!({"l": [{"name": "x", "error_code": 0, "more": 1}]}),
                json!({"l": [{"name": "x", "error_code": 3, "more": 2}]}),
                vec!["l[x].error_code: 0 -> 3"],
            ),
            (
                json!({"l": [{"name": "x", "error_code": 0, "more": 1}]}),
                json!({"l": []}),
                vec!["l[x]: with error_code 0 -> absent"],
            ),
        ] {
            assert_eq!(differences(&kafka, &aquifer), expected);
        }
    }
}
