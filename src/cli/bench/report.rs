//! What a bench found out, as a table and as JSON.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::report::clean;

/// The result of a bench.
#[derive(Serialize)]
pub(super) struct Report {
    /// Of this document's form: see schema/bench-summary.schema.json.
    pub(super) version: u32,
    /// What was measured.
    pub(super) bench: String,
    /// Runs of each way, in turns.
    pub(super) runs: u32,
    pub(super) ways: Vec<Way>,
    pub(super) not_run: Vec<NotRun>,
    /// What the answers have in common.
    pub(super) answers: String,
    /// Answers that differ.
    pub(super) wrong: Vec<String>,
}

/// One way to do it.
#[derive(Serialize)]
pub(super) struct Way {
    pub(super) way: String,
    /// Median of the runs.
    pub(super) milliseconds: f64,
    /// How many times as long as the one that is the measure.
    pub(super) ratio: f64,
    /// What else there is to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) remark: String,
}

#[derive(Serialize)]
pub(super) struct NotRun {
    pub(super) way: String,
    pub(super) reason: String,
}

impl Report {
    pub(super) fn new(bench: String, runs: u32) -> Self {
        let (ways, not_run) = (Vec::new(), Vec::new());
        Self { version: 1, bench, runs, ways, not_run, answers: String::new(), wrong: Vec::new() }
    }

    /// Adds a way, if it has been run.
    pub(super) fn add(&mut self, way: &str, times: &[Duration], remark: String) {
        if let Some(median) = median(times) {
            // Digits beyond a microsecond are noise.
            let milliseconds = (1e6 * median.as_secs_f64()).round() / 1e3;
            self.ways.push(Way { way: way.to_owned(), milliseconds, ratio: 1.0, remark });
        }
    }

    pub(super) fn not_run(&mut self, way: &str, reason: &str) {
        self.not_run.push(NotRun { way: way.to_owned(), reason: reason.to_owned() });
    }

    /// Sets the ratios to this way.
    pub(super) fn measure_by(&mut self, way: &str) {
        let measure = self.ways.iter().find(|other| other.way == way);
        let Some(measure) = measure.map(|way| way.milliseconds) else { return };
        for way in &mut self.ways {
            way.ratio = (1e3 * way.milliseconds / measure).round() / 1e3;
        }
    }

    pub(super) fn in_words(&self) -> String {
        let mut text = format!("{}; {} runs of each in turns, medians\n\n", self.bench, self.runs);
        let width = self.ways.iter().map(|way| way.way.chars().count()).max().unwrap_or(0);
        let _ = writeln!(text, "{:<width$}  {:>14}  {:>9}", "", "milliseconds", "ratio");
        for Way { way, milliseconds, ratio, remark } in &self.ways {
            let gap = if remark.is_empty() { "" } else { "  " };
            let _ =
                writeln!(text, "{way:<width$}  {milliseconds:>14.3}  {ratio:>9.2}{gap}{remark}");
        }
        for NotRun { way, reason } in &self.not_run {
            let _ = writeln!(text, "not run: {way}: {}", clean(reason));
        }
        if self.wrong.is_empty() {
            let _ = writeln!(text, "\nanswers: {}", self.answers);
        }
        for wrong in &self.wrong {
            let _ = writeln!(text, "WRONG: {}", clean(wrong));
        }
        text
    }
}

fn median(times: &[Duration]) -> Option<Duration> {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_names_ways_ratios_what_was_not_run_and_what_is_wrong() {
        let mut report = Report::new("two ways".to_owned(), 3);
        let times = |milliseconds: [u64; 3]| milliseconds.map(Duration::from_millis);
        report.add("the old way", &times([90, 30, 40]), "10 of 20, times 2".to_owned());
        report.add("ours", &times([10, 20, 5]), String::new());
        report.add("never", &[], String::new());
        report.not_run("another", "no jq");
        report.answers = "the same".to_owned();
        report.measure_by("ours");
        assert_eq!(
            report.in_words(),
            "two ways; 3 runs of each in turns, medians\n\n\
             \x20              milliseconds      ratio\n\
             the old way          40.000       4.00  10 of 20, times 2\n\
             ours                 10.000       1.00\n\
             not run: another: no jq\n\nanswers: the same\n"
        );
        report.wrong.push("one".to_owned());
        assert!(report.in_words().ends_with("no jq\nWRONG: one\n"));
    }
}
