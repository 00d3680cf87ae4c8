use std::sync::Arc;

use super::Fake;
use crate::{Metadata, Upkeep};

#[tokio::test(start_paused = true)]
async fn the_fake_passes_the_suite() {
    crate::conformance::run(|| async { Fake::new() as Arc<dyn Metadata> }).await;
}

#[tokio::test(start_paused = true)]
async fn the_fake_passes_the_suite_of_upkeep() {
    crate::conformance::run_upkeep(|| async { Fake::new() as Arc<dyn Upkeep> }).await;
}
