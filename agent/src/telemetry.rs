//! Metrics that clients push (KIP-714): who may push what and when, and what is kept of it.
//!
//! Every client that asks has a subscription, which is the same on every agent. Where metrics are dropped it
//! names no metric, and clients push none. Where they are kept it names all, and what arrives is expanded
//! and counted; the figures themselves are not looked into. Rules and their order follow Kafka's
//! `ClientMetricsManager`.

mod instances;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use aquifer_format::codec::{Codec, CodecError};
use aquifer_store::{Clock, Monotonic, Ports, Rand};
use bytes::Bytes;
use metrics::{counter, gauge};
use parking_lot::Mutex;
use uuid::Uuid;

use self::instances::{Instance, Instances};
use crate::placement::{hash_u128, mix};

/// Codecs that clients may use, the best first, as in Kafka; without compression is fine, too.
pub(crate) const CODECS: [Codec; 4] = [Codec::Zstd, Codec::Lz4, Codec::Gzip, Codec::Snappy];
/// All metrics, in a subscription.
const ALL_METRICS: &str = "*";
/// Ids that no client instance may have; Kafka reserves them.
const RESERVED: [Uuid; 2] = [Uuid::nil(), Uuid::from_u128(1)];

/// What becomes of the metrics that clients push.
#[derive(Clone, Debug)]
pub struct TelemetrySettings {
    /// Whether clients are asked for metrics, and what they push is counted. Off: most clusters watch their
    /// clients where they run.
    pub kept: bool,
    /// How often a client pushes, or asks for its subscription where it has nothing to push. 5 minutes is
    /// Kafka's default.
    pub push_interval: Duration,
    /// Clients that are remembered at a time, about 200 bytes each; of more, the one that was silent for
    /// longest is forgotten and may push before its time. 16,384 as in Kafka.
    pub instances_max: usize,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            kept: false,
            push_interval: Duration::from_secs(300),
            instances_max: 16_384,
        }
    }
}

/// What a client is told to push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// The client's id, given here if it had none.
    pub(crate) instance: Uuid,
    /// Changes with what is asked for.
    pub(crate) id: i32,
    /// How often.
    pub(crate) push_interval: Duration,
    /// How the names of the wanted metrics begin.
    pub(crate) metrics: Vec<&'static str>,
}

/// Metrics that a client pushes.
#[derive(Clone, Debug)]
pub(crate) struct Push {
    pub(crate) instance: Uuid,
    pub(crate) subscription: i32,
    /// Whether the client ends, and this is its last push.
    pub(crate) terminating: bool,
    /// Kafka's number of the codec.
    pub(crate) codec: i8,
    pub(crate) metrics: Bytes,
}

/// Why a client gets no subscription, or its push is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TelemetryError {
    #[error("the client instance has no valid id, or has ended")]
    Invalid,
    #[error("it came before the push interval was over")]
    Throttled,
    #[error("it names another subscription than the client has")]
    UnknownSubscription,
    #[error("its codec is unknown")]
    UnsupportedCodec,
    #[error("it is larger than telemetry.max.bytes")]
    TooLarge,
    #[error("it cannot be expanded")]
    Corrupt,
}

impl TelemetryError {
    fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Throttled => "throttled",
            Self::UnknownSubscription => "unknown subscription",
            Self::UnsupportedCodec => "unsupported codec",
            Self::TooLarge => "too large",
            Self::Corrupt => "corrupt",
        }
    }
}

/// The clients that push, or may.
pub struct Telemetry {
    settings: TelemetrySettings,
    clock: Arc<dyn Clock>,
    rand: Arc<dyn Rand>,
    instances: Mutex<Instances>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Without any client.
    pub(crate) fn new(settings: TelemetrySettings, ports: &Ports) -> Self {
        Self {
            instances: Mutex::new(Instances::new(
                settings.instances_max,
                settings.push_interval,
            )),
            settings,
            clock: Arc::clone(&ports.clock),
            rand: Arc::clone(&ports.rand),
        }
    }

    /// The subscription of a client; one without an id is given one.
    pub(crate) fn subscribe(&self, instance: Uuid) -> Result<Subscription, TelemetryError> {
        let instance = if instance.is_nil() {
            self.new_instance()
        } else {
            instance
        };
        let now = self.clock.now();
        let allowed = self.with(instance, now, |known, interval| {
            known.may_ask(now, interval)
        });
        if !allowed {
            return Err(TelemetryError::Throttled);
        }
        let wanted = if self.settings.kept {
            vec![ALL_METRICS]
        } else {
            Vec::new()
        };
        Ok(Subscription {
            id: self.subscription_id(instance),
            instance,
            push_interval: self.settings.push_interval,
            metrics: wanted,
        })
    }

    /// Takes in what a client pushes, of at most `bytes_max` bytes.
    pub(crate) fn push(&self, push: &Push, bytes_max: u32) -> Result<(), TelemetryError> {
        let taken = self.try_push(push, bytes_max);
        let result = match &taken {
            Ok(()) if self.settings.kept => "kept",
            Ok(()) => "dropped",
            Err(error) => error.name(),
        };
        counter!("aquifer_client_telemetry_pushes_total", "result" => result).increment(1);
        taken
    }

    fn try_push(&self, push: &Push, bytes_max: u32) -> Result<(), TelemetryError> {
        if RESERVED.contains(&push.instance) {
            return Err(TelemetryError::Invalid);
        }
        let now = self.clock.now();
        let id = self.subscription_id(push.instance);
        let codec = self.with(push.instance, now, |known, interval| {
            let checked = check(known, push, id, bytes_max, now, interval);
            known.ends(push.terminating);
            known.note(checked.err());
            checked
        })?;
        if !self.settings.kept || push.metrics.is_empty() {
            return Ok(());
        }
        let expanded = expand(codec, &push.metrics, bytes_max);
        let mut instances = self.instances.lock();
        match expanded {
            Ok(bytes) => instances.pushed(push.instance, bytes),
            Err(error) => instances.touch(push.instance, now).note(Some(error)),
        }
        show(&instances);
        let bytes = u64::try_from(expanded?).unwrap_or(u64::MAX);
        counter!("aquifer_client_telemetry_bytes_total").increment(bytes);
        Ok(())
    }

    /// Does something with what is known of a client.
    fn with<T>(
        &self,
        instance: Uuid,
        now: Monotonic,
        act: impl FnOnce(&mut Instance, Duration) -> T,
    ) -> T {
        let mut instances = self.instances.lock();
        let done = act(instances.touch(instance, now), self.settings.push_interval);
        show(&instances);
        done
    }

    fn new_instance(&self) -> Uuid {
        let half = || u128::from(self.rand.next_u64());
        uuid::Builder::from_random_bytes(((half() << 64) | half()).to_be_bytes()).into_uuid()
    }

    /// The same on every agent with the same settings.
    fn subscription_id(&self, instance: Uuid) -> i32 {
        let interval = u64::try_from(self.settings.push_interval.as_millis()).unwrap_or(u64::MAX);
        let wanted = mix(interval ^ u64::from(self.settings.kept));
        let hash = mix(wanted ^ hash_u128(instance.as_u128())).to_be_bytes();
        i32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
    }
}

/// Checks a push, in Kafka's order.
fn check(
    known: &mut Instance,
    push: &Push,
    subscription: i32,
    bytes_max: u32,
    now: Monotonic,
    interval: Duration,
) -> Result<Codec, TelemetryError> {
    if known.has_ended() {
        return Err(TelemetryError::Invalid);
    }
    if !known.may_push(now, interval) && !push.terminating {
        return Err(TelemetryError::Throttled);
    }
    if push.subscription != subscription {
        return Err(TelemetryError::UnknownSubscription);
    }
    let codec = Codec::from_code(i16::from(push.codec)).ok_or(TelemetryError::UnsupportedCodec)?;
    if u32::try_from(push.metrics.len()).is_ok_and(|bytes| bytes <= bytes_max) {
        Ok(codec)
    } else {
        Err(TelemetryError::TooLarge)
    }
}

/// How large metrics are, expanded.
fn expand(codec: Codec, metrics: &Bytes, bytes_max: u32) -> Result<usize, TelemetryError> {
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    match codec.expand(metrics, bytes_max) {
        Ok(expanded) => Ok(expanded.len()),
        Err(CodecError::TooLarge { .. }) => Err(TelemetryError::TooLarge),
        Err(_) => Err(TelemetryError::Corrupt),
    }
}

/// Says how the clients are.
fn show(instances: &Instances) {
    gauge!("aquifer_client_telemetry_instances").set(float(instances.len()));
    gauge!("aquifer_client_telemetry_pushing_instances").set(float(instances.pushing()));
    gauge!("aquifer_client_telemetry_last_push_bytes").set(float(instances.bytes()));
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
