//! `aquifer completions`.

use std::io::{self, Write};

use anyhow::Result;
use clap::CommandFactory;

use crate::arguments::{Arguments, Completions};

/// Prints a shell's completions.
pub(crate) fn run(completions: &Completions) -> Result<()> {
    // In memory: what writes them does not expect a reader that goes away.
    let mut script = Vec::new();
    let mut command = Arguments::command();
    clap_complete::generate(completions.shell, &mut command, "aquifer", &mut script);
    match io::stdout().lock().write_all(&script) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn every_shell_gets_every_command() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            let mut command = Arguments::command();
            clap_complete::generate(*shell, &mut command, "aquifer", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["inspect", "accept-loss", "extents", "bootstrap"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
