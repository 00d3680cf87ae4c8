//! What two brokers may answer differently without differing: ids, addresses, times, epochs, texts for people.

use kafka_protocol::{error::ResponseError, messages::ApiKey};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::case::Side;

/// The id that stands for none.
const NIL: &str = "00000000-0000-0000-0000-000000000000";
/// The first time that is not one of the test's data, in milliseconds: 2001.
const RECENT: i64 = 1_000_000_000_000;

/// Puts words in the place of whatever belongs to one broker only.
pub(crate) fn normalise(api: &str, side: &Side, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("throttle_time_ms");
            for (name, value) in fields {
                normalise(api, side, value);
                if let Some(word) = word(api, side, name, value) {
                    *value = word;
                }
            }
        }
        Value::Array(elements) => {
            for element in &mut *elements {
                normalise(api, side, element);
            }
            if api == "Fetch" {
                merge_topics(elements);
            }
        }
        _ => {}
    }
}

/// Puts the partitions of a topic together: Kafka answers those with errors in an element of their own.
fn merge_topics(elements: &mut Vec<Value>) {
    let mut merged: Vec<Value> = Vec::new();
    for mut element in elements.drain(..) {
        let same = |other: &Value| {
            element.get("partitions").is_some()
                && (&other["topic"], &other["topic_id"])
                    == (&element["topic"], &element["topic_id"])
        };
        let known = merged.iter().position(same);
        match known.and_then(|place| merged[place]["partitions"].as_array_mut()) {
            Some(partitions) => {
                let more = element["partitions"].as_array_mut().map(std::mem::take);
                partitions.extend(more.unwrap_or_default());
            }
            None => merged.push(element),
        }
    }
    *elements = merged;
}

fn word(api: &str, side: &Side, field: &str, value: &Value) -> Option<Value> {
    if field.ends_with("error_code") {
        let code = value.as_i64().and_then(|code| i16::try_from(code).ok())?;
        let error = ResponseError::try_from_code(code);
        return Some(json!(error.map_or("None".to_owned(), |e| format!("{e:?}"))));
    }
    match (value, field) {
        (Value::String(text), "error_message" | "batch_index_error_message" | "documentation") => {
            (!text.is_empty()).then(|| json!("text"))
        }
        (Value::String(text), "value") => {
            let own = side.address.to_string();
            text.contains(&own)
                .then(|| json!(text.replace(&own, "its own")))
        }
        (Value::String(id), "topic_id") => {
            let mut known = side.topics.iter();
            let known = known.find(|(_, known)| known.to_string() == *id);
            Some(json!(match known {
                Some((name, _)) => format!("id of {name}"),
                None if id == NIL => "nil".to_owned(),
                None => "id".to_owned(),
            }))
        }
        (Value::String(id), "client_instance_id" | "replica_directory_id" | "directory_id") => {
            (id != NIL).then(|| json!("id"))
        }
        (Value::String(id), "member_id" | "leader") => member_word(id).map(Value::from),
        (Value::String(_), "cluster_id" | "log_dir") => Some(json!("known")),
        (Value::String(host), "host") => {
            (*host == side.address.ip().to_string()).then(|| json!("its own"))
        }
        (Value::Number(port), "port") => {
            let own = port.as_u64() == Some(side.address.port().into());
            Some(json!(if own { "its own" } else { "another" }))
        }
        (Value::String(records), "records") => Some(batches(records)),
        (Value::Number(key), "api_key") => {
            let key = key.as_i64().and_then(|key| i16::try_from(key).ok())?;
            let api = ApiKey::try_from(key).ok()?;
            Some(json!(format!("{api:?}")))
        }
        (Value::Number(number), field) => {
            let number = number.as_i64()?;
            let stands_for = number_word(api, field, number)?;
            Some(json!(stands_for))
        }
        _ => None,
    }
}

/// A member's id without what its coordinator chose: a UUID behind the client's name, or in base 64.
fn member_word(id: &str) -> Option<String> {
    let at = id.len().checked_sub(36);
    let (name, uuid) = at
        .and_then(|at| id.split_at_checked(at))
        .unwrap_or((id, ""));
    if Uuid::try_parse(uuid).is_ok() {
        return Some(format!("{name}uuid"));
    }
    let is_base_64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let chosen = id.len() == 22 && id.bytes().all(is_base_64);
    chosen.then(|| "uuid".to_owned())
}

fn number_word(api: &str, field: &str, number: i64) -> Option<&'static str> {
    let what = match field {
        "leader_epoch"
        | "epoch"
        | "finalized_features_epoch"
        | "coordinator_epoch"
        | "current_leader_epoch"
        | "voter_epoch" => "epoch",
        // 0 stands for none
        "session_id" | "subscription_id" => return (number != 0).then_some("id"),
        "producer_id" => "id",
        "total_bytes" | "usable_bytes" => "bytes",
        "partition_size" if number > 0 => "bytes",
        "high_watermark" | "log_end_offset" if api == "DescribeQuorum" => "offset",
        _ if number >= RECENT && (field.contains("timestamp") || field.ends_with("_ms")) => "now",
        _ => return None,
    };
    // what stands for none stays
    (number >= 0).then_some(what)
}

/// Record batches by what tells them apart: their checksums cover all but their offsets and leader epochs. The last one
/// may be cut.
fn batches(hex: &str) -> Value {
    let mut rest = hex.strip_prefix("0x").unwrap_or(hex);
    let mut whole = Vec::new();
    let number = |digits: &str| u64::from_str_radix(digits, 16).unwrap_or(u64::MAX);
    while rest.len() > 42 {
        let bytes = number(&rest[16..24]).saturating_add(12);
        let digits = usize::try_from(bytes.saturating_mul(2)).unwrap_or(usize::MAX);
        let Some((batch, more)) = rest.split_at_checked(digits) else {
            break;
        };
        let offset = number(&batch[..16]);
        whole.push(format!(
            "offset {offset}, {bytes} bytes, crc {}",
            &batch[34..42]
        ));
        rest = more;
    }
    json!({"whole": whole, "cut": !rest.is_empty()})
}
