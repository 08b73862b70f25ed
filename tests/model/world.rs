//! A node, its relays and what it has promised: performs runs, and checks what they say.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};

use sha2::{Digest, Sha256};
use strfry_companion::backfill::SavedState;
use strfry_companion::backfill::kinds::node_kinds;
use strfry_companion::nostr::{Filter, Pubkey};

use crate::node::{Database, Intake};
use crate::quirks::{Archive, Comparing, Quirks, Relay, Stored};
use crate::run::{Report, Run, Said};
use crate::support::events::Author;

pub const DAY: u64 = 86_400;

/// When the first run begins.
const BEGIN: u64 = 1_700_000_000;

/// Kinds that events have: more than ten.
pub const KINDS: [u64; 14] = [0, 1, 3, 4, 5, 6, 7, 1059, 1063, 1111, 9735, 10_002, 30_023, 30_315];

static AUTHORS: LazyLock<Vec<Pubkey>> = LazyLock::new(|| {
    let mut authors: Vec<Pubkey> = Author::all(0..6).iter().map(Author::pubkey).collect();
    authors.sort();
    authors
});

/// A relay of the constellation.
struct Peer {
    /// As it is most of the time.
    quirks: Quirks,
    relay: Arc<Mutex<Relay>>,
}

/// Everything there is.
pub struct World {
    /// Whose story it is.
    name: String,
    authors: Vec<Pubkey>,
    peers: Vec<Peer>,
    /// Events made so far.
    made: u64,
    now: u64,
    database: Database,
    saved: SavedState,
    /// For each peer, author and kind: from when on everything was ever promised.
    promised: BTreeMap<(usize, Pubkey, u64), u64>,
    story: Vec<String>,
}

impl World {
    /// Nothing has happened, and nobody is there but these authors.
    pub fn new(name: &str, authors: usize) -> Self {
        Self {
            name: name.to_owned(),
            authors: AUTHORS[..authors].to_vec(),
            peers: Vec::new(),
            made: 0,
            now: BEGIN,
            database: Database::default(),
            saved: SavedState::default(),
            promised: BTreeMap::new(),
            story: Vec::new(),
        }
    }

    /// There is one more relay, which has nothing yet.
    pub fn add_peer(&mut self, quirks: Quirks, seed: u64) {
        self.story.push(format!("peer {}:{}", self.peers.len(), peculiarities(&quirks)));
        let relay = Relay::new(quirks.clone(), Archive::default(), seed);
        self.peers.push(Peer { quirks, relay: Arc::new(Mutex::new(relay)) });
    }

    /// An author publishes something.
    pub fn make(&mut self, author: usize, kind: u64, created_at: u64) -> Stored {
        self.made += 1;
        let (author, content) = (self.authors[author], self.made);
        let hashed = format!("[0,\"{author}\",{created_at},{kind},[],\"{content}\"]");
        let (id, sig) = (hex::encode(Sha256::digest(hashed)), "00".repeat(64));
        Stored::parse(&format!(
            "{{\"id\":\"{id}\",\"pubkey\":\"{author}\",\"created_at\":{created_at},\
             \"kind\":{kind},\"tags\":[],\"content\":\"{content}\",\"sig\":\"{sig}\"}}"
        ))
    }

    /// A relay gets more events.
    pub fn give(&mut self, peer: usize, new: Vec<Stored>) {
        let relay = &mut *self.peers[peer].relay.lock().unwrap();
        relay.archive = Archive::new(relay.archive.events().iter().cloned().chain(new));
    }

    pub fn authors(&self) -> &[Pubkey] {
        &self.authors
    }

    pub fn quirks(&self, peer: usize) -> &Quirks {
        &self.peers[peer].quirks
    }

    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    pub fn now(&self) -> u64 {
        self.now
    }

    /// So many seconds pass.
    pub fn pass(&mut self, seconds: u64) {
        self.now += seconds;
    }

    /// From now on a relay is like this.
    pub fn change(&mut self, peer: usize, quirks: Quirks) {
        self.story.push(format!("peer {peer} changes:{}", peculiarities(&quirks)));
        let peer = &mut self.peers[peer];
        peer.relay.lock().unwrap().quirks = quirks.clone();
        peer.quirks = quirks;
    }

    /// From now on all peers keep to NIP-01.
    pub fn make_honest(&mut self) {
        self.story.push("all peers are honest".to_owned());
        for peer in &self.peers {
            let mut relay = peer.relay.lock().unwrap();
            let comparing = match peer.quirks.comparing {
                Comparing::Works => Comparing::Works,
                _ => Quirks::default().comparing,
            };
            relay.quirks = Quirks { comparing, ..Quirks::default() };
        }
    }

    /// One plain run with honest peers, after which everything that was ever promised is here.
    ///
    /// # Errors
    /// What was wrong, with all that led to it.
    pub async fn end(mut self) -> Result<usize, String> {
        self.make_honest();
        let (said, messages) = self.perform(&self.plain_run()).await?;
        // A second of which nobody can tell whether it is whole is a gap that may stay.
        let is_doubtful = |why: &str| why.contains("holds more events of one author and kind");
        let is_right = match &said {
            Said::Incomplete(reasons) => reasons.iter().all(|why| is_doubtful(why)),
            said => *said == Said::Complete,
        };
        if !is_right {
            return Err(self.failure(&format!("not complete with honest peers: {said:?}")));
        }
        let missing = self.missing_of_promises();
        if !missing.is_empty() {
            return Err(self.failure(&format!("promised, and never here: {missing:?}")));
        }
        Ok(messages)
    }

    /// An hourly run without options.
    pub fn plain_run(&self) -> Run {
        Run {
            authors: self.authors.clone(),
            kinds: KINDS.to_vec(),
            days: 1,
            peers: (0..self.peers.len()).collect(),
            ignores_state: false,
            is_dry: false,
            intake: Intake { window: 16, rejects: 0, stops_after: None },
            dies_at: None,
            is_stopped: false,
            dies_at_the_end: false,
        }
    }

    /// Performs a run; returns what it says, and how many messages it took.
    ///
    /// # Errors
    /// It says complete and lacks something, or does not end.
    pub async fn perform(&mut self, run: &Run) -> Result<(Said, usize), String> {
        let authors: Vec<usize> = run.authors.iter().map(|it| self.number_of(it)).collect();
        self.story.push(format!(
            "at {}: authors {authors:?} kinds {:?} days {} peers {:?}{}{} {:?} {} at {:?} {}",
            self.now,
            run.kinds,
            run.days,
            run.peers,
            if run.ignores_state { " --ignore-state" } else { "" },
            if run.is_dry { " --dry-run" } else { "" },
            run.intake,
            if run.is_stopped { "stops" } else { "dies" },
            run.dies_at,
            run.dies_at_the_end,
        ));
        if !run.is_dry {
            let missing = run.without_profile(&self.database);
            let of_node = node_kinds();
            for &peer in &run.peers {
                for &author in &run.authors {
                    let is_owed = missing.contains(&author);
                    for kind in KINDS {
                        let from = match (run.kinds.contains(&kind), is_owed) {
                            (true, false) => run.since(self.now),
                            (true, true) => 0,
                            // Later nothing tells any more that the profile was missing.
                            (false, true) if of_node.contains(&kind) => 0,
                            (false, _) => continue,
                        };
                        let promised = self.promised.entry((peer, author, kind)).or_insert(from);
                        *promised = from.min(*promised);
                    }
                }
            }
        }
        let relays: Vec<_> = self.peers.iter().map(|it| Arc::clone(&it.relay)).collect();
        let report = run.execute(self.now, &relays, &self.database, &mut self.saved).await;
        self.tell(&report);
        match &report.said {
            Said::Endless => return Err(self.failure("the run does not end")),
            Said::Complete => {
                let missing = self.missing_of(run);
                if !missing.is_empty() {
                    return Err(self.failure(&format!("FALSELY COMPLETE without {missing:?}")));
                }
            }
            Said::Incomplete(_) | Said::Killed | Said::Dry => {}
        }
        Ok((report.said, report.messages))
    }

    fn tell(&mut self, report: &Report) {
        for asked in &report.asked {
            let number = asked.number;
            for filter in &asked.queries {
                let filter = self.told(filter);
                self.story.push(format!("    peer {number} is asked for {filter}"));
            }
            for gap in &asked.outcome.gaps {
                let (filter, why) = (self.told(&gap.filter), &gap.reason);
                self.story.push(format!("    peer {number} does not give {filter}: {why}"));
            }
            for withheld in &asked.outcome.withheld {
                let (filter, why) = (self.told(&withheld.filter), &withheld.reason);
                self.story.push(format!("    peer {number} withholds {filter}: {why}"));
            }
        }
        self.story.push(format!(
            "  {:?} after {} messages, {} events here",
            report.said,
            report.messages,
            self.database.len()
        ));
    }

    /// What peers have, a run promised, and is not here.
    fn missing_of(&self, run: &Run) -> Vec<String> {
        let since = run.ignores_state.then(|| run.since(self.now));
        self.missing(|peer, event, author| {
            run.peers.contains(&peer)
                && run.authors.contains(&author)
                && run.kinds.contains(&event.kind)
                && event.created_at <= self.now
                && since
                    .or_else(|| self.promised.get(&(peer, author, event.kind)).copied())
                    .is_some_and(|since| event.created_at >= since)
        })
    }

    /// What peers have, was ever promised, and is not here.
    fn missing_of_promises(&self) -> Vec<String> {
        self.missing(|peer, event, author| {
            let promised = self.promised.get(&(peer, author, event.kind));
            promised.is_some_and(|&from| event.created_at >= from)
        })
    }

    fn missing(&self, matters: impl Fn(usize, &Stored, Pubkey) -> bool) -> Vec<String> {
        let mut missing = Vec::new();
        for (number, peer) in self.peers.iter().enumerate() {
            let relay = peer.relay.lock().unwrap();
            // A relay that becomes honest still has what it kept for others.
            let withheld = peer.quirks.withholds.map_or(&[][..], |it| it.kinds);
            for event in relay.archive.events() {
                let author = event.pubkey.parse().unwrap();
                if !withheld.contains(&event.kind)
                    && matters(number, event, author)
                    && !self.database.holds(&event.id.parse().unwrap())
                {
                    missing.push(format!(
                        "{} of author {} kind {} second {} at peer {number}",
                        event.id.get(..8).unwrap_or_default(),
                        self.number_of(&author),
                        event.kind,
                        event.created_at,
                    ));
                }
            }
        }
        missing
    }

    fn told(&self, filter: &Filter) -> String {
        let authors = filter.authors.iter().flatten().map(|author| self.number_of(author));
        format!(
            "{} ids, authors {:?}, kinds {:?}, {:?} to {:?}",
            filter.ids.as_ref().map_or(0, Vec::len),
            authors.collect::<Vec<_>>(),
            filter.kinds.as_deref().unwrap_or_default(),
            filter.since,
            filter.until,
        )
    }

    fn number_of(&self, author: &Pubkey) -> usize {
        self.authors.iter().position(|it| it == author).unwrap_or(usize::MAX)
    }

    fn failure(&self, what: &str) -> String {
        format!("{}: {what}\n{}", self.name, self.story.join("\n"))
    }
}

/// What of these quirks is not usual.
fn peculiarities(quirks: &Quirks) -> String {
    let (all, usual) = (format!("{quirks:#?}"), format!("{:#?}", Quirks::default()));
    let usual: Vec<&str> = usual.lines().collect();
    let peculiar = all.lines().filter(|line| !usual.contains(line));
    peculiar.map(|line| format!(" {}", line.trim())).collect()
}
