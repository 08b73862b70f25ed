//! A scripted relay without a socket, in virtual time (`#[tokio::test(start_paused = true)]`): for what
//! depends on who waits for how long, which a busy machine then does not change.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use strfry_companion::peer::{ConnectError, Line, LineEnds, RelayInfo};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{advance, sleep};

use super::scripted::{Act, Answer, Request};

/// Messages that one side may send before the other reads.
const UNREAD: usize = 64;

/// The way to a relay that answers so.
#[derive(Clone)]
pub struct ScriptedLine {
    answer: Arc<dyn Fn(&Request) -> Answer + Send + Sync>,
    /// Questions so far, and connections.
    numbers: Arc<[AtomicUsize; 2]>,
    late: Duration,
}

impl ScriptedLine {
    pub fn new(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self { answer: Arc::new(answer), numbers: Arc::default(), late: Duration::ZERO }
    }

    /// From each message that the relay sends so much time passes before we are run again.
    pub fn seen_late(self, late: Duration) -> Self {
        Self { late, ..self }
    }

    /// How many questions the relay has been asked.
    pub fn asked(&self) -> usize {
        self.numbers[0].load(Ordering::Relaxed)
    }

    /// `None`: the connection has ended.
    async fn converse(
        self,
        connection: usize,
        mut from_us: Receiver<String>,
        to_us: Sender<String>,
    ) -> Option<()> {
        loop {
            let text = from_us.recv().await?;
            let message: Value = serde_json::from_str(&text).ok()?;
            if message[0] != "REQ" {
                continue;
            }
            let request = Request {
                connection,
                number: self.numbers[0].fetch_add(1, Ordering::Relaxed) + 1,
                subscription: message[1].as_str()?.to_owned(),
                filter: message[2].clone(),
                filters: message.as_array()?[2..].to_vec(),
                length: text.len(),
                is_known: false,
            };
            for act in (self.answer)(&request) {
                match act {
                    Act::Wait(time) => sleep(time).await,
                    Act::Close | Act::Cut => return None,
                    said => {
                        to_us.send(said.text(&request.subscription)?).await.ok()?;
                        if self.late > Duration::ZERO {
                            advance(self.late).await;
                        }
                    }
                }
            }
        }
    }
}

impl Line for ScriptedLine {
    fn open(&self) -> Result<LineEnds, ConnectError> {
        let connection = self.numbers[1].fetch_add(1, Ordering::Relaxed) + 1;
        let (to_us, from_relay) = channel(UNREAD);
        let (to_relay, from_us) = channel(UNREAD);
        tokio::spawn(self.clone().converse(connection, from_us, to_us));
        Ok(LineEnds { from_relay, to_relay })
    }

    fn info(&self) -> Option<RelayInfo> {
        None
    }
}

impl fmt::Debug for ScriptedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedLine").finish_non_exhaustive()
    }
}
