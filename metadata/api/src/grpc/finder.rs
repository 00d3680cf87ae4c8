//! Finding the leader: every endpoint is asked what it is, all at once, and standbys say whom to ask.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use aquifer_store::Ports;
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::Mutex;

use super::{
    Endpoint, GrpcSettings,
    connection::{Connection, TermsSeen},
    process::{ProcessRole, status_on},
};
use crate::error::MetadataError;

/// First pause between two rounds of asking, doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Longest one: a small part of a take-over.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Finds the leader and keeps the connection to it.
#[derive(Debug)]
pub(super) struct Finder {
    ports: Ports,
    settings: Arc<GrpcSettings>,
    terms: TermsSeen,
    /// Held while somebody looks for the leader: the others wait for what they find.
    current: Mutex<Option<Connection>>,
    /// For those who waited in vain.
    last: parking_lot::Mutex<Round>,
}

/// What a round of asking saw where nobody leads.
#[derive(Debug, Default)]
struct Round {
    seen: Vec<String>,
    stands_by: bool,
    lost_rows: Option<String>,
    refusal: Option<String>,
}

impl Round {
    /// What asking again does not change, if anything. Whoever stands by may lead next, whatever the others
    /// say; and one that admits this process knows more of its cluster than one that does not.
    fn verdict(&self) -> Option<MetadataError> {
        if self.stands_by {
            return None;
        }
        if let Some(reason) = self.lost_rows.clone() {
            return Some(MetadataError::LostRows { reason });
        }
        let reason = self.refusal.clone()?;
        Some(MetadataError::Refused { reason })
    }
}

/// What an endpoint is.
enum Answer {
    Leads(Connection),
    StandsBy {
        leader: Option<String>,
        seen: String,
    },
    LostRows {
        reason: String,
    },
    Unreachable {
        seen: String,
    },
    Refuses {
        reason: String,
    },
}

impl Finder {
    /// A finder that has no connection yet. `terms` is shared by all finders of a process: what one has seen
    /// is over for the others, too.
    pub(super) fn new(ports: Ports, settings: Arc<GrpcSettings>, terms: TermsSeen) -> Self {
        Self {
            ports,
            settings,
            terms,
            current: Mutex::new(None),
            last: parking_lot::Mutex::default(),
        }
    }

    /// Why no leader was found so far.
    pub(super) fn in_vain(&self) -> MetadataError {
        let last = self.last.lock();
        let searching = || MetadataError::Unavailable {
            reason: match last.seen.join("; ") {
                seen if seen.is_empty() => "no leader was found in time".to_owned(),
                seen => format!("no leader was found: {seen}"),
            },
            may_have_happened: false,
        };
        last.verdict().unwrap_or_else(searching)
    }

    /// A connection to the leader. Looks for it until it is found: the caller bounds that. Cancel safe.
    ///
    /// # Errors
    /// None leads or stands by, and an endpoint refuses this process or refuses to serve.
    pub(super) async fn leader(&self) -> Result<Connection, MetadataError> {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.as_ref().filter(|c| c.is_usable()) {
            return Ok(connection.clone());
        }
        let told = current.take().and_then(|before| before.leader_told());
        let mut told = told.and_then(|leader| leader.parse().ok());
        let mut pause = PAUSE_MIN;
        loop {
            if let Some(found) = self.ask_all(told.take()).await? {
                tracing::debug!(endpoint = %found.endpoint(), "found the metadata leader");
                metrics::counter!("aquifer_metadata_leader_found_total").increment(1);
                *self.last.lock() = Round::default();
                *current = Some(found.clone());
                return Ok(found);
            }
            let jitter = u32::try_from(self.ports.rand.next_u64() % 16).unwrap_or_default();
            self.ports.sleep(pause + pause * jitter / 32).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Asks every endpoint, and whom they name.
    async fn ask_all(&self, told: Option<Endpoint>) -> Result<Option<Connection>, MetadataError> {
        let mut asked = BTreeSet::new();
        let mut answers: FuturesUnordered<BoxFuture<'_, Answer>> = FuturesUnordered::new();
        for endpoint in told.iter().chain(&self.settings.endpoints) {
            if asked.insert(endpoint.clone()) {
                answers.push(Box::pin(self.ask(endpoint.clone())));
            }
        }
        let mut round = Round::default();
        while let Some(answer) = answers.next().await {
            match answer {
                Answer::Leads(connection) => return Ok(Some(connection)),
                Answer::StandsBy { leader, seen } => {
                    let leader = leader.and_then(|leader| leader.parse::<Endpoint>().ok());
                    if let Some(leader) = leader.filter(|leader| asked.insert(leader.clone())) {
                        answers.push(Box::pin(self.ask(leader)));
                    }
                    round.stands_by = true;
                    round.seen.push(seen);
                }
                Answer::Unreachable { seen } => round.seen.push(seen),
                Answer::LostRows { reason } => {
                    round.seen.push(reason.clone());
                    round.lost_rows = Some(reason);
                }
                Answer::Refuses { reason } => {
                    round.seen.push(reason.clone());
                    round.refusal = Some(reason);
                }
            }
        }
        let verdict = round.verdict();
        *self.last.lock() = round;
        verdict.map_or(Ok(None), Err)
    }

    /// Asks one endpoint what it is.
    async fn ask(&self, endpoint: Endpoint) -> Answer {
        let asked = self.connect_and_ask(&endpoint);
        let limit = self.settings.connect_timeout;
        let answer = self.ports.timeout(limit, asked).await;
        answer.unwrap_or_else(|| Answer::Unreachable {
            seen: format!("{endpoint} did not answer within {limit:?}"),
        })
    }

    async fn connect_and_ask(&self, endpoint: &Endpoint) -> Answer {
        let opened = Connection::open(&self.ports, &self.settings, endpoint, &self.terms);
        let connection = match opened.await {
            Ok(connection) => connection,
            Err(seen) => return Answer::Unreachable { seen },
        };
        let status = match status_on(&connection).await {
            Ok(status) => status,
            Err(MetadataError::Refused { reason }) => {
                let reason = format!("{endpoint}: {reason}");
                return Answer::Refuses { reason };
            }
            Err(error) => {
                let seen = format!("{endpoint} did not say what it is: {error}");
                return Answer::Unreachable { seen };
            }
        };
        let leader = status.leader;
        match status.role {
            ProcessRole::Leader(leading) if self.terms.see(leading.term) => {
                Answer::Leads(connection)
            }
            // it stands by as soon as it hears of that
            ProcessRole::Leader(_) => Answer::StandsBy {
                leader: None,
                seen: format!("{endpoint} leads a term that is over"),
            },
            ProcessRole::Standby => {
                let of = leader.as_deref().unwrap_or("nobody that it knows of");
                let seen = format!("{endpoint} is a standby of {of}");
                Answer::StandsBy { leader, seen }
            }
            ProcessRole::Refusing { reason } => Answer::LostRows {
                reason: format!("{endpoint}: {reason}"),
            },
        }
    }
}
