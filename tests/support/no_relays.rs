//! Places that are dialled in vain.

#![allow(dead_code, reason = "each program that includes this uses its own part")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use tokio::net::TcpSocket;

/// Takes connections and never says a word, not even of the handshake.
#[derive(Debug)]
pub struct MuteListener(TcpListener);

impl MuteListener {
    pub fn start() -> Self {
        Self(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.0.local_addr().unwrap())
    }

    /// How many connections have been made since this was last asked.
    pub fn connections(&self) -> usize {
        self.0.set_nonblocking(true).unwrap();
        self.0.incoming().map_while(Result::ok).count()
    }
}

/// A port that nobody else can take and that refuses every connection.
#[derive(Debug)]
pub struct ClosedPort(TcpSocket);

impl ClosedPort {
    pub fn reserve() -> Self {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address())
    }

    pub fn at(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        Self(socket)
    }
}
