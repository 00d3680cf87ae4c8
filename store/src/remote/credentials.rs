//! Credentials of the AWS SDK for `object_store`'s client.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use async_trait::async_trait;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use object_store::{CredentialProvider, aws::AwsCredential};
use tokio::sync::Mutex;
use tracing::warn;

use super::failure::chain;
use crate::runtime::{Clock, Monotonic, UnixMillis};

/// How long before they expire credentials are fetched anew: longer than any request takes.
const REFRESH_BEFORE: Duration = Duration::from_secs(5 * 60);

/// How long credentials that do not expire are kept: a changed profile file is noticed after this time.
const KEPT_FOR: Duration = Duration::from_secs(15 * 60);

/// How long after a failed refresh the old credentials are used before the next try.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Fetches credentials through the SDK's chain and keeps them until shortly before they expire.
#[derive(Debug)]
pub(super) struct SdkCredentials {
    provider: SharedCredentialsProvider,
    clock: Arc<dyn Clock>,
    /// Held while fetching, so that many requests cause one fetch.
    kept: Mutex<Option<Kept>>,
}

#[derive(Clone, Debug)]
struct Kept {
    credential: Arc<AwsCredential>,
    expires: Option<UnixMillis>,
    refresh_at: Monotonic,
}

impl SdkCredentials {
    pub(super) fn new(provider: SharedCredentialsProvider, clock: Arc<dyn Clock>) -> Self {
        Self {
            provider,
            clock,
            kept: Mutex::new(None),
        }
    }

    /// Drops what is kept: the server has called it expired.
    pub(super) async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    async fn fetch(&self) -> Result<Kept, String> {
        let found = self
            .provider
            .provide_credentials()
            .await
            .map_err(|error| chain(&error))?;
        let expires = found.expiry().map(|at| {
            let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
            UnixMillis::try_from(since.as_millis()).unwrap_or(UnixMillis::MAX)
        });
        let lifetime = expires.map_or(KEPT_FOR, |at| {
            let millis = at.saturating_sub(self.clock.unix_millis());
            Duration::from_millis(u64::try_from(millis).unwrap_or(0)).saturating_sub(REFRESH_BEFORE)
        });
        Ok(Kept {
            credential: Arc::new(AwsCredential {
                key_id: found.access_key_id().to_owned(),
                secret_key: found.secret_access_key().to_owned(),
                token: found.session_token().map(str::to_owned),
            }),
            expires,
            refresh_at: self.clock.now().plus(lifetime),
        })
    }
}

#[async_trait]
impl CredentialProvider for SdkCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = &*kept
            && self.clock.now() < kept.refresh_at
        {
            return Ok(Arc::clone(&kept.credential));
        }
        match self.fetch().await {
            Ok(fresh) => {
                let credential = Arc::clone(&fresh.credential);
                *kept = Some(fresh);
                Ok(credential)
            }
            Err(reason) => match &mut *kept {
                Some(old) if old.expires.is_none_or(|at| at > self.clock.unix_millis()) => {
                    warn!(
                        reason,
                        "credentials could not be renewed; the old ones still hold"
                    );
                    old.refresh_at = self.clock.now().plus(RETRY_AFTER);
                    Ok(Arc::clone(&old.credential))
                }
                _ => Err(object_store::Error::Unauthenticated {
                    path: String::new(),
                    source: format!(
                        "no AWS credentials ({reason}); set AWS_ACCESS_KEY_ID and \
                         AWS_SECRET_ACCESS_KEY, a profile, or give the machine a role"
                    )
                    .into(),
                }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        time::SystemTime,
    };

    use aws_credential_types::{
        Credentials,
        provider::{error::CredentialsError, future},
    };

    use super::*;
    use crate::runtime::Ports;

    /// Gives credentials that live an hour, named by a counter; fails while told to.
    #[derive(Clone, Debug)]
    struct Chain {
        calls: Arc<AtomicU64>,
        broken: Arc<std::sync::atomic::AtomicBool>,
        clock: Arc<dyn Clock>,
    }

    impl ProvideCredentials for Chain {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let call = self.calls.fetch_add(1, Ordering::Relaxed);
            let now = u64::try_from(self.clock.unix_millis()).unwrap();
            let expiry: SystemTime = UNIX_EPOCH + Duration::from_millis(now + 3_600_000);
            future::ProvideCredentials::ready(if self.broken.load(Ordering::Relaxed) {
                Err(CredentialsError::not_loaded("nothing there"))
            } else {
                Ok(Credentials::new(
                    format!("key-{call}"),
                    "secret",
                    None,
                    Some(expiry),
                    "test",
                ))
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_are_kept_renewed_early_and_used_as_long_as_they_hold() {
        let ports = Ports::simulated(1, 1_700_000_000_000);
        let chain = Chain {
            calls: Arc::default(),
            broken: Arc::default(),
            clock: Arc::clone(&ports.clock),
        };
        let provider = SharedCredentialsProvider::new(chain.clone());
        let credentials = SdkCredentials::new(provider, Arc::clone(&ports.clock));
        let key = || async {
            let found = credentials.get_credential().await;
            found
                .map(|found| found.key_id.clone())
                .map_err(|e| e.to_string())
        };
        let minutes = |minutes: u64| ports.sleep(Duration::from_secs(60 * minutes));
        assert_eq!(key().await.unwrap(), "key-0");
        minutes(54).await;
        assert_eq!(key().await.unwrap(), "key-0");
        minutes(2).await;
        assert_eq!(key().await.unwrap(), "key-1");
        chain.broken.store(true, Ordering::Relaxed);
        minutes(57).await;
        assert_eq!(
            key().await.unwrap(),
            "key-1",
            "they hold for 3 minutes more"
        );
        minutes(4).await;
        let error = key().await.unwrap_err();
        assert!(error.contains("AWS_ACCESS_KEY_ID"), "{error}");
        chain.broken.store(false, Ordering::Relaxed);
        assert!(key().await.is_ok());
        let calls = chain.calls.load(Ordering::Relaxed);
        credentials.forget().await;
        assert_eq!(key().await.unwrap(), format!("key-{calls}"));
    }
}
