//! `aquifer-bench`: what a Kafka cluster does under a load that does not wait for it.
//!
//! The load is *open*: each record has a time at which it is due, by the rate alone, and its latency counts
//! from then. A cluster that stalls is charged for every record that should have been sent meanwhile, as its
//! users would be (a closed loop leaves them out: "coordinated omission"). It talks to any Kafka cluster
//! through librdkafka.

#![allow(clippy::print_stdout, reason = "it shows what was measured")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

mod arguments;
mod latency;
mod load;
mod payload;
mod scrape;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::{
    arguments::{Arguments, Rate},
    load::{Load, Outcome},
    scrape::Shares,
};

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aquifer-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let load = Load::prepare(arguments)?;
    if !arguments.json {
        println!("{}", Outcome::header());
    }
    let mut maximum = None;
    for rate in &arguments.rate {
        let megabytes = match *rate {
            Rate::Megabytes(megabytes) => Some(megabytes),
            Rate::Max => None,
            Rate::Percent(percent) => {
                let top = match maximum {
                    Some(top) => top,
                    None => measure(arguments, &load, None)?.megabytes_per_second,
                };
                maximum = Some(top);
                Some(top * percent / 100.0)
            }
        };
        let outcome = measure(arguments, &load, megabytes)?;
        if megabytes.is_none() {
            maximum = Some(outcome.megabytes_per_second);
        }
    }
    Ok(())
}

/// Runs one rate and prints what came of it.
fn measure(arguments: &Arguments, load: &Load, megabytes: Option<f64>) -> Result<Outcome> {
    let before = Shares::read(&arguments.metrics)?;
    let mut outcome = load.run(megabytes)?;
    outcome.shares = Shares::read(&arguments.metrics)?.since(&before);
    if arguments.json {
        println!("{}", serde_json::to_string(&outcome)?);
    } else {
        println!("{outcome}");
    }
    Ok(outcome)
}
