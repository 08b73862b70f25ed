//! A run's import: one `strfry import` for each form of line that is needed, and everything that
//! was handed over remembered until the database shows what became of it.
//!
//! Holds a bounded amount of unconfirmed events; beyond it, waits for strfry to commit. A child
//! that dies is replaced once, with everything that it had not committed.

use std::collections::VecDeque;

use super::child::{Form, ImportChild, ImportError, StrfryCommand};
use super::confirm;
use super::encode::StoredEvent;
use super::fate::Fate;
use super::limits::{EVENTS_PER_CONFIRMATION, REJECTION_QUOTE, UNCONFIRMED_BYTES};
use crate::node::EventLimits;
use crate::strfry_db::{ReadError, StrfryDb};

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
    limits: EventLimits,
    /// The form of every line that can have it.
    form: Form,
    lanes: [Lane<T>; 2],
    unconfirmed_bytes: usize,
    rejections: Vec<String>,
    /// Why the first child had to be replaced.
    replaced: Option<ImportError>,
    settled: Vec<Settled<T>>,
}

/// The lines of one form, and the strfry that takes them.
struct Lane<T> {
    form: Form,
    child: Option<ImportChild>,
    /// In the order in which this child was given them.
    unconfirmed: VecDeque<(StoredEvent, T)>,
    /// How many events of this child have been looked up.
    looked_up: u64,
    /// This child is through with them, and nothing in the database explains what it did.
    unexplained: Vec<(StoredEvent, T)>,
}

impl<'db, T> Importer<'db, T> {
    /// Nothing is started before the first event.
    pub fn new(db: &'db StrfryDb, command: StrfryCommand, form: Form, limits: EventLimits) -> Self {
        Self {
            db,
            command,
            limits,
            form,
            lanes: [Form::Fried, Form::Plain].map(Lane::new),
            unconfirmed_bytes: 0,
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
        self.unconfirmed_bytes += memory::<T>(&event);
        let fried = self.form == Form::Fried && event.can_be_fried(&self.limits);
        let [fried_lane, plain_lane] = &mut self.lanes;
        let lane = if fried { fried_lane } else { plain_lane };
        let (event, _) = lane.unconfirmed.push_back_mut((event, tag));
        let child = match lane.child.take() {
            Some(child) => child,
            None => {
                lane.looked_up = 0;
                ImportChild::start(&self.command, lane.form)?
            }
        };
        let child = lane.child.insert(child);
        let written = child.write(event);
        let news = child.taken().saturating_sub(lane.looked_up);
        match written {
            Err(error) => self.replace_child(usize::from(!fried), error)?,
            Ok(()) if news >= EVENTS_PER_CONFIRMATION => self.confirm_taken()?,
            Ok(()) => {}
        }
        if self.unconfirmed_bytes >= UNCONFIRMED_BYTES { self.make_room() } else { Ok(()) }
    }

    /// Passes on what is buffered, so that strfry can commit while nothing more comes.
    ///
    /// # Errors
    /// As [`Importer::write`].
    pub fn flush(&mut self) -> Result<(), ImportError> {
        for number in 0..self.lanes.len() {
            let child = self.lanes[number].child.as_mut();
            if let Some(Err(error)) = child.map(ImportChild::flush) {
                self.replace_child(number, error)?;
            }
        }
        Ok(())
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
        for number in 0..self.lanes.len() {
            if let Err(error) = self.end_child(number) {
                self.replace_child(number, error)?;
                self.end_child(number)?;
            }
        }
        self.confirm_all()?;
        for number in 0..self.lanes.len() {
            if !self.lanes[number].unconfirmed.is_empty() {
                self.write_unconfirmed_again(number)?;
                self.end_child(number)?;
            }
        }
        self.confirm_all()?;
        self.settle_the_rest();
        Ok(())
    }

    /// After an error: settles what the database shows, and the rest as not confirmed.
    pub fn abandon(&mut self) {
        for lane in &mut self.lanes {
            // Ends the child's input and waits for what it still commits.
            lane.child = None;
        }
        let _ = self.confirm_all();
        self.settle_the_rest();
    }

    fn end_child(&mut self, number: usize) -> Result<(), ImportError> {
        if let Some(child) = self.lanes[number].child.take() {
            self.rejections.extend(child.finish()?);
        }
        Ok(())
    }

    /// A second death is final.
    fn replace_child(&mut self, number: usize, error: ImportError) -> Result<(), ImportError> {
        self.lanes[number].child = None;
        if self.replaced.is_some() {
            return Err(error);
        }
        self.replaced = Some(error);
        self.confirm_all()?;
        self.write_unconfirmed_again(number)
    }

    fn write_unconfirmed_again(&mut self, number: usize) -> Result<(), ImportError> {
        let lane = &mut self.lanes[number];
        let child = lane.child.insert(ImportChild::start(&self.command, lane.form)?);
        lane.looked_up = 0;
        for (event, _) in &lane.unconfirmed {
            child.write(event)?;
        }
        child.flush()
    }

    /// Waits for strfry to commit until there is room.
    fn make_room(&mut self) -> Result<(), ImportError> {
        self.flush()?;
        loop {
            self.confirm_taken()?;
            if self.unconfirmed_bytes < UNCONFIRMED_BYTES {
                return Ok(());
            }
            let busiest = self.lanes.iter().max_by_key(|lane| lane.unconfirmed.len());
            let has_news = busiest.is_some_and(|lane| match &lane.child {
                Some(child) if !lane.unconfirmed.is_empty() => {
                    child.wait_for_more_than(lane.looked_up)
                }
                _ => false,
            });
            if !has_news {
                return self.finish();
            }
        }
    }

    /// Looks up what strfry says that it is through with.
    fn confirm_taken(&mut self) -> Result<(), ImportError> {
        for number in 0..self.lanes.len() {
            let lane = &mut self.lanes[number];
            let taken = lane.child.as_ref().map_or(0, ImportChild::taken);
            let count = usize::try_from(taken - lane.looked_up.min(taken)).unwrap_or(usize::MAX);
            let count = count.min(lane.unconfirmed.len());
            lane.looked_up = taken;
            let events: Vec<_> = lane.unconfirmed.drain(..count).collect();
            let unexplained = self.confirm(events)?;
            self.lanes[number].unexplained.extend(unexplained);
        }
        Ok(())
    }

    /// Looks up everything; what the database does not explain can be written again.
    fn confirm_all(&mut self) -> Result<(), ImportError> {
        for number in 0..self.lanes.len() {
            let lane = &mut self.lanes[number];
            let unconfirmed = std::mem::take(&mut lane.unconfirmed);
            // A child that is still there goes on with what it was given, in its order.
            let (mut events, kept) = match lane.child {
                None => (Vec::from(unconfirmed), VecDeque::new()),
                Some(_) => (Vec::new(), unconfirmed),
            };
            lane.unconfirmed = kept;
            events.append(&mut lane.unexplained);
            let unexplained = self.confirm(events)?;
            let lane = &mut self.lanes[number];
            match lane.child {
                None => lane.unconfirmed = unexplained.into(),
                Some(_) => lane.unexplained = unexplained,
            }
        }
        Ok(())
    }

    /// Settles what the database explains, and returns the rest.
    fn confirm(
        &mut self,
        events: Vec<(StoredEvent, T)>,
    ) -> Result<Vec<(StoredEvent, T)>, ReadError> {
        let keys: Vec<_> =
            events.iter().enumerate().map(|(at, (event, _))| (event.id(), at)).collect();
        let fates = self.db.look_up_each(&keys, |snapshot, &(_, at)| {
            events.get(at).map_or(Ok(None), |(event, _)| confirm::look_up(snapshot, event))
        });
        let fates = match fates {
            Ok(fates) => fates,
            Err(error) => {
                // Not lost: settled as what they are, not confirmed.
                self.settle_as(events, |_| Fate::NotConfirmed);
                return Err(error);
            }
        };
        let mut unexplained = Vec::new();
        for ((event, tag), fate) in events.into_iter().zip(fates) {
            match fate {
                Some(fate) => {
                    self.unconfirmed_bytes -= memory::<T>(&event);
                    self.settled.push(Settled { fate, event, tag });
                }
                None => unexplained.push((event, tag)),
            }
        }
        Ok(unexplained)
    }

    fn settle_the_rest(&mut self) {
        let rest: Vec<_> = self
            .lanes
            .iter_mut()
            .flat_map(|lane| lane.unconfirmed.drain(..).chain(lane.unexplained.drain(..)))
            .collect();
        let rejections = std::mem::take(&mut self.rejections);
        self.settle_as(rest, |event| {
            match rejections.iter().find_map(|line| reason(line, event)) {
                Some(reason) => Fate::Rejected(reason.to_owned()),
                None => confirm::unexplained(event),
            }
        });
    }

    fn settle_as(
        &mut self,
        events: impl IntoIterator<Item = (StoredEvent, T)>,
        fate: impl Fn(&StoredEvent) -> Fate,
    ) {
        for (event, tag) in events {
            self.unconfirmed_bytes -= memory::<T>(&event);
            self.settled.push(Settled { fate: fate(&event), event, tag });
        }
    }
}

impl<T> Lane<T> {
    fn new(form: Form) -> Self {
        Self {
            form,
            child: None,
            unconfirmed: VecDeque::new(),
            looked_up: 0,
            unexplained: Vec::new(),
        }
    }
}

fn memory<T>(event: &StoredEvent) -> usize {
    event.memory() + size_of::<T>()
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
