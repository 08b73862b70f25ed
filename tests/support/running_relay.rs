//! A relay of the real strfry, in a node's directory.

#![allow(dead_code, reason = "each program that includes this uses its own part")]

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// For every strfry that runs in a node's directory. Left to itself strfry prefers the machine's
/// `/etc/strfry.conf`, and would work on the database of whoever runs these tests.
pub const OWN_CONFIG: [(&str, &str); 1] = [("STRFRY_CONFIG", "strfry.conf")];

/// Writes the configuration of a strfry whose database is beside it, and whose relay listens here.
pub fn configure(node: &Path, port: u16) {
    let config = format!(
        "db = \"./strfry-db/\"\nrelay {{\n    bind = \"127.0.0.1\"\n    port = {port}\n    nofiles = 0\n}}\n"
    );
    // Whoever reads it meanwhile finds all of it.
    let made = node.join("strfry.conf.new");
    fs::write(&made, config).unwrap();
    fs::rename(made, node.join("strfry.conf")).unwrap();
}

/// A running `strfry relay`, ended when it is dropped.
#[derive(Debug)]
pub struct RunningRelay {
    process: Child,
    port: u16,
}

impl RunningRelay {
    /// Returns when the relay answers; it opens its database before that.
    pub fn start(strfry: &Path, node: &Path) -> Self {
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        configure(node, port);
        let config = fs::metadata(node.join("strfry.conf")).unwrap();
        let child = Command::new(strfry)
            .arg("relay")
            .current_dir(node)
            .envs(OWN_CONFIG)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut relay = Self { process: child.unwrap(), port };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err()
            || !watches(relay.process.id(), &config)
        {
            assert_eq!(relay.process.try_wait().unwrap(), None, "the relay did not start");
            assert!(Instant::now() < deadline, "the relay does not listen");
            thread::yield_now();
        }
        relay
    }

    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }
}

/// Whether this process, or one that it has started, watches this file. A strfry that relays watches
/// its configuration when all its threads are there. It listens before that, and dies of a first
/// message (SIGFPE) that finds no threads to give it to.
fn watches(process: u32, file: &fs::Metadata) -> bool {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let entries = |of: &str| fs::read_dir(format!("/proc/{process}/{of}")).into_iter().flatten();
    // As in proc_pid_fdinfo(5).
    let watch = format!(" ino:{:x} ", file.ino());
    entries("fdinfo").flatten().any(|open| read(open.path()).contains(&watch))
        || entries("task").flatten().any(|thread| {
            let children = read(thread.path().join("children"));
            children.split_whitespace().flat_map(str::parse).any(|child| watches(child, file))
        })
}

impl Drop for RunningRelay {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
