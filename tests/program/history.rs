//! What is left of runs: their history, the page and the metrics.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::said::Said;
use crate::small_node::{SmallNode, now};
use crate::support::no_relays::ClosedPort;
use crate::support::terminal::on_terminal;

const HISTORY: &str = "strfry/constellation-backfill.history.jsonl";

fn lines(small: &SmallNode) -> Vec<Value> {
    let text = fs::read_to_string(small.node.home().join(HISTORY)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn json_of(small: &SmallNode, arguments: &[&str]) -> Value {
    let said = small.said(&mut small.node.companion(arguments));
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{arguments:?}");
    serde_json::from_str(&said.out).unwrap()
}

#[test]
fn each_run_adds_the_summary_that_it_prints_and_a_dry_run_adds_nothing() {
    let small = SmallNode::new();
    assert_eq!(small.backfill(&["--dry-run"]).code, 0);
    assert_eq!(small.backfill(&["--no-history"]).code, 0);
    assert_eq!(lines(&small), Vec::<Value>::new());
    let said = small.backfill(&["--json"]);
    let printed: Value =
        serde_json::from_str(&said.out.replace("RELAY", &small.relay.url())).unwrap();
    assert_eq!(
        json_of(&small, &["history", "show", "--json"])["started_at"],
        printed["started_at"]
    );
    assert_eq!(printed["gained"]["kinds"], json!({}));
    assert_eq!(lines(&small), [printed]);
}

#[test]
fn the_history_lists_runs_shows_one_and_compares_two() {
    let small = SmallNode::new();
    let empty = small.said(&mut small.node.companion(&["history"]));
    assert_eq!(empty.out, "No run yet: the next backfill writes the first line.\n");
    assert_eq!(small.backfill(&[]).code, 0);
    let dead = ClosedPort::reserve();
    small.node.add_station("dead", &dead.url());
    assert_eq!(small.backfill(&[]).code, 1);

    let list = small.said(&mut small.node.companion(&["history"])).out;
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 3, "{list}");
    // Number, date, time, status, duration and its unit, received, imported, peers, profiles missing.
    let told = |row: &[&str]| [row[0], row[3], row[7], row[8], row[9]].join(" ");
    assert_eq!(told(&rows[1])[..13], *"1 incomplete ", "{list}");
    assert_eq!(told(&rows[2]), "2 complete 4 1/1 0");

    let first = small.said(&mut small.node.companion(&["history", "show", "2"])).out;
    assert!(first.contains("complete,"), "{first}");
    assert!(first.contains("4 events imported, "), "{first}");
    assert!(first.contains(
        "Imported by kind:\n  0                        2\n  1                        2\n"
    ));
    let last = small.said(&mut small.node.companion(&["history", "show"])).out;
    assert!(last.contains("Incomplete, because:\n"), "{last}");
    let peers = last.split_once("Peers:\n").unwrap().1.split_once("\nDurations:").unwrap().0;
    let peers = peers.replace(&small.relay.url(), "RELAY").replace(&dead.url(), "DEAD");
    let without_time = peers.lines().map(|line| line.rsplit_once(", ").unwrap().0);
    assert_eq!(
        without_time.collect::<Vec<_>>(),
        [
            "  DEAD  dead: failed, 0 received, 0 imported",
            "  RELAY  peer: complete, 6 received, 0 imported",
        ]
    );

    let diff = json_of(&small, &["history", "diff", "--json"]);
    assert_eq!(diff["difference"]["events"]["imported"], json!([4, 0]));
    let changed = &diff["difference"]["peers"][dead.url()];
    assert_eq!(*changed, json!({"before": null, "after": "failed"}));
    let words = small.said(&mut small.node.companion(&["history", "diff", "2", "1"])).out;
    assert!(words.contains("  imported                 4 → 0\n"), "{words}");
    assert!(words.contains(": not asked → failed\n"), "{words}");

    for (arguments, why) in [
        (
            &["history", "show", "3"][..],
            "no run 3 in the history, which has 2 runs: see `strfry-companion history` for their numbers",
        ),
        (
            &["history", "show", "0"],
            "no run 0 in the history, which has 2 runs: see `strfry-companion history` for their numbers",
        ),
        (
            &["history", "show", "1", "2"],
            "too many runs are named: `list` takes none, `show` one, `diff` two",
        ),
    ] {
        let said = small.said(&mut small.node.companion(arguments));
        assert_eq!(said, Said::refusal(2, format!("strfry-companion: {why}\n")));
    }
}

#[test]
fn a_directory_of_its_own_is_made_and_damaged_lines_are_told() {
    let small = SmallNode::new();
    let directory = small.node.home().join("kept/here");
    let flag = ["--history", directory.to_str().unwrap()];
    assert_eq!(small.backfill(&flag).code, 0);
    let file = directory.join("constellation-backfill.history.jsonl");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("\u{202e}\n{good}{{\"version\":")).unwrap();
    let said = small.said(&mut small.node.companion(&[&["history"], &flag[..]].concat()));
    assert_eq!((said.code, said.out.lines().count()), (0, 2));
    assert_eq!(
        said.err,
        "strfry-companion: warning: HOME/kept/here/constellation-backfill.history.jsonl: 2 lines \
         skipped that are not the summary of a run\n"
    );
    assert_eq!(lines(&small), Vec::<Value>::new());
}

#[test]
fn a_run_that_cannot_be_kept_says_so_and_is_not_complete() {
    let small = SmallNode::new();
    let file = small.node.home().join(HISTORY);
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    let said = small.backfill(&[]);
    assert_eq!(said.code, 1);
    let why = "the history lacks this run: cannot open HOME/strfry/constellation-backfill.history.jsonl: \
               it is a pipe (FIFO), not a regular file; move it away";
    assert_eq!(said.err, "");
    assert!(said.out.ends_with(&format!("Incomplete, because:\n  {why}\n")), "{}", said.out);
    assert!(small.holds(&small.events));
    let said = small.said(&mut small.node.companion(&["history"]));
    assert_eq!(
        said,
        Said::refusal(
            3,
            "strfry-companion: cannot read the history \
             HOME/strfry/constellation-backfill.history.jsonl: it is a pipe (FIFO), not a regular \
             file; move it away\n"
        )
    );
    // Nor is it written through a link to a file that matters.
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(small.node.strfry_dir().join("strfry.conf"), &file).unwrap();
    let said = small.backfill(&[]);
    assert_eq!(said.code, 3);
    assert!(said.err.contains("it is a link to a file that is"), "{}", said.err);
}

/// Where Debian's `prometheus` or `chromium` is not installed, what needs it is left out.
fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|it| it.join(program)).find(|it| it.is_file());
    if found.is_none() {
        println!("skipped: {program} is not installed");
    }
    found
}

#[test]
fn metrics_are_what_node_exporter_reads() {
    let small = SmallNode::new();
    let file = small.node.home().join("run.prom");
    let flag = ["--metrics", file.to_str().unwrap()];
    assert_eq!(small.backfill(&[&["--dry-run"], &flag[..]].concat()).code, 0);
    assert!(!file.exists());
    let before = now();
    assert_eq!(small.backfill(&flag).code, 0);
    let text = fs::read_to_string(&file).unwrap();
    let value = |name: &str| -> f64 {
        let name = format!("strfry_companion_last_run_{name} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
    };
    let values = [
        "status{status=\"complete\"}",
        "status{status=\"failed\"}",
        "events{class=\"imported\"}",
        "events{class=\"bad_id\"}",
        "peers{status=\"complete\"}",
        "profiles{state=\"found\"}",
        "profiles{state=\"missing\"}",
        "recovered_profiles",
        "errors",
    ];
    assert_eq!(values.map(value), [1.0, 0.0, 4.0, 0.0, 1.0, 2.0, 0.0, 2.0, 0.0]);
    assert!(value("start_timestamp_seconds") >= before as f64);
    let bytes: usize = small.events.iter().map(String::len).sum();
    assert_eq!(value("imported_bytes"), bytes as f64);
    let written = value("written_bytes");
    assert!(written > 0.0);
    assert_eq!(value("written_bytes_per_event"), (written / 4.0).floor());
    assert!(value("memory_peak_bytes") > 1e6 && value("duration_seconds") > 0.0);
    assert_valid(&text);

    // A run that does not begin is one that failed.
    fs::remove_file(small.node.strfry_dir().join("strfry")).unwrap();
    fs::write(small.node.strfry_dir().join("strfry"), "").unwrap();
    assert_eq!(small.backfill(&flag).code, 3);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("strfry_companion_last_run_status{status=\"failed\"} 1\n"), "{text}");
    assert_valid(&text);
    let conf = small.node.strfry_dir().join("strfry.conf");
    let said = small.backfill(&["--metrics", conf.to_str().unwrap()]);
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(said.err.ends_with("name another file with --metrics\n"), "{}", said.err);
}

fn assert_valid(text: &str) {
    let Some(promtool) = installed("promtool") else { return };
    let mut command = Command::new(promtool);
    let output = crate::support::feed(command.args(["check", "metrics"]), text.as_bytes());
    let said = (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert_eq!(said, (Some(0), String::new()));
}

#[test]
fn a_report_needs_a_run_and_replaces_nothing_that_matters() {
    let small = SmallNode::new();
    let said = small.said(&mut small.node.companion(&["report"]));
    let why = "no run to report in HOME/strfry/constellation-backfill.history.jsonl: run \
               `strfry-companion backfill` first";
    assert_eq!(said, Said::refusal(3, format!("strfry-companion: {why}\n")));
    assert_eq!(small.backfill(&[]).code, 0);
    let conf = small.node.strfry_dir().join("strfry.conf");
    let said = small.said(&mut small.node.companion(&["report", conf.to_str().unwrap()]));
    assert_eq!(said.code, 2, "{}", said.err);
    let said = small.said(small.node.companion(&["report"]).env("LC_ALL", "fr_FR.UTF-8"));
    assert!(said.out.starts_with("<!doctype html>\n<html lang=\"fr\">"), "{}", said.out);
    let shown = on_terminal(&mut small.node.companion(&["report"]), 80);
    assert_eq!((shown.code, shown.out.as_str()), (Some(2), ""), "{}", shown.err);
    assert!(shown.err.contains("name a file, such as report.html, or -"), "{}", shown.err);
    let said = small.said(&mut small.node.companion(&["report", "-", "--lang", "en"]));
    assert!(said.out.starts_with("<!doctype html>\n<html lang=\"en\">"), "{}", said.out);
}

const HOSTILE: &str =
    "<img src=x onerror=console.error(1)>\u{202e}</svg></style><script>console.error(2)";

/// A page in a browser without a window: what it says on its console, and how far it reaches.
fn in_browser(chromium: &Path, page: &Path, width: u32, dark: bool) -> (String, f64) {
    // The page has no script; a frame around it has one, which measures it.
    let frame = page.with_extension("frame.html");
    let measured = "let r = document.getElementById('f').contentDocument.documentElement; \
                    document.title = 'reach ' + r.scrollWidth + ' of ' + r.clientWidth";
    let text = format!(
        "<body style='margin:0'><iframe id=f src='{}' onload=\"{measured}\" \
         style='border:0;width:{width}px;height:900px'></iframe>",
        page.file_name().unwrap().to_str().unwrap()
    );
    fs::write(&frame, text).unwrap();
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new(chromium);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"])
        .args(["--enable-logging=stderr", "--log-level=0", "--virtual-time-budget=2000"])
        .arg(format!("--window-size={width},900"))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(dark.then_some("--force-dark-mode"))
        .arg("--dump-dom")
        .arg(format!("file://{}", frame.display()));
    let output = command.output().unwrap();
    let console: String = String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter(|line| line.contains(":CONSOLE"))
        .map(|line| format!("{line}\n"))
        .collect();
    let dom = String::from_utf8_lossy(&output.stdout);
    let reach = dom.split("reach ").nth(1).and_then(|rest| rest.split('<').next());
    let (reach, of) = reach.and_then(|it| it.split_once(" of ")).unwrap_or_else(|| panic!("{dom}"));
    (console, reach.parse::<f64>().unwrap() / of.parse::<f64>().unwrap())
}

#[test]
fn the_page_fits_any_screen_and_says_nothing_on_the_console() {
    let Some(chromium) = installed("chromium") else { return };
    let small = SmallNode::new();
    let name = format!("{HOSTILE}{}", "x".repeat(2_000));
    let peer = |status: &str| {
        json!({"name": name, "url": format!("wss://{}.example", "very-long-name".repeat(12)),
               "status": status, "gaps": [{"reason": name}], "received": 5, "seconds": 70.5,
               "events": {"imported": 3}})
    };
    let run = json!({
        "version": 1, "status": "incomplete", "started_at": "2026-11-26T03:12:01Z", "seconds": 12.34,
        "pubkeys": 3, "received": 1_234_567_890, "events": {"imported": 1_234_567_890, name.as_str(): 1},
        "profiles": {"found": 1_000_000, "missing": 2, "recovered": 1, "missing_pubkeys": ["0a".repeat(32), name]},
        "reasons": {name.as_str(): 3}, "errors": [name],
        "gained": {"bytes": 99, "kinds": {"0": 4}, "days": {"2026-11-24": 7, "2026-11-25": 1_227}},
        "phases": [{"name": "Asking peers", "seconds": 1.0}], "peak_memory": 12_000_000,
        "peers": [peer("complete"), peer("incomplete"), peer("failed")],
    });
    small.node.write(HISTORY, format!("{run}\n").repeat(90));
    let page = small.node.home().join("report.html");
    for lang in ["en", "fr"] {
        let arguments = ["report", page.to_str().unwrap(), "--lang", lang];
        let said = small.said(&mut small.node.companion(&arguments));
        assert_eq!(said, Said { code: 0, out: String::new(), err: String::new() });
        for (width, dark) in [(360, false), (360, true), (1_920, false)] {
            let seen = in_browser(&chromium, &page, width, dark);
            assert_eq!(seen, (String::new(), 1.0), "{lang} {width}");
        }
    }
}
