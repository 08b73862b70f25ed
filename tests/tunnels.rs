//! Stations whose relays listen on their own machine, reached through a stand-in for `ipfs` whose
//! daemon, as the real one does, forwards TCP.

mod support;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::events::Author;
use support::node::Node;
use support::scripted::{Archive, ScriptedRelay, answer};
use support::strfry_bin;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A command that writes down what it is asked, and a daemon that does it.
struct Ipfs {
    directory: tempfile::TempDir,
    ended: Arc<AtomicBool>,
}

impl Ipfs {
    /// Forwards to the relay of each of these stations.
    fn start(stations: &[(&str, SocketAddr)]) -> Self {
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
    fn that_says(words: &str) -> Self {
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

    fn program(&self) -> PathBuf {
        self.directory.path().join("ipfs")
    }

    fn calls_file(&self) -> PathBuf {
        self.directory.path().join("calls")
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.calls_file()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Whether everything that was opened has been closed since.
    fn all_are_closed(&self) -> bool {
        let calls = self.calls();
        let opened = calls.iter().enumerate().filter_map(|(at, call)| {
            let protocol = call.strip_prefix("p2p forward ")?.split(' ').next()?;
            Some((at, format!("p2p close -p {protocol}")))
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
            let there = TcpStream::connect(relay).unwrap();
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

fn add_station(node: &Node, id: &str) {
    node.add_station(id, "ws://127.0.0.1:7777");
    // Would leave a trace if it were executed.
    node.write(&format!("tmp/swarm/{id}/x_strfry.sh"), "#!/bin/sh\ntouch \"$HOME/executed\"\n");
}

fn summary(node: &Node, ipfs: &Ipfs) -> (i32, Value) {
    node.backfill(&["--no-profiles", "--ipfs-bin", ipfs.program().to_str().unwrap()])
}

#[test]
fn stations_are_reached_through_tunnels_that_are_closed_afterwards() {
    let author = Author::new(1);
    let notes = [0, 1].map(|number| author.note(now() - 100 - number, &number.to_string()));
    let relays = notes.each_ref().map(|note| {
        let archive = Archive::new(std::slice::from_ref(note), 500);
        ScriptedRelay::start(move |request| archive.answer(request))
    });
    let node = Node::new(&strfry_bin());
    node.add_pubkeys([&author.pubkey()]);
    for id in ["12D3KooWa", "12D3KooWb"] {
        add_station(&node, id);
    }
    let ipfs =
        Ipfs::start(&[("12D3KooWa", relays[0].address()), ("12D3KooWb", relays[1].address())]);
    let (code, summary) = summary(&node, &ipfs);
    assert_eq!(code, 0, "{summary:#}");
    assert_eq!(summary["events"]["imported"], 2);
    assert_eq!(ipfs.calls().iter().filter(|call| call.starts_with("p2p forward")).count(), 2);
    assert!(ipfs.all_are_closed(), "{:?}", ipfs.calls());
    assert!(!node.home().join("executed").exists());
}

#[test]
fn a_tunnel_that_does_not_open_is_named_with_what_ipfs_says() {
    let node = Node::new(&strfry_bin());
    node.add_pubkeys([&Author::new(1).pubkey()]);
    add_station(&node, "12D3KooWa");
    let ipfs = Ipfs::that_says("libp2p stream mounting not enabled");
    let (code, summary) = summary(&node, &ipfs);
    assert_eq!(code, 1, "{summary:#}");
    assert_eq!(
        summary["peers"][0]["gaps"][0]["reason"],
        "no connection: no tunnel: ipfs p2p forward: exit status: 1: \
         libp2p stream mounting not enabled"
    );
    assert!(ipfs.all_are_closed(), "{:?}", ipfs.calls());
}

#[test]
fn without_ipfs_the_station_is_named() {
    let node = Node::new(&strfry_bin());
    node.add_pubkeys([&Author::new(1).pubkey()]);
    add_station(&node, "12D3KooWa");
    let (code, summary) = node.backfill(&["--no-profiles", "--ipfs-bin", "/nowhere/ipfs"]);
    assert_eq!(code, 1);
    let reason = summary["peers"][0]["gaps"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("no connection: no tunnel: cannot run /nowhere/ipfs"), "{reason}");
}

#[test]
fn a_run_that_is_told_to_stop_closes_its_tunnels() {
    let relay = ScriptedRelay::start(|_| answer([]));
    let node = Node::new(&strfry_bin());
    node.add_pubkeys([&Author::new(1).pubkey()]);
    add_station(&node, "12D3KooWa");
    let ipfs = Ipfs::start(&[("12D3KooWa", relay.address())]);
    let mut command: Command = node.companion(&["backfill", "--no-negentropy", "--no-fallback"]);
    command.arg("--ipfs-bin").arg(ipfs.program());
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut child = child.unwrap();
    while relay.record().requests.is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it has ended by itself: {}", node.log());
        thread::sleep(Duration::from_millis(5));
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(ipfs.calls().len() > 2 && ipfs.all_are_closed(), "{:?}", ipfs.calls());
}
