//! The signals that end a process. Once they are listened to they do nothing by themselves, so whatever
//! a process waits for must end with them.

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that ask to stop.
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot listen for signals")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for signals")?,
        })
    }

    /// Returns at the next one.
    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// What `work` comes to; None = a signal came first, and the work was given up where it was.
    pub(crate) fn unless_asked<F: Future>(
        &mut self,
        work: F,
    ) -> impl Future<Output = Option<F::Output>> {
        // The start of a process is a large future.
        let work = Box::pin(work);
        async move {
            tokio::select! {
                biased;
                () = self.asked() => None,
                done = work => Some(done),
            }
        }
    }

    /// Waits for the end of a process that was asked to stop; the next signal ends it at once.
    pub(crate) async fn finish<F: Future>(&mut self, ending: F) -> Result<F::Output> {
        match self.unless_asked(ending).await {
            Some(ended) => Ok(ended),
            None => bail!("stopped at once; what was not acknowledged may be lost"),
        }
    }
}

/// Runs `main` on threads, with the signals. When it has returned nothing else is waited for.
pub(crate) fn on_threads<F, Fut>(main: F) -> Result<()>
where
    F: FnOnce(Stop) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let done = runtime.block_on(async {
        let stop = Stop::new()?;
        main(stop).await
    });
    // A plain drop waits for calls that block: a name that is being looked up, say.
    runtime.shutdown_background();
    done
}
