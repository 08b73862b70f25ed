//! A way to a relay on which every byte that the relay sends is counted.

#![allow(dead_code, reason = "each program that includes this uses its own part")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Forwards connections to one address for as long as the test runs.
#[derive(Debug)]
pub struct CountingProxy {
    address: SocketAddr,
    bytes: Arc<AtomicU64>,
}

impl CountingProxy {
    /// In front of the relay at this `ws://` URL.
    pub fn start(relay: &str) -> Self {
        let relay: SocketAddr = relay.strip_prefix("ws://").unwrap().parse().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let bytes = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&bytes);
        thread::spawn(move || {
            for here in listener.incoming().map_while(Result::ok) {
                let Ok(there) = TcpStream::connect(relay) else { continue };
                let (up, down) = (here.try_clone().unwrap(), there.try_clone().unwrap());
                thread::spawn(move || pump(up, there, None));
                let counter = Arc::clone(&counter);
                thread::spawn(move || pump(down, here, Some(counter)));
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

fn pump(mut from: TcpStream, mut to: TcpStream, counter: Option<Arc<AtomicU64>>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if let Some(counter) = &counter {
            counter.fetch_add(length as u64, Ordering::Relaxed);
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
