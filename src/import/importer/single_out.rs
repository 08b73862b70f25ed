//! Finds the events that kill every strfry that is given them, so that all others are imported.
//!
//! What a strfry that died had not committed is given again in pieces, each to a child of its own;
//! a piece that kills its child is cut up further. An event that kills one alone is set aside.

use std::process::ExitStatus;

use super::super::child::ImportError;
use super::super::child_log::Quote;
use super::super::fate::Fate;
use super::super::limits::{MOST_DEATHS, PIECES};
use super::{Given, Importer};

/// An event that was given to a child of its own, which died.
pub(super) struct Suspect<T> {
    given: Given<T>,
    status: ExitStatus,
    log: Quote,
    /// Events that had been imported by then.
    imported: u64,
}

type Piece<T> = Vec<Given<T>>;

impl<T> Importer<'_, T> {
    /// After another death of this lane's child: everything that it was given is settled, set aside,
    /// or known to be taken without a word.
    pub(super) fn single_out(
        &mut self,
        number: usize,
        error: ImportError,
    ) -> Result<(), ImportError> {
        // The next one last.
        let (mut pieces, mut untaken) = (Vec::new(), Vec::new());
        let result = self.give_in_pieces(number, error, &mut pieces, &mut untaken);
        // After an error they are not lost.
        let lane = &mut self.lanes[number];
        lane.unconfirmed.extend(pieces.into_iter().rev().flatten());
        lane.unexplained.append(&mut untaken);
        result
    }

    fn give_in_pieces(
        &mut self,
        number: usize,
        mut error: ImportError,
        pieces: &mut Vec<Piece<T>>,
        untaken: &mut Piece<T>,
    ) -> Result<(), ImportError> {
        let mut given = usize::MAX;
        loop {
            let ImportError::Died { status, log } = error else { return Err(error) };
            if self.deaths >= MOST_DEATHS {
                return Err(ImportError::Died { status, log });
            }
            self.confirm_all()?;
            let mut left: Piece<T> = std::mem::take(&mut self.lanes[number].unconfirmed).into();
            if given == 1
                && let Some(given) = left.pop()
            {
                let imported = self.imported;
                self.suspects.push(Suspect { given, status, log, imported });
            }
            let size = left.len().div_ceil(PIECES);
            while !left.is_empty() {
                let begin = (left.len() - 1) / size * size;
                pieces.push(left.split_off(begin));
            }
            error = loop {
                let Some(piece) = pieces.pop() else { return Ok(()) };
                self.lanes[number].unconfirmed = piece.into();
                // What came before it may have ruled some of it out.
                self.confirm_all()?;
                given = self.lanes[number].unconfirmed.len();
                if given == 0 {
                    continue;
                }
                let ended = self.write_unconfirmed_again(number);
                if let Err(error) = ended.and_then(|()| self.end_child(number)) {
                    break error;
                }
                self.confirm_all()?;
                untaken.extend(self.lanes[number].unconfirmed.drain(..));
            };
            self.deaths += u32::from(matches!(error, ImportError::Died { .. }));
        }
    }

    /// At the end of a run in which strfry has taken other events, it is these that kill it.
    pub(super) fn settle_suspects(&mut self) -> Result<(), ImportError> {
        if self.imported == 0
            && let Some(Suspect { status, log, .. }) = self.suspects.first()
        {
            return Err(ImportError::Died { status: *status, log: log.clone() });
        }
        self.settle_suspects_if(|_| true);
        Ok(())
    }

    /// At the end of a run that failed: as long as strfry has taken nothing after it, an event is
    /// not to blame.
    pub(super) fn give_up_suspects(&mut self) {
        let imported = self.imported;
        self.settle_suspects_if(|suspect| imported > suspect.imported);
    }

    fn settle_suspects_if(&mut self, kills: impl Fn(&Suspect<T>) -> bool) {
        for suspect in std::mem::take(&mut self.suspects) {
            let fate = if kills(&suspect) {
                let words = format!("strfry ended ({}) each time it was given", suspect.status);
                self.troubles.push(format!("{words} event {}", suspect.given.head.id()));
                Fate::Rejected(format!("{words} this event"))
            } else {
                Fate::NotConfirmed
            };
            self.settle_given(suspect.given, fate);
        }
    }
}
