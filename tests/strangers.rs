//! What strangers can sign without end is bounded: a backfill gives up the peer that brings it, says
//! so, and gets everything that others have.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use strfry_companion::backfill::{Job, Output, PeerStatus, PeerSummary, Status, Timings, run};
use strfry_companion::import::{CommitTime, EventLimits, StrfryCommand, Window};
use strfry_companion::node::{Blacklist, Peer, explicit_peer};
use strfry_companion::nostr::Pubkey;
use strfry_companion::report::{Progress, RunLog};
use strfry_companion::stop::Stop;
use strfry_companion::strfry_db::StrfryDb;
use support::events::{Author, START, events};
use support::node::Node;
use support::scripted::{Act, Archive, Request, ScriptedRelay, answer};
use support::strfry_bin;

/// What stations publish of themselves.
const STATION_KIND: u64 = 30_850;

/// Events by strangers that one peer may bring.
const MOST: u64 = 200;

/// Twice as many as can be on their way to strfry at once.
const ALMOST_ENDLESS: u64 = 6_000;

fn of_station(author: &Author, created_at: u64, content: &str) -> String {
    author.event(STATION_KIND, created_at, json!([["d", created_at.to_string()]]), content)
}

/// Signs an event by a new key for each second before the one that is asked for.
fn signs_without_end() -> ScriptedRelay {
    let content = "x".repeat(10_000);
    ScriptedRelay::start(move |request: &Request| {
        if !request.filter["authors"].is_null() {
            return answer([Act::Eose]);
        }
        let bound = |name: &str| request.filter[name].as_u64();
        let until = bound("until").unwrap_or(START);
        let first = bound("since").unwrap_or(0).max(START - ALMOST_ENDLESS + 1);
        let count = (until + 1).saturating_sub(first).min(bound("limit").unwrap_or(100)).min(100);
        let count = usize::try_from(count).unwrap();
        let page = events(count, |number| {
            let created_at = until - number;
            of_station(&Author::new(created_at), created_at, &content)
        });
        answer(page.into_iter().map(Act::Event).chain([Act::Eose]))
    })
}

/// A backfill of everything from these relays.
fn job(node: &Node, relays: &[&ScriptedRelay], pubkeys: Vec<Pubkey>) -> Job {
    let directory = node.strfry_dir();
    let peer = |relay: &&ScriptedRelay| -> Peer { explicit_peer(&relay.url()).unwrap() };
    Job {
        peers: relays.iter().map(peer).collect(),
        fallback: Vec::new(),
        pubkeys,
        kinds: vec![1],
        station_kinds: vec![STATION_KIND],
        strangers: MOST,
        days: 0,
        profiles: false,
        verify: true,
        threads: 0,
        plain: false,
        ipfs: "ipfs".into(),
        auth: None,
        trace: Default::default(),
        state: None,
        ignore_state: false,
        negentropy: true,
        dry_run: false,
        limits: EventLimits::default(),
        blacklist: Blacklist::default(),
        window: Window { spool: std::env::temp_dir(), commits: CommitTime::default() },
        strfry: StrfryCommand::local(
            &directory.join("strfry"),
            &directory.join("strfry.conf"),
            &directory,
            Duration::from_secs(60),
        ),
        allow_local: true,
        max_time: None,
        names_pubkeys: false,
        timings: Timings::default(),
        output: Output::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_signs_as_strangers_without_end_is_given_up_and_others_go_on() {
    let authors = Author::all(1..3);
    let [known, station] = &authors[..] else { unreachable!() };
    // More than strangers may bring, by an author whom the node knows; and a station's own.
    let mut honest =
        events(2 * MOST as usize, |number| of_station(known, START + number, "of an author"));
    honest.extend(events(100, |number| known.note(START + number, "hello")));
    honest.extend(events(MOST as usize, |number| of_station(station, START + number, "mine")));
    let honest_count = honest.len() as u64;
    let (endless, honest) = (signs_without_end(), Archive::new(&honest, 500).comparing());
    let node = Node::new(&strfry_bin());
    let job = job(&node, &[&endless, &honest], vec![known.pubkey()]);
    let db = Arc::new(StrfryDb::open(node.strfry_dir().join("strfry-db")).unwrap());
    let run = || async {
        let (log, progress) = (RunLog::discard(), Progress::new(false));
        run(&job, Arc::clone(&db), &log, &progress, &Stop::default()).await.unwrap()
    };
    let summary = run().await;

    assert_eq!(summary.status, Status::Incomplete);
    let [endless, honest] = &summary.peers[..] else { panic!("{summary:#?}") };
    assert_eq!(endless.status, PeerStatus::Incomplete);
    let reason =
        "given up: more than 200 new events by authors who are on none of this node's lists";
    assert_eq!(reasons(endless), [reason]);
    let brought = endless.events["imported"];
    assert!((MOST + 1..ALMOST_ENDLESS).contains(&brought), "{brought} events were taken");
    // What came until then is genuine and stays; pages overlap by the second at which they meet.
    // Pages reach one second beyond what is taken, and this peer has something for any second.
    let too_new = endless.events.get("too_new").copied().unwrap_or_default();
    let repeated = endless.received - brought - too_new;
    let events = [("imported", brought), ("duplicate", repeated), ("too_new", too_new)];
    assert_eq!(endless.events, events.into_iter().filter(|&(_, count)| count > 0).collect());
    assert_eq!((honest.status, reasons(honest)), (PeerStatus::Complete, vec![]));
    assert_eq!(honest.events, BTreeMap::from([("imported", honest_count)]));
    assert_eq!(node.events().len() as u64, brought + honest_count);

    // The next run goes on from there.
    let summary = run().await;
    let endless = &summary.peers[0];
    assert_eq!(reasons(endless), [reason]);
    assert_eq!(endless.events["already_present"], brought);
    assert!(endless.events["imported"] > MOST, "{:?}", endless.events);
}

/// Why something of a peer is missing, each reason once.
fn reasons(peer: &PeerSummary) -> Vec<&str> {
    let mut reasons: Vec<&str> = peer.gaps.iter().map(|gap| gap.reason.as_str()).collect();
    reasons.dedup();
    reasons
}
