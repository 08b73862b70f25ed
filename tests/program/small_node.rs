//! A node with one peer and two authors, for runs of which each event is known.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::said::Said;
use crate::support::events::Author;
use crate::support::node::Node;
use crate::support::scripted::{Archive, ScriptedRelay};
use crate::support::strfry_bin;

pub const LOG: &str = "strfry/constellation-backfill.log";
pub const ERROR_LOG: &str = "strfry/constellation-backfill.error.log";
pub const LOCK: &str = "strfry/constellation-backfill.lock";
pub const PROFILES: &str = "tmp/coucou/_NIP101.profiles.json";

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A node, its peer, and two authors with a profile and a note each, which the peer holds.
pub struct SmallNode {
    pub node: Node,
    pub relay: ScriptedRelay,
    pub alice: Author,
    pub bob: Author,
    pub events: Vec<String>,
}

impl SmallNode {
    pub fn new() -> Self {
        Self::with(&strfry_bin(), |_, _| Vec::new())
    }

    /// With more events, by Alice and Bob, for this strfry.
    pub fn with(strfry: &Path, more: impl Fn(&Author, &Author) -> Vec<String>) -> Self {
        let (alice, bob) = (Author::new(1), Author::new(2));
        let mut events: Vec<String> = [(&alice, "Alice"), (&bob, "Bob")]
            .iter()
            .flat_map(|(author, name)| {
                [author.profile(now() - 500, name), author.note(now() - 400, "hello")]
            })
            .collect();
        events.extend(more(&alice, &bob));
        let archive = Archive::new(&events, 500);
        let relay = ScriptedRelay::start(move |request| archive.answer(request));
        let node = Node::new(strfry);
        node.add_pubkeys(&[alice.pubkey(), bob.pubkey()]);
        node.add_station("peer", &relay.url());
        Self { node, relay, alice, bob, events }
    }

    /// A backfill from the node's peer alone; the peer's address is `RELAY` in what it says.
    pub fn backfill(&self, arguments: &[&str]) -> Said {
        let flags = ["backfill", "--allow-local-peers", "--no-fallback"];
        self.said(&mut self.node.companion(&[&flags, arguments].concat()))
    }

    pub fn said(&self, command: &mut Command) -> Said {
        let mut said = Said::by(command, self.node.home());
        for text in [&mut said.out, &mut said.err] {
            *text = text.replace(&self.relay.url(), "RELAY");
        }
        said
    }

    /// Whether the database holds exactly these events.
    pub fn holds(&self, events: &[String]) -> bool {
        let ids = |lines: &BTreeSet<String>| -> BTreeSet<String> {
            lines.iter().map(|line| crate::support::events::id_of(line)).collect()
        };
        ids(&self.node.events()) == ids(&events.iter().cloned().collect())
    }

    pub fn profiles(&self) -> Value {
        serde_json::from_str(&self.node.read(PROFILES)).unwrap()
    }

    /// The lines of the log without their times, and without those that tell how long it took.
    pub fn log(&self) -> String {
        let log = self.node.log().replace(&self.relay.url(), "RELAY");
        let log = log.replace(&*self.node.home().to_string_lossy(), "HOME");
        let lines = log.split_inclusive('\n').map(crate::said::without_time);
        lines.filter(|line| !line.starts_with("[PERF]")).collect()
    }
}
