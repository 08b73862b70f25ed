//! Where authors say that they publish (NIP-65): asked for profiles that no peer has. A stranger's
//! word, so that loopback and private addresses are not asked.

use std::collections::BTreeMap;

use super::limits::{RELAYS_OF_ALL_AUTHORS, RELAYS_OF_ONE_AUTHOR};
use crate::node::address::is_local;
use crate::node::{Peer, PeerSource, author_peer};
use crate::nostr::{Event, Pubkey};
use crate::profile::relay_list;

/// The relays that an event of kind 10002 names for writing.
pub(super) fn write_relays(json: &str) -> Vec<Peer> {
    let Ok(event) = Event::parse(json) else { return Vec::new() };
    let writable = relay_list(&event).into_iter().filter(|relay| relay.write);
    let peers = writable.filter_map(|relay| author_peer(&relay.url).ok());
    peers.take(RELAYS_OF_ONE_AUTHOR).collect()
}

/// Each relay that authors name, with the authors that name it: those that most name first.
pub(super) fn by_relay(
    of_authors: Vec<(Pubkey, Vec<Peer>)>,
    allow_local: bool,
) -> Vec<(Peer, Vec<Pubkey>)> {
    let may_be_asked =
        |peer: &Peer| allow_local || peer.url.host().is_some_and(|host| !is_local(&host));
    let mut relays: BTreeMap<String, (Peer, Vec<Pubkey>)> = BTreeMap::new();
    for (pubkey, peers) in of_authors {
        for peer in peers.into_iter().filter(may_be_asked) {
            let url = peer.address().to_owned();
            relays.entry(url).or_insert_with(|| (peer, Vec::new())).1.push(pubkey);
        }
    }
    let mut relays: Vec<_> = relays.into_values().collect();
    relays.sort_by_key(|(_, authors)| std::cmp::Reverse(authors.len()));
    relays.truncate(RELAYS_OF_ALL_AUTHORS);
    for (_, authors) in &mut relays {
        authors.sort_unstable();
        authors.dedup();
    }
    relays
}

/// Whether a stranger named the peer, who might direct this node at its own services.
pub(super) fn is_strangers(source: &PeerSource) -> bool {
    matches!(source, PeerSource::Swarm { .. } | PeerSource::Author)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn list(tags: Value) -> String {
        json!({
            "id": "00".repeat(32), "pubkey": "11".repeat(32), "created_at": 5, "kind": 10_002,
            "tags": tags, "content": "", "sig": "22".repeat(64),
        })
        .to_string()
    }

    fn addresses(peers: &[Peer]) -> Vec<&str> {
        peers.iter().map(Peer::address).collect()
    }

    #[test]
    fn only_relays_for_writing_are_taken() {
        let peers = write_relays(&list(json!([
            ["r", "wss://both.example"],
            ["r", "wss://read.example", "read"],
            ["r", "wss://write.example", "write"],
            ["r", "https://web.example"],
            ["p", "wss://other.example"],
        ])));
        assert_eq!(addresses(&peers), ["wss://both.example", "wss://write.example"]);
        assert_eq!(write_relays("junk"), []);
    }

    #[test]
    fn relays_are_bounded_and_those_of_most_authors_come_first() {
        let many: Vec<Value> =
            (0..50).map(|n| json!(["r", format!("wss://{n}.example")])).collect();
        assert_eq!(write_relays(&list(json!(many))).len(), RELAYS_OF_ONE_AUTHOR);
        let peer = |name: &str| author_peer(&format!("wss://{name}.example")).unwrap();
        let [one, two] = [1, 2].map(|byte| Pubkey::from_bytes([byte; 32]));
        let relays =
            by_relay(vec![(two, vec![peer("a"), peer("b")]), (one, vec![peer("b")])], false);
        assert_eq!(relays, [(peer("b"), vec![one, two]), (peer("a"), vec![two])]);
    }

    #[test]
    fn no_author_directs_this_node_at_its_own_services() {
        let list = list(json!([
            ["r", "ws://127.0.0.1:22", "write"],
            ["r", "ws://192.168.1.1"],
            ["r", "ws://localhost"],
        ]));
        let author = Pubkey::from_bytes([1; 32]);
        let relays = |allow_local| by_relay(vec![(author, write_relays(&list))], allow_local);
        assert_eq!((relays(false).len(), relays(true).len()), (0, 3));
    }
}
