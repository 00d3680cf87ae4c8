//! URLs of buckets in the cloud.

use std::collections::BTreeMap;

use crate::remote::{AzureSettings, GoogleSettings, S3Settings};

/// Schemes that are understood here.
const SCHEMES: [&str; 3] = ["s3://", "gs://", "az://"];

/// A URL as it may be shown: keys contain slashes and question marks, so everything up to the last @ may be
/// one; and some write a secret as a parameter.
pub(super) fn without_credentials(url: &str) -> String {
    let Some(scheme) = SCHEMES.into_iter().find(|scheme| url.starts_with(scheme)) else {
        return url.to_owned();
    };
    let rest = url.get(scheme.len()..).unwrap_or_default();
    let (user, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => ("...@", rest),
        None => ("", rest),
    };
    match rest.split_once('?') {
        Some((place, _)) => format!("{scheme}{user}{place}?..."),
        None => format!("{scheme}{user}{rest}"),
    }
}

/// `s3://bucket/prefix?...`
pub(super) fn s3(url: &str) -> Result<S3Settings, String> {
    let known = ["region", "endpoint", "path_style", "allow_http", "priced"];
    let mut parts = Parts::of(
        url,
        "bucket",
        "credentials do not belong in the URL; the AWS environment or profile has them",
        &known,
    )?;
    Ok(S3Settings {
        region: parts.text("region"),
        endpoint: parts.text("endpoint"),
        path_style: parts.truth("path_style")?,
        allow_http: parts.truth("allow_http")?,
        priced: parts.truth("priced")?.unwrap_or(true),
        bucket: parts.bucket,
        prefix: parts.prefix,
    })
}

/// `gs://bucket/prefix?...`
pub(super) fn google(url: &str) -> Result<GoogleSettings, String> {
    let mut parts = Parts::of(
        url,
        "bucket",
        "credentials do not belong in the URL; the Google environment has them \
         (GOOGLE_APPLICATION_CREDENTIALS, or the machine's service account)",
        &["endpoint", "allow_http", "priced"],
    )?;
    Ok(GoogleSettings {
        endpoint: parts.text("endpoint"),
        allow_http: parts.truth("allow_http")?,
        priced: parts.truth("priced")?.unwrap_or(true),
        bucket: parts.bucket,
        prefix: parts.prefix,
    })
}

/// `az://container/prefix?...`
pub(super) fn azure(url: &str) -> Result<AzureSettings, String> {
    const ACCOUNT: &str = "the account goes to AZURE_STORAGE_ACCOUNT_NAME or ?account=..., and credentials come \
                           from the Azure environment: az://container/prefix";
    let known = ["account", "endpoint", "allow_http", "priced"];
    let mut parts = Parts::of(url, "container", ACCOUNT, &known)?;
    if parts.bucket.contains('.') {
        return Err(format!(
            "{:?} is no container's name, which has no dots; {ACCOUNT}",
            parts.bucket
        ));
    }
    Ok(AzureSettings {
        account: parts.text("account"),
        endpoint: parts.text("endpoint"),
        allow_http: parts.truth("allow_http")?,
        priced: parts.truth("priced")?.unwrap_or(true),
        container: parts.bucket,
        prefix: parts.prefix,
    })
}

/// What all of these URLs have.
struct Parts {
    bucket: String,
    prefix: String,
    parameters: BTreeMap<String, String>,
}

impl Parts {
    /// `what` the service calls a bucket; `user` is said where something stands before an @; `known` are the
    /// parameters.
    fn of(url: &str, what: &str, user: &str, known: &[&str]) -> Result<Self, String> {
        let parsed = url::Url::parse(url).map_err(|error| error.to_string())?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(user.to_owned());
        }
        let bucket = parsed
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| {
                let scheme = parsed.scheme();
                format!("no {what} is named: {scheme}://{what}/prefix")
            })?;
        if parsed.port().is_some() {
            return Err(format!(
                "the {what}'s name comes first; a server goes to ?endpoint=..."
            ));
        }
        let prefix = parsed.path().trim_matches('/');
        if !prefix.is_empty() {
            crate::keys::check(prefix).map_err(|reason| format!("prefix: {reason}"))?;
        }
        let mut parameters = BTreeMap::new();
        for (name, value) in parsed.query_pairs() {
            if !known.contains(&&*name) {
                return Err(format!("{name:?} is not known; there are {}", list(known)));
            }
            if value.is_empty() {
                return Err(format!("{name} is empty"));
            }
            parameters.insert(name.into_owned(), value.into_owned());
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            parameters,
        })
    }

    fn text(&mut self, name: &str) -> Option<String> {
        self.parameters.remove(name)
    }

    fn truth(&mut self, name: &str) -> Result<Option<bool>, String> {
        self.text(name)
            .map(|value| {
                value
                    .parse()
                    .map_err(|_| format!("{name} is true or false, not {value:?}"))
            })
            .transpose()
    }
}

/// Words as people list them.
fn list(words: &[&str]) -> String {
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}
