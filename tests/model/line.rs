//! Conversations with simulated relays, in memory and in virtual time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use strfry_companion::peer::{ConnectError, Line, LineEnds, RelayInfo};
use tokio::sync::{Notify, mpsc};

use crate::quirks::{Act, Conversation, Door, Relay};

/// Messages that one side may send before the other reads.
const UNREAD: usize = 64;

/// No run takes so many messages.
const ENDLESS: usize = 50_000;

/// Counts all messages of a run, and says when it is time to die.
#[derive(Debug)]
pub struct Clock {
    messages: AtomicUsize,
    /// The run dies at this message.
    fatal: usize,
    pub death: Notify,
}

impl Clock {
    pub fn new(fatal: Option<usize>) -> Arc<Self> {
        let fatal = fatal.unwrap_or(ENDLESS);
        Arc::new(Self { messages: AtomicUsize::new(0), fatal, death: Notify::new() })
    }

    pub fn is_endless(&self) -> bool {
        self.messages() >= ENDLESS
    }

    pub fn messages(&self) -> usize {
        self.messages.load(Ordering::Relaxed)
    }

    fn tick(&self) {
        if self.messages.fetch_add(1, Ordering::Relaxed) + 1 >= self.fatal {
            self.death.notify_one();
        }
    }
}

/// The way to a simulated relay.
#[derive(Debug)]
pub struct SimulatedLine {
    /// Of the relay.
    number: usize,
    relay: Arc<Mutex<Relay>>,
    handshakes: AtomicUsize,
    clock: Arc<Clock>,
}

impl SimulatedLine {
    pub fn new(number: usize, relay: Arc<Mutex<Relay>>, clock: &Arc<Clock>) -> Self {
        Self { number, relay, handshakes: AtomicUsize::new(0), clock: Arc::clone(clock) }
    }
}

impl Line for SimulatedLine {
    fn open(&self) -> Result<LineEnds, ConnectError> {
        let number = self.handshakes.fetch_add(1, Ordering::Relaxed) + 1;
        match self.relay.lock().unwrap().quirks.door {
            Door::Busy { times, .. } | Door::Cut { times } if number <= times => {
                return Err(ConnectError::Unanswered);
            }
            _ => {}
        }
        let (to_us, from_relay) = mpsc::channel(UNREAD);
        let (to_relay, from_us) = mpsc::channel(UNREAD);
        let (relay, clock) = (Arc::clone(&self.relay), Arc::clone(&self.clock));
        tokio::spawn(converse(self.number, relay, clock, from_us, to_us));
        Ok(LineEnds { from_relay, to_relay })
    }

    fn info(&self) -> Option<RelayInfo> {
        None
    }
}

async fn converse(
    number: usize,
    relay: Arc<Mutex<Relay>>,
    clock: Arc<Clock>,
    mut from_us: mpsc::Receiver<String>,
    to_us: mpsc::Sender<String>,
) {
    let mut conversation = Conversation::default();
    let mut acts = relay.lock().unwrap().greet(&mut conversation);
    loop {
        for act in acts {
            match act {
                Act::Say(text) | Act::SayInBinary(text) => {
                    clock.tick();
                    tell(number, "says", &text);
                    if to_us.send(text).await.is_err() {
                        return;
                    }
                }
                Act::Wait(time) => tokio::time::sleep(time).await,
                Act::HangUp | Act::Cut => return,
            }
        }
        let Some(text) = from_us.recv().await else { return };
        clock.tick();
        tell(number, "hears", &text);
        acts = relay.lock().unwrap().hear(&mut conversation, &text);
    }
}

/// Tells all messages where one seed is replayed.
fn tell(number: usize, what: &str, text: &str) {
    if *TELLS {
        println!("        relay {number} {what} {}", text.chars().take(400).collect::<String>());
    }
}

static TELLS: LazyLock<bool> =
    LazyLock::new(|| std::env::var_os("STRFRY_COMPANION_SEED").is_some());
