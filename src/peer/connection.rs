//! An open connection to a relay: one message at a time, and no memory kept for one that is gone.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::limits::SMALL_MESSAGE;
use super::line::LineEnds;
use super::metered::{KEPT, Meter, Metered};
use super::too_large::TooLarge;
use super::trace::{Conversation, Direction, Trace};

/// Long enough for a goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

pub(super) type Socket = WebSocketStream<Metered<MaybeTlsStream<TcpStream>>>;

/// What comes from a relay.
#[derive(Debug)]
pub(super) enum Received {
    /// A text, also one in a binary frame.
    Text(Utf8Bytes),
    /// Something that is no text.
    NotText,
    /// A message that is too large for us.
    TooLarge(TooLarge),
    /// A ping and the like; the library has answered it.
    Idle,
    /// The relay ends the connection.
    Close(Option<CloseFrame>),
}

/// An open connection to a relay.
#[derive(Debug)]
pub(super) struct Connection {
    way: Way,
    conversation: Conversation,
}

/// How messages come and go.
#[derive(Debug)]
enum Way {
    Web(Box<Web>),
    Line(LineEnds),
}

#[derive(Debug)]
struct Web {
    socket: Socket,
    meter: Arc<Meter>,
    /// The latest message, if it is a large one.
    latest: Option<Message>,
    /// Nothing has been read since the latest message.
    is_between: bool,
}

impl Connection {
    pub(super) fn new(socket: Socket, meter: Arc<Meter>, conversation: Conversation) -> Self {
        let web = Web { socket, meter, latest: None, is_between: true };
        Self { way: Way::Web(Box::new(web)), conversation }
    }

    /// A connection without a socket, which nobody traces.
    pub(super) fn over(line: LineEnds) -> Self {
        Self { way: Way::Line(line), conversation: Trace::default().conversation("", "") }
    }

    /// What comes next; `None`: the connection has ended. Loses nothing when it is dropped.
    pub(super) async fn next(&mut self) -> Option<Result<Received, tungstenite::Error>> {
        let next = self.next_message().await;
        match &next {
            Some(Ok(_)) => {}
            Some(Err(error)) => self.conversation.ends(|| error.to_string()),
            None => self.conversation.ends(|| "ended by the relay".to_owned()),
        }
        let received = self.received(next?);
        if let Ok(Received::Close(frame)) = &received {
            self.conversation.ends(|| match frame {
                Some(frame) => format!("closed by the relay: {frame}"),
                None => "closed by the relay".to_owned(),
            });
        }
        Some(received)
    }

    async fn next_message(&mut self) -> Option<Result<Message, tungstenite::Error>> {
        match &mut self.way {
            Way::Web(web) => web.next().await,
            Way::Line(line) => line.from_relay.recv().await.map(|text| Ok(Message::text(text))),
        }
    }

    fn received(
        &self,
        message: Result<Message, tungstenite::Error>,
    ) -> Result<Received, tungstenite::Error> {
        let conversation = &self.conversation;
        Ok(match message? {
            Message::Text(text) => {
                conversation.message(Direction::In, &text);
                Received::Text(text)
            }
            Message::Binary(bytes) => match self.meter().and_then(|it| it.too_large(&bytes)) {
                Some((skipped, parts)) => {
                    let beginning = if parts.is_empty() { &skipped.beginning } else { parts };
                    let beginning = beginning.get(..KEPT).unwrap_or(beginning);
                    let what = TooLarge::of(beginning, &skipped.end, skipped.bytes);
                    conversation.came(format_args!("too large: {what}"));
                    Received::TooLarge(what)
                }
                None => {
                    let length = bytes.len();
                    match Utf8Bytes::try_from(bytes) {
                        Ok(text) => {
                            conversation.message(Direction::In, &text);
                            Received::Text(text)
                        }
                        Err(_) => {
                            conversation.came(format_args!("{length} bytes that are no text"));
                            Received::NotText
                        }
                    }
                }
            },
            Message::Close(frame) => Received::Close(frame),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                conversation.came("a ping or the like");
                Received::Idle
            }
        })
    }

    /// For how long the connection has waited for [room](super::Room) since this was called last.
    pub(super) fn take_waited(&self) -> Duration {
        self.meter().map_or(Duration::ZERO, Meter::take_waited)
    }

    /// Whether it keeps [room](super::Room) from others, as it does until it is read from again after
    /// a large message.
    pub(super) fn holds_room(&self) -> bool {
        self.meter().is_some_and(Meter::holds_room)
    }

    fn meter(&self) -> Option<&Meter> {
        match &self.way {
            Way::Web(web) => Some(&web.meter),
            Way::Line(_) => None,
        }
    }

    /// Sends a message; waits while the relay does not read.
    pub(super) async fn send(&mut self, text: String) -> Result<(), tungstenite::Error> {
        self.conversation.message(Direction::Out, &text);
        let sent = match &mut self.way {
            Way::Web(web) => web.socket.send(Message::text(text)).await,
            Way::Line(line) => {
                line.to_relay.send(text).await.map_err(|_| tungstenite::Error::ConnectionClosed)
            }
        };
        if let Err(error) = &sent {
            self.conversation.ends(|| error.to_string());
        }
        sent
    }

    /// Says goodbye. Not needed for correctness, and never waits long.
    pub(super) async fn close(&mut self) {
        self.conversation.ends(|| "nothing is left to be asked".to_owned());
        if let Way::Web(web) = &mut self.way {
            let _ = timeout(GOODBYE, web.socket.close(None)).await;
        }
    }
}

impl Web {
    async fn next(&mut self) -> Option<Result<Message, tungstenite::Error>> {
        let mut next = pin!(self.socket.next());
        let is_between = std::mem::replace(&mut self.is_between, false);
        let first = poll_fn(|context| Poll::Ready(next.as_mut().poll(context))).await;
        if is_between {
            // The library uses the buffer of a message again when nobody has the message any more,
            // and the buffer never becomes smaller. By now it has got itself another.
            self.latest = None;
            self.meter.give_room_back();
        }
        let message = match first {
            Poll::Ready(message) => message,
            Poll::Pending => next.await,
        };
        self.is_between = true;
        if let Some(Ok(message)) = &message
            && message.len() > SMALL_MESSAGE
        {
            self.latest = Some(message.clone());
        }
        message
    }
}
