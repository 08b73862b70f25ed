//! A relay that does what a script says: for everything that a well-behaved one never does.

#![allow(dead_code, reason = "each program that includes this uses its own part")]

use std::cmp::Reverse;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use serde_json::{Value, json};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request as Handshake};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::no_relays::ClosedPort;
use super::relays::runtime;

/// What a scripted relay does when somebody connects.
#[derive(Debug, Clone)]
pub enum Arrival {
    /// Shakes hands and listens to requests.
    Welcome,
    /// Shakes hands and does this before it listens.
    Greet(Vec<Act>),
    /// Ends the connection before the handshake.
    HangUp,
    /// Answers the handshake with this HTTP status.
    Refuse(u16),
    /// Welcomes and accepts no further connection: whoever comes later is refused by the system.
    WelcomeTheLast,
}

/// One step of an answer to a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// An event of the subscription, as one line of JSON, or anything in its place.
    Event(String),
    /// The end of the stored events.
    Eose,
    /// The end of the subscription, with a message.
    Closed(String),
    Notice(String),
    /// A text message as it is.
    Text(String),
    /// A round of a comparison.
    NegMsg(Vec<u8>),
    /// The end of a comparison, with the most events that are compared.
    NegErr(String, Option<u64>),
    /// A binary message.
    Binary(usize),
    /// These bytes below all messages: frames as no library makes them.
    Raw(Vec<u8>),
    Wait(Duration),
    /// A proper end of the connection.
    Close,
    /// The end of the connection without a word; what was sent before still arrives.
    Cut,
}

impl Act {
    /// The message that it is; `None`: it is something else than a text message.
    pub fn text(&self, subscription: &str) -> Option<String> {
        Some(match self {
            Self::Event(event) => format!("[\"EVENT\",{},{event}]", Value::from(subscription)),
            Self::Eose => json!(["EOSE", subscription]).to_string(),
            Self::Closed(text) => json!(["CLOSED", subscription, text]).to_string(),
            Self::Notice(text) => json!(["NOTICE", text]).to_string(),
            Self::Text(text) => text.clone(),
            Self::NegMsg(payload) => {
                json!(["NEG-MSG", subscription, hex::encode(payload)]).to_string()
            }
            Self::NegErr(reason, maximum) => {
                let maximum = maximum.map(Value::from);
                let message = [json!("NEG-ERR"), json!(subscription), json!(reason)];
                Value::from_iter(message.into_iter().chain(maximum)).to_string()
            }
            Self::Binary(_) | Self::Raw(_) | Self::Wait(_) | Self::Close | Self::Cut => {
                return None;
            }
        })
    }
}

/// The steps of an answer; none: silence.
pub type Answer = Box<dyn Iterator<Item = Act> + Send>;

/// Turns a list of steps into an answer.
pub fn answer(acts: impl IntoIterator<Item = Act, IntoIter: Send + 'static>) -> Answer {
    Box::new(acts.into_iter())
}

/// A REQ.
#[derive(Debug, Clone)]
pub struct Request {
    /// The first connection is 1.
    pub connection: usize,
    /// The first REQ that the relay ever got is 1.
    pub number: usize,
    pub subscription: String,
    /// The first of them.
    pub filter: Value,
    pub filters: Vec<Value>,
    /// Bytes of the message.
    pub length: usize,
    /// Whether the client has said on this connection who it is.
    pub is_known: bool,
}

/// A NEG-OPEN or a NEG-MSG.
#[derive(Debug, Clone)]
pub struct Round {
    /// The first round that the relay ever got is 1.
    pub number: usize,
    pub subscription: String,
    /// Of a NEG-OPEN.
    pub filter: Option<Value>,
    pub payload: Vec<u8>,
    /// Bytes of the message.
    pub length: usize,
    /// Whether the client has said on this connection who it is.
    pub is_known: bool,
}

/// What a relay has heard and done so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    /// Connections, also those that it hung up on.
    pub connections: usize,
    /// How often it was asked what it says of itself.
    pub informed: usize,
    /// The filter of every REQ that asks for something.
    pub requests: Vec<Value>,
    /// REQs for an event that nobody has.
    pub for_nothing: usize,
    /// The event of every AUTH; all of them are accepted.
    pub auths: Vec<Value>,
    /// The filter of every NEG-OPEN.
    pub comparisons: Vec<Value>,
    /// NEG-OPENs and NEG-MSGs.
    pub rounds: usize,
    /// The subscription of every CLOSE.
    pub closed: Vec<String>,
    /// Messages, the one that is being sent included.
    pub sent: usize,
    /// How often the other side did not read fast enough for a message.
    pub stalls: usize,
}

/// A relay on a free port of 127.0.0.1 that ends when it is dropped.
#[derive(Debug)]
pub struct ScriptedRelay {
    address: SocketAddr,
    record: watch::Receiver<Record>,
    runtime: Option<Runtime>,
}

struct Script {
    arrival: Box<dyn Fn(usize) -> Arrival + Send + Sync>,
    answer: Box<dyn Fn(&Request) -> Answer + Send + Sync>,
    compare: Box<dyn Fn(&Round) -> Answer + Send + Sync>,
    /// What the relay says of itself (NIP-11).
    info: Option<Value>,
    /// By how many seconds its clock is ahead; `None`: its HTTP answers have no date.
    clock: Option<i64>,
    record: watch::Sender<Record>,
}

impl ScriptedRelay {
    /// A relay that welcomes everybody.
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_with(|_| Arrival::Welcome, answer)
    }

    /// `arrival` is given the number of the connection, from 1.
    pub fn start_with(
        arrival: impl Fn(usize) -> Arrival + Send + Sync + 'static,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_comparing(arrival, answer, |_| {
            self::answer([Act::Notice("ERROR: bad msg: unknown cmd".into())])
        })
    }

    /// A relay that also does something about NIP-77.
    pub fn start_comparing(
        arrival: impl Fn(usize) -> Arrival + Send + Sync + 'static,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
        compare: impl Fn(&Round) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_informing(None, arrival, answer, compare)
    }

    /// A relay that also says something of itself.
    pub fn start_informing(
        info: Option<Value>,
        arrival: impl Fn(usize) -> Arrival + Send + Sync + 'static,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
        compare: impl Fn(&Round) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_dating(None, info, arrival, answer, compare)
    }

    /// A relay that dates what it says of itself by a clock that is so many seconds ahead.
    pub fn start_dating(
        clock: Option<i64>,
        info: Option<Value>,
        arrival: impl Fn(usize) -> Arrival + Send + Sync + 'static,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
        compare: impl Fn(&Round) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let runtime = runtime("scripted relay");
        let (sender, record) = watch::channel(Record::default());
        let script = Script {
            arrival: Box::new(arrival),
            answer: Box::new(answer),
            compare: Box::new(compare),
            info,
            clock,
            record: sender,
        };
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, Arc::new(script)));
        Self { address, record, runtime: Some(runtime) }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn record(&self) -> Record {
        self.record.borrow().clone()
    }

    /// To wait for something to happen: `watch().wait_for(|record| …)`.
    pub fn watch(&self) -> watch::Receiver<Record> {
        self.record.clone()
    }
}

impl Drop for ScriptedRelay {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Lets one relay wait for what happens at another.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// From now on nobody waits.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open. Only where a relay has its threads for itself.
    pub fn wait(&self) {
        let (is_open, changed) = &*self.0;
        drop(changed.wait_while(is_open.lock().unwrap(), |is_open| !*is_open).unwrap());
    }
}

/// Events for honest answers.
#[derive(Debug, Clone)]
pub struct Archive {
    /// Newest first.
    events: Arc<Vec<(Value, String)>>,
    limit: usize,
}

impl Archive {
    /// These events, at most `limit` of them in one answer.
    pub fn new(events: &[String], limit: usize) -> Self {
        let parsed = |line: &String| (serde_json::from_str(line).unwrap(), line.clone());
        let mut events: Vec<(Value, String)> = events.iter().map(parsed).collect();
        events.sort_by_key(|(event, _)| {
            (Reverse(event["created_at"].as_u64()), event["id"].to_string())
        });
        Self { events: Arc::new(events), limit }
    }

    /// The newest events that match the filter.
    pub fn page(&self, filter: &Value) -> Vec<String> {
        let limit = filter["limit"].as_u64().map_or(self.limit, |limit| limit as usize);
        let matching = self.events.iter().filter(|(event, _)| matches(filter, event));
        matching.map(|(_, line)| line.clone()).take(limit.min(self.limit)).collect()
    }

    /// What an honest relay says.
    pub fn answer(&self, request: &Request) -> Answer {
        let pages = request.filters.iter().flat_map(|filter| self.page(filter));
        answer(pages.map(Act::Event).chain([Act::Eose]).collect::<Vec<_>>())
    }

    /// An honest relay, which compares.
    pub fn comparing(&self) -> ScriptedRelay {
        self.informing(None)
    }

    /// The same, and it says this of itself.
    pub fn informing(&self, info: Option<Value>) -> ScriptedRelay {
        let archive = self.clone();
        let answer = move |request: &Request| archive.answer(request);
        ScriptedRelay::start_informing(info, |_| Arrival::Welcome, answer, self.comparer())
    }

    /// An honest relay that says what it has only when the gate is open.
    pub fn behind(&self, gate: &Gate) -> ScriptedRelay {
        let (archive, gate, comparer) = (self.clone(), gate.clone(), self.comparer());
        ScriptedRelay::start_comparing(
            |_| Arrival::Welcome,
            move |request| archive.answer(request),
            move |round| {
                gate.wait();
                comparer(round)
            },
        )
    }

    /// An honest relay's side of comparisons.
    pub fn comparer(&self) -> impl Fn(&Round) -> Answer + Send + Sync + 'static {
        let archive = self.clone();
        let open =
            Mutex::<HashMap<String, Negentropy<'static, NegentropyStorageVector>>>::default();
        move |round| {
            let mut open = open.lock().unwrap();
            if let Some(filter) = &round.filter {
                let mut storage = NegentropyStorageVector::new();
                for (event, _) in archive.events.iter().filter(|(it, _)| matches(filter, it)) {
                    let mut id = [0; 32];
                    hex::decode_to_slice(event["id"].as_str().unwrap(), &mut id).unwrap();
                    let created_at = event["created_at"].as_u64().unwrap();
                    storage.insert(created_at, Id::from_byte_array(id)).unwrap();
                }
                storage.seal().unwrap();
                let side = Negentropy::owned(storage, 60_000).unwrap();
                open.insert(round.subscription.clone(), side);
            }
            let side = open.get_mut(&round.subscription).unwrap();
            answer([Act::NegMsg(side.reconcile(&round.payload).unwrap())])
        }
    }
}

fn matches(filter: &Value, event: &Value) -> bool {
    let one_of = |list: &str, field: &str| {
        filter[list].as_array().is_none_or(|allowed| allowed.contains(&event[field]))
    };
    let created_at = event["created_at"].as_u64().unwrap();
    one_of("ids", "id")
        && one_of("authors", "pubkey")
        && one_of("kinds", "kind")
        && filter["since"].as_u64().is_none_or(|since| created_at >= since)
        && filter["until"].as_u64().is_none_or(|until| created_at <= until)
}

async fn serve(listener: std::net::TcpListener, script: Arc<Script>) {
    let listener = TcpListener::from_std(listener).unwrap();
    let address = listener.local_addr().unwrap();
    loop {
        let Ok((stream, _)) = listener.accept().await else { break };
        if wants_info(&stream).await {
            script.record.send_modify(|record| record.informed += 1);
            tokio::spawn(inform(stream, script.info.clone(), script.clock));
            continue;
        }
        let mut number = 0;
        script.record.send_modify(|record| {
            record.connections += 1;
            number = record.connections;
        });
        let arrival = (script.arrival)(number);
        let is_last = matches!(arrival, Arrival::WelcomeTheLast);
        if is_last {
            drop(listener);
            let closed = ClosedPort::at(address);
            let _ = converse(stream, arrival, number, script).await;
            // Keeps the port from whoever else wants one, until the relay is dropped.
            let _closed = closed;
            return std::future::pending().await;
        }
        tokio::spawn(converse(stream, arrival, number, Arc::clone(&script)));
    }
}

/// Whether it is a question about the relay itself (NIP-11) that comes.
async fn wants_info(stream: &TcpStream) -> bool {
    let mut start = [0; 1024];
    let peeked = tokio::time::timeout(Duration::from_secs(1), stream.peek(&mut start)).await;
    let Ok(Ok(length)) = peeked else { return false };
    String::from_utf8_lossy(&start[..length]).contains("application/nostr+json")
}

async fn inform(mut stream: TcpStream, info: Option<Value>, clock: Option<i64>) {
    let date = clock.map_or(String::new(), |ahead| {
        let date = jiff::Timestamp::now() + jiff::Span::new().seconds(ahead);
        let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
        format!("Date: {}\r\n", printer.timestamp_to_rfc9110_string(&date).unwrap())
    });
    let response = match info {
        Some(info) => {
            let body = info.to_string();
            format!("HTTP/1.1 200 OK\r\n{date}Content-Length: {}\r\n\r\n{body}", body.len())
        }
        None => format!("HTTP/1.1 404 Not Found\r\n{date}Content-Length: 0\r\n\r\n"),
    };
    let _ = stream.write_all(response.as_bytes()).await;
    cut(stream).await;
}

/// `None`: the connection has ended.
async fn converse(
    stream: TcpStream,
    arrival: Arrival,
    number: usize,
    script: Arc<Script>,
) -> Option<()> {
    let _ = stream.set_nodelay(true);
    let greeting = match arrival {
        Arrival::HangUp => {
            cut(stream).await;
            return None;
        }
        Arrival::Refuse(status) => {
            refuse(stream, status).await;
            return None;
        }
        Arrival::Greet(acts) => acts,
        Arrival::Welcome | Arrival::WelcomeTheLast => Vec::new(),
    };
    let socket = tokio_tungstenite::accept_async(stream).await.ok()?;
    let mut speaker = Speaker { socket, script: &script };
    let mut is_known = false;
    for act in greeting {
        speaker = speaker.perform("", act).await?;
    }
    loop {
        let Message::Text(text) = speaker.socket.next().await?.ok()? else { continue };
        let length = text.len();
        let message: Value = serde_json::from_str(&text).ok()?;
        let subscription = message[1].as_str().unwrap_or_default().to_owned();
        if message[0] == "NEG-OPEN" || message[0] == "NEG-MSG" {
            let filter = (message[0] == "NEG-OPEN").then(|| message[2].clone());
            let payload = message[2 + usize::from(filter.is_some())].as_str()?;
            let payload = hex::decode(payload).ok()?;
            let mut round = Round { number: 0, subscription, filter, payload, length, is_known };
            script.record.send_modify(|record| {
                record.rounds += 1;
                round.number = record.rounds;
                record.comparisons.extend(round.filter.clone());
            });
            for act in (script.compare)(&round) {
                speaker = speaker.perform(&round.subscription, act).await?;
            }
            continue;
        }
        if message[0] == "NEG-CLOSE" {
            continue;
        }
        if message[0] == "AUTH" {
            script.record.send_modify(|record| record.auths.push(message[1].clone()));
            is_known = true;
            let ok = json!(["OK", message[1]["id"], true, ""]).to_string();
            speaker = speaker.perform("", Act::Text(ok)).await?;
            continue;
        }
        if message[0] != "REQ" {
            script.record.send_modify(|record| record.closed.push(subscription));
            continue;
        }
        let filters = message.as_array()?[2..].to_vec();
        let filter = message[2].clone();
        let mut request = Request {
            connection: number,
            number: 0,
            subscription,
            filter,
            filters,
            length,
            is_known,
        };
        script.record.send_modify(|record| {
            match request.filter["ids"][0] == json!("0".repeat(64)) {
                true => record.for_nothing += 1,
                false => record.requests.push(request.filter.clone()),
            }
            request.number = record.requests.len() + record.for_nothing;
        });
        for act in (script.answer)(&request) {
            speaker = speaker.perform(&request.subscription, act).await?;
        }
    }
}

async fn refuse(stream: TcpStream, status: u16) {
    #[allow(clippy::result_large_err, reason = "the library's signature")]
    let refusal = |_: &Handshake, _| {
        let mut response = ErrorResponse::new(None);
        *response.status_mut() = status.try_into().unwrap();
        Err(response)
    };
    let _ = tokio_tungstenite::accept_hdr_async(stream, refusal).await;
}

/// The relay's end of a connection.
struct Speaker<'a> {
    socket: WebSocketStream<TcpStream>,
    script: &'a Script,
}

impl Speaker<'_> {
    /// `None`: the connection has ended.
    async fn perform(mut self, subscription: &str, act: Act) -> Option<Self> {
        let message = match act {
            Act::Binary(size) => Message::Binary(Bytes::from(vec![0; size])),
            Act::Raw(bytes) => {
                self.socket.get_mut().write_all(&bytes).await.ok()?;
                return Some(self);
            }
            Act::Wait(time) => {
                tokio::time::sleep(time).await;
                return Some(self);
            }
            Act::Close => {
                self.socket.close(None).await.ok()?;
                while self.socket.next().await?.is_ok() {}
                return None;
            }
            Act::Cut => {
                cut(self.socket.into_inner()).await;
                return None;
            }
            said => Message::text(said.text(subscription)?),
        };
        self.script.record.send_modify(|record| record.sent += 1);
        let mut stalled = false;
        let mut sending = pin!(self.socket.send(message));
        let sent = poll_fn(|context| {
            let sent = sending.as_mut().poll(context);
            if sent.is_pending() && !stalled {
                stalled = true;
                self.script.record.send_modify(|record| record.stalls += 1);
            }
            sent
        });
        sent.await.ok()?;
        Some(self)
    }
}

/// Ends the connection for writing and waits for the other side to end it too: closing it while
/// something is unread would take back what was sent.
async fn cut(mut stream: TcpStream) {
    let _ = poll_fn(|context| pin!(&mut stream).poll_shutdown(context)).await;
    let mut rest = [0; 1024];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut rest) {
            Ok(0) => break,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => break,
            _ => {}
        }
    }
}
