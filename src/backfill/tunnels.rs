//! Tunnels through IPFS to stations whose relay listens on their own machine only: a local port,
//! bound to 127.0.0.1 alone, that the `ipfs` daemon forwards.
//!
//! What a station offers is never executed; its id is letters and digits, and the only thing of
//! it that reaches the command. Every tunnel is closed when its value is dropped.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::task::JoinSet;

use super::limits::{IPFS_CLOSES, IPFS_CONNECT, IPFS_POLL, IPFS_TIME_OUT};
use crate::node::Peer;
use crate::peer::{GapReason, PeerSession};
use crate::stop::Stop;

/// How the command `ipfs` is called.
#[derive(Debug, Clone)]
pub struct Ipfs {
    /// The executable.
    pub command: PathBuf,
    /// Once it is told, nothing more is opened, and what is open is closed in little time.
    pub stop: Stop,
}

/// The tunnels to those of some peers that need one.
#[derive(Debug, Default)]
pub struct Tunnels {
    /// By the peer's position.
    open: BTreeMap<usize, Tunnel>,
    /// Why others are not open.
    failed: BTreeMap<usize, String>,
}

impl Tunnels {
    /// Closes what a run that was killed has left open to these peers. Only for a run that is
    /// alone: a tunnel that another is using would take no more connections.
    pub(super) async fn close_left_behind(ipfs: &Ipfs, peers: impl IntoIterator<Item = &Peer>) {
        let mut closing = JoinSet::new();
        for station in peers.into_iter().filter_map(|peer| peer.tunnel.as_deref()) {
            let (ipfs, protocol) = (ipfs.clone(), protocol_of(station));
            // Whether there was one or not does not matter.
            closing.spawn_blocking(move || {
                drop(ipfs.run(CLOSE, &["p2p", "close", "-p", &protocol]));
            });
        }
        while closing.join_next().await.is_some() {}
    }

    /// Opens them all at once with this `ipfs` command, each within `patience`. Not to be given up
    /// halfway, but by telling it to stop: what is being opened then is closed only when it is open.
    pub async fn open(
        ipfs: &Ipfs,
        peers: impl IntoIterator<Item = &Peer>,
        patience: Duration,
    ) -> Self {
        let mut opening = JoinSet::new();
        for (position, peer) in peers.into_iter().enumerate() {
            let Some(station) = peer.tunnel.clone() else { continue };
            let ipfs = ipfs.clone();
            opening.spawn_blocking(move || (position, Tunnel::open(&ipfs, &station, patience)));
        }
        let mut tunnels = Self::default();
        while let Some(opened) = opening.join_next().await {
            match opened {
                Ok((position, Ok(tunnel))) => {
                    tunnels.open.insert(position, tunnel);
                }
                Ok((position, Err(error))) => {
                    tunnels.failed.insert(position, format!("no tunnel: {error}"));
                }
                // Only a thread that panicked; its peer is dialled where nobody listens.
                Err(_) => {}
            }
        }
        tunnels
    }

    /// The port of this machine at which the peer at this position is reached; `None`: it is
    /// dialled where it says.
    ///
    /// # Errors
    /// Why its tunnel is not open.
    pub fn port(&self, position: usize) -> Result<Option<u16>, &str> {
        match self.failed.get(&position) {
            Some(reason) => Err(reason),
            None => Ok(self.open.get(&position).map(|tunnel| tunnel.port)),
        }
    }

    /// Lets a session reach the peer at this position. A peer whose tunnel is not open is not
    /// asked.
    ///
    /// # Errors
    /// Why its tunnel is not open.
    pub(super) fn lead(&self, position: usize, session: &mut PeerSession) -> Result<(), &str> {
        match self.port(position) {
            Ok(Some(port)) => session.reach_through(port),
            Ok(None) => {}
            Err(reason) => {
                session.give_up(GapReason::NotConnected(reason.to_owned()));
                return Err(reason);
            }
        }
        Ok(())
    }

    /// Closes them, all at once.
    pub async fn close(self) {
        let close = |tunnel| tokio::task::spawn_blocking(move || drop::<Tunnel>(tunnel));
        futures_util::future::join_all(self.open.into_values().map(close)).await;
    }
}

/// The action that is still done when the run is to stop.
const CLOSE: &str = "p2p close";

/// An open tunnel.
#[derive(Debug)]
struct Tunnel {
    ipfs: Ipfs,
    protocol: String,
    port: u16,
    /// That port, as `ipfs` names it.
    listen: String,
}

fn protocol_of(station: &str) -> String {
    format!("/x/strfry-{station}")
}

/// Why a tunnel is not open.
#[derive(Debug, thiserror::Error)]
enum TunnelError {
    #[error("cannot find a free port: {0}")]
    NoPort(std::io::Error),
    #[error("cannot run {ipfs}: {source}; install it, or leave tunnels alone with --no-tunnels", ipfs = ipfs.display())]
    NoIpfs { ipfs: PathBuf, source: std::io::Error },
    #[error(
        "ipfs {action}: {said}; see that its daemon runs and forwards, or leave tunnels alone with --no-tunnels"
    )]
    Ipfs { action: &'static str, said: String },
    #[error("told to stop")]
    ToldToStop,
    #[error(
        "nothing listens on its port {0}, though ipfs says so; see `ipfs p2p ls`, or leave tunnels alone with --no-tunnels"
    )]
    NotReady(u16),
}

impl Tunnel {
    /// Opens a tunnel to a station, and returns when its port can be connected to. Blocks.
    fn open(ipfs: &Ipfs, station: &str, patience: Duration) -> Result<Self, TunnelError> {
        let until = Instant::now() + patience;
        let protocol = protocol_of(station);
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(TunnelError::NoPort)?;
        let port = free.local_addr().map_err(TunnelError::NoPort)?.port();
        drop(free);
        let target = format!("/p2p/{station}");
        let listen = format!("/ip4/127.0.0.1/tcp/{port}");
        let tunnel = Self { ipfs: ipfs.clone(), protocol, port, listen };
        let forward = ["p2p", "forward", &tunnel.protocol, &tunnel.listen, &target];
        ipfs.run("p2p forward", &forward)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        while TcpStream::connect_timeout(&address, IPFS_CONNECT).is_err() {
            if ipfs.stop.is_told() {
                return Err(TunnelError::ToldToStop);
            }
            if Instant::now() >= until {
                return Err(TunnelError::NotReady(port));
            }
            std::thread::sleep(IPFS_POLL);
        }
        Ok(tunnel)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // This one alone: another run may have one to the same station.
        let close = ["p2p", "close", "-p", &self.protocol, "-l", &self.listen];
        // There is nobody left to tell that it did not close, and the next backfill tries again.
        let _ = self.ipfs.run(CLOSE, &close);
    }
}

impl Ipfs {
    /// Runs the command to its end, for a bounded time.
    fn run(&self, action: &'static str, arguments: &[&str]) -> Result<(), TunnelError> {
        let no_ipfs = |source| TunnelError::NoIpfs { ipfs: self.command.clone(), source };
        let is_closing = action == CLOSE;
        if self.stop.is_told() && !is_closing {
            return Err(TunnelError::ToldToStop);
        }
        let mut child = Command::new(&self.command)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // What a terminal's Ctrl-C reaches must not end the command that closes a tunnel.
            .process_group(0)
            .spawn()
            .map_err(no_ipfs)?;
        let started = Instant::now();
        loop {
            let longest = match (self.stop.is_told(), is_closing) {
                (false, _) => IPFS_TIME_OUT,
                (true, true) => IPFS_CLOSES,
                (true, false) => Duration::ZERO,
            };
            match child.try_wait().map_err(no_ipfs)? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    let said = format!("{status}: {}", last_words(&mut child));
                    return Err(TunnelError::Ipfs { action, said });
                }
                None if started.elapsed() >= longest => {
                    // What it has started, too: a wrapper's `ipfs` would open a tunnel after all.
                    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
                    let _ = child.wait();
                    let said = format!("no end within {} s", longest.as_secs());
                    return Err(TunnelError::Ipfs { action, said });
                }
                None => std::thread::sleep(IPFS_POLL),
            }
        }
    }
}

fn last_words(child: &mut Child) -> String {
    let mut said = Vec::new();
    if let Some(stderr) = &mut child.stderr {
        // Something that it has left running may keep the other end open: only what is there.
        let _ = ioctl_fionbio(&*stderr, true);
        let _ = stderr.take(2_000).read_to_end(&mut said);
    }
    String::from_utf8_lossy(&said).trim().to_owned()
}
