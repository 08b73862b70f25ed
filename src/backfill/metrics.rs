//! The last run as metrics, in the text format that node_exporter's textfile collector reads.

use std::fmt::{Display, Write};

use jiff::Timestamp;

use super::accounts::Class;
use super::summary::{PeerStatus, Summary};
use crate::import::Status;

const PREFIX: &str = "strfry_companion_last_run";

/// A text that grows by one metric after the other.
#[derive(Default)]
struct Metrics(String);

impl Metrics {
    /// A gauge with a value for each value of its label.
    fn labelled<V: Display>(
        &mut self,
        (name, help): (&str, &str),
        label: &str,
        values: impl IntoIterator<Item = (&'static str, V)>,
    ) {
        self.head(name, help);
        for (of, value) in values {
            // Writing to a String cannot fail.
            let _ = writeln!(self.0, "{PREFIX}_{name}{{{label}=\"{of}\"}} {value}");
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help);
        let _ = writeln!(self.0, "{PREFIX}_{name} {value}");
    }

    fn head(&mut self, name: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {PREFIX}_{name} {help}\n# TYPE {PREFIX}_{name} gauge");
    }

    /// What is known of every run.
    fn run(started_at: Option<Timestamp>, seconds: f64, status: Status) -> Self {
        let mut metrics = Self::default();
        if let Some(started_at) = started_at {
            let help = "When the last backfill began, in seconds since 1970.";
            metrics.gauge("start_timestamp_seconds", help, started_at.as_second());
        }
        metrics.gauge("duration_seconds", "How long it took.", seconds);
        let all = [
            ("complete", Status::Complete),
            ("incomplete", Status::Incomplete),
            ("failed", Status::Failed),
        ];
        let values = all.map(|(name, this)| (name, u8::from(this == status)));
        metrics.labelled(("status", "1 for how it ended, 0 for the others."), "status", values);
        metrics
    }
}

/// The metrics of a run.
pub fn metrics(summary: &Summary) -> String {
    let started_at = summary.started_at.parse().ok();
    let mut metrics = Metrics::run(started_at, summary.seconds, summary.status);
    let classes = Class::ALL.iter().map(|&class| (class.name(), summary.events_of(class)));
    metrics.labelled(("events", "Events received, by what became of them."), "class", classes);
    let peers = [
        ("complete", PeerStatus::Complete),
        ("incomplete", PeerStatus::Incomplete),
        ("failed", PeerStatus::Failed),
    ];
    let count = |status| summary.peers.iter().filter(|peer| peer.status == status).count();
    let peers = peers.map(|(name, status)| (name, count(status)));
    metrics.labelled(("peers", "Peers, by how it went with them."), "status", peers);
    let profiles = &summary.profiles;
    let values = [("found", profiles.found), ("missing", profiles.missing)];
    let help = "Pubkeys that were asked for, by whether they have a profile.";
    metrics.labelled(("profiles", help), "state", values);
    let help = "Pubkeys that had no profile before the run, and have one now.";
    metrics.gauge("recovered_profiles", help, profiles.recovered);
    metrics.gauge("imported_bytes", "Bytes of the imported events.", summary.gained.bytes);
    if let Some(bytes) = summary.bytes_written {
        metrics.gauge("written_bytes", "Bytes that strfry wrote for them.", bytes);
        if let Some(per_event) = bytes.checked_div(summary.events_of(Class::Imported)) {
            let help = "Bytes that strfry wrote for each imported event.";
            metrics.gauge("written_bytes_per_event", help, per_event);
        }
    }
    metrics.gauge("errors", "What went wrong beside peers.", summary.errors.len());
    if let Some(memory) = summary.peak_memory {
        let help = "The most memory that the run had at once.";
        metrics.gauge("memory_peak_bytes", help, memory);
    }
    metrics.0
}

/// The metrics of a run that ended without a summary.
pub fn metrics_of_failure(started_at: Timestamp, seconds: f64) -> String {
    Metrics::run(Some(started_at), seconds, Status::Failed).0
}
