//! Google Cloud Storage, through its XML API. Credentials come from the environment as `object_store` reads it:
//! `GOOGLE_APPLICATION_CREDENTIALS`, `GOOGLE_SERVICE_ACCOUNT`, `GOOGLE_SERVICE_ACCOUNT_KEY`, what
//! `gcloud auth application-default login` left, or the machine's service account.

use std::sync::Arc;

use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};

use super::{
    RemoteError, RemoteStore, Service, client_options, connection, endpoint, failure::chain,
    no_retries,
};

/// Where a bucket is and how to talk to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoogleSettings {
    /// Name of the bucket.
    pub bucket: String,
    /// Goes before each key, with a slash between; empty = none.
    pub prefix: String,
    /// Address of another server than Google's; None = `GOOGLE_BASE_URL`, or what the service account's
    /// file says.
    pub endpoint: Option<String>,
    /// Whether plain http is allowed. The default is no, but for endpoints on this machine.
    pub allow_http: Option<bool>,
    /// Whether requests cost money; the default is yes.
    pub priced: bool,
}

impl GoogleSettings {
    /// Sets the client up; no request is made.
    ///
    /// # Errors
    /// Settings or credentials that cannot work.
    pub fn open(self) -> Result<RemoteStore, RemoteError> {
        self.open_with(GoogleCloudStorageBuilder::from_env())
    }

    /// The same with what else is configured.
    pub(super) fn open_with(
        self,
        builder: GoogleCloudStorageBuilder,
    ) -> Result<RemoteStore, RemoteError> {
        connection::choose_tls();
        let error = |reason: String| RemoteError {
            bucket: self.bucket.clone(),
            reason,
        };
        let endpoint = self
            .endpoint
            .clone()
            .or_else(|| builder.get_config_value(&GoogleConfigKey::BaseUrl));
        let plain = endpoint::plain(endpoint.as_deref(), self.allow_http).map_err(error)?;
        let mut builder = builder
            .with_bucket_name(&self.bucket)
            .with_retry(no_retries())
            .with_client_options(client_options().with_allow_http(plain));
        if let Some(endpoint) = endpoint {
            builder = builder.with_base_url(endpoint.trim_end_matches('/'));
        }
        let client = builder.build().map_err(|failed| error(chain(&failed)))?;
        Ok(RemoteStore {
            client: Arc::new(client),
            service: Service::Google,
            bucket: self.bucket,
            prefix: self.prefix,
            priced: self.priced,
            lists_in_order: true,
            credentials: None,
            sdk: None,
        })
    }
}

#[cfg(test)]
mod tests;
