//! Where values come from: a flag, else its environment variable, else the settings file, else the
//! default.
//!
//! The file's values are given to the parser as the flags' defaults, so that there is one list of
//! settings, one place that checks their values, and `--help` shows what holds. To the parser a default
//! is nothing that anybody set: it satisfies no requirement, marks no group as present and conflicts with
//! nothing. So requirements are lifted here, and flags stand in no other relation to each other.
//!
//! A setting has the name of its variable, which is its flag's but for two flags of `aquifer metadata`.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{ArgAction, CommandFactory, FromArgMatches, error::ErrorKind};

use crate::{arguments::Arguments, secret};

#[cfg(test)]
mod tests;

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
        .try_get_matches_from_mut(arguments)
        .map_err(SettingsError::Arguments)?;
    secret::check_sources(&matches).map_err(|reason| {
        SettingsError::Arguments(command.error(ErrorKind::ArgumentConflict, reason))
    })?;
    Arguments::from_arg_matches(&matches).map_err(SettingsError::Arguments)
}

/// The value of `--config`, looked for before anything else is understood.
fn config_of(arguments: &[OsString]) -> Option<PathBuf> {
    let mut rest = arguments.iter().skip(1).take_while(|a| *a != "--");
    while let Some(argument) = rest.next() {
        if argument == OsStr::new("--config") {
            return rest.next().map(Into::into);
        }
        if let Some(value) = argument.as_bytes().strip_prefix(b"--config=") {
            return Some(OsStr::from_bytes(value).into());
        }
    }
    None
}

/// Values by setting.
type Values = BTreeMap<String, Vec<String>>;

fn with_file(command: clap::Command, text: &str) -> Result<clap::Command, String> {
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| not_toml(text, &error))?;
    let mut everywhere = Values::new();
    let tables = take_values(table, &command, "", &mut everywhere)?;
    apply(command, "", &everywhere, tables)
}

/// What is wrong with a text that is no TOML. Not in the parser's whole words: these show the line, which may
/// hold a secret.
fn not_toml(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = match before {
        Some(before) => format!(" in line {}", before.matches('\n').count() + 1),
        None => String::new(),
    };
    let what = error.message().split_whitespace().collect::<Vec<_>>();
    format!("it is no TOML{line}: {}", what.join(" "))
}

/// Takes what a table sets, for the command `at` and those below it; returns the tables in it.
fn take_values(
    table: toml::Table,
    command: &clap::Command,
    at: &str,
    values: &mut Values,
) -> Result<toml::Table, String> {
    let known = settings_by_name(command);
    let mut tables = toml::Table::new();
    for (key, value) in table {
        if value.is_table() {
            tables.insert(key, value);
        } else if let Some(setting) = known.get(&key) {
            values.insert(setting.clone(), texts(&key, &value)?);
        } else {
            return Err(unknown(&key, at, known.keys().map(String::as_str)));
        }
    }
    Ok(tables)
}

/// Gives `command` and those below it the file's values: `inherited` ones, and those of `tables`, which
/// are named after the commands below it.
fn apply(
    mut command: clap::Command,
    at: &str,
    inherited: &Values,
    tables: toml::Table,
) -> Result<clap::Command, String> {
    for argument in command.get_arguments() {
        check_number(argument, command.get_name(), inherited)?;
    }
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
        let sub = command
            .find_subcommand(&name)
            .expect("the name is one of its subcommands");
        let table = own.remove(&name).unwrap_or_default();
        let below = take_values(table, sub, &name, &mut values)?;
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

/// The name of an argument's setting: `metadata-listen` of `AQUIFER_METADATA_LISTEN`.
fn setting(argument: &clap::Arg) -> Option<String> {
    let variable = argument.get_env()?.to_str()?;
    let name = variable.strip_prefix("AQUIFER_")?;
    Some(name.to_lowercase().replace('_', "-"))
}

/// What the file says of an argument, if it says anything.
fn values_of<'v>(argument: &clap::Arg, values: &'v Values) -> Option<&'v [String]> {
    let found = values.get(&setting(argument)?)?;
    (!found.is_empty()).then_some(found.as_slice())
}

/// The parser would take the first of several default values and forget the others.
fn check_number(argument: &clap::Arg, command: &str, values: &Values) -> Result<(), String> {
    let several = values_of(argument, values).is_some_and(|found| found.len() > 1);
    if several && !matches!(argument.get_action(), ArgAction::Append) {
        let name = setting(argument).unwrap_or_default();
        return Err(format!("{name} takes one value for {command}, not a list"));
    }
    Ok(())
}

fn with_value(argument: clap::Arg, values: &Values) -> clap::Arg {
    let Some(found) = values_of(&argument, values) else {
        return argument;
    };
    // The parser keeps defaults for as long as the process lives; there is one such list.
    let kept: Vec<&'static str> = found
        .iter()
        .map(|value| &*Box::leak(value.clone().into_boxed_str()))
        .collect();
    let hidden = argument.is_hide_env_values_set();
    argument
        .required(false)
        .hide_default_value(hidden)
        .default_values(kept)
}

/// The settings of a command and those below it, by their own names, and by their flags' where those are
/// nobody else's.
fn settings_by_name(command: &clap::Command) -> BTreeMap<String, String> {
    let arguments = arguments(command);
    let settings = || arguments.iter().filter_map(|a| Some((a, setting(a)?)));
    let mut names: BTreeMap<String, String> = settings()
        .map(|(_, setting)| (setting.clone(), setting))
        .collect();
    for (argument, setting) in settings() {
        if let Some(flag) = argument.get_long() {
            names.entry(flag.to_owned()).or_insert(setting);
        }
    }
    names.remove("config");
    names
}

/// The arguments of a command and those below it.
fn arguments(command: &clap::Command) -> Vec<&clap::Arg> {
    let below = command.get_subcommands().flat_map(arguments);
    command.get_arguments().chain(below).collect()
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
    let nearest = nearest(key.trim_matches(['[', ']']), known);
    format!("unknown setting {key}{place}{nearest}")
}

/// Words that name the one of `known` that was meant.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|known| (distance(name, known), known))
        .min()
        .map(|(_, known)| format!("; did you mean {known}?"))
        .unwrap_or_default()
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
