//! Where values come from: a flag, else its environment variable, else the settings file, else the
//! default.
//!
//! The file's values are given to the parser as the flags' defaults, so that there is one list of
//! settings, one place that checks their values, and `--help` shows what holds.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{ArgAction, CommandFactory, FromArgMatches};

use crate::arguments::Arguments;

/// Why there are no settings.
#[derive(Debug)]
pub(crate) enum SettingsError {
    /// What the parser says, `--help` and `--version` among it.
    Arguments(clap::Error),
    /// The file cannot be used.
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do about it.
        reason: String,
    },
}

impl SettingsError {
    /// Tells the user; returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Arguments(error) => {
                // A closed stdout is the reader's choice.
                let _ = error.print();
                ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
            }
            Self::File { path, reason } => {
                eprintln!("aquifer: settings file {}: {reason}", path.display());
                ExitCode::from(2)
            }
        }
    }
}

/// Reads the process's arguments, environment and settings file.
pub(crate) fn from_process() -> Result<Arguments, SettingsError> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let file = config_of(&arguments).or_else(|| std::env::var_os("AQUIFER_CONFIG").map(Into::into));
    from(&arguments, file.as_deref())
}

fn from(arguments: &[OsString], file: Option<&Path>) -> Result<Arguments, SettingsError> {
    let mut command = Arguments::command();
    if let Some(path) = file {
        let failed = |reason: String| SettingsError::File {
            path: path.to_owned(),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        command = with_file(command, &text).map_err(failed)?;
    }
    let matches = command
        .try_get_matches_from(arguments)
        .map_err(SettingsError::Arguments)?;
    Arguments::from_arg_matches(&matches).map_err(SettingsError::Arguments)
}

/// The value of `--config`, looked for before anything else is understood.
fn config_of(arguments: &[OsString]) -> Option<PathBuf> {
    let mut rest = arguments.iter().skip(1).take_while(|a| *a != "--");
    while let Some(argument) = rest.next() {
        if argument == OsStr::new("--config") {
            return rest.next().map(Into::into);
        }
        if let Some(value) = argument.to_str().and_then(|a| a.strip_prefix("--config=")) {
            return Some(value.into());
        }
    }
    None
}

/// Values by flag name.
type Values = BTreeMap<String, Vec<String>>;

fn with_file(command: clap::Command, text: &str) -> Result<clap::Command, String> {
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| one_line(&error.to_string()))?;
    let known = all_flags(&command);
    let mut everywhere = Values::new();
    let mut tables = toml::Table::new();
    for (key, value) in table {
        if value.is_table() {
            tables.insert(key, value);
        } else if known.contains(&key) {
            everywhere.insert(key.clone(), texts(&key, &value)?);
        } else {
            return Err(unknown(&key, "", known.iter().map(String::as_str)));
        }
    }
    apply(command, "", &everywhere, tables)
}

/// Gives `command` and those below it the file's values: `inherited` ones, and those of `tables`, which
/// are named after the commands below it.
fn apply(
    mut command: clap::Command,
    at: &str,
    inherited: &Values,
    tables: toml::Table,
) -> Result<clap::Command, String> {
    command = command.mut_args(|argument| with_value(argument, inherited));
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    let mut own: BTreeMap<String, toml::Table> = BTreeMap::new();
    for (name, value) in tables {
        match value {
            toml::Value::Table(table) if names.contains(&name) => own.insert(name, table),
            _ => {
                return Err(unknown(
                    &format!("[{name}]"),
                    at,
                    names.iter().map(String::as_str),
                ));
            }
        };
    }
    for name in names {
        let mut values = inherited.clone();
        let mut below = toml::Table::new();
        let sub = command
            .find_subcommand(&name)
            .expect("the name is one of its subcommands");
        let flags: Vec<String> = all_flags(sub);
        for (key, value) in own.remove(&name).unwrap_or_default() {
            if value.is_table() {
                below.insert(key, value);
            } else if flags.contains(&key) {
                values.insert(key.clone(), texts(&key, &value)?);
            } else {
                return Err(unknown(&key, &name, flags.iter().map(String::as_str)));
            }
        }
        let mut failure = None;
        command = command.mut_subcommand(&name, |sub| {
            apply(sub.clone(), &name, &values, below).unwrap_or_else(|error| {
                failure = Some(error);
                sub
            })
        });
        if let Some(error) = failure {
            return Err(error);
        }
    }
    Ok(command)
}

fn with_value(argument: clap::Arg, values: &Values) -> clap::Arg {
    let Some(found) = argument.get_long().and_then(|long| values.get(long)) else {
        return argument;
    };
    // The parser keeps defaults for as long as the process lives; there is one such list.
    let kept: Vec<&'static str> = found
        .iter()
        .map(|value| &*Box::leak(value.clone().into_boxed_str()))
        .collect();
    argument.default_values(kept)
}

/// Long names of the settings of a command and those below it, sorted.
fn all_flags(command: &clap::Command) -> Vec<String> {
    let mut names: Vec<String> = command
        .get_arguments()
        .filter(|argument| {
            !matches!(
                argument.get_action(),
                ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
            )
        })
        .filter_map(|argument| argument.get_long())
        .filter(|name| *name != "config")
        .map(str::to_owned)
        .collect();
    for below in command.get_subcommands() {
        names.extend(all_flags(below));
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// A value as a flag would have it.
fn texts(key: &str, value: &toml::Value) -> Result<Vec<String>, String> {
    Ok(match value {
        toml::Value::String(text) => vec![text.clone()],
        toml::Value::Integer(number) => vec![number.to_string()],
        toml::Value::Float(number) => vec![number.to_string()],
        toml::Value::Boolean(truth) => vec![truth.to_string()],
        toml::Value::Datetime(time) => vec![time.to_string()],
        toml::Value::Array(values) => {
            let mut all = Vec::new();
            for value in values {
                all.extend(texts(key, value)?);
            }
            all
        }
        toml::Value::Table(_) => return Err(format!("{key} is a setting, not a table")),
    })
}

fn unknown<'a>(key: &str, table: &str, known: impl Iterator<Item = &'a str>) -> String {
    let place = match table {
        "" => String::new(),
        table => format!(" in [{table}]"),
    };
    let bare = key.trim_matches(['[', ']']);
    let nearest = known
        .map(|name| (distance(bare, name), name))
        .min()
        .map(|(_, name)| format!("; did you mean {name}?"))
        .unwrap_or_default();
    format!("unknown setting {key}{place}{nearest}")
}

/// How many letters must be changed, added or left out to get from one word to the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        arguments::{Codec, Command, Dev, Produce},
        units::Bytes,
    };

    fn read(arguments: &[&str], file: &str) -> Result<Arguments, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("aquifer.toml");
        std::fs::write(&path, file).unwrap();
        let arguments: Vec<OsString> = std::iter::once("aquifer")
            .chain(arguments.iter().copied())
            .map(Into::into)
            .collect();
        from(&arguments, Some(&path)).map_err(|error| match error {
            SettingsError::Arguments(error) => error.to_string(),
            SettingsError::File { reason, .. } => reason,
        })
    }

    fn dev(arguments: &[&str], file: &str) -> Dev {
        match read(arguments, file).unwrap().command {
            Command::Dev(dev) => dev,
            other => panic!("{other:?}"),
        }
    }

    fn produce(file: &str) -> Produce {
        match read(&["produce", "t"], file).unwrap().command {
            Command::Produce(produce) => produce,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_commands_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_flag_is_an_environment_variable_too() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments() {
                if let Some(long) = argument.get_long()
                    && long != "help"
                    && long != "version"
                {
                    let expected = format!("AQUIFER_{}", long.replace('-', "_").to_uppercase());
                    assert_eq!(
                        argument.get_env().and_then(OsStr::to_str),
                        Some(expected.as_str()),
                        "{} --{long}",
                        command.get_name()
                    );
                }
            }
            command.get_subcommands().for_each(check);
        }
        check(&Arguments::command());
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = "kafka-listen = \"127.0.0.1:1\"\nnode-ids = 3\nauto-create-topics = false\n";
        let dev = dev(&["dev", "--kafka-listen", "127.0.0.1:2"], file);
        assert_eq!(dev.kafka_listen.to_string(), "127.0.0.1:2");
        assert_eq!(dev.node_ids, 3);
        assert!(!dev.clients.auto_create_topics);
        assert_eq!(dev.http_listen.to_string(), "127.0.0.1:9644");
        assert_eq!(dev.clients.tuning.flush_bytes, Bytes(8 << 20));
    }

    #[test]
    fn tables_are_for_one_command() {
        let file = "bootstrap = \"a:1\"\nlog = \"debug\"\n[produce]\ncompression = \"zstd\"\n\
                    bootstrap = \"b:1\"\nquiet = true\nheader = [\"a=1\", \"a=2\"]\n\
                    [topic.create]\npartitions = 5\n";
        let produce = produce(file);
        assert_eq!(produce.compression, Codec::Zstd);
        assert_eq!(produce.bootstrap.bootstrap, "b:1");
        assert_eq!(produce.header, ["a=1", "a=2"]);
        assert!(produce.quiet);
        let create = read(&["topic", "create", "t"], file).unwrap();
        assert_eq!(create.log.as_deref(), Some("debug"));
        let text = format!("{:?}", create.command);
        assert!(text.contains("partitions: 5"), "{text}");
        assert!(text.contains("\"a:1\""), "{text}");
    }

    #[test]
    fn what_is_unknown_or_wrong_is_refused_with_the_nearest_name() {
        for (file, says) in [
            ("kafka-listn = 1", "did you mean kafka-listen?"),
            (
                "[produce]\ncompresion = \"x\"",
                "in [produce]; did you mean compression?",
            ),
            ("[produc]\nx = 1", "[produc]; did you mean produce?"),
            ("[topic.creat]\n", "did you mean create?"),
            ("[dev]\nheader = \"a=b\"", "unknown setting header in [dev]"),
            ("kafka-listen = \"nonsense\"", "nonsense"),
            ("flush-bytes = \"8XB\"", "is no size"),
            ("config = \"x\"", "unknown setting config"),
            ("not toml", "TOML"),
        ] {
            let error = read(&["dev"], file).unwrap_err();
            assert!(error.contains(says), "{file:?}: {error}");
        }
    }

    #[test]
    fn the_config_flag_is_found_wherever_it_stands() {
        let find = |arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(|a| (*a).into()).collect();
            config_of(&arguments)
        };
        assert_eq!(find(&["aquifer", "--config", "x", "dev"]), Some("x".into()));
        assert_eq!(find(&["aquifer", "dev", "--config=y"]), Some("y".into()));
        assert_eq!(find(&["aquifer", "dev", "--", "--config=y"]), None);
    }
}
