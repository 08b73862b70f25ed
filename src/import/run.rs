//! An import from files: lines, the pipeline, and the account of all of it.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::accounts::{Class, Status, Tally};
use super::child::ImportError;
use super::encode::StoredEvent;
use super::event_head::EventHead;
use super::fate::Fate;
use super::limits::{LINE_BYTES_OVER, LINE_BYTES_PER_EVENT_BYTE};
use super::pipeline::{Ledger, Pipeline, Settings};
use super::rejects::{Reject, Rejects, RejectsError, is_listed};
use super::summary::{Examples, Summary, VERSION};
use crate::jsonl::{Piece, Pieces, Source, is_told_to_stop};
use crate::node::{Blacklist, EventLimits, Precious};
use crate::nostr::Event;
use crate::report::with_causes;
use crate::strfry_db::StrfryDb;

/// What is to be imported, and how.
pub struct Job {
    /// Read in this order.
    pub inputs: Vec<Source>,
    /// How events are checked and given to strfry.
    pub settings: Settings,
    /// Authors whose events are refused: an import bypasses the relay's own policy.
    pub blacklist: Blacklist,
    /// Gets every event that is not in the database afterwards.
    pub rejects: Option<PathBuf>,
    /// What that file must not be.
    pub precious: Precious,
}

/// Why an import could not begin.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum RunError {
    #[error(transparent)]
    Strfry(#[from] ImportError),
    #[error(transparent)]
    Rejects(#[from] RejectsError),
    #[error("cannot start the import: {0}")]
    Start(#[source] io::Error),
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sofar {
    /// Of all inputs that are files, bytes as they lie there.
    pub bytes_read: u64,
    /// All of them; `None` if one is no file.
    pub bytes: Option<u64>,
    /// Events that came in.
    pub received: u64,
    /// Those of them of which it is known what became of them.
    pub settled: u64,
    /// Those of them that are in the database now.
    pub imported: u64,
}

/// A piece of one input.
struct Read {
    input: usize,
    piece: Piece,
}

/// Where an event stood.
#[derive(Debug, Clone, Copy)]
struct Place {
    input: usize,
    line: u64,
}

/// What all threads count into.
struct Books {
    names: Vec<String>,
    limits: EventLimits,
    blacklist: Blacklist,
    tally: Tally,
    rejects: Rejects,
}

struct Accounts {
    books: Arc<Books>,
    examples: Examples,
}

/// Imports, and tells `progress` about it after every piece, and while strfry is waited for.
///
/// # Errors
/// What makes an import impossible, before any input is read. What goes wrong later is in the
/// summary.
pub fn run(job: Job, db: Arc<StrfryDb>, progress: impl Fn(Sofar)) -> Result<Summary, RunError> {
    let started = Instant::now();
    let Job { mut inputs, settings, blacklist, rejects, precious } = job;
    if let Some(strfry) = &settings.strfry {
        strfry.check()?;
    }
    let created = rejects.as_deref().map(|path| Rejects::create(path, &inputs, &precious));
    let books = Arc::new(Books {
        names: inputs.iter().map(|input| input.path.to_string_lossy().into_owned()).collect(),
        limits: settings.limits,
        blacklist,
        tally: Tally::default(),
        rejects: created.transpose()?.unwrap_or_default(),
    });
    let accounts = Accounts { books: Arc::clone(&books), examples: Examples::default() };
    let (verified, form) = (settings.check_signatures, settings.form);
    let dry_run = settings.strfry.is_none();
    let longest = LINE_BYTES_PER_EVENT_BYTE
        .saturating_mul(settings.limits.max_event_size)
        .saturating_add(LINE_BYTES_OVER);
    let prepare = {
        let books = Arc::clone(&books);
        move |read: Read| books.events_of(&read)
    };
    let pipeline = Pipeline::start(db, settings, accounts, prepare).map_err(RunError::Start)?;

    let bytes = inputs.iter().map(|input| input.bytes).sum::<Option<u64>>();
    let mut errors = Vec::new();
    let tell = |bytes_read| {
        progress(Sofar {
            bytes_read,
            bytes,
            received: books.tally.received(),
            settled: books.tally.settled(),
            imported: books.tally.of(Class::Imported),
        });
    };
    let (mut bytes_read, mut bytes_before) = (0, 0);
    let mut is_cut = false;
    'inputs: for (number, input) in inputs.iter_mut().enumerate() {
        let counter = input.counter();
        for piece in Pieces::new(&mut *input, longest) {
            if pipeline.has_failed() {
                break 'inputs;
            }
            match piece {
                Ok(piece) => pipeline.submit(Read { input: number, piece }),
                Err(error) if is_told_to_stop(&error) => {
                    is_cut = true;
                    break 'inputs;
                }
                Err(error) => {
                    let path = input_name(&books.names, number);
                    errors.push(format!("cannot read {path} to its end: {error}"));
                }
            }
            bytes_read = bytes_before + counter.load(Ordering::Relaxed);
            tell(bytes_read);
        }
        bytes_before += input.bytes.unwrap_or(0);
    }
    let ended = pipeline.finish(|| tell(bytes_read));
    if is_cut {
        errors.push("stopped by a signal before the end of the input".to_owned());
    }
    errors.extend(ended.troubles);
    errors.extend(ended.error.as_ref().map(|why| format!("cannot import: {}", with_causes(why))));
    errors.extend(books.rejects.finish());
    let examples = ended.ledger.map(|accounts| accounts.examples).unwrap_or_default();
    let mut summary = Summary {
        version: VERSION,
        status: Status::Failed,
        seconds: started.elapsed().as_secs_f64(),
        dry_run,
        verified,
        form,
        received: books.tally.received(),
        events: books.tally.by_class(),
        reasons: books.tally.reasons(),
        superseded: examples.superseded,
        deleted: examples.deleted,
        bytes_written: ended.bytes_written,
        notices: ended.notices,
        errors,
    };
    if !ended.error.is_some_and(|error| error.is_failure()) {
        summary.status = summary.judged();
    }
    Ok(summary)
}

impl Books {
    /// The events among the lines of a piece; what is none is counted.
    fn events_of(&self, read: &Read) -> Vec<(StoredEvent, Place)> {
        let mut events = Vec::new();
        for (line, bytes) in read.piece.lines() {
            self.tally.receive();
            let place = Place { input: read.input, line };
            match self.event_of(bytes) {
                Ok(event) => events.push((event, place)),
                Err((class, reason)) => {
                    self.tally.count_because(class, &reason);
                    self.list(class, &reason, place, bytes.map(String::from_utf8_lossy));
                }
            }
        }
        events
    }

    fn event_of(&self, line: Option<&[u8]>) -> Result<StoredEvent, (Class, String)> {
        let line =
            line.ok_or_else(|| (Class::Oversize, "line too long for any event".to_owned()))?;
        let malformed = |reason: &dyn ToString| (Class::Malformed, reason.to_string());
        let text = std::str::from_utf8(line).map_err(|_| malformed(&"not UTF-8"))?;
        let event = Event::parse(text).map_err(|error| malformed(&error))?;
        if self.blacklist.contains(&event.pubkey) {
            return Err((Class::Blacklisted, format!("{} is blacklisted", event.pubkey)));
        }
        StoredEvent::encode(&event, &self.limits)
            .map_err(|refusal| (refusal.class(), refusal.to_string()))
    }

    fn list(&self, class: Class, reason: &str, place: Place, event: Option<Cow<'_, str>>) {
        let input = Cow::Borrowed(input_name(&self.names, place.input));
        let class = class.name();
        self.rejects.write(&Reject { input, line: place.line, class, reason, event });
    }
}

fn input_name(names: &[String], number: usize) -> &str {
    names.get(number).map_or("", String::as_str)
}

impl Ledger for Accounts {
    type Ticket = Place;

    fn settled(&mut self, event: &EventHead, json: Option<&str>, place: Place, fate: &Fate) {
        let (class, books) = (fate.class(), &self.books);
        self.examples.add(event.id(), fate);
        match fate {
            Fate::Rejected(reason) => books.tally.count_because(class, reason),
            _ => books.tally.count(class),
        }
        if is_listed(class) {
            let reason = fate.reason().unwrap_or_default();
            books.list(class, &reason, place, json.map(Cow::Borrowed));
        }
    }
}
