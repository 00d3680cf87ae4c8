//! The aquifer binary: settings, the composition of the crates into processes, and the operator's
//! commands.

mod address;
mod agent;
mod arguments;
mod broker_configs;
mod bucket;
mod client;
mod cluster_status;
mod compactor;
mod completions;
mod compose;
mod configs;
mod consume;
mod data_folder;
mod dev;
mod group;
mod http;
mod inspect;
mod instant;
mod journal_source;
mod key_value;
mod logging;
mod metadata;
mod metadata_admin;
mod metadata_restore;
mod open_files;
mod output;
mod produce;
mod progress;
mod protocol;
mod record_format;
mod runtime;
mod secret;
mod server;
mod settings;
mod signals;
mod sql_projection;
mod start_position;
mod sweeping;
mod topic;
mod units;
mod upkeep;
mod usage;

use std::process::ExitCode;

use arguments::Command;
use usage::Usage;

// Many threads allocate and free buffers of each other here, which is where the system's allocator is
// slow and keeps memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = match settings::from_process() {
        Ok(arguments) => arguments,
        Err(error) => return error.report(),
    };
    let quiet = if arguments.command.serves() {
        "info"
    } else {
        "warn"
    };
    logging::start(arguments.log.as_deref().unwrap_or(quiet));
    let done = match arguments.command {
        Command::Dev(dev) => dev::run(&dev),
        Command::Server(server) => server::run(&server),
        Command::Agent(agent) => agent::run(&agent),
        Command::Compactor(compactor) => compactor::run(&compactor),
        Command::Metadata(metadata) => metadata::run(&metadata),
        Command::Topic(topic) => topic::run(&topic),
        Command::Config(config) => configs::run(&config),
        Command::Group(group) => group::run(&group),
        Command::Produce(produce) => produce::run(&produce),
        Command::Consume(consume) => consume::run(&consume),
        Command::Cluster(cluster) => cluster_status::run(&cluster),
        Command::Bucket(bucket) => bucket::run(&bucket),
        Command::Inspect(inspect) => inspect::run(&inspect),
        Command::Completions(completions) => completions::run(&completions),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, whatever libraries put into their texts.
            let text = format!("{error:#}");
            let words: Vec<&str> = text.split_whitespace().collect();
            eprintln!("aquifer: {}", words.join(" "));
            match error.downcast_ref::<Usage>() {
                Some(_) => ExitCode::from(2),
                None => ExitCode::FAILURE,
            }
        }
    }
}
