//! Arguments that cannot be, where the parser alone does not see that.

use std::fmt;

/// What is wrong, and what to write instead. A command that fails with it ends with exit code 2.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The error that says so.
pub(crate) fn usage(reason: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Usage(reason.into()))
}
