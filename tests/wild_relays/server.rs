//! Brings relays to life: a socket for each, and clocks for their pauses.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use crate::quirks::{Act, Conversation, Door, Relay};

/// A relay on a free port of 127.0.0.1 that ends when it is dropped.
#[derive(Debug)]
pub struct Living {
    address: SocketAddr,
    task: JoinHandle<()>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Living {
    pub fn start(runtime: &Handle, relay: Relay) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let task = runtime.spawn(serve(listener, Arc::new(Mutex::new(relay)), Arc::clone(&heard)));
        Self { address, task, heard }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Everything that it has heard, in order.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: std::net::TcpListener,
    relay: Arc<Mutex<Relay>>,
    heard: Arc<Mutex<Vec<String>>>,
) {
    let listener = TcpListener::from_std(listener).unwrap();
    let (door, info) = {
        let relay = relay.lock().unwrap();
        (relay.quirks.door, relay.quirks.info.clone())
    };
    let mut handshakes = 0;
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        if wants_info(&stream).await {
            tokio::spawn(inform(stream, info.clone()));
            continue;
        }
        handshakes += 1;
        match door {
            Door::Busy { times, status, retry_after } if handshakes <= times => {
                let retry =
                    retry_after.map_or(String::new(), |it| format!("Retry-After: {it}\r\n"));
                let head = format!("HTTP/1.1 {status} Busy\r\n{retry}Content-Length: 0\r\n\r\n");
                tokio::spawn(answer_and_end(stream, head));
            }
            Door::Cut { times } if handshakes <= times => drop(stream),
            _ => {
                tokio::spawn(converse(stream, Arc::clone(&relay), Arc::clone(&heard)));
            }
        }
    }
}

/// Whether it is a question about the relay itself (NIP-11) that comes.
async fn wants_info(stream: &TcpStream) -> bool {
    let mut start = [0; 1024];
    let Ok(length) = stream.peek(&mut start).await else { return false };
    String::from_utf8_lossy(&start[..length]).contains("application/nostr+json")
}

async fn inform(stream: TcpStream, info: Option<Value>) {
    let body = info.as_ref().map_or(String::new(), Value::to_string);
    let status = if info.is_some() { "200 OK" } else { "404 Not Found" };
    let length = body.len();
    answer_and_end(stream, format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}"))
        .await;
}

async fn answer_and_end(mut stream: TcpStream, response: String) {
    let _ = stream.write_all(response.as_bytes()).await;
    cut(stream).await;
}

/// Ends the connection for writing and waits for the other side to end it too: closing it while
/// something is unread would take back what was sent.
async fn cut(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await.is_ok_and(|length| length > 0) {}
}

/// `None`: the connection has ended.
async fn converse(
    stream: TcpStream,
    relay: Arc<Mutex<Relay>>,
    heard: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let mut socket = tokio_tungstenite::accept_async(stream).await.ok()?;
    let mut conversation = Conversation::default();
    let mut acts = relay.lock().unwrap().greet(&mut conversation);
    loop {
        for act in acts {
            match act {
                Act::Say(text) => socket.send(Message::text(text)).await.ok()?,
                Act::SayInBinary(text) => socket.send(Message::binary(text)).await.ok()?,
                Act::Wait(time) => tokio::time::sleep(time).await,
                Act::HangUp => {
                    socket.close(None).await.ok()?;
                    while socket.next().await?.is_ok() {}
                    return None;
                }
                Act::Cut => {
                    cut(socket.into_inner()).await;
                    return None;
                }
            }
        }
        let text = loop {
            if let Message::Text(text) = socket.next().await?.ok()? {
                break text;
            }
        };
        heard.lock().unwrap().push(text.to_string());
        acts = relay.lock().unwrap().hear(&mut conversation, &text);
    }
}
