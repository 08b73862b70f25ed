//! `import`: JSON lines from standard input into the database, as strfry 1.1.1 takes them.
//!
//! Faults for tests, by environment variable:
//!
//! | variable | effect |
//! |---|---|
//! | `STAND_IN_DIE_AFTER_LINES=N` | aborts after N lines; what is not committed yet is lost |
//! | `STAND_IN_DIE_OF=text` | aborts at an event with this text; what is not committed is lost |
//! | `STAND_IN_HANG_AFTER_LINES=N` | reads no more after N lines and waits until it is killed |
//! | `STAND_IN_REJECT_EVERY=N` | rejects every Nth event with the reason `test says no` |
//! | `STAND_IN_DROP_EVERY=N` | counts every Nth accepted event as added without writing it |
//!
//! `STAND_IN_FAIL_START=text` concerns every command and is handled before this.

use std::io::{self, BufRead};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use strfry_companion::import::EventLimits;

use super::Arguments;
use super::judge::{judge, parse_fried};
use super::log::{Log, Thread};
use super::tao::parse;
use super::writer::{Batch, NewEvent, Removal, Verdict, Writer};

/// Lines that wait between the reading thread and the rest; few, so that whoever feeds a hanging
/// import feels it.
const LINES_READ_AHEAD: usize = 64;

/// strfry shows so many bytes of a rejected event.
const SHOWN_OF_REJECTED: usize = 200;

struct Options {
    show_rejected: bool,
    verify: bool,
    fried: bool,
    debounce: Duration,
    write_batch: usize,
}

/// Runs the command.
pub fn run(
    arguments: &mut Arguments,
    writer: &Writer,
    limits: &EventLimits,
    log: &Log,
) -> anyhow::Result<()> {
    let fried = arguments.flag("--fried");
    let options = Options {
        show_rejected: arguments.flag("--show-rejected"),
        verify: !arguments.flag("--no-verify"),
        fried,
        debounce: Duration::from_millis(arguments.number("--debounce-millis")?.unwrap_or(1_000)),
        write_batch: match arguments.number("--write-batch")? {
            Some(events) => usize::try_from(events)?,
            None if fried => 100_000,
            None => 10_000,
        },
    };
    arguments.finish()?;
    abort_on_panic();
    if !options.verify {
        log.warn(Thread::Main, "not verifying event IDs or signatures!");
    }
    let faults = Faults::from_environment()?;
    let mut import = Import {
        writer,
        limits,
        log,
        options,
        faults,
        totals: Totals::default(),
        accepted: 0,
        pending: Vec::new(),
        dropped: 0,
        commit_at: None,
    };
    import.read_lines(&lines_of_stdin())?;
    import.commit()?;
    log.info(Thread::Main, format_args!("Done. {}", import.totals));
    Ok(())
}

/// What strfry's writer throws nobody catches.
fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let what = panic.payload().downcast_ref::<&str>().copied().unwrap_or_default();
        super::log::write(format_args!(
            "terminate called after throwing an instance of 'std::runtime_error'"
        ));
        super::log::write(format_args!("  what():  {what}"));
        std::process::abort();
    }));
}

#[derive(Default)]
struct Totals {
    processed: u64,
    added: u64,
    rejected: u64,
    dups: u64,
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { processed, added, rejected, dups } = self;
        write!(f, "Processed {processed} lines. {added} added, {rejected} rejected, {dups} dups")
    }
}

/// What is to go wrong, and when.
struct Faults {
    die_after_lines: Option<u64>,
    die_of: Option<String>,
    hang_after_lines: Option<u64>,
    reject_every: Option<u64>,
    drop_every: Option<u64>,
}

impl Faults {
    fn from_environment() -> anyhow::Result<Self> {
        let number = |name| match std::env::var(name) {
            Ok(text) => text.parse().map(Some).with_context(|| format!("{name}={text}")),
            Err(_) => Ok(None),
        };
        Ok(Self {
            die_after_lines: number("STAND_IN_DIE_AFTER_LINES")?,
            die_of: std::env::var("STAND_IN_DIE_OF").ok(),
            hang_after_lines: number("STAND_IN_HANG_AFTER_LINES")?,
            reject_every: number("STAND_IN_REJECT_EVERY")?,
            drop_every: number("STAND_IN_DROP_EVERY")?,
        })
    }

    fn strike_at(&self, line: &[u8]) {
        let holds = |text: &String| memchr::memmem::find(line, text.as_bytes()).is_some();
        if self.die_of.as_ref().is_some_and(holds) {
            std::process::abort();
        }
    }

    fn strike_after(&self, lines: u64) {
        if self.die_after_lines == Some(lines) {
            std::process::abort();
        }
        while self.hang_after_lines == Some(lines) {
            thread::park();
        }
    }
}

/// The id in an event's text, as a rejection names it.
fn id_in(event: &str) -> String {
    let event: Option<serde_json::Value> = serde_json::from_str(event).ok();
    let id = event.as_ref().and_then(|event| event["id"].as_str());
    id.unwrap_or("unknown").to_owned()
}

fn is_due(every: Option<u64>, count: u64) -> bool {
    every.is_some_and(|every| count.is_multiple_of(every))
}

struct Import<'a> {
    writer: &'a Writer,
    limits: &'a EventLimits,
    log: &'a Log,
    options: Options,
    faults: Faults,
    totals: Totals,
    /// Events that were parsed and not rejected.
    accepted: u64,
    pending: Vec<NewEvent>,
    /// Of those that would be pending.
    dropped: u64,
    /// When the oldest pending event has waited for the debounce.
    commit_at: Option<Instant>,
}

impl Import<'_> {
    fn read_lines(&mut self, lines: &Receiver<Vec<u8>>) -> anyhow::Result<()> {
        let mut count = 0;
        while let Some(line) = self.next_line(lines)? {
            count += 1;
            if line.len() > self.limits.max_event_size {
                // On its way out strfry still commits what it has read before.
                self.commit()?;
                bail!("Line larger than configured maxEventSize on line {count}");
            }
            self.faults.strike_at(&line);
            // strfry takes the last byte for a newline, whatever it is.
            self.take_line(line.split_last().map_or(&[], |(_, line)| line), count);
            if self.pending.len() >= self.options.write_batch {
                self.commit()?;
            }
            self.faults.strike_after(count);
        }
        Ok(())
    }

    /// The next line; commits while there is none for the length of the debounce.
    fn next_line(&mut self, lines: &Receiver<Vec<u8>>) -> anyhow::Result<Option<Vec<u8>>> {
        while let Some(commit_at) = self.commit_at {
            match lines.recv_timeout(commit_at.saturating_duration_since(Instant::now())) {
                Ok(line) => return Ok(Some(line)),
                Err(RecvTimeoutError::Timeout) => self.commit()?,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
        Ok(lines.recv().ok())
    }

    fn take_line(&mut self, line: &[u8], number: u64) {
        if self.options.fried {
            match std::str::from_utf8(line).ok().and_then(parse_fried) {
                Some(event) => {
                    self.totals.processed += 1;
                    self.enqueue(event);
                }
                None => {
                    let message = format!("Unable to parse fried JSON on line {number}");
                    self.log.warn(Thread::Main, message);
                }
            }
            return;
        }
        let Some(event) = parse(line) else {
            let message = format!("Unable to parse JSON on line {number}");
            return self.log.warn(Thread::Main, message);
        };
        self.totals.processed += 1;
        let verdict = if is_due(self.faults.reject_every, self.totals.processed) {
            Err("test says no".into())
        } else {
            judge(&event, self.limits, self.options.verify)
        };
        match verdict {
            Ok(event) => self.enqueue(event),
            Err(reason) => {
                self.totals.rejected += 1;
                if self.options.show_rejected {
                    let mut text = String::new();
                    event.write(&mut text);
                    let shown = text.as_bytes().get(..SHOWN_OF_REJECTED);
                    let shown = String::from_utf8_lossy(shown.unwrap_or(text.as_bytes()));
                    let message = match super::is_newest() {
                        false => format!("Rejected event: {shown} reason: {reason}"),
                        true => format!("Rejected event {}: {reason}", id_in(&text)),
                    };
                    self.log.info(Thread::Validator, message);
                }
            }
        }
    }

    fn enqueue(&mut self, event: NewEvent) {
        self.accepted += 1;
        if is_due(self.faults.drop_every, self.accepted) {
            self.dropped += 1;
        } else {
            self.pending.push(event);
        }
        self.commit_at.get_or_insert_with(|| Instant::now() + self.options.debounce);
    }

    fn commit(&mut self) -> anyhow::Result<()> {
        self.commit_at = None;
        let events = std::mem::take(&mut self.pending);
        let dropped = std::mem::take(&mut self.dropped);
        let Batch { verdicts, removed } = self.writer.write_events(&events)?;
        for (removal, id) in removed {
            let what = match removal {
                Removal::Replaced => "event (d-tag)",
                Removal::DeletedById => "event (kind 5, e-tag)",
                Removal::DeletedByAddress => "replaceable event (kind 5, a-tag)",
            };
            self.log.info(Thread::Writer, format_args!("Deleting {what}. id={id}"));
        }
        let (mut added, mut dups, mut replaced, mut deleted) = (dropped, 0, 0, 0);
        for verdict in &verdicts {
            *match verdict {
                Verdict::Written(_) => &mut added,
                Verdict::Duplicate => &mut dups,
                Verdict::Replaced => &mut replaced,
                Verdict::Deleted => &mut deleted,
            } += 1;
        }
        self.totals.added += added;
        self.totals.dups += dups;
        if added + replaced + deleted > 0 {
            let message = format!("Committed {added}. {}", self.totals);
            self.log.info(Thread::Writer, message);
        }
        let message =
            format!("Writer: added: {added} dups: {dups} replaced: {replaced} deleted: {deleted}");
        self.log.info(Thread::Writer, message);
        Ok(())
    }
}

/// Standard input line by line, newlines included, read by a thread so that waiting for a line can
/// end.
fn lines_of_stdin() -> Receiver<Vec<u8>> {
    let (sender, receiver) = sync_channel(LINES_READ_AHEAD);
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            match input.read_until(b'\n', &mut line) {
                Ok(1..) if sender.send(line).is_ok() => {}
                _ => return,
            }
        }
    });
    receiver
}
