//! A way to a relay on which every byte that the relay sends is counted, and which can be a long one.

#![allow(dead_code, reason = "each program that includes this uses its own part")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that are read at once.
const CHUNK: usize = 1 << 16;

/// Chunks on their way in one direction of a connection: at most 16 MiB, which at 50 ms are
/// 2.6 Gbit/s.
const UNDER_WAY: usize = 256;

/// Forwards connections to one address for as long as the program runs.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    bytes: Arc<AtomicU64>,
}

impl Proxy {
    /// In front of the relay at this `ws://` URL.
    pub fn start(relay: &str) -> Self {
        Self::delaying(relay, Duration::ZERO)
    }

    /// The same, and everything takes so long each way. That makes the way long and not narrow:
    /// what follows does not wait for what is under way.
    pub fn delaying(relay: &str, each_way: Duration) -> Self {
        let relay: SocketAddr = relay.strip_prefix("ws://").unwrap().parse().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let bytes = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&bytes);
        thread::spawn(move || {
            for here in listener.incoming().map_while(Result::ok) {
                let Ok(there) = TcpStream::connect(relay) else { continue };
                for stream in [&here, &there] {
                    stream.set_nodelay(true).unwrap();
                }
                let (up, down) = (here.try_clone().unwrap(), there.try_clone().unwrap());
                forward(up, there, each_way, Arc::default());
                forward(down, here, each_way, Arc::clone(&counter));
            }
        });
        Self { address, bytes }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Bytes that the relay has sent so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// One direction of a connection, in threads of its own.
fn forward(mut from: TcpStream, mut to: TcpStream, delay: Duration, counter: Arc<AtomicU64>) {
    let (departures, arrivals) = mpsc::sync_channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            counter.fetch_add(length as u64, Ordering::Relaxed);
            if departures.send((Instant::now() + delay, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (arrival, chunk) in arrivals {
            thread::sleep(arrival.saturating_duration_since(Instant::now()));
            if to.write_all(&chunk).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}
