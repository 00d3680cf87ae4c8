//! Azure Blob Storage. Account and credentials come from the environment as `object_store` reads it:
//! `AZURE_STORAGE_ACCOUNT_NAME`, then `AZURE_STORAGE_ACCOUNT_KEY`, `AZURE_STORAGE_SAS_TOKEN`, a service principal or
//! federated token (`AZURE_CLIENT_ID`, `AZURE_TENANT_ID`, ...), or the machine's identity.

use std::sync::Arc;

use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};

use super::{
    RemoteError, RemoteStore, Service, client_options, connection, endpoint, failure::chain,
    no_retries,
};

/// Where a container is and how to talk to it.
///
/// The account has no hierarchical namespace: one may list in another order than that of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureSettings {
    /// Name of the container.
    pub container: String,
    /// Goes before each key, with a slash between; empty = none.
    pub prefix: String,
    /// Name of the storage account; None = `AZURE_STORAGE_ACCOUNT_NAME`.
    pub account: Option<String>,
    /// Address of another server than the account's in Azure's public cloud; None = `AZURE_STORAGE_ENDPOINT`.
    pub endpoint: Option<String>,
    /// Whether plain http is allowed. The default is no, but for endpoints on this machine.
    pub allow_http: Option<bool>,
    /// Whether requests cost money; the default is yes.
    pub priced: bool,
}

impl AzureSettings {
    /// Sets the client up; no request is made.
    ///
    /// # Errors
    /// Settings or credentials that cannot work.
    pub fn open(self) -> Result<RemoteStore, RemoteError> {
        self.open_with(MicrosoftAzureBuilder::from_env())
    }

    /// The same with what else is configured.
    pub(super) fn open_with(
        self,
        builder: MicrosoftAzureBuilder,
    ) -> Result<RemoteStore, RemoteError> {
        connection::choose_tls();
        let error = |reason: String| RemoteError {
            bucket: self.container.clone(),
            reason,
        };
        let account = self
            .account
            .clone()
            .or_else(|| builder.get_config_value(&AzureConfigKey::AccountName));
        if account.is_none() && !is_emulator(&builder) {
            return Err(error(
                "no storage account is known; set AZURE_STORAGE_ACCOUNT_NAME or add ?account=... to \
                 the URL"
                    .to_owned(),
            ));
        }
        let endpoint = self
            .endpoint
            .clone()
            .or_else(|| builder.get_config_value(&AzureConfigKey::Endpoint));
        let plain = endpoint::plain(endpoint.as_deref(), self.allow_http).map_err(error)?;
        let mut builder = builder
            .with_container_name(&self.container)
            .with_retry(no_retries())
            .with_client_options(client_options().with_allow_http(plain));
        if let Some(account) = account {
            builder = builder.with_account(account);
        }
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
        }
        let client = builder.build().map_err(|failed| error(chain(&failed)))?;
        Ok(RemoteStore {
            client: Arc::new(client),
            service: Service::Azure,
            bucket: self.container,
            prefix: self.prefix,
            priced: self.priced,
            lists_in_order: true,
            credentials: None,
            sdk: None,
        })
    }
}

/// Whether `AZURE_STORAGE_USE_EMULATOR` is set: it brings an account of its own.
fn is_emulator(builder: &MicrosoftAzureBuilder) -> bool {
    builder
        .get_config_value(&AzureConfigKey::UseEmulator)
        .is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            matches!(value.as_str(), "1" | "true" | "on" | "yes" | "y")
        })
}

#[cfg(test)]
mod tests;
