//! Says how far a run is, on stderr: on a terminal a few lines that are drawn again in place, and
//! nothing of which is left at the end; elsewhere a line every ten seconds.
//!
//! It never waits for a terminal that takes nothing: then the terminal misses a drawing.

mod block;
mod lines;

use std::fmt;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::tcgetwinsize;

use super::clean_to;
use block::Block;
use lines::{Pace, lines_of};

/// Shortest time between two drawings.
const REDRAWN_AFTER: Duration = Duration::from_millis(100);
/// Time between two lines where there is no terminal.
const TOLD_AFTER: Duration = Duration::from_secs(10);
/// Of a terminal that does not say its size.
const USUAL_SIZE: (usize, usize) = (80, 24);
/// Columns of a line where there is no terminal.
const LINE_COLUMNS: usize = 200;

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProgressState<'a> {
    /// What the run is doing, such as `Asking peers`.
    pub phase: &'a str,
    /// What there is to say of it, such as `20000 events received`.
    pub text: &'a str,
    /// How much of it is done, and how much there is; `None` if the end is not known.
    pub share: Option<(u64, u64)>,
    /// The peers, if any are asked.
    pub peers: &'a [PeerState],
}

/// How far it is with one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerState {
    /// Its name.
    pub name: String,
    /// What it does, such as `asking`.
    pub state: &'static str,
    /// Events that it has sent.
    pub received: u64,
    /// It is asked nothing more in this phase, and has given all.
    pub is_done: bool,
}

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    Terminal,
    Lines,
}

/// A handle to what is shown; clones show the same.
#[derive(Debug, Clone)]
pub struct Progress {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    is_colored: bool,
    last: Instant,
    is_first: bool,
    pace: Pace,
    block: Block,
    /// What the block shows, or would show if it could.
    lines: Vec<String>,
}

impl Progress {
    /// Shows nothing if not `enabled`.
    pub fn new(enabled: bool) -> Self {
        let place = match enabled {
            false => Place::Nowhere,
            true if std::io::stderr().is_terminal() => Place::Terminal,
            true => Place::Lines,
        };
        let now = Instant::now();
        let shared = Shared {
            place,
            is_colored: false,
            last: now,
            is_first: true,
            pace: Pace::new(now),
            block: Block::default(),
            lines: Vec::new(),
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// From now on in colours, or without.
    pub fn show_colors(&self, is_colored: bool) {
        self.with(|shared| shared.is_colored = is_colored);
    }

    /// Shows this state. Cheap enough for every batch: drawings are limited.
    pub fn update(&self, state: &ProgressState<'_>) {
        self.with(|shared| shared.update(state, Instant::now()));
    }

    /// Takes the lines away while `print` writes to the terminal. `print` must neither use this
    /// progress nor write to a log that it is attached to: both would wait for it to end.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.with(|shared| {
            shared.erase();
            let printed = print();
            shared.draw();
            printed
        })
    }

    /// Puts a line above the others, on a terminal alone. Does not wait, so a thread that must not
    /// be held up may say it: then it is left out.
    pub fn announce(&self, text: impl fmt::Display) {
        let Ok(mut shared) = self.shared.try_lock() else { return };
        if shared.place == Place::Terminal {
            shared.erase();
            write_if_ready(&format!("{}\n", clean_to(&text.to_string(), LINE_COLUMNS)));
            shared.draw();
        }
    }

    /// Takes the lines away for good.
    pub fn finish(&self) {
        self.with(|shared| {
            shared.erase();
            shared.place = Place::Nowhere;
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Shared) -> T) -> T {
        act(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    fn update(&mut self, state: &ProgressState<'_>, now: Instant) {
        let pause = match self.place {
            Place::Nowhere => return,
            Place::Terminal if self.is_first => Duration::ZERO,
            Place::Terminal => REDRAWN_AFTER,
            Place::Lines => TOLD_AFTER,
        };
        if now.saturating_duration_since(self.last) < pause {
            return;
        }
        (self.last, self.is_first) = (now, false);
        let (columns, rows) = size();
        match self.place {
            Place::Nowhere => {}
            Place::Terminal => {
                self.lines = lines_of(state, &mut self.pace, now, (columns, rows), self.is_colored);
                self.draw();
            }
            Place::Lines => {
                let line = lines_of(state, &mut self.pace, now, (LINE_COLUMNS, 1), false);
                let line = line.concat();
                write_if_ready(&format!("strfry-companion: {line}\n"));
            }
        }
    }

    fn draw(&mut self) {
        if self.place == Place::Terminal && !self.lines.is_empty() {
            let (mut block, columns) = (self.block.clone(), size().0);
            if write_if_ready(&block.redraw(&self.lines, columns)) {
                self.block = block;
            }
        }
    }

    fn erase(&mut self) {
        if self.place == Place::Terminal {
            let mut block = self.block.clone();
            if write_if_ready(&block.erase(size().0)) {
                self.block = block;
            }
        }
    }
}

/// A command that ends with an error leaves nothing behind either.
impl Drop for Shared {
    fn drop(&mut self) {
        self.erase();
    }
}

/// Columns and rows of the terminal.
fn size() -> (usize, usize) {
    match tcgetwinsize(rustix::stdio::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            (usize::from(size.ws_col), usize::from(size.ws_row))
        }
        _ => USUAL_SIZE,
    }
}

/// Writes to standard error what it takes without waiting; tells whether that is the beginning at
/// least.
fn write_if_ready(text: &str) -> bool {
    let err = rustix::stdio::stderr();
    let mut left = text.as_bytes();
    while !left.is_empty() {
        let mut ready = [PollFd::from_borrowed_fd(err, PollFlags::OUT)];
        if !matches!(poll(&mut ready, Some(&Timespec::default())), Ok(1..)) {
            break;
        }
        match rustix::io::write(err, left) {
            Ok(written @ 1..) => left = left.get(written..).unwrap_or_default(),
            _ => break,
        }
    }
    left.len() < text.len() || text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_shown_where_nothing_is_to_be_shown() {
        let progress = Progress::new(false);
        progress.update(&ProgressState { phase: "x", ..ProgressState::default() });
        assert_eq!(progress.suspend(|| 7), 7);
        progress.announce("y");
        progress.finish();
        assert!(progress.with(|shared| shared.lines.is_empty()));
    }
}
