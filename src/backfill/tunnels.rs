//! Tunnels through IPFS to stations whose relay listens on their own machine only: a local port,
//! bound to 127.0.0.1 alone, that the `ipfs` daemon forwards.
//!
//! What a station offers is never executed; its id is letters and digits, and the only thing of
//! it that reaches the command. Every tunnel is closed when its value is dropped.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::limits::{IPFS_POLL, IPFS_TIME_OUT};

/// An open tunnel.
#[derive(Debug)]
pub(super) struct Tunnel {
    ipfs: PathBuf,
    protocol: String,
    port: u16,
}

/// Why a tunnel is not open.
#[derive(Debug, thiserror::Error)]
pub(super) enum TunnelError {
    #[error("cannot find a free port: {0}")]
    NoPort(std::io::Error),
    #[error("cannot run {ipfs}: {source}; install it, or leave tunnels alone with --no-tunnels", ipfs = ipfs.display())]
    NoIpfs { ipfs: PathBuf, source: std::io::Error },
    #[error("ipfs {action}: {said}")]
    Ipfs { action: &'static str, said: String },
    #[error("nothing listens on its port {0}, though ipfs says so")]
    NotReady(u16),
}

impl Tunnel {
    /// Opens a tunnel to a station, and returns when its port can be connected to. Blocks.
    pub(super) fn open(
        ipfs: &Path,
        station: &str,
        patience: Duration,
    ) -> Result<Self, TunnelError> {
        let until = Instant::now() + patience;
        let protocol = format!("/x/strfry-{station}");
        // Of a run that was killed.
        let _ = run(ipfs, "p2p close", &["p2p", "close", "-p", &protocol]);
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(TunnelError::NoPort)?;
        let port = free.local_addr().map_err(TunnelError::NoPort)?.port();
        drop(free);
        let tunnel = Self { ipfs: ipfs.to_owned(), protocol: protocol.clone(), port };
        let (listen, target) = (format!("/ip4/127.0.0.1/tcp/{port}"), format!("/p2p/{station}"));
        run(ipfs, "p2p forward", &["p2p", "forward", &protocol, &listen, &target])?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        while TcpStream::connect_timeout(&address, IPFS_TIME_OUT).is_err() {
            if Instant::now() >= until {
                return Err(TunnelError::NotReady(port));
            }
            std::thread::sleep(IPFS_POLL);
        }
        Ok(tunnel)
    }

    /// Closes tunnels, all at once.
    pub(super) async fn close_all(tunnels: Vec<Self>) {
        let close = |tunnel| tokio::task::spawn_blocking(move || drop::<Self>(tunnel));
        futures_util::future::join_all(tunnels.into_iter().map(close)).await;
    }

    /// The local port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // There is nobody left to tell that it did not close, and the next run tries again.
        let _ = run(&self.ipfs, "p2p close", &["p2p", "close", "-p", &self.protocol]);
    }
}

/// Runs the command to its end, for a bounded time.
fn run(ipfs: &Path, action: &'static str, arguments: &[&str]) -> Result<(), TunnelError> {
    let no_ipfs = |source| TunnelError::NoIpfs { ipfs: ipfs.to_owned(), source };
    let mut child = Command::new(ipfs)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(no_ipfs)?;
    let until = Instant::now() + IPFS_TIME_OUT;
    loop {
        match child.try_wait().map_err(no_ipfs)? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                let said = format!("{status}: {}", last_words(&mut child));
                return Err(TunnelError::Ipfs { action, said });
            }
            None if Instant::now() >= until => {
                let _ = child.kill();
                let _ = child.wait();
                let said = format!("no end within {} s", IPFS_TIME_OUT.as_secs());
                return Err(TunnelError::Ipfs { action, said });
            }
            None => std::thread::sleep(IPFS_POLL),
        }
    }
}

fn last_words(child: &mut Child) -> String {
    let mut said = Vec::new();
    if let Some(stderr) = &mut child.stderr {
        let _ = stderr.take(2_000).read_to_end(&mut said);
    }
    String::from_utf8_lossy(&said).trim().to_owned()
}
