//! Which relays the stations of the swarm offer, and why some of them are not asked.
//!
//! What a station publishes is a stranger's text: nothing of it is executed or used as a path.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

use super::address::{self, Reach};
use super::files::{self, FileProblem};
use super::find_files;
use super::paths::{STATION_FILE, TUNNEL_OFFER};
use super::peer::{self, Peer, PeerSource, UrlError};
use super::station::{self, MAX_STATION_BYTES, Station};
use crate::nostr::Pubkey;

/// So many stations are looked at, those nearest to the top of the swarm first.
const MAX_STATIONS: usize = 1000;

/// Which of the stations' relays are asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerPolicy {
    /// Also those on this machine and on private networks: a stranger's file could otherwise
    /// direct this node at its own services.
    pub allow_local: bool,
    /// Also those on their station's own machine, where the station offers a tunnel.
    pub tunnels: bool,
}

/// What the swarm holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovery {
    /// To be asked, each address once.
    pub peers: Vec<Peer>,
    /// Not to be asked.
    pub skipped: Vec<SkippedPeer>,
    /// Stations whose file could be read, this node's own included.
    pub stations: usize,
    /// The captain's and the node's pubkey of each of them, as found: with repeats.
    pub station_pubkeys: Vec<Pubkey>,
    /// Values in the place of such a pubkey that are none.
    pub skipped_station_pubkeys: usize,
}

/// A relay that is not asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedPeer {
    /// What named it.
    pub subject: Subject,
    /// The station's id, if it gives a plausible one.
    pub station: Option<String>,
    /// Why it is not asked.
    pub reason: SkipReason,
}

/// What named a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A station's file, or a directory of the swarm.
    File(PathBuf),
    /// An address given by the operator.
    Url(Url),
}

impl fmt::Display for Subject {
    /// Names of files in the swarm may be strangers' too: control characters are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{path:?}"),
            Self::Url(url) => f.write_str(peer::address_of(url)),
        }
    }
}

/// Why a relay is not asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SkipReason {
    /// It is this node.
    #[error("this node itself")]
    OwnStation,
    /// The file cannot be read.
    #[error(transparent)]
    Unreadable(FileProblem),
    /// The file is not a station's.
    #[error("not a JSON object")]
    NotJson,
    /// The station's id is none; it might be meant to lead out of a directory.
    #[error("ipfsnodeid is not an IPFS peer id (letters and digits only)")]
    BadStationId,
    /// The station offers no relay.
    #[error("no myRELAY")]
    NoRelay,
    /// The station's relay has no usable address.
    #[error("myRELAY {0}")]
    BadUrl(UrlError),
    /// The station's relay listens on the station's own machine only.
    #[error(
        "{} is reachable only through a tunnel: not dialled directly; --allow-local-peers dials it",
        peer::address_of(.0)
    )]
    Loopback(Url),
    /// The station's relay is on a private network.
    #[error(
        "{} is a private address: not dialled; --allow-local-peers dials it",
        peer::address_of(.0)
    )]
    PrivateAddress(Url),
    /// Another peer has the same address.
    #[error("{} is already among the peers", peer::address_of(.0))]
    Duplicate(Url),
    /// There are more stations than are looked at.
    #[error("more than {limit} stations; the rest was not looked at")]
    TooManyStations {
        /// The most that are looked at.
        limit: usize,
    },
}

impl Discovery {
    /// With the operator's own peers in front. They win over stations with the same address.
    #[must_use]
    pub fn with_explicit(mut self, explicit: Vec<Peer>) -> Self {
        let found = std::mem::replace(&mut self.peers, explicit);
        self.peers.extend(found);
        let mut seen = HashSet::new();
        let skipped = self.peers.extract_if(.., |peer| !seen.insert(peer.key()));
        self.skipped.extend(skipped.map(|peer| {
            let reason = SkipReason::Duplicate(peer.url.clone());
            match peer.source {
                PeerSource::Swarm { file, station } => {
                    SkippedPeer { subject: Subject::File(file), station, reason }
                }
                PeerSource::CommandLine | PeerSource::Fallback | PeerSource::Author => {
                    SkippedPeer { subject: Subject::Url(peer.url), station: None, reason }
                }
            }
        }));
        self
    }
}

/// Looks through the swarm: one relay for each station's file, at any depth. A missing directory
/// holds none. `own_id` is the id of the station that this node is.
pub fn discover(swarm: &Path, own_id: Option<&str>, policy: PeerPolicy) -> Discovery {
    let found = find_files::find(swarm, STATION_FILE);
    let mut discovery = Discovery::default();
    let mut seen = HashSet::new();
    let skip =
        |path, station, reason| SkippedPeer { subject: Subject::File(path), station, reason };
    for error in found.errors {
        discovery.skipped.push(skip(error.path, None, SkipReason::Unreadable(error.problem)));
    }
    let too_many = found.files.len() > MAX_STATIONS;
    for file in found.files.into_iter().take(MAX_STATIONS) {
        let station = match read_station(&file) {
            Ok(station) => station,
            Err(reason) => {
                discovery.skipped.push(skip(file, None, reason));
                continue;
            }
        };
        discovery.stations = discovery.stations.saturating_add(1);
        discovery.skipped_station_pubkeys =
            discovery.skipped_station_pubkeys.saturating_add(station.skipped_pubkeys);
        let id = station.id.clone().filter(|id| station::is_station_id(id));
        let mut url = relay_of(&station, own_id, policy);
        let mut tunnel = None;
        if policy.tunnels
            && let (Err(SkipReason::Loopback(loopback)), Some(id)) = (&url, &id)
            && offers_tunnel(swarm, id)
        {
            tunnel = Some(id.clone());
            url = Ok(loopback.clone());
        }
        discovery.station_pubkeys.extend(station.pubkeys);
        match url {
            Err(reason) => discovery.skipped.push(skip(file, id, reason)),
            Ok(url) => {
                let source = PeerSource::Swarm { file: file.clone(), station: id.clone() };
                let peer = Peer::new(url, source);
                let peer = match &tunnel {
                    Some(id) => peer.through_tunnel(id),
                    None => peer,
                };
                if seen.insert(peer.key()) {
                    discovery.peers.push(peer);
                } else {
                    discovery.skipped.push(skip(file, id, SkipReason::Duplicate(peer.url)));
                }
            }
        }
    }
    if too_many {
        let reason = SkipReason::TooManyStations { limit: MAX_STATIONS };
        discovery.skipped.push(skip(swarm.to_owned(), None, reason));
    }
    discovery
}

/// Whether the station offers a tunnel. The file is a stranger's: that it is there is the offer,
/// and what is in it is not looked at.
fn offers_tunnel(swarm: &Path, id: &str) -> bool {
    let offer = swarm.join(id).join(TUNNEL_OFFER);
    offer.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
}

fn read_station(file: &Path) -> Result<Station, SkipReason> {
    let text = files::read(file, MAX_STATION_BYTES).map_err(SkipReason::Unreadable)?;
    Station::parse(&text).ok_or(SkipReason::NotJson)
}

fn relay_of(
    station: &Station,
    own_id: Option<&str>,
    policy: PeerPolicy,
) -> Result<Url, SkipReason> {
    if let Some(id) = &station.id {
        if !station::is_station_id(id) {
            return Err(SkipReason::BadStationId);
        }
        if own_id == Some(id) {
            return Err(SkipReason::OwnStation);
        }
    }
    let text = station.relay.as_deref().ok_or(SkipReason::NoRelay)?;
    let url = peer::relay_url(text).map_err(SkipReason::BadUrl)?;
    match url.host().map(|host| address::reach(&host)) {
        Some(Reach::Loopback) if !policy.allow_local => Err(SkipReason::Loopback(url)),
        Some(Reach::Public) => Ok(url),
        _ if policy.allow_local => Ok(url),
        _ => Err(SkipReason::PrivateAddress(url)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::node::explicit_peer;

    struct Swarm(tempfile::TempDir);

    impl Swarm {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn file(&self, directory: &str) -> PathBuf {
            self.0.path().join(directory).join("12345.json")
        }

        fn write(&self, directory: &str, text: &str) {
            fs::create_dir_all(self.0.path().join(directory)).unwrap();
            fs::write(self.file(directory), text).unwrap();
        }

        fn station(&self, directory: &str, id: &str, relay: &str) {
            let text = serde_json::json!({ "ipfsnodeid": id, "myRELAY": relay, "other": [1] });
            self.write(directory, &text.to_string());
        }

        fn discover(&self, own_id: Option<&str>, allow_local: bool) -> Discovery {
            let policy = PeerPolicy { allow_local, tunnels: true };
            discover(self.0.path(), own_id, policy)
        }

        fn peer(&self, directory: &str, id: &str, url: &str) -> Peer {
            Peer {
                name: id.into(),
                url: Url::parse(url).unwrap(),
                source: PeerSource::Swarm { file: self.file(directory), station: Some(id.into()) },
                tunnel: None,
            }
        }
    }

    #[test]
    fn stations_are_found_at_any_depth_and_each_address_once() {
        let swarm = Swarm::new();
        swarm.station("12D3a/nested/deep", "12D3a", "wss://a.example/deep");
        swarm.station("12D3a", "12D3a", "WSS://A.example:443/");
        swarm.station("12D3b", "12D3b", "wss://a.example");
        swarm.station("12D3own", "12D3own", "wss://own.example");
        assert_eq!(
            swarm.discover(Some("12D3own"), false),
            Discovery {
                peers: vec![
                    swarm.peer("12D3a", "12D3a", "wss://a.example/"),
                    swarm.peer("12D3a/nested/deep", "12D3a", "wss://a.example/deep"),
                ],
                skipped: vec![
                    SkippedPeer {
                        subject: Subject::File(swarm.file("12D3b")),
                        station: Some("12D3b".into()),
                        reason: SkipReason::Duplicate(Url::parse("wss://a.example").unwrap()),
                    },
                    SkippedPeer {
                        subject: Subject::File(swarm.file("12D3own")),
                        station: Some("12D3own".into()),
                        reason: SkipReason::OwnStation,
                    },
                ],
                stations: 4,
                ..Discovery::default()
            }
        );
    }

    #[test]
    fn every_bad_station_is_skipped_for_its_own_reason() {
        let swarm = Swarm::new();
        swarm.write("a", "<html>not found</html>");
        swarm.write("b", &format!("{{\"x\":\"{}\"}}", "y".repeat(1 << 20)));
        swarm.write("c", r#"{"ipfsnodeid":"12D3c"}"#);
        swarm.station("d", "12D3d", "http://d.example");
        swarm.station("e", "../../.ssh", "wss://e.example");
        swarm.station("f", "12D3f", "wss://user:secret@f.example");
        fs::create_dir_all(swarm.file("g")).unwrap();
        swarm.station("h", "12D3h", "wss://h.example");
        symlink(swarm.file("h"), swarm.0.path().join("h/link")).unwrap();
        symlink("..", swarm.0.path().join("h/loop")).unwrap();
        let discovery = swarm.discover(None, false);
        let reasons: Vec<_> = discovery
            .skipped
            .iter()
            .map(|skipped| {
                let Subject::File(path) = &skipped.subject else { panic!("{skipped:?}") };
                let directory = path.strip_prefix(swarm.0.path()).unwrap().parent().unwrap();
                format!("{}: {}", directory.display(), skipped.reason)
            })
            .collect();
        assert_eq!(
            reasons,
            [
                "g: not a regular file; remove it or put a file in its place",
                "a: not a JSON object",
                "b: larger than 1048576 bytes; remove it or split it",
                "c: no myRELAY",
                "d: myRELAY \"http://d.example\" is not a relay's address: it must start with \
                 wss:// or ws://",
                "e: ipfsnodeid is not an IPFS peer id (letters and digits only)",
                "f: myRELAY \"…@f.example\" is not a relay's address: a user name or \
                 password does not belong there",
            ]
        );
        assert_eq!(discovery.peers, [swarm.peer("h", "12D3h", "wss://h.example")]);
        assert_eq!(discovery.stations, 5);
    }

    #[test]
    fn local_addresses_are_dialled_only_when_allowed() {
        let swarm = Swarm::new();
        swarm.station("a", "12D3a", "ws://127.0.0.1:7777");
        swarm.station("b", "12D3b", "ws://192.168.1.7:7777");
        let url = |text| Url::parse(text).unwrap();
        let reasons: Vec<_> =
            swarm.discover(None, false).skipped.into_iter().map(|peer| peer.reason).collect();
        assert_eq!(
            reasons,
            [
                SkipReason::Loopback(url("ws://127.0.0.1:7777")),
                SkipReason::PrivateAddress(url("ws://192.168.1.7:7777")),
            ]
        );
        assert_eq!(
            reasons[0].to_string(),
            "ws://127.0.0.1:7777 is reachable only through a tunnel: not dialled directly; \
             --allow-local-peers dials it"
        );
        assert_eq!(
            swarm.discover(None, true).peers,
            [
                swarm.peer("a", "12D3a", "ws://127.0.0.1:7777"),
                swarm.peer("b", "12D3b", "ws://192.168.1.7:7777"),
            ]
        );
    }

    #[test]
    fn a_relay_on_its_stations_own_machine_is_reached_through_the_tunnel_that_it_offers() {
        let swarm = Swarm::new();
        let url = "ws://127.0.0.1:7777";
        for id in ["12D3a", "12D3b", "12D3c", "12D3d"] {
            swarm.station(id, id, url);
        }
        let offer = |id: &str| swarm.0.path().join(id).join("x_strfry.sh");
        fs::write(offer("12D3a"), "rm -rf /").unwrap();
        fs::write(offer("12D3b"), "").unwrap();
        symlink(offer("12D3a"), offer("12D3c")).unwrap();
        let peers = ["12D3a", "12D3b"].map(|id| swarm.peer(id, id, url).through_tunnel(id));
        let discovery = swarm.discover(None, false);
        assert_eq!(discovery.peers, peers);
        assert_eq!(discovery.skipped.len(), 2);
    }

    #[test]
    fn the_pubkeys_of_skipped_stations_are_kept() {
        let swarm = Swarm::new();
        let [captain, node] = ["A1".repeat(32), "b2".repeat(32)];
        swarm.write("a", &format!(r#"{{"captainHEX":"{captain}","NODEHEX":"{node}"}}"#));
        swarm.write("b", &format!(r#"{{"captainHEX":"{captain}","NODEHEX":"junk"}}"#));
        let discovery = swarm.discover(None, false);
        let [captain, node] = [[0xa1; 32], [0xb2; 32]].map(Pubkey::from_bytes);
        assert_eq!(discovery.station_pubkeys, [captain, node, captain]);
        assert_eq!(discovery.skipped_station_pubkeys, 1);
    }

    #[test]
    fn the_operators_peers_come_first_and_win() {
        let swarm = Swarm::new();
        swarm.station("a", "12D3a", "wss://a.example");
        let explicit = ["wss://b.example", "wss://a.example/", "wss://b.example/"]
            .map(|url| explicit_peer(url).unwrap());
        let discovery = swarm.discover(None, false).with_explicit(explicit.clone().into());
        assert_eq!(discovery.peers, explicit[..2]);
        let subjects: Vec<_> =
            discovery.skipped.iter().map(|skipped| skipped.subject.to_string()).collect();
        assert_eq!(subjects, ["wss://b.example".to_owned(), format!("{:?}", swarm.file("a"))]);
    }

    #[test]
    fn no_swarm_is_no_error() {
        assert_eq!(
            discover(Path::new("/nowhere/swarm"), None, PeerPolicy::default()),
            Discovery::default()
        );
    }
}
