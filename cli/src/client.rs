//! The Kafka client behind the operator's commands.

use std::{sync::Mutex, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use rdkafka::{
    ClientConfig, ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::ConsumerContext,
    error::KafkaError,
    types::RDKafkaErrorCode,
};

use crate::arguments::Bootstrap;

/// Passes the client's log on and remembers the last error, which says more than the time-out that
/// follows it.
#[derive(Debug, Default)]
pub(crate) struct Context {
    last_error: Mutex<Option<String>>,
}

impl Context {
    /// What the client said last of its connections.
    pub(crate) fn last_error(&self) -> Option<String> {
        let guard = self.last_error.lock();
        guard
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug => tracing::trace!(facility, "{message}"),
            // Its warnings repeat what comes as an error, or speak of settings of ours.
            _ => tracing::debug!(facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "{reason}");
        let mut last = self
            .last_error
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *last = Some(reason.to_owned());
    }
}

impl ConsumerContext for Context {}

/// Settings that every command's client has. Later ones win, so `--client-setting` comes last.
pub(crate) fn config(bootstrap: &Bootstrap, own: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &bootstrap.bootstrap)
        .set("client.id", "aquifer-cli");
    for (key, value) in own {
        config.set(*key, *value);
    }
    for setting in &bootstrap.client_setting {
        config.set(&setting.key, &setting.value);
    }
    config
}

/// Makes a client.
pub(crate) fn create<C, T>(config: &ClientConfig, context: C) -> Result<T>
where
    C: ClientContext,
    T: FromClientConfigAndContext<C>,
{
    config
        .create_with_context(context)
        .context("the Kafka client does not take these settings")
}

/// Says what a failed call means, with what the client saw before.
pub(crate) fn explain(
    error: &KafkaError,
    context: &Context,
    bootstrap: &Bootstrap,
) -> anyhow::Error {
    let unreachable = matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
        )
    );
    if !unreachable {
        return match error.rdkafka_error_code() {
            Some(code) => anyhow!("{code}"),
            None => anyhow!("{error}"),
        };
    }
    let seen = context
        .last_error()
        .map(|seen| format!(" ({seen})"))
        .unwrap_or_default();
    anyhow!(
        "no Kafka cluster answers at {}{seen}; start one with `aquifer dev`, or name another with \
         --bootstrap",
        bootstrap.bootstrap
    )
}

/// The time-out of calls.
pub(crate) fn timeout(bootstrap: &Bootstrap) -> Duration {
    bootstrap.timeout.0
}
