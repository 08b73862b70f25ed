use std::fs::{self, OpenOptions};

use tempfile::TempDir;

use super::*;

const QUIET: Terminal = Terminal { enabled: true, verbose: false };
const VERBOSE: Terminal = Terminal { enabled: true, verbose: true };

/// Stands in for stderr.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Fixture {
    directory: TempDir,
    screen: Screen,
}

impl Fixture {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), screen: Screen::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn open(&self, terminal: Terminal) -> RunLog {
        let log = RunLog::open(&self.path("run.log"), &self.path("error.log"), terminal).unwrap();
        log.with(|shared| shared.terminal_output = Box::new(self.screen.clone()));
        log
    }

    fn lines(&self, name: &str) -> Vec<String> {
        without_times(&fs::read_to_string(self.path(name)).unwrap())
    }

    fn screen(&self) -> Vec<String> {
        without_times(std::str::from_utf8(&self.screen.0.lock().unwrap()).unwrap())
    }
}

/// Each line without its time, which must be one of the last minute.
fn without_times(text: &str) -> Vec<String> {
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines()
        .map(|line| {
            let (time, rest) = line.split_at("[2026-01-02 03:04:05] ".len());
            let time = jiff::civil::DateTime::strptime("[%Y-%m-%d %H:%M:%S] ", time).unwrap();
            let age = time.until(Zoned::now().datetime()).unwrap();
            assert!(age.total(jiff::Unit::Second).unwrap() < 60.0, "{line}");
            rest.to_owned()
        })
        .collect()
}

fn write_one_of_each(log: &RunLog) {
    log.info("📊 one");
    log.warn("two");
    log.error("three");
    log.debug("four");
    log.perf("five");
}

const ALL: [&str; 5] =
    ["[INFO] 📊 one", "[WARN] two", "[ERROR] three", "[DEBUG] four", "[PERF] five"];
const TROUBLE: [&str; 2] = ["[WARN] two", "[ERROR] three"];

#[test]
fn the_log_gets_every_line_the_error_log_and_a_quiet_terminal_only_trouble() {
    let fixture = Fixture::new();
    let log = fixture.open(QUIET);
    write_one_of_each(&log);
    assert_eq!(fixture.lines("run.log"), ALL);
    assert_eq!(fixture.lines("error.log"), TROUBLE);
    assert_eq!(fixture.screen(), TROUBLE);
    assert_eq!(log.write_failed(), None);
}

#[test]
fn a_verbose_terminal_gets_every_line_even_beside_a_progress_line() {
    let fixture = Fixture::new();
    let log = fixture.open(VERBOSE);
    log.attach(Progress::new(false));
    write_one_of_each(&log);
    assert_eq!(fixture.screen(), ALL);
}

#[test]
fn what_the_summary_tells_is_in_both_files_and_on_a_verbose_terminal_only() {
    for (terminal, shown) in [(QUIET, &[][..]), (VERBOSE, &["[WARN] no profile"])] {
        let fixture = Fixture::new();
        fixture.open(terminal).record(Level::Warn, "no profile");
        assert_eq!(fixture.lines("run.log"), ["[WARN] no profile"]);
        assert_eq!(fixture.lines("error.log"), ["[WARN] no profile"]);
        assert_eq!(fixture.screen(), shown);
    }
}

#[test]
fn a_terminal_that_is_not_enabled_gets_nothing_even_if_verbose() {
    let fixture = Fixture::new();
    write_one_of_each(&fixture.open(Terminal { enabled: false, verbose: true }));
    assert_eq!(fixture.screen(), [""; 0]);
}

#[test]
fn a_quiet_log_is_one_file_started_afresh() {
    let fixture = Fixture::new();
    for _ in 0..2 {
        write_one_of_each(&RunLog::open_quiet(&fixture.path("quiet.log")).unwrap());
    }
    assert_eq!(fixture.lines("quiet.log"), ALL);
    assert_eq!(fs::read_dir(fixture.directory.path()).unwrap().count(), 1);
}

#[test]
fn a_run_starts_the_log_afresh_and_appends_to_the_error_log() {
    let fixture = Fixture::new();
    fixture.open(QUIET).warn("first run");
    fixture.open(QUIET).error("second run");
    assert_eq!(fixture.lines("run.log"), ["[ERROR] second run"]);
    assert_eq!(fixture.lines("error.log"), ["[WARN] first run", "[ERROR] second run"]);
}

#[test]
fn a_message_with_newlines_cannot_forge_a_second_line() {
    let fixture = Fixture::new();
    fixture.open(QUIET).info("Alice\n[2026-01-01 00:00:00] [ERROR] \x1b[2Jgone\r");
    assert_eq!(
        fixture.lines("run.log"),
        [r"[INFO] Alice\u{a}[2026-01-01 00:00:00] [ERROR] \u{1b}[2Jgone\u{d}"]
    );
}

#[test]
fn an_error_log_past_10_mib_is_rotated_and_three_old_ones_are_kept() {
    let fixture = Fixture::new();
    let names = ["error.log", "error.log.1", "error.log.2", "error.log.3", "error.log.4"];
    for run in ["first", "second", "third", "fourth", "fifth"] {
        fs::write(fixture.path("error.log"), run).unwrap();
        let grown = OpenOptions::new().append(true).open(fixture.path("error.log")).unwrap();
        grown.set_len(ROTATED_PAST + 1).unwrap();
        fixture.open(QUIET);
    }
    let beginnings = names.map(|name| {
        let content = fs::read(fixture.path(name)).ok()?;
        Some(String::from_utf8_lossy(&content).trim_end_matches('\0').to_owned())
    });
    let expected = [Some(""), Some("fifth"), Some("fourth"), Some("third"), None];
    assert_eq!(beginnings, expected.map(|text| text.map(str::to_owned)));
}

#[test]
fn an_error_log_is_not_rotated_over_a_pipe() {
    let fixture = Fixture::new();
    File::create(fixture.path("error.log")).unwrap().set_len(ROTATED_PAST + 1).unwrap();
    let pipe = fixture.path("error.log.2");
    let (mode, kind) = (rustix::fs::Mode::RUSR, rustix::fs::FileType::Fifo);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    let (log, error_log) = (fixture.path("run.log"), fixture.path("error.log"));
    let error = RunLog::open(&log, &error_log, QUIET).unwrap_err();
    assert_eq!(
        crate::report::with_causes(&error),
        format!(
            "cannot rotate the error log {}: it is a pipe (FIFO), not a regular file; move it away",
            pipe.display()
        )
    );
    assert_eq!(fs::read_dir(fixture.directory.path()).unwrap().count(), 2);
}

#[test]
fn an_error_log_of_10_mib_or_less_is_not_rotated() {
    let fixture = Fixture::new();
    File::create(fixture.path("error.log")).unwrap().set_len(ROTATED_PAST).unwrap();
    fixture.open(QUIET);
    assert!(!fixture.path("error.log.1").exists());
}

#[test]
fn a_log_that_cannot_be_opened_says_which_and_leaves_the_last_run_its_log() {
    let fixture = Fixture::new();
    fixture.open(QUIET).warn("last run");
    let nowhere = fixture.path("absent/error.log");
    let error = RunLog::open(&fixture.path("run.log"), &nowhere, QUIET).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot open the error log {}: check that its directory exists and is writable, and \
             that the disk is not full",
            nowhere.display()
        )
    );
    assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
    assert_eq!(fixture.lines("run.log"), ["[WARN] last run"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_remembered_and_does_not_stop_the_run() {
    let fixture = Fixture::new();
    let log = RunLog::open(&fixture.path("run.log"), &fixture.path("error.log"), QUIET).unwrap();
    log.with(|shared| {
        shared.terminal_output = Box::new(fixture.screen.clone());
        let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let full = LogFile { path: "/dev/full".into(), file, torn: false };
        shared.files.as_mut().unwrap().log = full;
    });
    write_one_of_each(&log);
    assert_eq!(
        log.write_failed().unwrap().to_string(),
        "5 log lines are lost: cannot write /dev/full: No space left on device (os error 28); \
         check the disk"
    );
    assert_eq!(fixture.lines("error.log"), TROUBLE);
    assert_eq!(fixture.screen(), TROUBLE);
}

#[test]
fn a_line_after_a_torn_one_starts_on_its_own() {
    let fixture = Fixture::new();
    let path = fixture.path("run.log");
    fs::write(&path, "[half").unwrap();
    let mut file = LogFile::open(&path, "open the log").unwrap();
    file.torn = true;
    let mut failed = None;
    file.write("whole\n", &mut failed);
    file.write("again\n", &mut failed);
    assert_eq!(fs::read_to_string(&path).unwrap(), "[half\nwhole\nagain\n");
    assert_eq!(failed, None);
}

#[test]
fn threads_that_share_a_log_do_not_tear_each_others_lines() {
    let fixture = Fixture::new();
    let log = fixture.open(QUIET);
    std::thread::scope(|scope| {
        for name in ["a", "b"] {
            let log = log.clone();
            scope.spawn(move || (0..100).for_each(|_| log.info(name.repeat(1000))));
        }
    });
    let mut lines = fixture.lines("run.log");
    lines.sort();
    let expected = ["a", "b"].map(|name| vec![format!("[INFO] {}", name.repeat(1000)); 100]);
    assert_eq!(lines, expected.concat());
}

#[test]
fn a_discarded_log_takes_every_line_and_has_no_trouble() {
    let log = RunLog::discard();
    write_one_of_each(&log);
    assert_eq!(log.write_failed(), None);
}
