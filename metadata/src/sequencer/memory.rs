//! What others remember of the journal, and what the leader tells of it.

use aquifer_metadata_api::{MetadataError, mark::JournalMark};

use super::Sequencer;
use crate::{follower, hashes::Verdict, leader::StopReason};

impl Sequencer {
    /// The newest durable row.
    pub(super) fn place(&self) -> JournalMark {
        self.hashes.mark(self.state.incarnation(), self.term)
    }

    /// Has a tip written if an upload epoch has begun since the last one.
    pub(super) fn tell_tip(&mut self) {
        let epoch = self.state.upload_epoch();
        if epoch > self.tip_epoch
            && let Some(tips) = &self.tips
        {
            self.tip_epoch = epoch;
            tips.send_replace(follower::tip(&self.state, self.place()));
        }
    }

    /// A leader that held the lease after somebody was shown a row of a later term has lost that row.
    pub(super) fn resolve_doubt(&mut self) {
        let Some((since, seen)) = &self.doubt else {
            return;
        };
        if self.lease.was_renewed_after(*since) {
            let seen = seen.clone();
            self.ending = Some(StopReason::LostRows { seen });
        } else {
            self.lease.want();
        }
    }

    /// Compares what a caller remembers with the journal. An error ends this leader, now or as soon as
    /// it is known that no other one took over.
    pub(super) fn judge(&mut self, seen: Option<&JournalMark>) -> Result<(), MetadataError> {
        let Some(mark) = seen else { return Ok(()) };
        let verdict = self.hashes.judge(self.state.incarnation(), mark);
        let Verdict::Missing { seen } = verdict else {
            return Ok(());
        };
        if mark.term > self.term {
            let now = self.now();
            self.doubt.get_or_insert((now, seen));
            self.lease.want();
            return Err(MetadataError::Unavailable {
                reason: format!("another leader may have taken over with term {}", mark.term),
                may_have_happened: false,
            });
        }
        self.ending = Some(StopReason::LostRows { seen: seen.clone() });
        Err(MetadataError::LostRows { reason: seen })
    }
}
