//! The lease: taken at start, renewed by a task of its own.
//!
//! The fence alone makes appends safe. The lease says for how long nobody else can have raised the
//! fence, so that reads which append nothing may be answered without asking the journal.

use std::{sync::Arc, time::Duration};

use aquifer_format::ids::LeaderTerm;
use aquifer_store::{Monotonic, Ports};
use tokio::sync::{Notify, watch};

use crate::{
    journal::{Journal, JournalError, Lease, LeaseOutcome},
    leader::StopReason,
};

/// Who asks, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct LeaseTerms {
    pub(crate) holder: String,
    pub(crate) endpoint: String,
    pub(crate) ttl: Duration,
}

/// How the lease stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody else can have it before this time.
    HeldUntil(Monotonic),
    /// Another one has it.
    Lost {
        /// Whose it is now.
        by: LeaderTerm,
    },
}

impl Standing {
    /// Why a leader of `term` may not go on; None = it may.
    pub(crate) fn ends(&self, term: LeaderTerm) -> Option<StopReason> {
        match *self {
            Self::HeldUntil(_) => None,
            // terms only rise
            Self::Lost { by } if by < term => Some(StopReason::LostRows {
                seen: format!("the lease is of term {by}, below this leader's {term}"),
            }),
            Self::Lost { by } => Some(StopReason::Deposed { by: Some(by) }),
        }
    }
}

/// The sequencer's view of the lease.
#[derive(Debug)]
pub(crate) struct LeaseView {
    pub(crate) standing: watch::Receiver<Standing>,
    wanted: Arc<Notify>,
    ttl: Duration,
}

impl LeaseView {
    /// See [`Standing::ends`].
    pub(crate) fn ends(&self, term: LeaderTerm) -> Option<StopReason> {
        self.standing.borrow().ends(term)
    }

    /// Whether nobody else can lead at `now`.
    pub(crate) fn is_sure(&self, now: Monotonic) -> bool {
        matches!(&*self.standing.borrow(), Standing::HeldUntil(until) if now < *until)
    }

    /// Whether a renewal that was asked for at `at` or later succeeded.
    pub(crate) fn was_renewed_after(&self, at: Monotonic) -> bool {
        let least = sure_until(at, self.ttl);
        matches!(&*self.standing.borrow(), Standing::HeldUntil(until) if *until >= least)
    }

    /// Asks for a renewal at once.
    pub(crate) fn want(&self) {
        self.wanted.notify_one();
    }
}

/// Until when a lease that was asked for at `asked` is surely held: a tenth is kept for clocks that run
/// at different rates.
pub(crate) fn sure_until(asked: Monotonic, ttl: Duration) -> Monotonic {
    asked.plus(ttl - ttl / 10)
}

/// Takes the lease, waiting for as long as another holds it.
pub(crate) async fn take(
    ports: &Ports,
    journal: &dyn Journal,
    terms: &LeaseTerms,
) -> Result<(Lease, Monotonic), JournalError> {
    let mut doubts = 0;
    let mut told = None;
    loop {
        let asked = ports.clock.now();
        let asking = journal.lease(None, &terms.holder, &terms.endpoint, terms.ttl);
        match asking.await {
            Ok(LeaseOutcome::Held(lease)) => return Ok((lease, sure_until(asked, terms.ttl))),
            Ok(LeaseOutcome::HeldBy(other)) => {
                if told.as_ref() != Some(&other) {
                    tracing::info!(holder = other.holder, endpoint = other.endpoint, term = %other.term, "another leads; waiting for its lease to end");
                    told = Some(other);
                }
                ports.sleep(terms.ttl / 6).await;
            }
            Err(JournalError::InDoubt { reason }) if doubts < 10 => {
                doubts += 1;
                tracing::warn!(reason, "taking the lease is in doubt; trying again");
                ports.sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Starts the task that renews the lease of `term`, which is held until `until`, as long as somebody
/// looks at it.
pub(crate) fn keep(
    ports: &Ports,
    journal: Arc<dyn Journal>,
    terms: LeaseTerms,
    term: LeaderTerm,
    until: Monotonic,
) -> LeaseView {
    let (tell, standing) = watch::channel(Standing::HeldUntil(until));
    let wanted = Arc::new(Notify::new());
    let nudges = Arc::clone(&wanted);
    let task_ports = ports.clone();
    let ttl = terms.ttl;
    ports.tasks.spawn(async move {
        let mut pause = terms.ttl / 3;
        loop {
            let next = task_ports.clock.now().plus(pause);
            tokio::select! {
                biased;
                () = tell.closed() => return,
                () = nudges.notified() => {}
                () = task_ports.clock.sleep_until(next) => {}
            }
            match renew(&task_ports, &*journal, &terms, term).await {
                Ok(standing) => {
                    let lost = matches!(standing, Standing::Lost { .. });
                    tell.send_replace(standing);
                    if lost {
                        return;
                    }
                    pause = terms.ttl / 3;
                }
                Err(reason) => {
                    tracing::warn!(reason, "the lease could not be renewed; trying again");
                    pause = terms.ttl / 15;
                    // a nudge that came meanwhile must not turn an outage into a busy loop
                    task_ports.sleep(pause).await;
                }
            }
        }
    });
    LeaseView {
        standing,
        wanted,
        ttl,
    }
}

/// Gives the lease of `term` up, so that the next leader need not wait.
pub(crate) async fn release(
    ports: &Ports,
    journal: &dyn Journal,
    term: LeaderTerm,
    patience: Duration,
) {
    let reason = match ports.timeout(patience, journal.release(term)).await {
        Some(Ok(())) => return,
        Some(Err(error)) => error.to_string(),
        None => format!("no answer in {patience:?}"),
    };
    tracing::warn!(reason, "the lease was not given up; it runs out by itself");
}

async fn renew(
    ports: &Ports,
    journal: &dyn Journal,
    terms: &LeaseTerms,
    term: LeaderTerm,
) -> Result<Standing, String> {
    let asked = ports.clock.now();
    let asking = journal.lease(Some(term), &terms.holder, &terms.endpoint, terms.ttl);
    match ports.timeout(terms.ttl, asking).await {
        Some(Ok(LeaseOutcome::Held(_))) => Ok(Standing::HeldUntil(sure_until(asked, terms.ttl))),
        Some(Ok(LeaseOutcome::HeldBy(other))) => Ok(Standing::Lost { by: other.term }),
        Some(Err(error)) => Err(error.to_string()),
        None => Err(format!("no answer in {:?}", terms.ttl)),
    }
}
