//! A progress bar on stderr, for long inputs at a terminal.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar; invisible where stderr is no terminal or nobody wants it.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

/// What the bar counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    Bytes,
    Records,
}

impl Progress {
    /// A bar up to `total`; None = nobody knows how much there is.
    pub(crate) fn new(counted: Counted, total: Option<u64>, wanted: bool) -> Self {
        if !wanted || !std::io::stderr().is_terminal() {
            return Self {
                bar: ProgressBar::hidden(),
            };
        }
        let target = ProgressDrawTarget::stderr_with_hz(10);
        let bar = ProgressBar::with_draw_target(total, target);
        let template = match (counted, total.is_some()) {
            (Counted::Bytes, true) => {
                "{bar:32} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} left {msg}"
            }
            (Counted::Bytes, false) => "{spinner} {bytes} {binary_bytes_per_sec} {msg}",
            (Counted::Records, true) => {
                "{bar:32} {human_pos}/{human_len} {per_sec} {eta} left {msg}"
            }
            (Counted::Records, false) => "{spinner} {human_pos} {per_sec} {msg}",
        };
        let style = ProgressStyle::with_template(template).expect("the templates above are right");
        bar.set_style(style);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// So much is done.
    pub(crate) fn at(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// Shows a few words behind the bar.
    pub(crate) fn say(&self, words: String) {
        self.bar.set_message(words);
    }

    /// Removes the bar.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
