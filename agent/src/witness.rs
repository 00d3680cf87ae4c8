//! What the agent remembers goes into the bucket when the metadata journal lost rows: an operator who
//! accepts the loss then continues above everything that this agent showed to anybody.

use std::{sync::Arc, time::Duration};

use aquifer_format::{mark::JournalMark, witness::Witness};
use aquifer_store::{ObjectStore, Ports, witness::put_witness};

use crate::{session::AgentSession, view::View};

/// Pause after a witness that could not be written.
const RETRY: Duration = Duration::from_secs(2);

/// Writes a witness whenever the metadata service says that rows were lost, once per place in the journal.
pub(crate) async fn keep(
    ports: Ports,
    store: Arc<dyn ObjectStore>,
    session: Arc<AgentSession>,
    view: Arc<View>,
) {
    let writer = ports.rand.next_u64();
    let mut lost_rows = session.lost_rows();
    let mut written: Option<JournalMark> = None;
    loop {
        if lost_rows.wait_for(Option::is_some).await.is_err() {
            return;
        }
        match remembered(&session, &view) {
            Some(witness) if written != Some(witness.mark) => {
                match put_witness(&*store, writer, &witness).await {
                    Ok(key) => {
                        tracing::warn!(key, mark = %witness.mark, "what this agent remembers of the metadata journal is in the bucket");
                        written = Some(witness.mark);
                    }
                    Err(error) => {
                        tracing::error!(%error, "the witness could not be written; trying again");
                        ports.sleep(RETRY).await;
                        continue;
                    }
                }
            }
            // nothing was shown to this agent yet, or nothing new
            _ => {}
        }
        if lost_rows.changed().await.is_err() {
            return;
        }
    }
}

fn remembered(session: &AgentSession, view: &View) -> Option<Witness> {
    let mark = session.seen()?;
    Some(Witness {
        cluster: session.registration().cluster,
        mark,
        upload_epoch: view.upload_epoch(),
        high_watermarks: view.high_watermarks(),
    })
}

#[cfg(test)]
mod tests {
    use aquifer_format::ids::{Offset, PartitionId, PartitionIndex};
    use aquifer_store::witness::{Which, witnesses};

    use crate::testing;

    #[tokio::test]
    async fn lost_rows_make_an_agent_write_down_what_it_was_shown() {
        let (broker, fake) = testing::broker(testing::settings()).await;
        let topic = fake.create_topic("orders", 2, &[]);
        let second = PartitionId::new(topic, PartitionIndex(1));
        fake.skip_offsets(second, 42);
        broker.view.catch_up().await.unwrap();
        let seen = broker.session.seen().unwrap();
        fake.set_lost_rows(true);
        let cluster = fake.cluster();
        let written = loop {
            let written = witnesses(&*broker.store, cluster, Which::All)
                .await
                .unwrap();
            if !written.is_empty() {
                break written;
            }
            broker
                .ports
                .sleep(std::time::Duration::from_millis(5))
                .await;
        };
        assert_eq!(written.len(), 1);
        let (_, witness) = &written[0];
        assert_eq!((witness.mark, witness.cluster), (seen, cluster));
        let first = PartitionId::new(topic, PartitionIndex(0));
        assert_eq!(
            witness.high_watermarks,
            [(first, Offset(0)), (second, Offset(42))]
        );
        assert!(broker.session.lost_rows().borrow().is_some());
        fake.set_lost_rows(false);
        let mut lost = broker.session.lost_rows();
        lost.wait_for(Option::is_none).await.unwrap();
    }
}
