//! One line on the terminal that says how far a run is.
//!
//! Drawn on stderr, and only if that is a terminal; never in a log, never on stdout.

use std::fmt;
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::clean;

/// Redraws per second at most.
const REDRAWS_PER_SECOND: u8 = 10;

/// What the line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgressState<'a> {
    /// What the run is doing, such as `recent events`.
    pub phase: &'a str,
    /// Peers that are through with this phase, whatever their outcome.
    pub peers_done: usize,
    /// Peers asked in this phase.
    pub peers_total: usize,
    /// Events received since the run began.
    pub received: u64,
    /// Events given to strfry since the run began.
    pub imported: u64,
}

impl fmt::Display for ProgressState<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} of {} peers done, {} events received, {} imported",
            self.phase, self.peers_done, self.peers_total, self.received, self.imported
        )
    }
}

/// A handle to the line; clones draw the same one.
#[derive(Debug, Clone)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Draws nothing if not `enabled` or stderr is no terminal.
    pub fn new(enabled: bool) -> Self {
        if !enabled || !std::io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden() };
        }
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} [{elapsed}] {wide_msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// Shows this state. Cheap enough for every batch: redraws are limited.
    pub fn update(&self, state: &ProgressState<'_>) {
        self.say(state);
    }

    /// Shows this text, without what a terminal would obey.
    pub fn say(&self, text: impl fmt::Display) {
        self.bar.set_message(clean(&text.to_string()).into_owned());
        self.bar.tick();
    }

    /// Takes the line away while `print` writes to the terminal. `print` must neither use this
    /// progress nor write to a log that it is attached to: both would wait for it to end.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Takes the line away for good.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_phase_peers_and_events() {
        let progress = Progress::new(false);
        progress.update(&ProgressState {
            phase: "full sync\n",
            peers_done: 1,
            peers_total: 3,
            received: 20_000,
            imported: 19_500,
        });
        assert_eq!(
            progress.bar.message(),
            r"full sync\u{a}: 1 of 3 peers done, 20000 events received, 19500 imported"
        );
        assert_eq!(progress.suspend(|| 7), 7);
        progress.finish();
        assert!(progress.bar.is_finished());
    }
}
