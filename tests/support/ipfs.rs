//! A stand-in for `ipfs` whose daemon, as the real one does, forwards TCP.

#![allow(dead_code, reason = "each program that includes this uses its own part")]

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::node::Node;

/// A command that writes down what it is asked, and a daemon that does it.
pub struct Ipfs {
    directory: tempfile::TempDir,
    ended: Arc<AtomicBool>,
}

impl Ipfs {
    /// Forwards to the relay of each of these stations.
    pub fn start(stations: &[(&str, SocketAddr)]) -> Self {
        let ipfs = Self::that_says("");
        let (calls, ended) = (ipfs.calls_file(), Arc::clone(&ipfs.ended));
        let stations: Vec<(String, SocketAddr)> =
            stations.iter().map(|(id, address)| ((*id).to_owned(), *address)).collect();
        thread::spawn(move || {
            let mut done = 0;
            while !ended.load(Ordering::Relaxed) {
                let text = fs::read_to_string(&calls).unwrap_or_default();
                for line in text.lines().skip(done) {
                    done += 1;
                    let words: Vec<&str> = line.split(' ').collect();
                    let ["p2p", "forward", protocol, listen, target] = words[..] else { continue };
                    let id = target.strip_prefix("/p2p/").unwrap();
                    assert_eq!(protocol, format!("/x/strfry-{id}"));
                    let port = listen.strip_prefix("/ip4/127.0.0.1/tcp/").unwrap();
                    let (_, relay) = stations.iter().find(|(station, _)| station == id).unwrap();
                    forward(port.parse().unwrap(), *relay);
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        ipfs
    }

    /// The command alone, which fails if it has something to say.
    pub fn that_says(words: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ipfs = Self { directory, ended: Arc::default() };
        let code = i32::from(!words.is_empty());
        let calls = ipfs.calls_file();
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> {}\necho '{words}' >&2\nexit {code}\n",
            calls.display()
        );
        fs::write(ipfs.program(), script).unwrap();
        fs::set_permissions(ipfs.program(), PermissionsExt::from_mode(0o755)).unwrap();
        ipfs
    }

    pub fn program(&self) -> PathBuf {
        self.directory.path().join("ipfs")
    }

    fn calls_file(&self) -> PathBuf {
        self.directory.path().join("calls")
    }

    pub fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.calls_file()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Whether everything that was opened has been closed since.
    pub fn all_are_closed(&self) -> bool {
        let calls = self.calls();
        let opened = calls.iter().enumerate().filter_map(|(at, call)| {
            let words: Vec<&str> = call.strip_prefix("p2p forward ")?.split(' ').collect();
            let [protocol, listen, _] = words[..] else { panic!("{call}") };
            Some((at, format!("p2p close -p {protocol} -l {listen}")))
        });
        opened.into_iter().all(|(at, close)| calls[at..].contains(&close))
    }
}

impl Drop for Ipfs {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn forward(port: u16, relay: SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    thread::spawn(move || {
        for here in listener.incoming().map_while(Result::ok) {
            // As the real one does: it takes the connection first, and ends it then.
            let Ok(there) = TcpStream::connect(relay) else { continue };
            for (mut from, mut to) in
                [(here.try_clone().unwrap(), there.try_clone().unwrap()), (there, here)]
            {
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
}

/// Adds a station whose relay is reached through a tunnel.
pub fn add_station(node: &Node, id: &str) {
    node.add_station(id, "ws://127.0.0.1:7777");
    // Would leave a trace if it were executed.
    node.write(&format!("tmp/swarm/{id}/x_strfry.sh"), "#!/bin/sh\ntouch \"$HOME/executed\"\n");
}
