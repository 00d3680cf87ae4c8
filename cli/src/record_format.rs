//! How a consumed record is printed.

use std::io::{self, Write};

use rdkafka::{
    Message,
    message::{BorrowedMessage, Headers},
};
use serde_json::{Value, json};

use crate::instant;

/// What is printed of a record, cut into parts once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecordFormat {
    /// A template.
    Text(Vec<Part>),
    /// One JSON object per line.
    Json,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Literal(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Time,
    Timestamp,
    Key,
    Value,
    Headers,
}

/// A record, as far as printing needs it.
#[derive(Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

impl<'a> Shown<'a> {
    pub(crate) fn of(message: &'a BorrowedMessage<'_>) -> Self {
        Self {
            topic: message.topic(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
            key: message.key(),
            value: message.payload(),
            headers: message
                .headers()
                .map(|headers| headers.iter().map(|h| (h.key, h.value)).collect())
                .unwrap_or_default(),
        }
    }
}

impl RecordFormat {
    /// Reads a template; an error says what is wrong with it.
    pub(crate) fn template(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let after = &rest[c.len_utf8()..];
            match c {
                '{' => {
                    let (name, after) = after
                        .split_once('}')
                        .ok_or("a { has no } after it; write \\{ for the character")?;
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(field(name)?);
                    rest = after;
                }
                '\\' => {
                    let escaped = after.chars().next().ok_or("a \\ stands at the end")?;
                    literal.push(match escaped {
                        'n' => b'\n',
                        't' => b'\t',
                        '0' => 0,
                        '\\' => b'\\',
                        '{' => b'{',
                        '}' => b'}',
                        other => {
                            return Err(format!(
                                "\\{other} is not known; there are \\n \\t \\0 \\\\ \\{{ \\}}"
                            ));
                        }
                    });
                    rest = &after[escaped.len_utf8()..];
                }
                _ => {
                    literal.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    rest = after;
                }
            }
        }
        literal.push(b'\n');
        parts.push(Part::Literal(literal));
        Ok(Self::Text(parts))
    }

    /// Prints a record.
    pub(crate) fn write(&self, out: &mut impl Write, record: &Shown<'_>) -> io::Result<()> {
        match self {
            Self::Text(parts) => parts
                .iter()
                .try_for_each(|part| write_part(out, part, record)),
            Self::Json => {
                serde_json::to_writer(&mut *out, &as_json(record))?;
                out.write_all(b"\n")
            }
        }
    }
}

fn field(name: &str) -> Result<Part, String> {
    Ok(match name {
        "topic" => Part::Topic,
        "partition" => Part::Partition,
        "offset" => Part::Offset,
        "time" => Part::Time,
        "timestamp" => Part::Timestamp,
        "key" => Part::Key,
        "value" => Part::Value,
        "headers" => Part::Headers,
        _ => {
            return Err(format!(
                "{{{name}}} is not known; there are {{topic}}, {{partition}}, {{offset}}, {{time}}, \
                 {{timestamp}}, {{key}}, {{value}} and {{headers}}"
            ));
        }
    })
}

fn write_part(out: &mut impl Write, part: &Part, record: &Shown<'_>) -> io::Result<()> {
    match part {
        Part::Literal(bytes) => out.write_all(bytes),
        Part::Topic => out.write_all(record.topic.as_bytes()),
        Part::Partition => write!(out, "{}", record.partition),
        Part::Offset => write!(out, "{}", record.offset),
        Part::Time => match record.timestamp {
            Some(millis) => out.write_all(instant::format(millis).as_bytes()),
            None => Ok(()),
        },
        Part::Timestamp => match record.timestamp {
            Some(millis) => write!(out, "{millis}"),
            None => Ok(()),
        },
        Part::Key => out.write_all(record.key.unwrap_or_default()),
        Part::Value => out.write_all(record.value.unwrap_or_default()),
        Part::Headers => {
            for (i, (name, value)) in record.headers.iter().enumerate() {
                if i > 0 {
                    out.write_all(b",")?;
                }
                write!(out, "{name}=")?;
                out.write_all(value.unwrap_or_default())?;
            }
            Ok(())
        }
    }
}

fn as_json(record: &Shown<'_>) -> Value {
    let headers: Vec<Value> = record
        .headers
        .iter()
        .map(|(name, value)| json!([name, bytes_as_json(*value)]))
        .collect();
    json!({
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "time": record.timestamp.map(instant::format),
        "key": bytes_as_json(record.key),
        "value": bytes_as_json(record.value),
        "headers": headers,
    })
}

/// Text as a string, anything else as `{"base64": "..."}`: nothing is lost.
fn bytes_as_json(bytes: Option<&[u8]>) -> Value {
    match bytes {
        None => Value::Null,
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::from(text),
            Err(_) => json!({ "base64": base64(bytes) }),
        },
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            if digit <= chunk.len() {
                let index = bits >> (18 - 6 * digit) & 63;
                let index = usize::try_from(index).expect("six bits");
                text.push(char::from(DIGITS[index]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Shown<'static> {
        Shown {
            topic: "t",
            partition: 3,
            offset: 42,
            timestamp: Some(1_795_366_800_250),
            key: Some(b"k"),
            value: Some(b"v\xff"),
            headers: vec![("a", Some(b"1")), ("a", None)],
        }
    }

    fn shown(template: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let format = RecordFormat::template(template).unwrap();
        format.write(&mut out, &record()).unwrap();
        out
    }

    #[test]
    fn templates_show_every_field_and_values_byte_for_byte() {
        assert_eq!(shown("{value}"), b"v\xff\n");
        assert_eq!(
            shown("{topic}/{partition}@{offset}\\t{key} \\{{headers}\\}"),
            b"t/3@42\tk {a=1,a=}\n"
        );
        assert_eq!(
            shown("{time} {timestamp}"),
            b"2026-11-22T17:00:00.250Z 1795366800250\n"
        );
        for wrong in ["{", "{nothing}", "\\", "\\q"] {
            assert!(RecordFormat::template(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn json_loses_nothing() {
        let mut out = Vec::new();
        RecordFormat::Json.write(&mut out, &record()).unwrap();
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["value"], json!({ "base64": "dv8=" }));
        assert_eq!(value["headers"], json!([["a", "1"], ["a", null]]));
        assert_eq!(value["offset"], 42);
        assert_eq!(out.last(), Some(&b'\n'));
    }

    #[test]
    fn base64_is_what_rfc_4648_says() {
        for (text, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }
}
