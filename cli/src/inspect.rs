//! `aquifer inspect`: what objects, the metadata journal and its pages hold.

use anyhow::Result;

use crate::arguments::inspect::{Inspect, InspectAction};

mod event;
mod journal;
mod object;
mod object_place;
mod pages;

/// Runs the command.
pub(crate) fn run(inspect: &Inspect) -> Result<()> {
    match &inspect.action {
        InspectAction::Object(arguments) => object::run(arguments),
        InspectAction::Journal(arguments) => journal::run(arguments),
        InspectAction::Pages(arguments) => pages::run(arguments),
    }
}
