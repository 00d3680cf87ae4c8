//! `aquifer topic deleted` and `aquifer topic restore`.

use anyhow::Result;

use crate::arguments::topic::{TopicDeleted, TopicRestore};

pub(super) fn run_list(arguments: &TopicDeleted) -> Result<()> {
    let _ = arguments;
    todo!("builder B")
}

pub(super) fn run(arguments: &TopicRestore) -> Result<()> {
    let _ = arguments;
    todo!("builder B")
}
