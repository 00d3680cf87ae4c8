//! Logs go to stderr; stdout belongs to what commands print.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging with a filter (`info`, `aquifer_agent=debug,info`, ...). A filter that cannot be read is
/// replaced by `info`, and that is logged.
pub(crate) fn start(filter: &str) {
    let (parsed, wrong) = match EnvFilter::try_new(filter) {
        Ok(parsed) => (parsed, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_writer(std::io::stderr);
    // Fails only where a test has started one already.
    let _ = subscriber.try_init();
    if let Some(error) = wrong {
        tracing::warn!(filter, %error, "the log filter cannot be read; using info");
    }
}
