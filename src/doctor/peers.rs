//! The peers that a backfill asks: which are reached and answer, through which tunnels, and what
//! their clocks say of this one.

use super::finding::{Check, Finding, Level, Trouble};
use crate::backfill::{Looked, Unreached};
use crate::node::{Peer, PeerSource};
use crate::peer::{ConnectError, Probe};

/// Seconds by which clocks may differ: an answer takes some, and nothing depends on fewer.
const TOLERANCE: u64 = 60;
const SEE_PEERS: &str = "see 'strfry-companion peers' for why others are not asked; name one with \
                         --relay";

/// Peers that were looked at.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Who they are.
    pub peers: &'a [Peer],
    /// What a look at each showed.
    pub looked: &'a [Looked],
    /// Relays of the swarm that no backfill asks.
    pub skipped: usize,
    /// A backfill has a key by which they may know this node.
    pub has_key: bool,
}

/// Judges what was seen of all peers. A station that is not reached is a warning, as stations come
/// and go; a relay that the operator has named is an error; so is it if no peer answers.
pub fn peers(asked: &Asked<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = asked.pairs().map(|it| one(it, asked.has_key)).collect();
    findings.extend(tunnels(asked));
    findings.push(answers(asked, &findings));
    findings.extend(clock(asked));
    findings
}

type Pair<'a> = (&'a Peer, &'a Looked);

impl Asked<'_> {
    fn pairs(&self) -> impl Iterator<Item = Pair<'_>> {
        self.peers.iter().zip(self.looked)
    }
}

fn one((peer, looked): Pair<'_>, has_key: bool) -> Finding {
    let subject = subject(peer);
    let trouble = match looked {
        Ok(probe) if probe.answer_ms.is_some() => {
            return Finding::ok(Check::PeersPeer, subject, probe.answers_in_words());
        }
        Ok(probe) if wants_login(probe) && has_key => {
            let found = format!("{}; a backfill logs in with its key", probe.answers_in_words());
            return Finding::ok(Check::PeersPeer, subject, found);
        }
        Ok(probe) => Trouble::new(probe.answers_in_words(), remedy_of_silence(probe)),
        Err(Unreached::Connect(error)) => trouble_of(error),
        Err(error) => Trouble::of_message(&error.to_string(), "look again"),
    };
    let is_named = peer.source == PeerSource::CommandLine;
    let level = if is_named { Level::Error } else { Level::Warning };
    Finding::of(Check::PeersPeer, level, subject, trouble)
}

/// Stations that are reached through tunnels have the same address.
fn subject(peer: &Peer) -> String {
    match &peer.tunnel {
        Some(station) => format!("{} of {station}", peer.address()),
        None => peer.address().to_owned(),
    }
}

fn wants_login(probe: &Probe) -> bool {
    let says_so = probe.info.as_ref().is_some_and(|info| info.auth_required == Some(true));
    let refuses = probe.refusal.as_ref().is_some_and(|it| it.starts_with("auth-required"));
    says_so || refuses || (probe.sends_challenge && probe.refusal.is_some())
}

fn remedy_of_silence(probe: &Probe) -> &'static str {
    match &probe.refusal {
        _ if wants_login(probe) => {
            "name a key that the relay knows with --auth-key-file (NIP-42), or leave the relay out"
        }
        Some(_) => "ask its operator what it wants, or leave the relay out",
        None => "see whether the relay is busy or hangs; a backfill gets nothing from it",
    }
}

fn trouble_of(error: &ConnectError) -> Trouble {
    let message = error.to_string();
    let otherwise = match error {
        ConnectError::Resolve { .. } => "correct its name, or see to this machine's DNS",
        ConnectError::Onion { host } => {
            let found = format!("{host} is a Tor service, and nothing is reached through Tor");
            return Trouble::new(found, "name its address outside of Tor, or leave it out");
        }
        ConnectError::LocalAddress { .. } => {
            "let it be dialled with --allow-local-peers, or name it with --relay"
        }
        ConnectError::Unavailable { .. } => "look again later",
        _ => "see whether the relay runs, and can be reached from this machine",
    };
    Trouble::of_message(&message, otherwise)
}

fn tunnels(asked: &Asked<'_>) -> Option<Finding> {
    let needed = || asked.pairs().filter(|(peer, _)| peer.tunnel.is_some());
    let why = needed().find_map(|(_, looked)| match looked {
        Err(error @ Unreached::Tunnel(_)) => Some(error.to_string()),
        _ => None,
    });
    let all = needed().count();
    let is_open = |(_, looked): &Pair<'_>| !matches!(looked, Err(Unreached::Tunnel(_)));
    let open = needed().filter(is_open).count();
    let (check, found) = (Check::PeersTunnels, format!("{open} of {all} open"));
    match why {
        _ if all == 0 => None,
        None => Some(Finding::ok(check, "ipfs p2p forward", found)),
        Some(why) => {
            let trouble = Trouble::of_message(&why, "see that the daemon of ipfs runs");
            let trouble = Trouble { found: format!("{found}: {}", trouble.found), ..trouble };
            let level = if open == 0 { Level::Error } else { Level::Warning };
            Some(Finding::of(check, level, "ipfs p2p forward", trouble))
        }
    }
}

fn answers(asked: &Asked<'_>, findings: &[Finding]) -> Finding {
    let is_well = |it: &&Finding| it.id == Check::PeersPeer && it.level == Level::Ok;
    let (well, all) = (findings.iter().filter(is_well).count(), asked.peers.len());
    let skipped = match asked.skipped {
        0 => String::new(),
        1 => ", another one is not asked".to_owned(),
        count => format!(", {count} others are not asked"),
    };
    let (check, subject) = (Check::PeersAnswer, "all peers");
    if asked.looked.iter().any(|looked| matches!(looked, Err(Unreached::Stopped))) {
        let found = format!("stopped before all {all} were looked at");
        return Finding::error(check, subject, Trouble::new(found, "look again"));
    }
    match (well, all) {
        (_, 0) => {
            let found = format!("there are none to ask{skipped}");
            Finding::error(check, subject, Trouble::new(found, SEE_PEERS))
        }
        (0, _) => {
            let found = format!("none of {all} answers{skipped}");
            let remedy = "see to this machine's network, if nothing is wrong with the peers";
            Finding::error(check, subject, Trouble::new(found, remedy))
        }
        _ => Finding::ok(check, subject, format!("{well} of {all} answer{skipped}")),
    }
}

/// By those peers whose HTTP answers have a date.
fn clock(asked: &Asked<'_>) -> Option<Finding> {
    let ahead = |(peer, looked): Pair<'_>| {
        let ahead = looked.as_ref().ok()?.clock_ahead?;
        Some((ahead, peer.address().to_owned()))
    };
    let mut clocks: Vec<(i64, String)> = asked.pairs().filter_map(ahead).collect();
    clocks.sort();
    let (count, check, subject) = (clocks.len(), Check::PeersClock, "this machine's clock");
    let (middle, peer) = clocks.get(count / 2)?;
    let off = clocks.iter().filter(|(ahead, _)| is_off(*ahead)).count();
    // A single peer's clock may be the one that is wrong, and so may be those of a few.
    if off <= count / 2 || !is_off(*middle) {
        let found = format!("as {} of {count} peers have it, to the minute", count - off);
        return Some(Finding::ok(check, subject, found));
    }
    let (seconds, how) = (middle.unsigned_abs(), if *middle > 0 { "behind" } else { "ahead of" });
    let remedy = "set this machine's clock (timedatectl set-ntp true)";
    Some(match count {
        1 => {
            let found = format!("{seconds} s {how} that of {peer}, the only one to compare with");
            Finding::warning(check, subject, Trouble::new(found, remedy))
        }
        _ => {
            let found = format!("{seconds} s {how} those of {off} of {count} peers");
            Finding::error(check, subject, Trouble::new(found, remedy))
        }
    })
}

fn is_off(ahead: i64) -> bool {
    ahead.unsigned_abs() > TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::explicit_peer;

    fn probe(clock_ahead: Option<i64>) -> Probe {
        Probe {
            connect_ms: 1,
            answer_ms: Some(2),
            refusal: None,
            compares: true,
            sends_challenge: false,
            clock_ahead,
            info: None,
        }
    }

    fn clock_by(aheads: &[Option<i64>]) -> Option<(Level, String)> {
        let url = |number| format!("wss://relay{number}.example");
        let peers: Vec<Peer> =
            (0..aheads.len()).map(|number| explicit_peer(&url(number)).unwrap()).collect();
        let looked: Vec<Looked> = aheads.iter().map(|&ahead| Ok(probe(ahead))).collect();
        let asked = Asked { peers: &peers, looked: &looked, skipped: 0, has_key: false };
        let findings = super::peers(&asked);
        let clock = findings.into_iter().find(|finding| finding.id == Check::PeersClock);
        clock.map(|finding| (finding.level, finding.found))
    }

    #[test]
    fn a_clock_is_wrong_if_most_peers_say_so() {
        let ok = |text: &str| Some((Level::Ok, text.to_owned()));
        let warning = |text: &str| Some((Level::Warning, text.to_owned()));
        let error = |text: &str| Some((Level::Error, text.to_owned()));
        assert_eq!(clock_by(&[None]), None);
        assert_eq!(clock_by(&[Some(60)]), ok("as 1 of 1 peers have it, to the minute"));
        assert_eq!(
            clock_by(&[Some(61), None]),
            warning("61 s behind that of wss://relay0.example, the only one to compare with")
        );
        assert_eq!(
            clock_by(&[Some(-3_600), Some(-3_601)]),
            error("3600 s ahead of those of 2 of 2 peers")
        );
        assert_eq!(
            clock_by(&[Some(3_600), Some(i64::MAX), Some(0)]),
            error("3600 s behind those of 2 of 3 peers")
        );
        assert_eq!(
            clock_by(&[Some(i64::MIN), Some(1), None, Some(2)]),
            ok("as 2 of 3 peers have it, to the minute")
        );
        assert_eq!(clock_by(&[Some(0), Some(9_999)]), ok("as 1 of 2 peers have it, to the minute"));
        // They contradict each other.
        assert_eq!(
            clock_by(&[Some(-9_999), Some(0), Some(9_999)]),
            ok("as 1 of 3 peers have it, to the minute")
        );
    }
}
