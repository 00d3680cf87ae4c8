//! The task that appends rows: one at a time, the same row again until its fate is known.

use std::{sync::Arc, time::Duration};

use aquifer_format::ids::{JournalSeq, LeaderTerm};
use aquifer_store::{Monotonic, Ports};
use tokio::sync::mpsc;

use crate::{
    event::{Event, encode_row},
    journal::{Appended, Journal, JournalError, Row, RowHash},
    leader::StopReason,
};

/// An append that has not answered by then is in doubt. No journal takes as long, short of an outage.
const APPEND_TIMEOUT: Duration = Duration::from_secs(10);
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// A group whose row is to be appended.
pub(crate) struct Work {
    pub(crate) seq: JournalSeq,
    pub(crate) events: Vec<Event>,
}

/// What became of it.
pub(crate) enum Written {
    /// The row is durable.
    Durable(JournalSeq, RowHash),
    /// It is not and never will be.
    Stop(StopReason),
}

/// The sequencer's end: at most one row is under way.
pub(crate) struct JournalWriter {
    pub(crate) work: mpsc::Sender<Work>,
    pub(crate) written: mpsc::Receiver<Written>,
}

/// Starts the task; the next row follows `tail`.
pub(crate) fn start(
    ports: &Ports,
    journal: Arc<dyn Journal>,
    term: LeaderTerm,
    tail: RowHash,
) -> JournalWriter {
    let (work, mut rows) = mpsc::channel::<Work>(1);
    let (done, written) = mpsc::channel(1);
    let task_ports = ports.clone();
    ports.tasks.spawn(async move {
        let mut previous = tail;
        while let Some(Work { seq, events }) = rows.recv().await {
            let row = Row::new(term, seq, previous, encode_row(&events));
            drop(events);
            previous = row.hash;
            let outcome = append(&task_ports, &*journal, &row).await;
            let stops = matches!(outcome, Written::Stop(_));
            if done.send(outcome).await.is_err() || stops {
                break;
            }
        }
    });
    JournalWriter { work, written }
}

/// Appends `row`, however long it takes to know its fate.
pub(crate) async fn append(ports: &Ports, journal: &dyn Journal, row: &Row) -> Written {
    let started = ports.clock.now();
    let mut backoff = BACKOFF_MIN;
    let mut tries = 0u32;
    loop {
        let tried = ports.timeout(APPEND_TIMEOUT, journal.append(row)).await;
        let reason = match tried {
            Some(Ok(Appended::Durable)) => {
                note_durable(ports, started, row, tries);
                return Written::Durable(row.seq, row.hash);
            }
            Some(Ok(Appended::Deposed { by })) => {
                return Written::Stop(StopReason::Deposed { by: Some(by) });
            }
            Some(Ok(Appended::LostRows { seen })) => {
                return Written::Stop(StopReason::LostRows { seen });
            }
            Some(Err(JournalError::InDoubt { reason } | JournalError::Unavailable { reason })) => {
                reason
            }
            Some(Err(error @ (JournalError::Unusable { .. } | JournalError::Gap { .. }))) => {
                let reason = error.to_string();
                return Written::Stop(StopReason::JournalUnusable { reason });
            }
            None => format!("no answer in {APPEND_TIMEOUT:?}"),
        };
        if tries == 0 {
            tracing::warn!(seq = %row.seq, reason, "the journal did not take a row; trying the same row until its fate is known");
        }
        tries += 1;
        metrics::counter!("aquifer_metadata_append_retries_total").increment(1);
        ports.sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

fn note_durable(ports: &Ports, started: Monotonic, row: &Row, tries: u32) {
    let took = ports.clock.now().since(started);
    if tries > 0 {
        tracing::info!(seq = %row.seq, tries, ?took, "the journal took the row");
    }
    metrics::histogram!("aquifer_metadata_append_seconds").record(took.as_secs_f64());
    metrics::counter!("aquifer_metadata_journal_rows_total").increment(1);
    let bytes = u64::try_from(row.bytes.len()).unwrap_or(u64::MAX);
    metrics::counter!("aquifer_metadata_journal_bytes_total").increment(bytes);
}
