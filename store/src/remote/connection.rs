//! From settings and the AWS environment to an address, a region and credentials: the same for the
//! object client and for the administration of buckets.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig, meta::region::RegionProviderChain};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_s3::{
    Client,
    config::{
        RequestChecksumCalculation, ResponseChecksumValidation, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
};

use super::{RemoteError, S3Settings, endpoint};

/// Access keys that the program has itself, in place of those of the AWS environment.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKeys {
    /// The access key id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

impl std::fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKeys")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// How a bucket is reached.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) sdk: SdkConfig,
    pub(crate) provider: SharedCredentialsProvider,
    pub(crate) region: String,
    /// A server of one's own; None = AWS.
    pub(crate) endpoint: Option<String>,
    pub(crate) path_style: bool,
    /// The endpoint is plain http, and that is allowed.
    pub(crate) plain: bool,
}

impl Connection {
    /// Makes no request to the bucket. Where no region is configured the machine's metadata service is
    /// asked for one.
    pub(crate) async fn resolve(
        settings: &S3Settings,
        keys: Option<AccessKeys>,
    ) -> Result<Self, RemoteError> {
        choose_tls();
        let error = |reason: String| RemoteError {
            bucket: settings.bucket.clone(),
            reason,
        };
        let given = settings.region.clone().map(Region::new);
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(RegionProviderChain::first_try(given).or_default_provider());
        if let Some(AccessKeys { id, secret }) = keys {
            loader = loader.credentials_provider(Credentials::new(id, secret, None, None, "given"));
        }
        let sdk = loader.load().await;
        let provider = sdk
            .credentials_provider()
            .ok_or_else(|| error("the AWS SDK has no credentials provider".to_owned()))?;
        let endpoint = settings
            .endpoint
            .clone()
            .or_else(|| std::env::var("AWS_ENDPOINT_URL_S3").ok())
            .or_else(|| sdk.endpoint_url().map(str::to_owned));
        let region = sdk
            .region()
            .map(ToString::to_string)
            // Servers of one's own have no regions, but the signature needs a name.
            .or_else(|| endpoint.is_some().then(|| "us-east-1".to_owned()))
            .ok_or_else(|| {
                error("no region is known; set AWS_REGION or add ?region=... to the URL".to_owned())
            })?;
        let plain = endpoint::plain(endpoint.as_deref(), settings.allow_http).map_err(error)?;
        Ok(Self {
            provider,
            region,
            path_style: settings.path_style.unwrap_or(endpoint.is_some()),
            endpoint,
            plain,
            sdk,
        })
    }

    /// The SDK's client, which tries again by itself.
    pub(crate) fn client(&self) -> Client {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(3))
            .operation_attempt_timeout(Duration::from_secs(10))
            .operation_timeout(Duration::from_secs(25))
            .build();
        let mut config = aws_sdk_s3::config::Builder::from(&self.sdk)
            .credentials_provider(self.provider.clone())
            .region(aws_sdk_s3::config::Region::new(self.region.clone()))
            .force_path_style(self.path_style)
            .timeout_config(timeouts)
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(4)
                    .with_initial_backoff(Duration::from_millis(100)),
            )
            // Servers other than AWS know fewer kinds of checksums.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Client::from_conf(config.build())
    }
}

/// The SDK and `object_store` must agree on one TLS provider.
pub(super) fn choose_tls() {
    // An error means that there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
