//! The cluster's secret, from where the settings say.

use anyhow::{Context, Result, anyhow};
use aquifer_metadata_api::secret::ClusterSecret;

use crate::arguments::cluster::Secret;

/// Reads it.
pub(crate) fn read(arguments: &Secret) -> Result<ClusterSecret> {
    let text = match (&arguments.cluster_secret, &arguments.cluster_secret_file) {
        (Some(text), _) => text.clone(),
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
        assert!(read(&arguments(Some("short"), None)).is_err());
        let gone = folder.path().join("gone");
        let error = read(&arguments(None, Some(&gone))).unwrap_err().to_string();
        assert!(error.contains("gone"), "{error}");
    }
}
