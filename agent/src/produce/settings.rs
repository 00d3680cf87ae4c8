//! Settings of the produce path, with the price of each choice.

use std::time::Duration;

/// Settings of the produce path.
#[derive(Clone, Debug)]
pub struct ProduceSettings {
    /// When the open buffer becomes an object. None = what fits the store:
    /// [`FlushSettings::priced`] where each request costs money, [`FlushSettings::unpriced`] where
    /// none does.
    pub flush: Option<FlushSettings>,
    /// Record bytes that may be buffered or on their way to the bucket, over all connections. Past
    /// it, sockets are not read. 256 MiB: 32 objects of 8 MiB, which is what 100 ms of PUT latency
    /// need at 2.5 GB/s.
    pub bytes_in_flight_max: u32,
    /// Uploads at one time; past it the buffer grows instead. 64: with 8 MiB objects the bytes above
    /// are the limit, with small ones (a slow folder, say) this one makes them larger.
    pub uploads_in_flight_max: usize,
    /// Level of zstd for blocks whose batches came uncompressed; None = they are stored as they
    /// came. Level 1 costs about 2 ms of one core per MiB and makes typical text a third of its
    /// size: bytes that are neither stored, nor sent to the bucket, nor read back.
    pub block_compression_level: Option<i32>,
    /// Where objects are built.
    pub compute: Compute,
    /// How uploads are tried again.
    pub upload: UploadSettings,
    /// Longest time until a request is answered REQUEST_TIMED_OUT, its outcome unknown. 25 s is below
    /// the 30 s after which stock clients give up the connection.
    pub answer_max: Duration,
    /// Shortest such time, whatever timeout a request names: an object takes longer than the few
    /// milliseconds that a client with a timeout of 0 grants.
    pub answer_min: Duration,
    /// Requests that a stock producer has under way on one connection
    /// (`max.in.flight.requests.per.connection`): with so many unanswered it can send no more.
    pub requests_per_connection: usize,
    /// `throttle_time_ms` while the metadata budget is over 80 %.
    pub throttle: Duration,
}

impl Default for ProduceSettings {
    fn default() -> Self {
        Self {
            flush: None,
            bytes_in_flight_max: 256 * 1024 * 1024,
            uploads_in_flight_max: 64,
            block_compression_level: Some(1),
            compute: Compute::Blocking,
            upload: UploadSettings::default(),
            answer_max: Duration::from_secs(25),
            answer_min: Duration::from_secs(1),
            requests_per_connection: 5,
            throttle: Duration::from_millis(500),
        }
    }
}

/// Where CPU-heavy work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compute {
    /// On threads for blocking work, so that connections are served meanwhile.
    Blocking,
    /// In the task itself: the simulation, whose order of events must not depend on threads.
    Inline,
}

/// When the open buffer is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushSettings {
    /// (a) Seal at this many bytes. Larger objects cost fewer PUTs per byte and more memory.
    pub bytes_max: u64,
    /// (b) Seal at this many bytes if [`Self::interval_min`] has passed since the last seal.
    pub bytes_soft: u64,
    /// (b), (c) Shortest time between two seals that are not forced by bytes or time. 50 ms = at most
    /// 20 PUTs per second and agent, $260 a month at $5 per million, reached only under load.
    /// (f) Seal this long after the first byte, if there is a token: where many clients send, no quiet
    /// time may come.
    pub interval_min: Duration,
    /// (d) Seal after this long without a byte, if there is a token. It is the part of the latency
    /// that a lone request pays for being batched with others: stock producers send what they have
    /// for several partitions within about a millisecond.
    pub quiet: Duration,
    /// (e) Seal this long after the first byte.
    pub interval_max: Duration,
    /// PUTs that (d) and (f) may count on; None = no limit.
    pub budget: Option<PutBudget>,
}

/// A budget of PUTs: each one takes a token, only (d) and (f) wait for one. Tokens come with time or with
/// bytes, whichever brings more.
///
/// Bytes count because of clients that wait: librdkafka with idempotence has one request per partition
/// under way, whatever its window (its `rktp_msgs_inflight` counts records where requests are meant, up
/// to 2.12 at least), so that each flush is a turn of all its partitions, and no window is ever full.
/// With two such producers at 11 MB/s on two agents and PUTs of 72 ms, 4 tokens/s make turns of 250 ms
/// and a median of 380 ms at the producer, which waits for one and a half of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutBudget {
    /// Time in which one token comes. 250 ms = 4/s, at most $52 a month and agent at $5 per million
    /// PUTs.
    pub token_every: Duration,
    /// Bytes with which one token comes. 256 KiB = at most $0.02 per GiB at that price, and less per
    /// GiB the more than 5 MiB/s an agent takes in, by the next bound.
    pub token_bytes: u64,
    /// Shortest time in which bytes bring a token. 50 ms = 20/s, as many as `interval_min` allows the
    /// other rules.
    pub token_bytes_every: Duration,
    /// Most tokens that are saved up: so many lone requests in a row have low latency.
    pub burst: u32,
}

impl FlushSettings {
    /// For buckets whose requests cost money.
    #[must_use]
    pub fn priced() -> Self {
        Self {
            bytes_max: 8 * 1024 * 1024,
            bytes_soft: 2 * 1024 * 1024,
            interval_min: Duration::from_millis(50),
            quiet: Duration::from_millis(2),
            interval_max: Duration::from_millis(250),
            budget: Some(PutBudget {
                token_every: Duration::from_millis(250),
                token_bytes: 256 * 1024,
                token_bytes_every: Duration::from_millis(50),
                burst: 40,
            }),
        }
    }

    /// For S3 Express buckets: requests cost half, and a PUT takes single-digit milliseconds.
    #[must_use]
    pub fn express() -> Self {
        Self::priced().with_interval(Duration::from_millis(10))
    }

    /// For stores whose requests are free (a folder, memory).
    #[must_use]
    pub fn unpriced() -> Self {
        Self {
            interval_min: Duration::from_millis(5),
            interval_max: Duration::from_millis(5),
            budget: None,
            ..Self::priced()
        }
    }

    /// The same with another [`Self::interval_max`]; what goes with it follows. A token comes per
    /// interval: who lets an object wait for 10 ms at most pays for 100 PUTs/s under load by (e) alone, and
    /// holding (d) to fewer of them would cost latency and save nothing. Who lets it wait for longer than
    /// 250 ms wants fewer PUTs: those that load brings come at most five times in an interval.
    #[must_use]
    pub fn with_interval(self, interval: Duration) -> Self {
        let spaced = |time: Duration| time.max(interval / 5).min(interval);
        Self {
            interval_min: spaced(self.interval_min),
            quiet: self.quiet.min(interval),
            interval_max: interval,
            budget: self.budget.map(|budget| PutBudget {
                token_every: interval,
                token_bytes_every: spaced(budget.token_bytes_every),
                ..budget
            }),
            ..self
        }
    }
}

/// How uploads are tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadSettings {
    /// A PUT that is not answered after this long is sent again under another key, and both are
    /// waited for. 1 s is ten times what 8 MiB take on a healthy bucket.
    pub overdue: Duration,
    /// How often that is done.
    pub resends_max: u32,
    /// Pause before a failed PUT is sent again.
    pub back_off: Duration,
    /// After this long, with all resends under way, the upload has failed and its requests are
    /// answered with a retriable error: before clients give up on their own.
    pub give_up: Duration,
}

impl Default for UploadSettings {
    fn default() -> Self {
        Self {
            overdue: Duration::from_secs(1),
            resends_max: 3,
            back_off: Duration::from_millis(100),
            give_up: Duration::from_secs(15),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_with_the_interval_follows_it() {
        let priced = FlushSettings::priced();
        assert_eq!(priced.with_interval(priced.interval_max), priced);
        let millis = |settings: FlushSettings| {
            let budget = settings.budget.unwrap();
            [
                settings.quiet,
                settings.interval_min,
                settings.interval_max,
                budget.token_every,
                budget.token_bytes_every,
            ]
            .map(|time| time.as_millis())
        };
        let with = |ms| millis(priced.with_interval(Duration::from_millis(ms)));
        assert_eq!(with(1), [1; 5]);
        assert_eq!(with(10), [2, 10, 10, 10, 10]);
        assert_eq!(with(1_000), [2, 200, 1_000, 1_000, 200]);
        assert_eq!(millis(FlushSettings::express()), with(10));
        let folder = FlushSettings::unpriced().with_interval(Duration::from_secs(1));
        assert_eq!(folder.budget, None);
    }
}
