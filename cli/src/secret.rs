//! The cluster's secret, from where the settings say.

use anyhow::{Context, Result, anyhow, bail};
use aquifer_metadata_api::secret::ClusterSecret;
use clap::{ArgMatches, parser::ValueSource};

use crate::arguments::cluster::Secret;

/// Reads it.
pub(crate) fn read(arguments: &Secret) -> Result<ClusterSecret> {
    let text = match (&arguments.cluster_secret, &arguments.cluster_secret_file) {
        (Some(_), Some(_)) => bail!(
            "the cluster secret is set twice: leave out --cluster-secret or --cluster-secret-file"
        ),
        (Some(text), None) => text.clone(),
        (None, Some(file)) => std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the cluster secret in {}", file.display()))?,
        (None, None) => {
            return Err(anyhow!(
                "the processes of a cluster share a secret: set --cluster-secret or \
                 --cluster-secret-file (openssl rand -base64 32 makes one)"
            ));
        }
    };
    ClusterSecret::new(&text).map_err(|error| anyhow!(error))
}

/// Refuses a secret that is set both as a text and as a file, wherever each comes from: which of them the
/// other processes of the cluster have cannot be known. The parser does not see this by itself where one
/// comes from the settings file.
pub(crate) fn check_sources(matches: &ArgMatches) -> Result<(), String> {
    let mut matches = matches;
    while let Some((_, below)) = matches.subcommand() {
        matches = below;
    }
    let text = source(matches, "cluster-secret");
    let file = source(matches, "cluster-secret-file");
    match (text, file) {
        (Some(text), Some(file)) => Err(format!(
            "the cluster secret is set twice, by {text} and by {file}: leave one of them out"
        )),
        _ => Ok(()),
    }
}

/// What sets a flag, if anything does.
fn source(matches: &ArgMatches, flag: &str) -> Option<String> {
    let id = flag.replace('-', "_");
    // Commands that need no secret don't have the flag.
    if !matches.try_contains_id(&id).unwrap_or(false) {
        return None;
    }
    Some(match matches.value_source(&id)? {
        ValueSource::CommandLine => format!("--{flag}"),
        ValueSource::EnvVariable => format!("AQUIFER_{} in the environment", id.to_uppercase()),
        _ => format!("{flag} in the settings file"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: Option<&str>, file: Option<&std::path::Path>) -> Secret {
        Secret {
            cluster_secret: text.map(str::to_owned),
            cluster_secret_file: file.map(Into::into),
        }
    }

    #[test]
    fn secrets_come_from_the_flag_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        read(&arguments(Some("0123456789abcdef"), None)).unwrap();
        read(&arguments(None, Some(&file))).unwrap();
        let missing = read(&arguments(None, None)).unwrap_err().to_string();
        assert!(missing.contains("--cluster-secret-file"), "{missing}");
        assert!(read(&arguments(Some("0123456789abcdef"), Some(&file))).is_err());
        assert!(read(&arguments(Some("short"), None)).is_err());
        let gone = folder.path().join("gone");
        let error = read(&arguments(None, Some(&gone))).unwrap_err().to_string();
        assert!(error.contains("gone"), "{error}");
    }
}
