//! Whose bucket it is, and what only that service says.

/// A service of buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// S3 and what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage, whose buckets are called containers.
    Azure,
}

impl Service {
    /// Scheme of its URLs.
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }

    /// What to do where the bucket is not there.
    pub(super) fn missing_bucket(self) -> &'static str {
        match self {
            Self::S3 | Self::Google => "create the bucket, or correct its name",
            Self::Azure => "create the container, or correct its name or the account's",
        }
    }

    /// What to do where the credentials are not accepted.
    pub(super) fn wrong_credentials(self) -> &'static str {
        match self {
            Self::S3 => "check the AWS credentials",
            Self::Google => {
                "check the Google credentials: GOOGLE_APPLICATION_CREDENTIALS, GOOGLE_SERVICE_ACCOUNT_KEY or \
                 the machine's service account"
            }
            Self::Azure => {
                "check the Azure credentials (AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, AZURE_CLIENT_ID \
                 with AZURE_TENANT_ID, or the machine's identity) and this machine's clock"
            }
        }
    }

    /// What to do where the credentials have too few rights.
    pub(super) fn missing_rights(self) -> &'static str {
        match self {
            Self::S3 => {
                "allow s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload, s3:ListBucket and \
                 s3:ListBucketMultipartUploads on it"
            }
            Self::Google => {
                "grant the role Storage Object User (roles/storage.objectUser) on the bucket"
            }
            Self::Azure => {
                "grant the role Storage Blob Data Contributor on the container; if the account has a firewall, \
                 admit this network"
            }
        }
    }
}
