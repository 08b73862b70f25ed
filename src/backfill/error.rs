//! Why a run could not take place.

use std::io;

use crate::strfry_db::ReadError;

/// Why a run could not take place. What goes wrong later is in its summary.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BackfillError {
    #[error(transparent)]
    Strfry(#[from] crate::import::ImportError),
    #[error("cannot read the database: {0}")]
    Database(#[from] ReadError),
    #[error(transparent)]
    State(#[from] super::coverage::StateError),
    #[error("cannot start a thread: {0}; too many processes or too little memory")]
    Thread(#[source] io::Error),
}
