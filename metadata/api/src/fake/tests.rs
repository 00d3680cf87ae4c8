use std::sync::Arc;

use super::Fake;
use crate::Metadata;

#[tokio::test(start_paused = true)]
async fn the_fake_passes_the_suite() {
    crate::conformance::run(|| async { Fake::new() as Arc<dyn Metadata> }).await;
}
