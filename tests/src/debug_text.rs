//! The text that `{:?}` makes of a message of the protocol crate, as a tree: the crate has no other way to look at
//! any message field by field.

use serde_json::{Map, Number, Value};

/// The tree of a value that was printed with `{:?}`: structures are objects, `None` is null, `Some` is left away, bytes
/// are hex behind `0x`. Tagged fields that nobody knows are left out if there are none.
///
/// # Panics
/// If the text isn't what derived implementations print.
#[must_use]
pub fn tree(debug: &str) -> Value {
    let mut reader = Reader { rest: debug };
    let value = reader.value();
    assert!(reader.rest.is_empty(), "more follows: {}", reader.rest);
    value
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Value {
        self.spaces();
        if self.take("[") {
            return Value::Array(self.list("]", Self::value));
        }
        if self.take("\"") {
            return Value::String(String::from_utf8(self.quoted()).expect("text is UTF-8"));
        }
        if self.take("b\"") {
            let hex: String = self.quoted().iter().map(|b| format!("{b:02x}")).collect();
            return Value::String(format!("0x{hex}"));
        }
        if self.take("{") {
            let entries = self.list("}", |reader| {
                let key = reader.value();
                reader.spaces();
                assert!(reader.take(":"), "a map's entry: {}", reader.rest);
                (key.to_string(), reader.value())
            });
            return Value::Object(entries.into_iter().collect());
        }
        let word = self.word();
        if self.take("(") {
            let mut inner = self.list(")", Self::value);
            assert_eq!(inner.len(), 1, "{word} holds one value");
            return inner.remove(0);
        }
        if self.rest.starts_with(" {") && word.starts_with(|c: char| c.is_ascii_uppercase()) {
            self.rest = &self.rest[2..];
            return self.fields();
        }
        scalar(word)
    }

    /// The fields of a structure, behind its opening brace.
    fn fields(&mut self) -> Value {
        let fields = self.list("}", |reader| {
            let name = reader.word();
            assert!(reader.take(":"), "the field {name}: {}", reader.rest);
            (name.to_owned(), reader.value())
        });
        let mut object: Map<String, Value> = fields.into_iter().collect();
        if object.get("unknown_tagged_fields") == Some(&Value::Object(Map::new())) {
            object.remove("unknown_tagged_fields");
        }
        Value::Object(object)
    }

    fn list<T>(&mut self, end: &str, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let mut found = Vec::new();
        loop {
            self.spaces();
            if self.take(end) {
                return found;
            }
            found.push(one(self));
            self.spaces();
            assert!(
                self.take(",") || self.rest.starts_with(end),
                "a list goes on with {}",
                self.rest
            );
        }
    }

    /// Letters, digits and the signs that numbers and ids have.
    fn word(&mut self) -> &'a str {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '+' | '.');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        assert!(end > 0, "a word was expected before {}", self.rest);
        let word;
        (word, self.rest) = self.rest.split_at(end);
        word
    }

    /// What stands before the closing quote, escapes undone.
    fn quoted(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let mut characters = self.rest.chars();
            let next = characters.next().expect("a closing quote");
            self.rest = characters.as_str();
            match next {
                '"' => return bytes,
                '\\' => self.escape(&mut bytes),
                other => bytes.extend(other.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) {
        let mut characters = self.rest.chars();
        let kind = characters.next().expect("an escape's kind");
        self.rest = characters.as_str();
        match kind {
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            '0' => bytes.push(0),
            'x' => {
                let (digits, rest) = self.rest.split_at(2);
                bytes.push(u8::from_str_radix(digits, 16).expect("two hex digits"));
                self.rest = rest;
            }
            'u' => {
                let (digits, rest) = self.rest[1..].split_once('}').expect("an escape's end");
                let code = u32::from_str_radix(digits, 16).expect("hex digits");
                let character = char::from_u32(code).expect("a character");
                bytes.extend(character.encode_utf8(&mut [0; 4]).bytes());
                self.rest = rest;
            }
            other => bytes.extend(other.encode_utf8(&mut [0; 4]).bytes()),
        }
    }

    fn spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

/// A number, a truth value, null, or else (ids, enumerations) text.
fn scalar(word: &str) -> Value {
    match word {
        "None" => return Value::Null,
        "true" | "false" => return Value::Bool(word == "true"),
        _ => {}
    }
    if let Ok(number) = word.parse::<i64>() {
        return Value::Number(number.into());
    }
    match word.parse::<f64>().ok().and_then(Number::from_f64) {
        Some(number) => Value::Number(number),
        None => Value::String(word.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::{
        messages::{
            FetchResponse, MetadataResponse, fetch_response as fetch,
            metadata_response::{MetadataResponseBroker, MetadataResponseTopic},
        },
        protocol::StrBytes,
    };
    use serde_json::json;

    use super::*;
    use crate::wire::topic_name;

    #[test]
    fn messages_are_read_field_by_field() {
        let host = "a\"b\\\n\u{1}\u{7f} ü{[(,";
        let broker = MetadataResponseBroker::default()
            .with_node_id((-7).into())
            .with_host(StrBytes::from_static_str(host));
        let topic = MetadataResponseTopic::default().with_name(Some(topic_name("x, y: z")));
        let message = MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_topics(vec![topic]);
        let tree = tree(&format!("{message:?}"));
        assert_eq!(tree["brokers"][0]["node_id"], json!(-7));
        assert_eq!(tree["brokers"][0]["host"], json!(host));
        assert_eq!(tree["brokers"][0]["rack"], json!(null));
        assert_eq!(tree["brokers"][0].get("unknown_tagged_fields"), None);
        assert_eq!(tree["topics"][0]["name"], json!("x, y: z"));
        assert_eq!(tree["topics"][0]["partitions"], json!([]));
        let nil = "00000000-0000-0000-0000-000000000000";
        assert_eq!(tree["topics"][0]["topic_id"], json!(nil));
        assert_eq!(tree["topics"][0]["is_internal"], json!(false));
    }

    #[test]
    fn bytes_are_hex() {
        let all: Vec<u8> = (0..=255).collect();
        let expected: String = all.iter().map(|b| format!("{b:02x}")).collect();
        let partition = fetch::PartitionData::default().with_records(Some(Bytes::from(all)));
        let topic = fetch::FetchableTopicResponse::default().with_partitions(vec![partition]);
        let tree = tree(&format!(
            "{:?}",
            FetchResponse::default().with_responses(vec![topic])
        ));
        let records = &tree["responses"][0]["partitions"][0]["records"];
        assert_eq!(records, &json!(format!("0x{expected}")));
    }
}
