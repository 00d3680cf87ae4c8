//! `aquifer compactor`: from start to stop; and compaction beside what else a process does.

use anyhow::Result;

use crate::{arguments::compactor::Compactor, signals::on_threads};

/// Runs until a signal ends it.
pub(crate) fn run(arguments: &Compactor) -> Result<()> {
    on_threads(|stop| async move {
        let _ = (arguments, stop);
        todo!("builder D")
    })
}
