//! Lines that tools print, without what belongs to one run or one broker only, and how two outputs differ.

use serde_json::Value;
use uuid::Uuid;

use crate::cases::Output;

/// A line without ids, addresses, times, and, by the kind of output, what was measured.
pub(crate) fn normal(line: &str, output: Output) -> String {
    let line = match output {
        Output::Plain | Output::Sorted => words(line, str::to_owned),
        Output::Measured => words(line, measured),
        Output::ConsumerRate => consumer_rate(line),
        Output::Quorum => words(line, |word| match word.parse::<u64>() {
            Ok(number) if number > 1 => "N".to_owned(),
            _ => word.to_owned(),
        }),
        Output::Verifiable | Output::Json => json(line),
        Output::Features => words(line.split("Epoch: ").next().unwrap_or(line), str::to_owned),
    };
    // columns are as wide as their longest value
    line.split(' ')
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Every word through `change`, after ids, addresses and times have become words of their own.
fn words(line: &str, change: impl Fn(&str) -> String) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    let mut said = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if is_part(first) {
            let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            let (word, more) = rest.split_at(end);
            // the name of an API, before its number, may be as long as an id
            let word = if more.starts_with('(') {
                word.to_owned()
            } else {
                known(word)
            };
            said.push_str(&change(&word));
            rest = more;
        } else {
            said.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    said
}

fn known(word: &str) -> String {
    if let Some((label, number)) = word.rsplit_once(':')
        && number.len() == 13
        && number.starts_with('1')
        && number.bytes().all(|b| b.is_ascii_digit())
    {
        return format!("{label}:TIME");
    }
    if word.len() == 13 && word.starts_with('1') && word.bytes().all(|b| b.is_ascii_digit()) {
        return "TIME".to_owned();
    }
    if word.starts_with("127.0.0.1:") {
        return "ADDRESS".to_owned();
    }
    // a member's id, behind the name of its client
    let uuid = word
        .len()
        .checked_sub(36)
        .and_then(|at| word.split_at_checked(at));
    if let Some((name, uuid)) = uuid
        && Uuid::try_parse(uuid).is_ok()
    {
        return format!("{name}UUID");
    }
    // groups that tools make up for themselves
    for tool in ["console-consumer-", "perf-consumer-"] {
        let number = word.strip_prefix(tool).unwrap_or_default();
        if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) {
            return format!("{tool}N");
        }
    }
    if word.starts_with(".tmp") {
        return "FOLDER".to_owned();
    }
    let is_id = word.len() == 22
        && !word.contains(['.', ':'])
        && word.bytes().any(|b| b.is_ascii_uppercase())
        && word.bytes().any(|b| b.is_ascii_lowercase());
    if is_id {
        return "ID".to_owned();
    }
    word.to_owned()
}

/// Rates and latencies: numbers with a decimal point and the milliseconds that are whole.
fn measured(word: &str) -> String {
    let end = word.trim_end_matches('.');
    let is_number = |text: &str| text.parse::<f64>().is_ok();
    if (end.contains('.') && is_number(end)) || (is_number(end) && end.len() < 4) {
        return format!("N{}", &word[end.len()..]);
    }
    word.to_owned()
}

/// The row of kafka-consumer-perf-test: times, what was read, rates. What was read is compared.
fn consumer_rate(line: &str) -> String {
    let columns: Vec<&str> = line.split(", ").collect();
    if columns.len() != 10 || line.starts_with("start.time") {
        return words(line, str::to_owned);
    }
    format!("{} MB, {} records", columns[2], columns[4])
}

/// A line of JSON without times, folders and sizes, partitions in order. Other lines stay.
fn json(line: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(line) else {
        return words(line, str::to_owned);
    };
    stripped(&mut value);
    value.to_string()
}

fn stripped(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for field in ["timestamp", "avg_throughput"] {
                fields.remove(field);
            }
            for (name, value) in fields {
                match name.as_str() {
                    "logDir" => *value = "FOLDER".into(),
                    "size" if value.as_u64() != Some(0) => *value = "SIZE".into(),
                    "log_dirs" if value[0] != "any" => *value = "FOLDERS".into(),
                    _ => stripped(value),
                }
            }
        }
        Value::Array(elements) => {
            elements.iter_mut().for_each(stripped);
            if elements.iter().all(|e| e.get("partition").is_some()) {
                elements.sort_by_key(ToString::to_string);
            }
        }
        _ => {}
    }
}

/// The lines that only one has, `-` theirs, `+` ours, after their longest common subsequence.
pub(crate) fn changes(theirs: &[String], ours: &[String]) -> Vec<String> {
    // longest[i][j]: of theirs from i on and ours from j on
    let mut longest = vec![vec![0_usize; ours.len() + 1]; theirs.len() + 1];
    for i in (0..theirs.len()).rev() {
        for j in (0..ours.len()).rev() {
            longest[i][j] = if theirs[i] == ours[j] {
                longest[i + 1][j + 1] + 1
            } else {
                longest[i + 1][j].max(longest[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut found) = (0, 0, Vec::new());
    while i < theirs.len() || j < ours.len() {
        if i < theirs.len() && j < ours.len() && theirs[i] == ours[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == ours.len() || (i < theirs.len() && longest[i + 1][j] >= longest[i][j + 1]) {
            found.push(format!("-{}", theirs[i]));
            i += 1;
        } else {
            found.push(format!("+{}", ours[j]));
            j += 1;
        }
    }
    found
}

#[test]
fn lines_lose_what_belongs_to_one_run() {
    for (line, output, expected) in [
        (
            "Topic: a\tTopicId: KJj69400T3W0LhPn5HzzhQ\tPartitionCount: 3",
            Output::Plain,
            "Topic: a\tTopicId: ID\tPartitionCount: 3",
        ),
        (
            "{\"timestamp\":1795405683155}",
            Output::Plain,
            "{\"timestamp\":TIME}",
        ),
        (
            "CreateTime:1795408090728\tx",
            Output::Plain,
            "CreateTime:TIME\tx",
        ),
        (
            "flush.ms=9223372036854775807",
            Output::Plain,
            "flush.ms=9223372036854775807",
        ),
        (
            "\tConsumerGroupHeartbeat(68): 0 to 1 [usable: 1],",
            Output::Plain,
            "\tConsumerGroupHeartbeat(68): 0 to 1 [usable: 1],",
        ),
        (
            "lively made 0 2 6 4 tests-67ac2f46-5f3c-4a0e-b7a1-6b8d0a0f3c11 /127.0.0.1",
            Output::Plain,
            "lively made 0 2 6 4 tests-UUID /127.0.0.1",
        ),
        ("LeaderId:      1", Output::Quorum, "LeaderId: 1"),
        ("HighWatermark: 434", Output::Quorum, "HighWatermark: N"),
        ("at 127.0.0.1:14093\"]", Output::Plain, "at ADDRESS\"]"),
        (
            "1000 records sent, 9345.794393 records/sec, 41.72 ms avg latency, 48 ms 50th, 62 ms 99.9th.",
            Output::Measured,
            "1000 records sent, N records/sec, N ms avg latency, N ms 50th, N ms 99.9th.",
        ),
        (
            "2026-11-23 03:41:28:291, 2026-11-23 03:41:28:371, 0.0954, 1.1921, 1000, 12500.0, 46, 34, 2.8, 2.9",
            Output::ConsumerRate,
            "0.0954 MB, 1000 records",
        ),
        (
            "{\"partitions\":[{\"partition\":\"b-0\",\"size\":7},{\"partition\":\"a-0\",\"size\":0}],\"logDir\":\"/tmp/x\"}",
            Output::Json,
            "{\"logDir\":\"FOLDER\",\"partitions\":[{\"partition\":\"a-0\",\"size\":0},{\"partition\":\"b-0\",\"size\":\"SIZE\"}]}",
        ),
    ] {
        assert_eq!(normal(line, output), expected);
    }
}

#[test]
fn changes_are_the_lines_that_one_side_has() {
    let lines = |text: &str| {
        text.split_terminator(' ')
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    for (theirs, ours, expected) in [
        ("", "", ""),
        ("a b c", "a b c", ""),
        ("a b c", "a c", "-b"),
        ("a c", "a b c", "+b"),
        ("a b c", "a x c", "-b +x"),
        ("a b", "b a", "-a +a"),
        ("", "a", "+a"),
    ] {
        assert_eq!(changes(&lines(theirs), &lines(ours)), lines(expected));
    }
}
