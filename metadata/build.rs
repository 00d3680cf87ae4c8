//! Compiles the journal's row and page formats. Pure Rust: no `protoc` has to be installed.

use std::{env, error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["journal.proto", "pages.proto"], ["proto"])?;
    // what clients say in groups is kept as it is, and shared by events, pages and the state
    let shared = [
        ".aquifer.journal.GroupProtocol.metadata",
        ".aquifer.journal.ClassicAssignment.assignment",
        ".aquifer.journal.ClassicGroupBody.assignments",
    ];
    prost_build::Config::new()
        .bytes(shared)
        .out_dir(PathBuf::from(env::var("OUT_DIR")?))
        .compile_fds(descriptors)?;
    Ok(())
}
