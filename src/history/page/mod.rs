//! The history as one HTML page: the last run, and those before it.
//!
//! Nothing on it comes from elsewhere: style and charts (SVG) are in it, there is no script, and its
//! security policy forbids to load anything. The template engine escapes every text; what a browser
//! would hide or turn around is replaced before ([`clean_to`]). Its size has a bound.

mod reasons;
mod words;

use askama::Template;

use super::file::History;
use super::run::{PeerRun, Run};
use crate::backfill::kinds::constellation_kinds;
use crate::backfill::{PeerStatus, Status};
use crate::report::clean_to;
pub use words::Language;
use words::{StatusWord, Told, Words};

/// Rows of each list; the rest is counted.
const PEERS: usize = 200;
const KINDS: usize = 25;
const OWED: usize = 50;
const MISSING: usize = 500;
const REASONS: usize = 30;
const RUNS: usize = 30;
/// Columns of each chart.
const COLUMNS: usize = 120;
/// Of any text from outside.
const WIDEST: usize = 300;
/// Units of a chart's width for each column, of which the bar takes eight.
const COLUMN: usize = 10;
/// A chart of few columns is as wide as one of so many.
const FEW: usize = 20;

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    w: &'a Words,
    lang: &'a str,
    version: &'a str,
    began: String,
    status: StatusWord,
    sentence: String,
    tiles: Vec<Tile>,
    owed: Vec<Owed>,
    owed_left: usize,
    peers: Vec<PeerGroup>,
    kinds: Vec<Row>,
    classes: Vec<Row>,
    reasons: Vec<Row>,
    profiles: Vec<Row>,
    missing: Vec<String>,
    missing_left: u64,
    phases: Vec<Row>,
    charts: Vec<Chart>,
    runs: Vec<RunRow>,
    skipped: u64,
}

struct Tile {
    label: &'static str,
    value: String,
    note: String,
}

struct Owed {
    who: String,
    why: String,
}

/// The peers, or the relays that are asked for nothing but missing profiles.
struct PeerGroup {
    title: &'static str,
    rows: Vec<PeerRow>,
    left: usize,
}

struct PeerRow {
    name: String,
    url: String,
    status: StatusWord,
    received: String,
    imported: String,
    took: String,
    share: String,
}

/// A name, a number, and the length of its bar in percent.
struct Row {
    name: String,
    count: String,
    share: String,
}

struct RunRow {
    began: String,
    status: StatusWord,
    received: String,
    imported: String,
    peers: String,
    missing: String,
    took: String,
}

struct Chart {
    title: &'static str,
    /// In words, what the highest bar stands for.
    most: String,
    width: usize,
    bars: Vec<Bar>,
    first: String,
    last: String,
    note: String,
}

struct Bar {
    class: &'static str,
    x: usize,
    y: String,
    height: String,
    title: String,
}

/// The page; `None` if there is no run to tell of.
///
/// # Errors
/// None that is known: the template writes to memory.
pub fn page(history: &History, language: Language) -> Result<Option<String>, std::fmt::Error> {
    let Some((run, _)) = history.runs.first() else { return Ok(None) };
    let page = Page::new(run, history, language);
    page.render().map(Some).map_err(|_| std::fmt::Error)
}

/// Text from outside, fit for a page.
fn text(text: &str) -> String {
    clean_to(text, WIDEST).into_owned()
}

fn share(count: f64, most: f64) -> String {
    let share = if most > 0.0 { count / most * 100.0 } else { 0.0 };
    format!("{share:.1}")
}

impl<'a> Page<'a> {
    fn new(run: &Run, history: &History, language: Language) -> Self {
        let w = language.words();
        let owed = run.reasons_of_gaps(|gap| language.reason(gap));
        let missing = run.profiles.missing_pubkeys.len().min(MISSING);
        let groups = [(w.peers, &run.peers), (w.fallback, &run.fallback)];
        let groups = groups.into_iter().filter(|(_, peers)| !peers.is_empty());
        Self {
            w,
            lang: w.lang,
            version: env!("CARGO_PKG_VERSION"),
            began: run.began(),
            status: w.status(run.status),
            sentence: sentence(run, w, language),
            tiles: tiles(run, w),
            owed_left: owed.len().saturating_sub(OWED),
            owed: owed
                .iter()
                .take(OWED)
                .map(|(who, why)| Owed { who: text(who), why: text(why) })
                .collect(),
            peers: groups.map(|(title, peers)| peer_group(title, peers, w)).collect(),
            kinds: kinds(run, w),
            classes: rows(w, run.events.iter().map(|(name, &count)| (language.class(name), count))),
            reasons: {
                let reasons = run.reasons.iter().map(|(reason, &count)| (reason.clone(), count));
                let mut reasons = rows(w, reasons);
                reasons.truncate(REASONS);
                reasons
            },
            profiles: profiles(run, w),
            missing: run.profiles.missing_pubkeys.iter().take(missing).map(|it| text(it)).collect(),
            missing_left: run.profiles.missing.saturating_sub(missing as u64),
            phases: phases(run, w, language),
            charts: charts(run, history, w),
            runs: history.runs.iter().take(RUNS).map(|(run, _)| run_row(run, w)).collect(),
            skipped: history.skipped,
        }
    }
}

fn sentence(run: &Run, w: &Words, language: Language) -> String {
    let is_owing = |peer: &&PeerRun| peer.status != PeerStatus::Complete;
    language.sentence(&Told {
        status: run.status,
        imported: w.number(run.imported()),
        peers: run.peers.len(),
        owing: run.peers.iter().filter(is_owing).count(),
        took: w.duration(run.seconds),
        recovered: w.number(run.profiles.recovered),
        missing: w.number(run.profiles.missing),
    })
}

fn tiles(run: &Run, w: &Words) -> Vec<Tile> {
    let memory = run.peak_memory.map(|bytes| format!("{} {}", w.bytes(bytes), w.memory));
    let peers = format!("{} / {}", run.complete_peers(), run.peers.len());
    vec![
        Tile {
            label: w.new_events,
            value: w.number(run.imported()),
            note: w.bytes(run.gained.bytes),
        },
        Tile { label: w.received, value: w.number(run.received), note: String::new() },
        Tile { label: w.peers_complete, value: peers, note: String::new() },
        Tile {
            label: w.profiles,
            value: w.number(run.profiles.found),
            note: format!("{}{} {}", w.missing, w.colon, w.number(run.profiles.missing)),
        },
        Tile { label: w.took, value: w.duration(run.seconds), note: memory.unwrap_or_default() },
    ]
}

/// Those of most events first.
fn rows(w: &Words, counts: impl Iterator<Item = (String, u64)>) -> Vec<Row> {
    let mut counts: Vec<(String, u64)> = counts.collect();
    counts.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    in_order(w, counts)
}

fn in_order(w: &Words, counts: Vec<(String, u64)>) -> Vec<Row> {
    let most = counts.iter().map(|&(_, count)| count).max().unwrap_or(0) as f64;
    let row = |(name, count): (String, u64)| Row {
        name: text(&name),
        count: w.number(count),
        share: share(count as f64, most),
    };
    counts.into_iter().map(row).collect()
}

fn kinds(run: &Run, w: &Words) -> Vec<Row> {
    let mut counts: Vec<(u64, u64)> =
        run.gained.kinds.iter().map(|(&kind, &count)| (kind, count)).collect();
    counts.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(&other.0)));
    let rest = counts.split_off(counts.len().min(KINDS));
    let rest: u64 = rest.iter().fold(0, |sum, &(_, count)| sum.saturating_add(count));
    let name = |kind: u64| match constellation_kinds().iter().find(|it| it.number == kind) {
        Some(known) => format!("{} {kind}: {}", w.kind, known.name),
        None => format!("{} {kind}", w.kind),
    };
    let mut named: Vec<(String, u64)> =
        counts.into_iter().map(|(kind, count)| (name(kind), count)).collect();
    if rest > 0 {
        named.push((w.other_kinds.to_owned(), rest));
    }
    in_order(w, named)
}

fn profiles(run: &Run, w: &Words) -> Vec<Row> {
    let counts = [
        (w.found, run.profiles.found),
        (w.recovered, run.profiles.recovered),
        (w.missing, run.profiles.missing),
    ];
    in_order(w, counts.map(|(name, count)| (name.to_owned(), count)).to_vec())
}

fn phases(run: &Run, w: &Words, language: Language) -> Vec<Row> {
    let phases = run.phases.iter().take(REASONS);
    let row = |(name, seconds): (&str, f64)| Row {
        name: text(language.phase(name)),
        count: w.duration(seconds),
        share: share(seconds.min(run.seconds), run.seconds),
    };
    phases.map(|phase| row((&phase.name, phase.seconds))).collect()
}

fn peer_group(title: &'static str, peers: &[PeerRun], w: &Words) -> PeerGroup {
    let most = peers.iter().map(PeerRun::imported).max().unwrap_or(0) as f64;
    let row = |peer: &PeerRun| PeerRow {
        name: text(&peer.name),
        url: text(&peer.url),
        status: w.peer_status(peer.status),
        received: w.number(peer.received),
        imported: w.number(peer.imported()),
        took: w.duration(peer.seconds),
        share: share(peer.imported() as f64, most),
    };
    let rows = peers.iter().take(PEERS).map(row).collect();
    PeerGroup { title, rows, left: peers.len().saturating_sub(PEERS) }
}

fn run_row(run: &Run, w: &Words) -> RunRow {
    RunRow {
        began: run.began(),
        status: w.status(run.status),
        received: w.number(run.received),
        imported: w.number(run.imported()),
        peers: format!("{}/{}", run.complete_peers(), run.peers.len()),
        missing: w.number(run.profiles.missing),
        took: w.duration(run.seconds),
    }
}

/// What a chart shows of one run or day: its height, its class, and its name.
struct Point {
    value: f64,
    class: &'static str,
    name: String,
}

fn charts(run: &Run, history: &History, w: &Words) -> Vec<Chart> {
    let number = |value: f64| w.number(value.round() as u64);
    let mut charts = Vec::new();
    let gained = &run.gained;
    let days = gained.days.iter().rev().take(COLUMNS).map(|(day, &count)| Point {
        value: count as f64,
        class: "",
        name: text(day),
    });
    let shown = gained.days.len().min(COLUMNS);
    let more = gained
        .days
        .values()
        .rev()
        .skip(shown)
        .fold(gained.earlier, |sum, &count| sum.saturating_add(count));
    if shown > 0 {
        let note =
            if more > 0 { format!("{} {}", w.earlier, w.number(more)) } else { String::new() };
        charts.push(Chart { note, ..chart(w.days, days.collect(), number, w) });
    }
    let of_runs = |value: fn(&Run) -> f64| -> Vec<Point> {
        let point = |(run, _): &(Run, String)| Point {
            value: value(run),
            class: match run.status {
                Status::Complete => "",
                status => w.status(status).class,
            },
            name: run.began(),
        };
        history.runs.iter().take(COLUMNS).map(point).collect()
    };
    if history.runs.len() > 1 {
        let duration = |seconds| w.duration(seconds);
        let missing = |run: &Run| run.profiles.missing as f64;
        charts.push(chart(w.by_run, of_runs(|run| run.imported() as f64), number, w));
        charts.push(chart(w.duration_by_run, of_runs(|run| run.seconds), duration, w));
        charts.push(chart(w.missing_by_run, of_runs(missing), number, w));
    }
    charts
}

/// A chart of these points, of which the newest comes first; `in_words` says what a height stands for.
fn chart(
    title: &'static str,
    mut points: Vec<Point>,
    in_words: impl Fn(f64) -> String,
    w: &Words,
) -> Chart {
    points.reverse();
    let most = points.iter().map(|point| point.value).fold(0.0, f64::max);
    let bar = |(position, point): (usize, &Point)| {
        let height = if most > 0.0 { point.value / most * 100.0 } else { 0.0 };
        Bar {
            class: point.class,
            x: position * COLUMN,
            y: format!("{:.1}", 100.0 - height),
            height: format!("{height:.1}"),
            title: format!("{}: {}", point.name, in_words(point.value)),
        }
    };
    let name = |point: Option<&Point>| point.map(|point| point.name.clone()).unwrap_or_default();
    let (first, last) = (name(points.first()), name(points.last()));
    // Below few bars, which do not reach the right edge, both names stand on the left.
    let (first, last) = match points.len() {
        0 | 1 => (first, String::new()),
        count if count < FEW => (format!("{first} – {last}"), String::new()),
        _ => (first, last),
    };
    Chart {
        title,
        most: format!("{} {}", w.most, in_words(most)),
        width: points.len().max(FEW) * COLUMN,
        bars: points.iter().enumerate().map(bar).collect(),
        first,
        last,
        note: String::new(),
    }
}

#[cfg(test)]
mod tests;
