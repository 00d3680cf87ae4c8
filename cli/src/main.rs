//! The aquifer binary: settings, the composition of the crates into processes, and the operator's
//! commands.

mod address;
mod agent;
mod arguments;
mod bucket;
mod client;
mod compose;
mod consume;
mod data_folder;
mod dev;
mod http;
mod instant;
mod logging;
mod metadata;
mod metadata_admin;
mod open_files;
mod produce;
mod progress;
mod record_format;
mod secret;
mod server;
mod settings;
mod signals;
mod start_position;
mod sweeping;
mod topic;
mod units;

use std::process::ExitCode;

use arguments::Command;

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
        Command::Metadata(metadata) => metadata::run(&metadata),
        Command::Topic(topic) => topic::run(&topic),
        Command::Produce(produce) => produce::run(&produce),
        Command::Consume(consume) => consume::run(&consume),
        Command::Bucket(bucket) => bucket::run(&bucket),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, whatever libraries put into their texts.
            let text = format!("{error:#}");
            let words: Vec<&str> = text.split_whitespace().collect();
            eprintln!("aquifer: {}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}
