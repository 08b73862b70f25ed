//! A run's import: one `strfry import` for each form of line that is needed, and everything that
//! was handed over remembered until the database shows what became of it.
//!
//! Remembers a bounded number of unconfirmed events, their texts in a spool; beyond it, waits for
//! strfry to commit. How many strfry may hold at once follows what its commits take; the others
//! wait (`waiting`). A child is ended if the next one should gather events for longer, or less long;
//! one that dies is replaced, with everything that it had not committed (`children`). `single_out`
//! finds the events that kill each one that is given them.

mod children;
mod lane;
mod settling;
mod single_out;
mod waiting;

use std::collections::VecDeque;
use std::path::PathBuf;

use super::child::{Form, ImportError};
use super::child_log::{Claims, Quote};
use super::command::StrfryCommand;
use super::encode::StoredEvent;
use super::event_head::EventHead;
use super::fate::Fate;
use super::limits::{
    EVENTS_CONFIRMED_AT_ONCE, EVENTS_PER_CONFIRMATION, FIRST_BYTES, MOST_UNSETTLED,
};
use super::memory;
use super::neighbours::{CommitTime, Neighbours};
use super::spool::{Spool, Text};
use super::watch::Goal;
use lane::Lane;
use single_out::Suspect;

use crate::node::EventLimits;
use crate::stop::Stop;
use crate::strfry_db::StrfryDb;

/// An event whose fate is known, with what the caller attached to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled<T> {
    /// What became of it.
    pub fate: Fate,
    /// The event, without its text.
    pub head: EventHead,
    /// Its JSON; `None` if it was imported, or cannot be read any more.
    pub json: Option<String>,
    /// As given to [`Importer::write`].
    pub tag: T,
}

/// How much of strfry's input is given at once, and where it is remembered.
#[derive(Debug, Clone)]
pub struct Window {
    /// Where the file is made in which texts of events wait. It has no name.
    pub spool: PathBuf,
    /// How long a commit may take.
    pub commits: CommitTime,
}

/// An event that strfry was given.
struct Given<T> {
    head: EventHead,
    text: Text,
    tag: T,
}

/// Events that are in the database, and those that are not.
type Split<T> = (Vec<Given<T>>, Vec<Given<T>>);

/// Hands events to strfry and finds out what became of each.
pub struct Importer<'db, T> {
    /// Told of every event whose fate becomes known.
    settled: Box<dyn FnMut(Settled<T>) + 'db>,
    db: &'db StrfryDb,
    command: StrfryCommand,
    limits: EventLimits,
    /// The form of every line that can have it.
    form: Form,
    lanes: [Lane<T>; 2],
    spool: Spool,
    /// Bytes of texts that strfry's memory has room for.
    most_bytes: usize,
    neighbours: Neighbours,
    /// Bytes that children which have ended made the disk write.
    bytes_written: Option<u64>,
    rejections: Vec<String>,
    /// What the children that have ended claim.
    claims: Claims,
    /// Last words of the child that ended last.
    last_words: Quote,
    /// Events that strfry was given and that were found afterwards.
    imported: u64,
    /// Events that strfry was given and that are nowhere, without a word why.
    missing: u64,
    /// A child that ended too early, or hung, has been replaced.
    has_replaced: bool,
    /// Children that have died.
    deaths: u32,
    /// Events that were given to a child of their own, which died; never given again.
    suspects: Vec<Suspect<T>>,
    troubles: Vec<String>,
    notices: Vec<String>,
    stop: Stop,
}

impl<'db, T> Importer<'db, T> {
    /// Nothing is started before the first event. `settled` is told of each event once. Once `stop`
    /// is overdue, strfry is not waited for any more.
    pub fn new(
        db: &'db StrfryDb,
        command: StrfryCommand,
        form: Form,
        limits: EventLimits,
        window: Window,
        stop: Stop,
        settled: impl FnMut(Settled<T>) + 'db,
    ) -> Self {
        let free = memory::free();
        let mut neighbours = Neighbours::new(window.commits, &command, free);
        neighbours.look(db);
        let limit = neighbours.limit();
        Self {
            settled: Box::new(settled),
            db,
            command,
            limits,
            form,
            lanes: [Form::Fried, Form::Plain].map(|lane| Lane::new(lane, form, limit)),
            spool: Spool::new(window.spool, db.directory()),
            most_bytes: memory::texts_that_fit(free),
            neighbours,
            bytes_written: None,
            rejections: Vec::new(),
            claims: Claims::default(),
            last_words: Quote::default(),
            imported: 0,
            missing: 0,
            has_replaced: false,
            deaths: 0,
            suspects: Vec::new(),
            troubles: Vec::new(),
            notices: Vec::new(),
            stop,
        }
    }

    /// Hands over a checked event. May wait for strfry.
    ///
    /// # Errors
    /// strfry cannot be started, dies whatever it is given, writes into another database, or was
    /// ended because the run is to stop. The event is remembered all the same: see
    /// [`Importer::abandon`].
    pub fn write(&mut self, event: StoredEvent, tag: T) -> Result<(), ImportError> {
        let fried = self.form == Form::Fried && event.can_be_fried(&self.limits);
        let number = usize::from(!fried);
        let lane = &mut self.lanes[number];
        if lane.waiting.is_empty() && lane.unconfirmed.len() < lane.allowance.given() {
            self.give(number, event, tag)?;
        } else {
            let given = self.remember_event(event, tag);
            self.lanes[number].waiting.push(given);
        }
        if self.news(number) >= EVENTS_PER_CONFIRMATION {
            self.confirm_taken()?;
            self.change_gathering(number)?;
        }
        self.give_waiting(number)?;
        if self.is_full() { self.make_room() } else { Ok(()) }
    }

    /// Gives strfry an event. The event is remembered whatever happens.
    fn give(&mut self, number: usize, event: StoredEvent, tag: T) -> Result<(), ImportError> {
        let lane = &mut self.lanes[number];
        let started = match lane.child {
            Some(_) => Ok(()),
            None => lane.start(&self.command),
        };
        let is_full = lane.child.as_mut().is_some_and(|child| child.push(&event));
        let given = self.remember_event(event, tag);
        self.lanes[number].note_given(given);
        started?;
        match is_full {
            true => self.wait_until_written(number),
            false => Ok(()),
        }
    }

    fn wait_until_written(&mut self, number: usize) -> Result<(), ImportError> {
        match self.wait(number, Goal::Written) {
            Err(error) => self.replace_child(number, error),
            Ok(()) => Ok(()),
        }
    }

    fn remember_event(&mut self, event: StoredEvent, tag: T) -> Given<T> {
        let head = EventHead::from(&event);
        let text = self.spool.put(event);
        self.notices.extend(self.spool.take_trouble());
        Given { head, text, tag }
    }

    /// Gives strfry those that wait, as many as there is room for.
    fn give_waiting(&mut self, number: usize) -> Result<(), ImportError> {
        self.give_some(number, Lane::room)
    }

    /// Gives strfry as many of those that wait as there is such room.
    fn give_some(
        &mut self,
        number: usize,
        room: impl Fn(&Lane<T>) -> usize,
    ) -> Result<(), ImportError> {
        let lane = &mut self.lanes[number];
        if lane.waiting.is_empty() {
            return Ok(());
        }
        if lane.child.is_none() {
            lane.start(&self.command)?;
        }
        let mut left = room(lane);
        while left > 0 && !self.lanes[number].waiting.is_empty() {
            let some = left.min(EVENTS_CONFIRMED_AT_ONCE);
            let given = self.lanes[number].waiting.take(some).into();
            if let Err(error) = self.give_again(number, given) {
                return self.replace_child(number, error);
            }
            left -= some;
        }
        Ok(())
    }

    /// Gives strfry all that wait. Waits for its commits.
    fn give_all_waiting(&mut self, number: usize) -> Result<(), ImportError> {
        loop {
            self.give_some(number, Lane::early_room)?;
            let lane = &self.lanes[number];
            match lane.child {
                _ if lane.waiting.is_empty() => return Ok(()),
                Some(_) => {
                    self.wait_for_commit(number)?;
                    self.change_gathering(number)?;
                }
                None => self.write_unconfirmed_again(number)?,
            }
        }
    }

    /// Events of which a lane's child says that it is through with them, not looked up yet.
    fn news(&self, number: usize) -> u64 {
        let lane = &self.lanes[number];
        lane.child.as_ref().map_or(0, |child| child.log.through().saturating_sub(lane.looked_up))
    }

    /// Whether strfry has to commit before more is taken.
    fn is_full(&self) -> bool {
        let unsettled: usize = self.lanes.iter().map(Lane::unsettled).sum();
        unsettled >= MOST_UNSETTLED
            || self.spool.is_full()
            || self.spool.bytes() >= self.most_bytes
            // Until it is known that strfry writes into this database.
            || (self.imported == 0 && self.spool.bytes() >= FIRST_BYTES)
    }

    /// Bytes that strfry made the disk write, as far as that can be seen here.
    pub fn bytes_written(&self) -> Option<u64> {
        self.bytes_written
    }

    /// Whether there are events that strfry is to be given when it has committed others. Then this
    /// is to be told again ([`Importer::flush`]) while nothing more comes.
    pub fn is_waiting(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.waiting.is_empty())
    }

    /// Passes on what is buffered, so that strfry can commit while nothing more comes; and looks up
    /// what it has committed.
    ///
    /// # Errors
    /// As [`Importer::write`].
    pub fn flush(&mut self) -> Result<(), ImportError> {
        for number in 0..self.lanes.len() {
            self.wait_until_written(number)?;
        }
        while (0..self.lanes.len()).any(|number| self.news(number) > 0) {
            self.confirm_taken()?;
        }
        (0..self.lanes.len()).try_for_each(|number| {
            self.change_gathering(number)?;
            self.give_waiting(number)
        })
    }

    /// What went wrong with strfry and did not end the import.
    pub fn take_troubles(&mut self) -> Vec<String> {
        std::mem::take(&mut self.troubles)
    }

    /// What is worth knowing, and makes nothing incomplete.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// Ends the input, waits for strfry, and settles every event. What is not there is given to a
    /// fresh child once more.
    ///
    /// # Errors
    /// strfry dies whatever it is given, hangs, was ended because the run is to stop, or the
    /// database cannot be read; see [`Importer::abandon`].
    pub fn finish(&mut self) -> Result<(), ImportError> {
        let elsewhere = self.end_children()?;
        self.settle_suspects()?;
        if let Some(elsewhere) = elsewhere {
            self.troubles.push(elsewhere.to_string());
        } else if self.missing > 0 {
            self.troubles.push(format!(
                "{} events that strfry was given are not in the database at {}, and it does not \
                 say why{}",
                self.missing,
                self.db.directory().display(),
                self.last_words
            ));
        }
        Ok(())
    }

    /// After an error: settles what the database shows, and the rest as not confirmed.
    pub fn abandon(&mut self) {
        for child in self.lanes.iter_mut().filter_map(|lane| lane.child.as_mut()) {
            // Both at once, for what time there is.
            child.end_input();
            if self.stop.is_overdue() {
                child.terminate();
            }
        }
        for number in 0..self.lanes.len() {
            // It commits what it has read.
            let _ = self.wait(number, Goal::Exit);
            self.end_by_force(number);
        }
        let _ = self.confirm_all();
        self.settle_the_rest();
        let waiting: Vec<_> =
            self.lanes.iter_mut().flat_map(|lane| lane.waiting.take_all()).collect();
        self.settle_as(waiting, |_| Fate::Dropped);
        self.give_up_suspects();
    }

    /// Gives strfry events that are remembered, one by one: those that it commits meanwhile are
    /// settled. After an error they all count as given.
    fn give_again(
        &mut self,
        number: usize,
        mut rest: VecDeque<Given<T>>,
    ) -> Result<(), ImportError> {
        while !rest.is_empty() {
            let given =
                self.wait_for_allowance(number).and_then(|()| self.give_first(number, &mut rest));
            if let Err(error) = given {
                self.lanes[number].unconfirmed.append(&mut rest);
                return Err(error);
            }
        }
        self.wait(number, Goal::Written)
    }

    fn give_first(
        &mut self,
        number: usize,
        rest: &mut VecDeque<Given<T>>,
    ) -> Result<(), ImportError> {
        let Some(given) = rest.pop_front() else { return Ok(()) };
        let text = self.spool.get(&given.text);
        let lane = &mut self.lanes[number];
        let is_full = text.map(|event| lane.child.as_mut().is_some_and(|child| child.push(&event)));
        lane.note_given(given);
        match is_full {
            Ok(false) => Ok(()),
            Ok(true) => self.wait(number, Goal::Written),
            Err(error) => Err(ImportError::Spool(error)),
        }
    }

    /// Waits until strfry holds fewer of a lane than it may.
    fn wait_for_allowance(&mut self, number: usize) -> Result<(), ImportError> {
        while self.lanes[number].early_room() == 0 {
            self.wait_for_commit(number)?;
        }
        Ok(())
    }

    /// Waits until strfry is through with something, and looks that up.
    fn wait_for_commit(&mut self, number: usize) -> Result<(), ImportError> {
        self.wait(number, Goal::Written)?;
        let through = self.lanes[number].looked_up;
        self.wait(number, Goal::Through(through))?;
        self.confirm_taken()
    }

    /// Waits for strfry to commit until there is room.
    fn make_room(&mut self) -> Result<(), ImportError> {
        loop {
            self.flush()?;
            if !self.is_full() {
                return Ok(());
            }
            for number in 0..self.lanes.len() {
                self.give_some(number, Lane::early_room)?;
            }
            let busiest = self.lanes.iter().enumerate().max_by_key(|(_, it)| it.unconfirmed.len());
            let goal = busiest.and_then(|(number, lane)| {
                let may_wait = lane.child.is_some() && !lane.unconfirmed.is_empty();
                may_wait.then_some((number, Goal::Through(lane.looked_up)))
            });
            let Some((number, goal)) = goal else {
                return self.end_children()?.map_or(Ok(()), Err);
            };
            if let Err(error) = self.wait(number, goal) {
                self.replace_child(number, error)?;
            }
        }
    }

    /// How long its commits take, and whether somebody waits for them.
    fn learn_from_commits(&mut self, number: usize) {
        let lane = &mut self.lanes[number];
        let Some(child) = &lane.child else { return };
        let commits = child.log.take_commits();
        if commits.is_empty() {
            return;
        }
        commits.into_iter().for_each(|commit| lane.allowance.note_commit(commit));
        self.notices.extend(self.neighbours.look(self.db));
        let limit = self.neighbours.limit();
        self.lanes.iter_mut().for_each(|lane| lane.limit(limit));
    }
}
