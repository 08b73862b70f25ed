//! What was said in every conversation, as JSON lines, so that an operator can report a peer.
//!
//! A trace never holds up a conversation: a thread of its own writes it, lines for which the disk
//! is too slow are lost and counted, and it ends at the first error and at [`TRACE_BYTES`].

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::limits::{TRACE_BYTES, TRACE_WAITING};
use super::message::RelayMessage;

/// How long the end of a run waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Where conversations are written down, or nowhere. A clone writes to the same file.
#[derive(Clone, Default)]
pub struct Trace(Option<Arc<Shared>>);

struct Shared {
    work: Mutex<Sender<Work>>,
    connections: AtomicU64,
    /// Bytes that wait to be written.
    waiting: AtomicUsize,
    /// Lines that did not find place among them.
    lost: AtomicU64,
    /// Nothing more is written.
    is_over: AtomicBool,
    /// Why, if that is not the end of the run.
    trouble: Mutex<Option<String>>,
}

enum Work {
    Line(String),
    End(Sender<()>),
}

/// The conversation of one connection. When it is dropped, the trace says why the connection ended.
pub(super) struct Conversation {
    shared: Option<Arc<Shared>>,
    /// As lines give it.
    peer: String,
    number: u64,
    ended: Option<String>,
}

/// Which way a message goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Direction {
    In,
    Out,
}

/// How text from strangers is made harmless without a change of its JSON.
pub type Clean = fn(&str) -> Cow<'_, str>;

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Trace(…)" } else { "Trace(nowhere)" })
    }
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Trace {
    /// Writes to this file, at most [`TRACE_BYTES`].
    ///
    /// # Errors
    /// No thread can be started.
    pub fn to(file: File, clean: Clean) -> io::Result<Self> {
        Self::bounded(file, clean, TRACE_BYTES)
    }

    fn bounded(file: File, clean: Clean, most: u64) -> io::Result<Self> {
        let (sender, work) = mpsc::channel();
        let shared = Arc::new(Shared {
            work: Mutex::new(sender),
            connections: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            trouble: Mutex::new(None),
        });
        let writer = Arc::clone(&shared);
        let out = BufWriter::new(file);
        thread::Builder::new().name("trace".to_owned()).spawn(move || {
            let end = writer.write_all(&work, out, clean, most);
            writer.is_over.store(true, Ordering::Relaxed);
            let trouble = match end {
                Err(error) => Some(error.to_string()),
                Ok(End::Full) => Some(format!("it has reached its largest size, {most} bytes")),
                Ok(End::Told(done)) => {
                    let _ = done.send(());
                    None
                }
            };
            if trouble.is_some() {
                *writer.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
                // Whoever waits for the end learns of it at once.
                while let Ok(work) = work.recv() {
                    if let Work::End(done) = work {
                        let _ = done.send(());
                        return;
                    }
                }
            }
        })?;
        Ok(Self(Some(shared)))
    }

    /// Waits a moment until all is written. Returns why something is missing, if so.
    pub fn end(&self) -> Option<String> {
        self.end_within(LAST_LINES)
    }

    fn end_within(&self, patience: Duration) -> Option<String> {
        let shared = self.0.as_ref()?;
        let (done, is_done) = mpsc::channel();
        shared.send(Work::End(done));
        let is_late = is_done.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout);
        shared.is_over.store(true, Ordering::Relaxed);
        let trouble = shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let lost = shared.lost.load(Ordering::Relaxed);
        let slow = || match (is_late, lost) {
            (true, _) => Some("the disk takes too long for its last lines".to_owned()),
            (false, 0) => None,
            (false, _) => Some(format!("{lost} lines are missing: the disk was too slow for them")),
        };
        trouble.or_else(slow)
    }

    /// A connection to the peer at this address, which may have a name.
    pub(super) fn conversation(&self, address: &str, name: &str) -> Conversation {
        let shared = self.0.clone().filter(|shared| !shared.is_over.load(Ordering::Relaxed));
        let count = |it: &Arc<Shared>| it.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let number = shared.as_ref().map_or(0, count);
        let peer = match (&shared, name) {
            (None, _) => String::new(),
            (Some(_), "") => Value::from(address).to_string(),
            (Some(_), name) => format!(r#"{},"name":{}"#, Value::from(address), Value::from(name)),
        };
        Conversation { shared, peer, number, ended: None }
    }
}

/// Why nothing more is written.
enum End {
    Told(Sender<()>),
    Full,
}

impl Shared {
    fn send(&self, work: Work) {
        // An error means that the thread is gone, and with it everything to write to.
        let _ = self.work.lock().unwrap_or_else(PoisonError::into_inner).send(work);
    }

    fn write_all(
        &self,
        work: &Receiver<Work>,
        mut out: BufWriter<File>,
        clean: Clean,
        most: u64,
    ) -> io::Result<End> {
        let mut written = 0;
        loop {
            let next = match work.try_recv() {
                Ok(next) => next,
                Err(_) => {
                    // What was said so far is there, whatever happens to this process.
                    out.flush()?;
                    match work.recv() {
                        Ok(next) => next,
                        Err(_) => return Ok(End::Full),
                    }
                }
            };
            match next {
                Work::Line(line) => {
                    let cleaned = clean(&line);
                    written += cleaned.len() as u64 + 1;
                    if written > most {
                        out.flush()?;
                        return Ok(End::Full);
                    }
                    out.write_all(cleaned.as_bytes())?;
                    out.write_all(b"\n")?;
                    self.waiting.fetch_sub(line.len(), Ordering::Relaxed);
                }
                Work::End(done) => {
                    out.flush()?;
                    return Ok(End::Told(done));
                }
            }
        }
    }
}

impl Conversation {
    /// Whether anything that is told is written down.
    pub(super) fn is_traced(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| !shared.is_over.load(Ordering::Relaxed))
    }

    /// A message, as it is; what could be used to be taken for us is left out.
    pub(super) fn message(&self, direction: Direction, text: &str) {
        if !self.is_traced() {
            return;
        }
        let direction = match direction {
            Direction::In => "in",
            Direction::Out => "out",
        };
        let head = format!(r#""direction":"{direction}","#);
        let is_auth = text.contains("AUTH")
            && matches!(RelayMessage::parse(text), Some(RelayMessage::Auth(_)))
            || text.starts_with(r#"["AUTH","#);
        if is_auth {
            return self.line(&format!(
                r#"{head}"message":["AUTH"],"left_out":"the challenge and its signature""#
            ));
        }
        let is_json = serde_json::from_str::<&RawValue>(text).is_ok();
        if is_json && !text.contains(['\n', '\r']) {
            self.line(&format!(r#"{head}"message":{}"#, text.trim()));
        } else {
            self.line(&format!(r#"{head}"text":{}"#, Value::from(text)));
        }
    }

    /// Something else that came, such as a ping.
    pub(super) fn came(&self, what: impl fmt::Display) {
        if self.is_traced() {
            self.line(&format!(r#""direction":"in","other":{}"#, json!(what.to_string())));
        }
    }

    /// Something that happened, and what there is to say of it.
    pub(super) fn event(&self, event: &str, detail: Option<&str>) {
        if self.is_traced() {
            let detail = detail.map(|it| format!(r#","detail":{}"#, Value::from(it)));
            let event = Value::from(event);
            self.line(&format!(r#""event":{event}{}"#, detail.unwrap_or_default()));
        }
    }

    /// Why the connection ends; the first reason counts.
    pub(super) fn ends(&mut self, reason: impl FnOnce() -> String) {
        if self.is_traced() && self.ended.is_none() {
            self.ended = Some(reason());
        }
    }

    /// Nothing came about of it, so that it has no end either.
    pub(super) fn forget(&mut self) {
        self.shared = None;
    }

    fn line(&self, body: &str) {
        let Some(shared) = &self.shared else { return };
        let (time, peer, number) = (Timestamp::now(), &self.peer, self.number);
        let line = format!(r#"{{"time":"{time:.6}","peer":{peer},"connection":{number},{body}}}"#);
        let waiting = shared.waiting.fetch_add(line.len(), Ordering::Relaxed);
        // One line always finds place.
        if waiting > 0 && waiting.saturating_add(line.len()) > TRACE_WAITING {
            shared.waiting.fetch_sub(line.len(), Ordering::Relaxed);
            shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        shared.send(Work::Line(line));
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        if self.is_traced() {
            let reason = self.ended.take();
            self.event("ended", Some(reason.as_deref().unwrap_or("given up by us")));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The lines of a trace, without their times.
    fn lines(text: &str) -> Vec<Value> {
        let parsed = text.lines().map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            let time = line.as_object_mut().unwrap().remove("time").unwrap();
            assert!(time.as_str().unwrap().parse::<Timestamp>().is_ok(), "{time}");
            line
        });
        parsed.collect()
    }

    fn plain(text: &str) -> Cow<'_, str> {
        text.into()
    }

    fn traced(most: u64, tell: impl FnOnce(&Trace)) -> (Vec<Value>, Option<String>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trace");
        let trace = Trace::bounded(File::create(&path).unwrap(), plain, most).unwrap();
        tell(&trace);
        let trouble = trace.end();
        (lines(&fs::read_to_string(path).unwrap()), trouble)
    }

    #[test]
    fn every_message_is_a_line_with_its_time_peer_connection_and_direction() {
        let (lines, trouble) = traced(1 << 20, |trace| {
            let mut one = trace.conversation("wss://one.example", "");
            let two = trace.conversation("wss://two.example", "");
            one.event("opened", None);
            one.message(Direction::Out, r#"["REQ","s",{}]"#);
            one.message(Direction::In, " [\"EVENT\",\"s\",{}]");
            two.message(Direction::In, "[\"NOTICE\",\n\"x\"]");
            two.message(Direction::In, "no \"JSON\"");
            two.came("ping");
            two.event("not connected", Some("refused"));
            one.ends(|| "closed by the relay".to_owned());
            one.ends(|| "not the first reason".to_owned());
        });
        let (one, two) = ("wss://one.example", "wss://two.example");
        assert_eq!(trouble, None);
        assert_eq!(
            lines,
            [
                json!({"peer": one, "connection": 1, "event": "opened"}),
                json!({"peer": one, "connection": 1, "direction": "out", "message": ["REQ", "s", {}]}),
                json!({"peer": one, "connection": 1, "direction": "in", "message": ["EVENT", "s", {}]}),
                json!({"peer": two, "connection": 2, "direction": "in", "text": "[\"NOTICE\",\n\"x\"]"}),
                json!({"peer": two, "connection": 2, "direction": "in", "text": "no \"JSON\""}),
                json!({"peer": two, "connection": 2, "direction": "in", "other": "ping"}),
                json!({"peer": two, "connection": 2, "event": "not connected", "detail": "refused"}),
                json!({"peer": two, "connection": 2, "event": "ended", "detail": "given up by us"}),
                json!({"peer": one, "connection": 1, "event": "ended", "detail": "closed by the relay"}),
            ]
        );
    }

    #[test]
    fn a_peer_that_has_a_name_is_called_by_it() {
        let (lines, _) = traced(1 << 20, |trace| {
            let mut conversation = trace.conversation("ws://127.0.0.1:7777", "12D3\"Koo");
            conversation.event("opened", None);
            conversation.forget();
        });
        let line = json!({
            "peer": "ws://127.0.0.1:7777", "name": "12D3\"Koo", "connection": 1, "event": "opened",
        });
        assert_eq!(lines, [line]);
    }

    #[test]
    fn who_we_are_is_left_out_in_both_directions() {
        let (lines, _) = traced(1 << 20, |trace| {
            let conversation = trace.conversation("wss://r", "");
            conversation.message(Direction::In, r#" [ "AUTH" , "secret challenge" ]"#);
            conversation.message(Direction::Out, r#"["AUTH",{"sig":"secret signature"}]"#);
            conversation.message(Direction::In, r#"["NOTICE","AUTH is wanted"]"#);
        });
        let text = json!(lines).to_string();
        assert!(!text.contains("secret") && text.contains("AUTH is wanted"), "{text}");
        assert_eq!(lines[1]["message"], json!(["AUTH"]));
    }

    #[test]
    fn nothing_is_told_by_a_trace_that_leads_nowhere() {
        let trace = Trace::default();
        let conversation = trace.conversation("wss://r", "");
        conversation.message(Direction::In, "x");
        assert!(!conversation.is_traced());
        assert_eq!(trace.end(), None);
    }

    #[test]
    fn a_trace_ends_at_its_largest_size_with_a_whole_line() {
        let (lines, trouble) = traced(1_000, |trace| {
            let conversation = trace.conversation("wss://r", "");
            (0..100).for_each(|_| conversation.message(Direction::In, r#"["NOTICE","x"]"#));
        });
        assert_eq!(trouble.as_deref(), Some("it has reached its largest size, 1000 bytes"));
        assert!((5..20).contains(&lines.len()), "{}", lines.len());
    }

    #[test]
    fn a_full_disk_is_told_once_and_holds_nobody_up() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let trace = Trace::to(full, plain).unwrap();
        let conversation = trace.conversation("wss://r", "");
        let large = json!(["NOTICE", "x".repeat(100_000)]).to_string();
        while conversation.is_traced() {
            conversation.message(Direction::In, &large);
        }
        let trouble = trace.end().unwrap();
        assert!(trouble.contains("No space left on device"), "{trouble}");
    }

    #[test]
    fn a_disk_that_takes_nothing_holds_nobody_up() {
        let (_reader, writer) = io::pipe().unwrap();
        let trace = Trace::to(File::from(std::os::fd::OwnedFd::from(writer)), plain).unwrap();
        let conversation = trace.conversation("wss://r", "");
        let large = json!(["NOTICE", "x".repeat(100_000)]).to_string();
        for _ in 0..TRACE_WAITING / large.len() + 3 {
            conversation.message(Direction::In, &large);
        }
        let shared = trace.0.as_ref().unwrap();
        assert!(shared.lost.load(Ordering::Relaxed) > 0);
        assert!(shared.waiting.load(Ordering::Relaxed) <= TRACE_WAITING);
        let trouble = trace.end_within(Duration::from_millis(10));
        assert_eq!(trouble.as_deref(), Some("the disk takes too long for its last lines"));
    }
}
