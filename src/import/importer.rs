//! The run's import: one `strfry import`, everything handed over remembered until the database
//! shows what became of it.
//!
//! Holds a bounded amount of unconfirmed events; beyond it, waits for strfry to commit. A child
//! that dies is replaced once, with everything that it had not committed.

use super::child::{ImportChild, ImportError, StrfryCommand};
use super::confirm::{self, Fate};
use super::encode::StoredEvent;
use super::limits::{EVENTS_BETWEEN_CONFIRMATIONS, REJECTION_QUOTE, UNCONFIRMED_BYTES};
use crate::strfry_db::StrfryDb;

/// An event whose fate is known, with what the caller attached to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled<T> {
    /// What became of it.
    pub fate: Fate,
    /// The event.
    pub event: StoredEvent,
    /// As given to [`Importer::write`].
    pub tag: T,
}

/// Hands events to strfry and finds out what became of each.
pub struct Importer<'db, T> {
    db: &'db StrfryDb,
    command: StrfryCommand,
    child: Option<ImportChild>,
    unconfirmed: Vec<(StoredEvent, T)>,
    unconfirmed_bytes: usize,
    confirm_at: usize,
    rejections: Vec<String>,
    /// Why the first child had to be replaced.
    replaced: Option<ImportError>,
    settled: Vec<Settled<T>>,
}

impl<'db, T> Importer<'db, T> {
    /// Nothing is started before the first event.
    pub fn new(db: &'db StrfryDb, command: StrfryCommand) -> Self {
        Self {
            db,
            command,
            child: None,
            unconfirmed: Vec::new(),
            unconfirmed_bytes: 0,
            confirm_at: EVENTS_BETWEEN_CONFIRMATIONS,
            rejections: Vec::new(),
            replaced: None,
            settled: Vec::new(),
        }
    }

    /// Hands over a checked event. May wait for strfry.
    ///
    /// # Errors
    /// strfry cannot be started, or has died a second time. The event is remembered all the same:
    /// see [`Importer::abandon`].
    pub fn write(&mut self, event: StoredEvent, tag: T) -> Result<(), ImportError> {
        self.unconfirmed_bytes += event.memory() + size_of::<T>();
        let (event, _) = self.unconfirmed.push_mut((event, tag));
        let child = match self.child.take() {
            Some(child) => child,
            None => ImportChild::start(&self.command)?,
        };
        let written = self.child.insert(child).write_line(event.json());
        if let Err(error) = written {
            self.replace_child(error)?;
        }
        if self.unconfirmed.len() >= self.confirm_at || self.unconfirmed_bytes >= UNCONFIRMED_BYTES
        {
            self.make_room()?;
        }
        Ok(())
    }

    /// Passes on what is buffered, so that strfry can commit while nothing more comes.
    ///
    /// # Errors
    /// As [`Importer::write`].
    pub fn flush(&mut self) -> Result<(), ImportError> {
        match self.child.as_mut().map(ImportChild::flush) {
            Some(Err(error)) => self.replace_child(error),
            _ => Ok(()),
        }
    }

    /// The events whose fate became known since the last call.
    pub fn take_settled(&mut self) -> Vec<Settled<T>> {
        std::mem::take(&mut self.settled)
    }

    /// Why strfry had to be started a second time, if it had.
    pub fn replaced(&self) -> Option<&ImportError> {
        self.replaced.as_ref()
    }

    /// Ends the input, waits for strfry, and settles every event. What is not there is given to a
    /// fresh child once more.
    ///
    /// # Errors
    /// strfry died a second time, hangs, or the database cannot be read; see
    /// [`Importer::abandon`].
    pub fn finish(&mut self) -> Result<(), ImportError> {
        if let Err(error) = self.end_child() {
            self.replace_child(error)?;
            self.end_child()?;
        }
        self.confirm()?;
        if !self.unconfirmed.is_empty() {
            self.write_unconfirmed_again()?;
            self.end_child()?;
            self.confirm()?;
        }
        self.settle_the_rest();
        Ok(())
    }

    /// After an error: settles what the database shows, and the rest as not confirmed.
    pub fn abandon(&mut self) {
        // Ends the child's input and waits for what it still commits.
        self.child = None;
        let _ = self.confirm();
        self.settle_the_rest();
    }

    fn end_child(&mut self) -> Result<(), ImportError> {
        if let Some(child) = self.child.take() {
            self.rejections.extend(child.finish()?);
        }
        Ok(())
    }

    /// A second death is final.
    fn replace_child(&mut self, error: ImportError) -> Result<(), ImportError> {
        self.child = None;
        if self.replaced.is_some() {
            return Err(error);
        }
        self.replaced = Some(error);
        self.confirm()?;
        self.write_unconfirmed_again()
    }

    fn write_unconfirmed_again(&mut self) -> Result<(), ImportError> {
        let child = self.child.insert(ImportChild::start(&self.command)?);
        for (event, _) in &self.unconfirmed {
            child.write_line(event.json())?;
        }
        child.flush()
    }

    /// Confirms, and if that frees too little, waits for strfry to commit.
    fn make_room(&mut self) -> Result<(), ImportError> {
        self.flush()?;
        loop {
            let lines = self.child.as_ref().map_or(0, ImportChild::lines_logged);
            self.confirm()?;
            if self.unconfirmed_bytes < UNCONFIRMED_BYTES {
                return Ok(());
            }
            // strfry logs every commit.
            let has_news = self.child.as_ref().is_some_and(|child| child.wait_for_news(lines));
            if !has_news {
                return self.finish();
            }
        }
    }

    /// Settles what the database explains.
    fn confirm(&mut self) -> Result<(), ImportError> {
        let events = std::mem::take(&mut self.unconfirmed);
        let keys: Vec<_> = events
            .iter()
            .enumerate()
            .map(|(position, (event, _))| (event.id(), position))
            .collect();
        let fates = self.db.look_up_each(&keys, |snapshot, &(_, position)| {
            events.get(position).map_or(Ok(None), |(event, _)| confirm::look_up(snapshot, event))
        });
        let fates = match fates {
            Ok(fates) => fates,
            Err(error) => {
                self.unconfirmed = events;
                return Err(error.into());
            }
        };
        self.unconfirmed_bytes = 0;
        for ((event, tag), fate) in events.into_iter().zip(fates) {
            match fate {
                Some(fate) => self.settled.push(Settled { fate, event, tag }),
                None => {
                    self.unconfirmed_bytes += event.memory() + size_of::<T>();
                    self.unconfirmed.push((event, tag));
                }
            }
        }
        // Asking again pays once there is as much new as there is old.
        self.confirm_at = EVENTS_BETWEEN_CONFIRMATIONS + 2 * self.unconfirmed.len();
        Ok(())
    }

    fn settle_the_rest(&mut self) {
        for (event, tag) in std::mem::take(&mut self.unconfirmed) {
            let fate = match self.rejections.iter().find_map(|line| reason(line, &event)) {
                Some(reason) => Fate::Rejected(reason.to_owned()),
                None => Fate::NotConfirmed,
            };
            self.settled.push(Settled { fate, event, tag });
        }
        self.unconfirmed_bytes = 0;
    }
}

/// strfry's reason, if this line of its log rejects this event. Up to 1.1.1:
/// `Rejected event: <first 200 bytes of its JSON> reason: <reason>`; later
/// `Rejected event <id>: <reason>`.
fn reason<'a>(line: &'a str, event: &StoredEvent) -> Option<&'a str> {
    let rest = line.strip_prefix("Rejected event")?;
    if let Some(json) = rest.strip_prefix(": ") {
        let quoted = event.json().as_bytes();
        let quoted = String::from_utf8_lossy(quoted.get(..REJECTION_QUOTE).unwrap_or(quoted));
        return json.strip_prefix(&*quoted)?.strip_prefix(" reason: ");
    }
    rest.trim_start().strip_prefix(&event.id().to_string())?.strip_prefix(": ")
}
