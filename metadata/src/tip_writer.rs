//! The task that puts the journal's tip into the bucket at each upload epoch. Nothing waits for it: a tip
//! that comes late only says less.

use std::time::Duration;

use aquifer_format::witness::Witness;
use aquifer_store::Ports;
use tokio::sync::watch;

use crate::bucket::Tips;

/// Pause after a tip that could not be written.
const RETRY: Duration = Duration::from_secs(5);

/// Starts the task; it ends with the sender.
pub(crate) fn start(ports: &Ports, mut tips: Tips) -> watch::Sender<Option<Witness>> {
    let (tell, mut told) = watch::channel::<Option<Witness>>(None);
    let task_ports = ports.clone();
    ports.tasks.spawn(async move {
        while told.changed().await.is_ok() {
            let Some(tip) = told.borrow_and_update().clone() else {
                continue;
            };
            if let Err(error) = tips.write(&tip).await {
                tracing::warn!(%error, "the journal's tip could not be written");
                metrics::counter!("aquifer_metadata_tips_failed_total").increment(1);
                task_ports.sleep(RETRY).await;
                if !told.has_changed().unwrap_or(true) {
                    told.mark_changed();
                }
            }
        }
    });
    tell
}
