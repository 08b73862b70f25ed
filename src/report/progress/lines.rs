//! What the lines say, from how far a run is.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{PeerState, ProgressState};
use crate::report::{Color, clean_to};

/// Wider lines are hard to read, and longer ones break when a terminal becomes narrower.
const WIDEST: usize = 78;
/// Peers that have a line each.
const PEERS: usize = 10;
const NAME: usize = 24;
const BAR: usize = 30;
/// How often a rate is measured.
const MEASURED_AFTER: Duration = Duration::from_secs(1);
/// An estimate of the end needs some time, and some of the work.
const ESTIMATED_AFTER: Duration = Duration::from_secs(2);
const ESTIMATED_PARTS: u64 = 50;
/// Rates that are kept.
const MOST_RATES: usize = 1_000;

/// How fast it goes.
#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
    phase: String,
    phase_began: Instant,
    rates: HashMap<String, Rate>,
}

#[derive(Debug)]
struct Rate {
    at: Instant,
    count: u64,
    per_second: f64,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, phase: String::new(), phase_began: now, rates: HashMap::new() }
    }

    fn enter(&mut self, phase: &str, now: Instant) {
        if self.phase != phase {
            self.phase = phase.to_owned();
            self.phase_began = now;
            self.rates.clear();
        }
    }

    /// Events per second of a peer.
    fn rate(&mut self, peer: &PeerState, now: Instant) -> f64 {
        if self.rates.len() >= MOST_RATES && !self.rates.contains_key(&peer.name) {
            return 0.0;
        }
        let first = Rate { at: now, count: peer.received, per_second: 0.0 };
        let rate = self.rates.entry(peer.name.clone()).or_insert(first);
        let time = now.saturating_duration_since(rate.at);
        if time >= MEASURED_AFTER {
            let more = peer.received.saturating_sub(rate.count);
            let latest = more as f64 / time.as_secs_f64();
            // What a page brings at once is spread.
            rate.per_second =
                if rate.per_second > 0.0 { (rate.per_second + latest) / 2.0 } else { latest };
            (rate.at, rate.count) = (now, peer.received);
        }
        rate.per_second
    }

    /// How long the phase will still take.
    fn left(&self, (done, all): (u64, u64), now: Instant) -> Option<Duration> {
        let taken = now.saturating_duration_since(self.phase_began);
        if taken < ESTIMATED_AFTER || done.saturating_mul(ESTIMATED_PARTS) < all || done == 0 {
            return None;
        }
        let left = all.saturating_sub(done) as f64 / done as f64;
        Duration::try_from_secs_f64(taken.as_secs_f64() * left).ok()
    }
}

/// The lines for a terminal of so many columns and rows: the first says what the run does; then, if
/// there is room, a bar and the peers that matter.
pub(super) fn lines_of(
    state: &ProgressState<'_>,
    pace: &mut Pace,
    now: Instant,
    (columns, rows): (usize, usize),
    is_colored: bool,
) -> Vec<String> {
    pace.enter(state.phase, now);
    // A line that fills the last column may break.
    let columns = if rows > 1 { columns.saturating_sub(1).clamp(1, WIDEST) } else { columns };
    let taken = short(now.saturating_duration_since(pace.began));
    let share = state.share.filter(|&(_, all)| all > 0);
    let bar = share.map(|share| bar(share, pace.left(share, now)));
    let mut head = format!("[{taken}] {}", state.phase);
    if !state.text.is_empty() {
        head = format!("{head}: {}", state.text);
    }
    if rows == 1
        && let Some((_, text)) = &bar
    {
        head = format!("{head}, {text}");
    }
    let mut lines = vec![clean_to(&head, columns).into_owned()];
    let room = rows.saturating_sub(2).min(PEERS + 2);
    if let Some((bar, text)) = bar.filter(|_| room > 0) {
        lines.push(clean_to(&format!("{bar} {text}"), columns).into_owned());
    }
    let mut peers: Vec<&PeerState> = state.peers.iter().filter(|peer| !peer.is_done).collect();
    peers.sort_by_key(|peer| std::cmp::Reverse(peer.received));
    let room = room.saturating_sub(2).min(PEERS);
    for peer in peers.iter().take(room) {
        let rate = pace.rate(peer, now);
        lines.push(peer_line(peer, rate, columns, is_colored));
    }
    let others = peers.len().saturating_sub(room);
    if others > 0 && room > 0 {
        lines.push(clean_to(&format!("  and {others} more"), columns).into_owned());
    }
    lines
}

fn peer_line(peer: &PeerState, rate: f64, columns: usize, is_colored: bool) -> String {
    use unicode_width::UnicodeWidthStr;
    let name = clean_to(&peer.name, NAME);
    let padding = " ".repeat(NAME.saturating_sub(name.width()));
    let line = format!(
        "  {name}{padding} {:<11} {:>9} events {:>7}",
        peer.state,
        peer.received,
        if rate >= 0.5 { format!("{rate:.0}/s") } else { String::new() }
    );
    let line = clean_to(line.trim_end(), columns).into_owned();
    let color = match peer.state {
        "incomplete" => Color::Yellow,
        "failed" => Color::Red,
        _ => return line,
    };
    match line.split_once(peer.state).filter(|_| is_colored) {
        Some((before, after)) => format!("{before}{}{after}", color.paint(peer.state)),
        None => line,
    }
}

/// A bar, and in words what it shows.
fn bar((done, all): (u64, u64), left: Option<Duration>) -> (String, String) {
    let parts = |of: u64| {
        let part = u128::from(done.min(all)) * u128::from(of) / u128::from(all.max(1));
        usize::try_from(part).unwrap_or(0)
    };
    let filled = parts(BAR as u64);
    let bar = format!("[{}{}]", "#".repeat(filled), "-".repeat(BAR - filled.min(BAR)));
    let left = left.map(|left| format!(", about {} left", short(left))).unwrap_or_default();
    (bar, format!("{} %{left}", parts(100)))
}

/// A time as `35s`, `2m05s` or `3h02m`.
fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, state: &'static str, received: u64) -> PeerState {
        PeerState { name: name.to_owned(), state, received, is_done: state == "done" }
    }

    const TEXT: &str = "2 of 4 peers done, 700 events received, 600 imported";

    #[test]
    fn the_lines_tell_phase_share_and_the_peers_that_matter() {
        let began = Instant::now();
        let mut pace = Pace::new(began);
        let peers = |more: u64| {
            [
                peer("ready", "done", 9),
                peer("slow\u{1b}[2J", "asking", more),
                peer("broken", "failed", 0),
            ]
        };
        let mut lines = |seconds: u64, peers: &[PeerState], size| {
            let state =
                ProgressState { phase: "Asking peers", text: TEXT, share: Some((1, 4)), peers };
            lines_of(&state, &mut pace, began + Duration::from_secs(seconds), size, false)
        };
        lines(0, &peers(100), (80, 24));
        let shown = [
            "[1m00s] Asking peers: 2 of 4 peers done, 700 events received, 600 imported",
            "[#######-----------------------] 25 %, about 3m00s left",
            r"  slow\u{1b}[2J            asking            700 events    10/s",
            "  broken                   failed              0 events",
        ];
        assert_eq!(lines(60, &peers(700), (80, 24)), shown);
        // Elsewhere, a line.
        let line = "[2m00s] Asking peers: 2 of 4 peers done, 700 events received, 600 imported, 25 %, \
                    about 6m00s left";
        assert_eq!(lines(120, &peers(700), (200, 1)), [line]);
    }

    #[test]
    fn no_line_is_wider_and_there_are_no_more_of_them_than_the_terminal_has() {
        let peers: Vec<PeerState> =
            (0..100).map(|number| peer(&"名".repeat(number), "asking", number as u64)).collect();
        let state =
            ProgressState { phase: "Asking peers", text: TEXT, share: Some((1, 4)), peers: &peers };
        for (columns, rows) in
            [(1, 1), (1, 2), (2, 3), (7, 4), (80, 24), (200, 50), (65_535, 65_535)]
        {
            let now = Instant::now();
            let lines = lines_of(&state, &mut Pace::new(now), now, (columns, rows), true);
            assert!(lines.len() < rows.max(2) && lines.len() <= 13, "{rows}: {}", lines.len());
            for line in &lines {
                let width = unicode_width::UnicodeWidthStr::width(line.as_str());
                assert!(width <= columns, "{columns}: {line}");
            }
        }
    }

    #[test]
    fn colours_are_in_addition() {
        let line = |is_colored| peer_line(&peer("x", "failed", 1), 0.0, 78, is_colored);
        assert_eq!(line(true).replace("\u{1b}[31m", "").replace("\u{1b}[0m", ""), line(false));
        assert_ne!(line(true), line(false));
    }
}
