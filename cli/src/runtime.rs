//! Futures in commands that are over soon. They listen to no signals, so that one ends them at once.

use anyhow::{Context, Result};

/// What `future` comes to.
pub(crate) fn wait<F: Future>(future: F) -> Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let done = runtime.block_on(future);
    // A plain drop waits for calls that block: a name that is being looked up, say.
    runtime.shutdown_background();
    Ok(done)
}
