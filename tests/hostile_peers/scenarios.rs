//! What hostile peers do.

use std::io::{Read, Write};
use std::iter;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::events::{Author, START, forged, notes_of};
use crate::support::scripted::{
    Act, Answer, Archive, Arrival, Request, Round, ScriptedRelay, answer,
};

/// Whose notes are asked for.
pub fn author() -> Author {
    Author::new(1)
}

/// What the honest peer has.
pub fn honest_notes() -> Vec<String> {
    notes_of(&author(), 600)
}

/// A peer that is out for harm.
pub struct Hostile {
    pub name: &'static str,
    behaviour: Behaviour,
}

enum Behaviour {
    /// Speaks WebSocket.
    Relay {
        arrival: fn(usize) -> Arrival,
        answer: Arc<dyn Fn(&Request) -> Answer + Send + Sync>,
        compare: Arc<dyn Fn(&Round) -> Answer + Send + Sync>,
    },
    /// Does this with every connection.
    Raw(fn(TcpStream)),
}

/// Until it is dropped.
pub enum Started {
    Relay(ScriptedRelay),
    Raw(SocketAddr),
}

impl Started {
    pub fn url(&self) -> String {
        match self {
            Self::Relay(relay) => relay.url(),
            Self::Raw(address) => format!("ws://{address}"),
        }
    }
}

impl Hostile {
    pub fn start(&self) -> Started {
        match &self.behaviour {
            Behaviour::Relay { arrival, answer, compare } => {
                let (arrival, answer, compare) =
                    (*arrival, Arc::clone(answer), Arc::clone(compare));
                Started::Relay(ScriptedRelay::start_comparing(
                    arrival,
                    move |request| answer(request),
                    move |round| compare(round),
                ))
            }
            Behaviour::Raw(serve) => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let address = listener.local_addr().unwrap();
                let serve = *serve;
                thread::spawn(move || {
                    for stream in listener.incoming().map_while(Result::ok) {
                        thread::spawn(move || serve(stream));
                    }
                });
                Started::Raw(address)
            }
        }
    }
}

fn unknown_command(_: &Round) -> Answer {
    answer([Act::Notice("ERROR: bad msg: unknown cmd".into())])
}

/// Answers requests like this, and does not know what a comparison is.
fn answers(
    name: &'static str,
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> Hostile {
    let (arrival, answer) = (|_| Arrival::Welcome, Arc::new(answer));
    Hostile {
        name,
        behaviour: Behaviour::Relay { arrival, answer, compare: Arc::new(unknown_command) },
    }
}

/// Says this without end as soon as it is asked something.
fn floods(name: &'static str, act: Act) -> Hostile {
    let flood = act.clone();
    let compare = Arc::new(move |_: &Round| answer(iter::repeat(flood.clone())));
    let answer = Arc::new(move |_: &Request| answer(iter::repeat(act.clone())));
    Hostile { name, behaviour: Behaviour::Relay { arrival: |_| Arrival::Welcome, answer, compare } }
}

/// Compares like this, and answers requests by id or for pages like that.
fn compares(
    name: &'static str,
    compare: impl Fn(&Round) -> Answer + Send + Sync + 'static,
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> Hostile {
    let (answer, compare) = (Arc::new(answer), Arc::new(compare));
    Hostile { name, behaviour: Behaviour::Relay { arrival: |_| Arrival::Welcome, answer, compare } }
}

fn arrives(name: &'static str, arrival: fn(usize) -> Arrival) -> Hostile {
    let answer = Arc::new(|_: &Request| answer([]));
    Hostile {
        name,
        behaviour: Behaviour::Relay { arrival, answer, compare: Arc::new(unknown_command) },
    }
}

fn raw(name: &'static str, serve: fn(TcpStream)) -> Hostile {
    Hostile { name, behaviour: Behaviour::Raw(serve) }
}

/// An event that nobody signed.
fn made_up(number: u64, created_at: u64, kind: u64, tags: Value, content: &str) -> String {
    json!({
        "id": format!("{:064x}", u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
        "pubkey": author().pubkey(), "created_at": created_at, "kind": kind, "tags": tags,
        "content": content, "sig": "00".repeat(64),
    })
    .to_string()
}

/// One made-up event in each page, always a second older than was asked for.
fn pages_of(
    name: &'static str,
    event: impl Fn(u64, u64) -> String + Send + Sync + 'static,
) -> Hostile {
    let count = AtomicU64::new(0);
    answers(name, move |request| {
        let until = request.filter["until"].as_u64().unwrap_or(1_800_000_000);
        let number = count.fetch_add(1, Ordering::Relaxed);
        answer([Act::Event(event(number, until.saturating_sub(1))), Act::Eose])
    })
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = vec![(number & 0x7f) as u8];
    number >>= 7;
    while number > 0 {
        bytes.insert(0, 0x80 | (number & 0x7f) as u8);
        number >>= 7;
    }
    bytes
}

/// A round that names these ids in the first seconds, and says that all other time differs.
fn names_and_goes_on(ids: &[[u8; 32]]) -> Act {
    let mut payload = vec![0x61];
    payload.extend(varint(5 + 1));
    payload.extend([0, 2]);
    payload.extend(varint(ids.len() as u64));
    ids.iter().for_each(|id| payload.extend(id));
    payload.extend([0, 0, 1]);
    payload.extend([7; 16]);
    Act::NegMsg(payload)
}

/// A last round that names these ids.
fn names(ids: &[[u8; 32]]) -> Act {
    let mut payload = vec![0x61, 0, 0, 2];
    payload.extend(varint(ids.len() as u64));
    ids.iter().for_each(|id| payload.extend(id));
    Act::NegMsg(payload)
}

/// Ids that no event has, other ones each time.
fn new_ids(count: u64) -> Vec<[u8; 32]> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let first = NEXT.fetch_add(count, Ordering::Relaxed);
    let id = |number: u64| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        id
    };
    (first..first + count).map(id).collect()
}

/// The head of an unmasked frame.
fn frame_head(first: u8, length: u64) -> Vec<u8> {
    match length {
        0..=125 => vec![first, length as u8],
        126..=0xffff => [&[first, 126], &(length as u16).to_be_bytes()[..]].concat(),
        _ => [&[first, 127], &length.to_be_bytes()[..]].concat(),
    }
}

/// Reads the request of a handshake, or as much as comes.
fn read_some(stream: &mut TcpStream) {
    let _ = stream.read(&mut [0; 4_096]);
}

fn drip(mut stream: TcpStream, start: &str, rest: &str) {
    read_some(&mut stream);
    let _ = stream.write_all(start.as_bytes());
    while stream.write_all(rest.as_bytes()).is_ok() {
        thread::sleep(Duration::from_millis(50));
    }
}

fn pour(mut stream: TcpStream, start: &str, rest: &str) {
    read_some(&mut stream);
    let _ = stream.write_all(start.as_bytes());
    while stream.write_all(rest.as_bytes()).is_ok() {}
}

pub fn all() -> Vec<Hostile> {
    let mut all = at_the_door();
    all.extend(useless_messages());
    all.extend(frames());
    all.extend(refusals());
    all.extend(made_up_events());
    all.extend(comparisons());
    all
}

/// Before and at the handshake.
fn at_the_door() -> Vec<Hostile> {
    vec![
        raw("takes connections and says nothing", |stream| {
            drop(stream.try_clone().map(|mut it| it.read_to_end(&mut Vec::new())))
        }),
        raw("answers the handshake one header at a time, without end", |stream| {
            drip(stream, "HTTP/1.1 101 Switching Protocols\r\n", "X-More: yes\r\n");
        }),
        raw("answers the handshake with headers without end", |stream| {
            pour(
                stream,
                "HTTP/1.1 101 Switching Protocols\r\n",
                &format!("X-More: {}\r\n", "x".repeat(9_000)),
            );
        }),
        raw("answers the handshake with one header without end", |stream| {
            pour(stream, "HTTP/1.1 101 Switching Protocols\r\nX-More: ", &"x".repeat(9_000));
        }),
        raw("answers the handshake with a page without end", |stream| {
            pour(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n",
                &"<p>".repeat(3_000),
            );
        }),
        arrives("hangs up before the handshake", |_| Arrival::HangUp),
        arrives("is overloaded for ever", |_| Arrival::Refuse(503)),
        arrives("sends to another place", |_| Arrival::Refuse(301)),
        arrives("ends each connection after the handshake", |_| Arrival::Greet(vec![Act::Close])),
    ]
}

/// Messages that say nothing, without end.
fn useless_messages() -> Vec<Hostile> {
    let text = |message: Value| Act::Text(message.to_string());
    vec![
        answers("is silent", |_| answer([])),
        floods("notices without end", Act::Notice("wait".into())),
        floods("notices of 2 MB without end", Act::Notice("x".repeat(2_000_000))),
        floods("challenges without end", text(json!(["AUTH", "challenge"]))),
        floods("challenges of 1 MB without end", text(json!(["AUTH", "x".repeat(1_000_000)]))),
        floods("OKs without end", text(json!(["OK", "00".repeat(32), true, ""]))),
        floods("ends of other subscriptions without end", text(json!(["EOSE", "other"]))),
        floods(
            "refusals of other subscriptions without end",
            text(json!(["CLOSED", "other", "no"])),
        ),
        floods(
            "comparisons of other subscriptions without end",
            text(json!(["NEG-MSG", "other", "61"])),
        ),
        floods("counts without end", text(json!(["COUNT", "other", {"count": 1}]))),
        floods("what is no JSON without end", Act::Text("<html>".into())),
        floods("nothing but brackets", Act::Text("[".repeat(1_000_000))),
        floods("binary messages without end", Act::Binary(100_000)),
        floods("empty messages without end", Act::Text(String::new())),
        answers("a notice now and then", |_| {
            answer(
                iter::repeat([Act::Wait(Duration::from_millis(200)), Act::Notice("wait".into())])
                    .flatten(),
            )
        }),
    ]
}

/// Frames as no library makes them.
fn frames() -> Vec<Hostile> {
    let ping = [frame_head(0x89, 100), vec![b'p'; 100]].concat().repeat(1_000);
    let pong = [frame_head(0x8a, 100), vec![b'p'; 100]].concat().repeat(1_000);
    let part = [frame_head(0x01, 4_000), vec![b'a'; 4_000]].concat();
    let next_part = [frame_head(0x00, 4_000), vec![b'a'; 4_000]].concat();
    let almost_all = [frame_head(0x81, 2_000_000), vec![b'a'; 1_999_999]].concat();
    vec![
        floods("pings without end, and reads nothing", Act::Raw(ping)),
        floods("pongs without end", Act::Raw(pong)),
        answers("a message in parts without end", move |_| {
            answer(
                iter::once(Act::Raw(part.clone())).chain(iter::repeat(Act::Raw(next_part.clone()))),
            )
        }),
        answers("almost all of a message of 2 MB", move |_| answer([Act::Raw(almost_all.clone())])),
        answers("a byte of a large message now and then", |_| {
            let head = Act::Raw(frame_head(0x81, 2_000_000));
            let drip = [Act::Wait(Duration::from_millis(100)), Act::Raw(vec![b'a'])];
            answer(iter::once(head).chain(iter::repeat(drip).flatten()))
        }),
        answers("announces a message of 2^63 bytes", |_| {
            answer([Act::Raw(frame_head(0x81, 1 << 63))])
        }),
        answers("a frame with reserved bits", |_| answer([Act::Raw(vec![0xf1, 0])])),
        answers("a masked frame", |_| answer([Act::Raw(vec![0x81, 0x81, 1, 2, 3, 4, 5])])),
        answers("text that is no UTF-8", |_| answer([Act::Raw(vec![0x81, 2, 0xff, 0xfe])])),
    ]
}

/// Refusals without end, and ends that are none.
fn refusals() -> Vec<Hostile> {
    let refuses =
        |name, text: &'static str| answers(name, move |_| answer([Act::Closed(text.into())]));
    vec![
        refuses("refuses everything", "blocked: you are not welcome"),
        refuses("wants to be asked less often, for ever", "rate-limited: slow down"),
        refuses("wants to know us and sends no challenge", "auth-required: who are you?"),
        answers("notices that it is asked too often, for ever", |_| {
            answer([Act::Notice("rate-limited: slow down".into())])
        }),
        answers("ends the connection at each request", |_| answer([Act::Cut])),
        answers("says the end, then gives made-up events without end", |_| {
            let events = (0..)
                .map(|number| Act::Event(made_up(number, START + number, 1, json!([]), "late")));
            answer(iter::once(Act::Eose).chain(events))
        }),
    ]
}

/// Events that are not what they claim to be, and those that are refused before that is looked at.
fn made_up_events() -> Vec<Hostile> {
    let genuine = honest_notes().swap_remove(0);
    let forgery = forged(&genuine);
    let other = Author::new(2).note(START, "nobody asked for me");
    let plain = |number, created_at| made_up(number, created_at, 1, json!([]), "made up");
    vec![
        pages_of("a made-up event, a second older each page", plain),
        pages_of("a made-up greeting, a second older each page", |number, created_at| {
            made_up(number, created_at, 1, json!([]), "Hello NOSTR visitor.")
        }),
        pages_of("a made-up expired event, a second older each page", |number, created_at| {
            made_up(number, created_at, 1, json!([["expiration", "1000"]]), "x")
        }),
        pages_of(
            "a made-up event that strfry refuses, a second older each page",
            |number, created_at| made_up(number, created_at, 1, json!([["e", "not hex"]]), "x"),
        ),
        pages_of(
            "a made-up event that is too large, a second older each page",
            |number, created_at| made_up(number, created_at, 1, json!([]), &"x".repeat(70_000)),
        ),
        pages_of(
            "a made-up event of another kind, a second older each page",
            |number, created_at| made_up(number, created_at, 7, json!([]), "+"),
        ),
        pages_of("what is no event, a page at a time", |_, _| "[]".into()),
        floods("an event that nobody asked for, without end", Act::Event(other)),
        floods("an event of the honest peer, without end", Act::Event(genuine)),
        floods("a forgery of an event of the honest peer, without end", Act::Event(forgery)),
        answers("made-up events without end", move |_| {
            answer((0..).map(move |number| Act::Event(plain(number, START + number))))
        }),
        answers("a made-up event now and then", move |_| {
            answer((0..).flat_map(move |number| {
                [Act::Wait(Duration::from_millis(200)), Act::Event(plain(number, START + number))]
            }))
        }),
        answers("full pages of one second", move |request| {
            let first = request.number as u64 * 1_000;
            let second = request.filter["until"].as_u64().unwrap_or(START);
            let events = (first..first + 500).map(move |number| Act::Event(plain(number, second)));
            answer(events.chain([Act::Eose]).collect::<Vec<_>>())
        }),
        answers("full pages of greetings, a second older each", move |request| {
            let first = request.number as u64 * 1_000;
            let until = request.filter["until"].as_u64().unwrap_or(1_800_000_000);
            let event = move |number| {
                made_up(number, until - (number - first), 1, json!([]), "Hello NOSTR visitor.")
            };
            answer(
                (first..first + 500)
                    .map(event)
                    .map(Act::Event)
                    .chain([Act::Eose])
                    .collect::<Vec<_>>(),
            )
        }),
        answers("the newest events of the honest peer, whatever is asked", {
            let archive = Archive::new(&honest_notes(), 100);
            move |_| {
                answer(
                    archive
                        .page(&json!({}))
                        .into_iter()
                        .map(Act::Event)
                        .chain([Act::Eose])
                        .collect::<Vec<_>>(),
                )
            }
        }),
    ]
}

/// Comparisons without end, and those that promise what is not given.
fn comparisons() -> Vec<Hostile> {
    let closes = |_: &Request| answer([Act::Closed("blocked: not for you".into())]);
    let silent = |_: &Request| answer([]);
    let ends = |request: &Request| match request.filter["ids"].is_null() {
        true => answer([]),
        false => answer([Act::Eose]),
    };
    let here = honest_notes();
    let here: Value = serde_json::from_str(&here[0]).unwrap();
    let mut known = [0; 32];
    hex::decode_to_slice(here["id"].as_str().unwrap(), &mut known).unwrap();
    vec![
        compares(
            "names new ids without end and refuses them",
            |_| answer([names_and_goes_on(&new_ids(2_000))]),
            closes,
        ),
        compares(
            "names new ids without end and is silent",
            |_| answer([names_and_goes_on(&new_ids(2_000))]),
            silent,
        ),
        compares("names 15,000 ids and gives none", |_| answer([names(&new_ids(15_000))]), ends),
        compares("names 30,000 ids and is silent", |_| answer([names(&new_ids(30_000))]), silent),
        compares(
            "names one id again and again",
            move |_| answer([names_and_goes_on(&[known])]),
            silent,
        ),
        compares(
            "a comparison in which everything always differs",
            |_| answer([names_and_goes_on(&[])]),
            silent,
        ),
        compares(
            "a round of a comparison now and then",
            |_| answer([Act::Wait(Duration::from_millis(200)), names_and_goes_on(&[])]),
            silent,
        ),
        compares(
            "rounds that nobody waits for",
            |_| answer(iter::repeat_with(|| names_and_goes_on(&[]))),
            silent,
        ),
        compares(
            "finds everything too large",
            |_| answer([Act::NegErr("blocked: too many query results".into(), Some(1))]),
            silent,
        ),
        compares(
            "wants to be compared less often",
            |_| answer([Act::NegErr("rate-limited: slow down".into(), None)]),
            silent,
        ),
        compares(
            "forgets each comparison",
            |_| answer([Act::NegErr("closed: unknown subscription handle".into(), None)]),
            silent,
        ),
        compares(
            "rounds that make no sense",
            |_| answer([Act::NegMsg(vec![0x61, 0xff, 0xff, 0xff])]),
            silent,
        ),
        compares(
            "a list of 2^62 ids",
            |_| answer([Act::NegMsg([&[0x61, 0, 0, 2][..], &varint(1 << 62)].concat())]),
            silent,
        ),
        compares(
            "bounds that run backwards",
            |_| {
                let mut payload = vec![0x61];
                (0..20_000).for_each(|_| payload.extend([[1, 1, 9, 0], [1, 1, 8, 0]].concat()));
                answer([Act::NegMsg(payload)])
            },
            silent,
        ),
    ]
}
