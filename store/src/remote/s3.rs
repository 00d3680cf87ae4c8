//! S3 and what speaks its protocol. Credentials come from the AWS SDK's default chain (environment, profile,
//! SSO, web identity, container, instance).

use std::sync::Arc;

use object_store::aws::AmazonS3Builder;

use super::{
    AccessKeys, RemoteError, RemoteStore, Sdk, Service, client_options, connection::Connection,
    credentials::SdkCredentials, no_retries,
};
use crate::runtime::Clock;

/// Where a bucket is and how to talk to it. What is None comes from the AWS environment (`AWS_REGION`,
/// `AWS_ENDPOINT_URL_S3`, profile, ...).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Settings {
    /// Name of the bucket.
    pub bucket: String,
    /// Goes before each key, with a slash between; empty = none.
    pub prefix: String,
    /// The region.
    pub region: Option<String>,
    /// Address of an S3-compatible server.
    pub endpoint: Option<String>,
    /// Whether the bucket is named in the path rather than in the host name. The default is yes with an
    /// endpoint of one's own (few of these servers have wildcard names) and no on AWS.
    pub path_style: Option<bool>,
    /// Whether plain http is allowed. The default is no, but for endpoints on this machine.
    pub allow_http: Option<bool>,
    /// Whether requests cost money; the default is yes.
    pub priced: bool,
}

impl S3Settings {
    /// Sets the client up; no request to the bucket is made. Where no region is configured the machine's
    /// metadata service is asked for one.
    ///
    /// # Errors
    /// Settings that cannot work.
    pub async fn open(self, clock: Arc<dyn Clock>) -> Result<RemoteStore, RemoteError> {
        self.open_with(None, clock).await
    }

    /// The same with access keys of the program's own, where they are given.
    ///
    /// # Errors
    /// Settings that cannot work.
    pub async fn open_with(
        self,
        keys: Option<AccessKeys>,
        clock: Arc<dyn Clock>,
    ) -> Result<RemoteStore, RemoteError> {
        let connection = Connection::resolve(&self, keys).await?;
        let sdk = Arc::new(Sdk::new(connection.clone()));
        let credentials = Arc::new(SdkCredentials::new(connection.provider, clock));
        let express = self.bucket.ends_with("--x-s3");
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&self.bucket)
            .with_region(connection.region)
            .with_credentials(Arc::clone(&credentials) as _)
            .with_s3_express(express)
            .with_virtual_hosted_style_request(!connection.path_style)
            .with_retry(no_retries())
            .with_client_options(client_options());
        if let Some(endpoint) = connection.endpoint {
            let plain = connection.plain;
            builder = builder.with_endpoint(endpoint).with_allow_http(plain);
        }
        let client = builder.build().map_err(|error| RemoteError {
            bucket: self.bucket.clone(),
            reason: error.to_string(),
        })?;
        Ok(RemoteStore {
            client: Arc::new(client),
            service: Service::S3,
            bucket: self.bucket,
            prefix: self.prefix,
            priced: self.priced,
            lists_in_order: !express,
            credentials: Some(credentials),
            sdk: Some(sdk),
        })
    }
}
