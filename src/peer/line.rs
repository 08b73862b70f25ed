//! A way to a relay that is no socket: simulated relays have one each.

use std::fmt;

use tokio::sync::mpsc::{Receiver, Sender};

use super::connect_error::ConnectError;
use super::info::RelayInfo;

/// A way to a relay that is no socket.
pub trait Line: fmt::Debug + Send + Sync {
    /// Another connection.
    ///
    /// # Errors
    /// Why there is none.
    fn open(&self) -> Result<LineEnds, ConnectError>;

    /// What the relay says of itself.
    fn info(&self) -> Option<RelayInfo>;
}

/// Our end of a connection: text messages.
#[derive(Debug)]
pub struct LineEnds {
    /// What the relay says; closed: the connection has ended.
    pub from_relay: Receiver<String>,
    /// What the relay is told; closed: the connection has ended.
    pub to_relay: Sender<String>,
}
