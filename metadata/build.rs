//! Compiles the journal's row and page formats. Pure Rust: no `protoc` has to be installed.

use std::{env, error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["journal.proto", "pages.proto"], ["proto"])?;
    prost_build::Config::new()
        .out_dir(PathBuf::from(env::var("OUT_DIR")?))
        .compile_fds(descriptors)?;
    Ok(())
}
