//! Conversations with relays that compare (NIP-77), or that say so: everything that is missing
//! comes, nothing of it twice, and nothing else.

mod support;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use strfry_companion::nostr::Filter;
use strfry_companion::peer::{FetchOutcome, Gap, GapReason, Pace, WantList, Withheld};
use strfry_companion::stop::Stop;
use support::collector::{Collector, Here, PATIENT, compare, query, sharing_peer};
use support::events::{Author, START, events, forged, id_of, notes_of, sorted_ids};
use support::relays::Relay;
use support::scripted::{Act, Archive, Arrival, Gate, Round, ScriptedRelay, answer};

/// How many ids were asked for.
fn ids_asked(relay: &ScriptedRelay) -> usize {
    let ids = |filter: &Value| filter["ids"].as_array().map(Vec::len);
    relay.record().requests.iter().filter_map(ids).sum()
}

fn pages_asked(relay: &ScriptedRelay) -> usize {
    relay.record().requests.iter().filter(|filter| filter["ids"].is_null()).count()
}

#[tokio::test]
async fn exactly_what_is_missing_is_fetched() {
    let authors = Author::all(0..4);
    let all = events(2_000, |number| {
        authors[number as usize % 4].note(START + number / 3, &number.to_string())
    });
    let (here, missing): (Vec<String>, Vec<String>) =
        all.iter().cloned().partition(|event| id_of(event).as_bytes()[0] < b'8');
    let local = [Here::of(&here), Here::of(&here).by_fingerprints()];
    // Then the first comparison of everything is divided.
    let in_parts = [Here::in_parts(&here, 300), Here::in_parts(&here, 300).by_fingerprints()];
    for here in local.into_iter().chain(in_parts) {
        let relay = Archive::new(&all, 500).comparing();
        let queries = authors.chunks(2).map(|authors| query(authors, &[1])).collect();
        let (outcome, collector) = compare(&relay.url(), queries, PATIENT, here).await;
        assert_eq!(collector.ids(), sorted_ids(&missing));
        assert_eq!((outcome.events, outcome.gaps), (missing.len() as u64, vec![]));
        assert!(outcome.complete >= 2);
        assert_eq!((ids_asked(&relay), pages_asked(&relay)), (missing.len(), 0));
    }
}

#[tokio::test]
async fn nothing_is_asked_for_when_nothing_is_missing() {
    let author = Author::new(1);
    let all = notes_of(&author, 1_000);
    // With fingerprints it does not matter that they are too many to be compared at once.
    for here in [Here::of(&all), Here::in_parts(&all, 500).by_fingerprints()] {
        let relay = Archive::new(&all, 500).comparing();
        let queries = vec![query(std::slice::from_ref(&author), &[1])];
        let (outcome, _) = compare(&relay.url(), queries, PATIENT, here).await;
        assert_eq!(
            outcome,
            FetchOutcome { events: 0, pages: 1, complete: 1, ..FetchOutcome::default() }
        );
        assert_eq!((relay.record().rounds, relay.record().requests.len()), (1, 0));
    }
}

#[tokio::test]
async fn what_a_relay_allows_is_compared_before_it_answers() {
    let authors = Author::all(0..12);
    let all = events(480, |number| {
        authors[number as usize % 12].note(START + number, &number.to_string())
    });
    let begun = Mutex::<Vec<String>>::default();
    let relay = ScriptedRelay::start_informing(
        Some(json!({"supported_nips": [1, 77], "limitation": {"max_subscriptions": 24}})),
        |_| Arrival::Welcome,
        |_| answer([Act::Eose]),
        move |round| {
            let mut begun = begun.lock().unwrap();
            begun.push(round.subscription.clone());
            let answered = if begun.len() < 12 { Vec::new() } else { std::mem::take(&mut *begun) };
            // The version of the protocol, and no difference.
            let same = |name: String| Act::Text(json!(["NEG-MSG", name, "61"]).to_string());
            answer(answered.into_iter().map(same).collect::<Vec<_>>())
        },
    );
    let queries = authors.iter().map(|author| query(std::slice::from_ref(author), &[1])).collect();
    let (outcome, _) = compare(&relay.url(), queries, PATIENT, Here::of(&all)).await;
    assert_eq!((outcome.complete, outcome.gaps), (12, vec![]));
    let record = relay.record();
    assert_eq!((record.rounds, record.requests), (12, vec![]));
}

#[tokio::test]
async fn what_is_missing_comes_from_a_real_relay_of_a_small_limit_too() {
    let author = Author::new(1);
    let all = notes_of(&author, 1_500);
    for limit in [500, 20] {
        let relay = Relay::start(&all, limit);
        let queries = vec![query(std::slice::from_ref(&author), &[1])];
        let here = Here::of(&all[..100]);
        let (outcome, collector) = compare(&relay.url(), queries, PATIENT, here).await;
        assert_eq!(collector.ids(), sorted_ids(&all[100..]));
        assert_eq!((outcome.complete, outcome.gaps), (1, vec![]));
    }
}

#[tokio::test]
async fn what_was_named_and_has_not_come_when_it_is_told_to_stop_was_not_compared() {
    let authors = Author::all(0..2);
    let [here, there] = [0, 1].map(|author| notes_of(&authors[author], 50));
    let all = [&here[..], &there].concat();
    for gives in [20, 50] {
        let archive = Archive::new(&all, 500);
        let comparer = archive.comparer();
        let ids = archive.clone();
        // It gives so many ids, and then nothing more, not even an end; a page it never gives.
        let relay = ScriptedRelay::start_comparing(
            |_| Arrival::Welcome,
            move |request| {
                let given = if request.filter["ids"].is_null() { 0 } else { gives };
                answer(ids.page(&request.filter).into_iter().take(given).map(Act::Event))
            },
            comparer,
        );
        let queries: Vec<Filter> = authors.chunks(1).map(|author| query(author, &[1])).collect();
        let stop = Stop::default();
        let mut session = sharing_peer(&relay.url(), &Arc::default(), Here::of(&here)).until(&stop);
        let collector = Collector::default();
        let told = async {
            // What was sent before that has been read by then.
            while collector.count() < gives {
                tokio::task::yield_now().await;
            }
            stop.tell();
        };
        let (outcome, ()) = tokio::join!(session.fetch(queries.clone(), PATIENT, &collector), told);
        let all = query(&authors, &[1]);
        let gaps = vec![Gap { filter: all, reason: GapReason::Stopped }];
        let expected = if gives < 50 { (0, gaps) } else { (2, vec![]) };
        assert_eq!((outcome.complete, outcome.gaps), expected, "{gives}");
    }
}

#[tokio::test]
async fn where_nothing_is_new_one_small_comparison_is_all_that_is_asked_beside_the_question() {
    let authors = Author::all(0..30);
    let profiles: Vec<String> = authors.iter().map(|author| author.profile(START, "me")).collect();
    let recent = |authors: &[Author]| Filter { since: Some(START + 9), ..query(authors, &[0, 1]) };
    let queries: Vec<Filter> = authors.chunks(10).map(recent).collect();
    // How many are here and there; comparisons and pages.
    for (here, there, comparisons, pages) in [(30, 30, 4, 0), (30, 0, 4, 1), (0, 30, 3, 1)] {
        let relay = Archive::new(&profiles[..there], 500).comparing();
        let here = Here::of(&profiles[..here]);
        let (outcome, collector) = compare(&relay.url(), queries.clone(), PATIENT, here).await;
        assert_eq!((outcome.complete, outcome.gaps, collector.count()), (3, vec![], 0));
        let record = relay.record();
        assert_eq!(record.comparisons.len(), comparisons, "{record:?}");
        assert_eq!(pages_asked(&relay) > 0, pages > 0, "{record:?}");
    }
}

#[tokio::test]
async fn three_peers_share_the_work_and_no_event_comes_twice() {
    let author = Author::new(1);
    let all = notes_of(&author, 4_000);
    let archive = Archive::new(&all, 500);
    let relays = [archive.comparing(), archive.comparing(), archive.comparing()];
    let ledger = Arc::<WantList>::default();
    let collector = Collector::default();
    let mut peers =
        relays.each_ref().map(|relay| sharing_peer(&relay.url(), &ledger, Here::of(&[])));
    let ask = || vec![query(std::slice::from_ref(&author), &[1])];
    let [first, second, third] = &mut peers;
    let outcomes = tokio::join!(
        first.fetch(ask(), PATIENT, &collector),
        second.fetch(ask(), PATIENT, &collector),
        third.fetch(ask(), PATIENT, &collector),
    );
    assert_eq!(collector.ids(), sorted_ids(&all));
    assert_eq!(relays.iter().map(ids_asked).sum::<usize>(), 4_000);
    let outcomes = [outcomes.0, outcomes.1, outcomes.2];
    assert!(outcomes.iter().all(|it| it.gaps.is_empty() && it.complete == 1), "{outcomes:?}");
    // What one peer has given is not asked for in the next fetch either.
    let again = second.fetch(ask(), PATIENT, &collector).await;
    assert_eq!((again.events, again.complete), (0, 1));
}

#[tokio::test]
async fn what_a_failing_peer_leaves_behind_comes_from_another() {
    let author = Author::new(1);
    let all = notes_of(&author, 3_000);
    let archive = Archive::new(&all, 500);
    let failing = {
        let archive = archive.clone();
        let comparer = archive.comparer();
        let arrival = |connection| match connection {
            1 => Arrival::Welcome,
            _ => Arrival::HangUp,
        };
        ScriptedRelay::start_comparing(
            arrival,
            move |request| {
                let page = archive.page(&request.filter).into_iter().map(Act::Event);
                answer(page.take(100).chain([Act::Cut]))
            },
            comparer,
        )
    };
    let good = archive.comparing();
    let ledger = Arc::<WantList>::default();
    let collector = Collector::default();
    let ask = || vec![query(std::slice::from_ref(&author), &[1])];
    let mut bad = sharing_peer(&failing.url(), &ledger, Here::of(&[]));
    let mut peer = sharing_peer(&good.url(), &ledger, Here::of(&[]));
    let (failed, outcome) = tokio::join!(
        bad.fetch(ask(), PATIENT, &collector),
        peer.fetch(ask(), PATIENT, &collector),
    );
    assert_eq!(collector.ids(), sorted_ids(&all));
    assert_eq!((outcome.complete, outcome.gaps), (1, vec![]));
    assert!(failed.gaps.iter().all(|gap| matches!(gap.reason, GapReason::NotConnected(_))));
}

#[tokio::test]
async fn what_has_come_since_the_comparison_was_begun_is_not_fetched() {
    let author = Author::new(1);
    let all = notes_of(&author, 900);
    let relay = Archive::new(&all, 500).comparing();
    let here = Here::of(&all[..300]).and_since(&all[300..700]);
    let (outcome, collector) =
        compare(&relay.url(), vec![query(&[author], &[1])], PATIENT, here).await;
    assert_eq!((collector.ids(), outcome.gaps), (sorted_ids(&all[700..]), vec![]));
    assert_eq!(ids_asked(&relay), 200);
}

#[tokio::test]
async fn a_slow_peer_loses_its_share() {
    let author = Author::new(1);
    let all = notes_of(&author, 1_200);
    let archive = Archive::new(&all, 500);
    let gate = Gate::default();
    let slow = {
        let (asked, comparer) = (gate.clone(), archive.comparer());
        ScriptedRelay::start_comparing(
            |_| Arrival::Welcome,
            move |_| {
                asked.open();
                answer([Act::Wait(Duration::from_secs(600))])
            },
            comparer,
        )
    };
    // Says what it has when the slow one has been asked.
    let good = archive.behind(&gate);
    let ledger = Arc::<WantList>::default();
    let collector = Collector::default();
    let ask = || vec![query(std::slice::from_ref(&author), &[1])];
    let mut lame = sharing_peer(&slow.url(), &ledger, Here::of(&[]));
    let mut peer = sharing_peer(&good.url(), &ledger, Here::of(&[]));
    // The slow one is not given up for so long that it is not what the other one waits for.
    let pace = Pace { time_out: 10 * PATIENT.time_out, ..PATIENT };
    let lame = lame.fetch(ask(), pace, &collector);
    let quick = peer.fetch(ask(), PATIENT, &collector);
    let outcome = tokio::select! {
        _ = lame => panic!("the slow peer is done first"),
        outcome = quick => outcome,
        () = tokio::time::sleep(3 * PATIENT.time_out) => panic!("the slow peer keeps its share"),
    };
    assert_eq!(collector.ids(), sorted_ids(&all));
    assert_eq!((outcome.events, outcome.gaps), (1_200, vec![]));
}

/// Asks a relay that does this about comparisons, and expects everything page by page.
async fn is_asked_page_by_page(refuse: impl Fn(&Round) -> Vec<Act> + Send + Sync + 'static) {
    is_asked_page_by_page_saying(None, refuse).await;
}

/// The same of a relay that says this of itself.
async fn is_asked_page_by_page_saying(
    info: Option<Value>,
    refuse: impl Fn(&Round) -> Vec<Act> + Send + Sync + 'static,
) {
    let author = Author::new(1);
    let all = notes_of(&author, 900);
    let archive = Archive::new(&all, 500);
    let relay = ScriptedRelay::start_informing(
        info,
        |_| Arrival::Welcome,
        move |request| archive.answer(request),
        move |round| answer(refuse(round)),
    );
    let queries = vec![
        query(std::slice::from_ref(&author), &[1]),
        query(std::slice::from_ref(&author), &[4]),
    ];
    let here =
        notes_of(&author, 50).iter().map(|note| note.replace("1700", "1600")).collect::<Vec<_>>();
    // A third of it passes before the silent ones are asked by pages.
    let pace = Pace { time_out: Duration::from_secs(2), ..PATIENT };
    let (outcome, collector) = compare(&relay.url(), queries, pace, Here::of(&here)).await;
    assert!(collector.ids() == sorted_ids(&all), "{} events", collector.count());
    assert_eq!((outcome.complete, outcome.gaps), (2, vec![]));
    assert_eq!(ids_asked(&relay), 0);
}

#[tokio::test]
async fn a_relay_that_refuses_to_compare_is_asked_page_by_page() {
    is_asked_page_by_page(|_| vec![Act::NegErr("error: not today".into(), None)]).await;
    is_asked_page_by_page(|_| vec![Act::Notice("negentropy disabled".into())]).await;
    is_asked_page_by_page(|_| vec![Act::Notice("anything at all".into())]).await;
    is_asked_page_by_page(|_| vec![Act::Closed("unsupported: NEG-OPEN".into())]).await;
}

#[tokio::test]
async fn a_relay_that_is_silent_about_comparisons_is_asked_page_by_page() {
    is_asked_page_by_page(|_| vec![]).await;
    let says_it_compares = json!({"supported_nips": [1, 77], "negentropy": 1});
    is_asked_page_by_page_saying(Some(says_it_compares), |_| vec![]).await;
}

#[tokio::test]
async fn a_relay_whose_comparisons_make_no_sense_is_asked_page_by_page() {
    is_asked_page_by_page(|_| vec![Act::NegMsg(b"nonsense".to_vec())]).await;
    is_asked_page_by_page(|_| vec![Act::Text(json!(["NEG-MSG", "companion-1", "zz"]).to_string())])
        .await;
    // All time differs, in every round.
    let endless = || vec![Act::NegMsg([&[0x61, 0, 0, 1][..], &[7; 16]].concat())];
    is_asked_page_by_page(move |_| endless()).await;
    is_asked_page_by_page(move |round| match round.number % 2 {
        1 => endless(),
        _ => vec![Act::NegErr("closed: forgotten".into(), None)],
    })
    .await;
}

#[tokio::test]
async fn a_set_that_is_too_large_for_the_relay_is_compared_in_parts() {
    let authors = Author::all(0..6);
    let all = events(1_800, |number| {
        // A third of it in one second.
        let second = if number % 3 == 0 { 0 } else { number };
        authors[number as usize / 3 % 6].note(START + second, &number.to_string())
    });
    let archive = Archive::new(&all, 500);
    let sizes =
        all.iter().map(|event| serde_json::from_str(event).unwrap()).collect::<Vec<Value>>();
    let comparer = archive.comparer();
    let relay = ScriptedRelay::start_comparing(
        |_| Arrival::Welcome,
        move |request| archive.answer(request),
        move |round| {
            let is_asked = |event: &&Value| {
                let filter = round.filter.as_ref().unwrap();
                let second = event["created_at"].as_u64().unwrap();
                filter["authors"].as_array().unwrap().contains(&event["pubkey"])
                    && filter["since"].as_u64().is_none_or(|since| since <= second)
                    && filter["until"].as_u64().is_none_or(|until| until >= second)
            };
            if round.filter.is_some() && sizes.iter().filter(is_asked).count() > 120 {
                return answer([Act::NegErr("blocked: this query is too big".into(), Some(120))]);
            }
            comparer(round)
        },
    );
    for here in [Here::of(&[]), Here::in_parts(&all[..900], 100)] {
        let queries = vec![query(&authors, &[1])];
        let (outcome, collector) = compare(&relay.url(), queries, PATIENT, here).await;
        assert_eq!(outcome.gaps, []);
        let ids: HashSet<String> = collector.ids().into_iter().collect();
        assert_eq!(ids.len(), collector.count());
        assert!(all[900..].iter().all(|event| ids.contains(&id_of(event))));
    }
    assert_eq!(pages_asked(&relay), 0);
}

#[tokio::test]
async fn a_connection_that_is_lost_while_ids_are_fetched_costs_no_event() {
    let author = Author::new(1);
    let all = notes_of(&author, 3_000);
    let archive = Archive::new(&all, 500);
    let comparer = archive.comparer();
    let relay = ScriptedRelay::start_comparing(
        |_| Arrival::Welcome,
        move |request| match request.number % 3 {
            0 => {
                let page = archive.page(&request.filter);
                answer(page.into_iter().map(Act::Event).take(60).chain([Act::Cut]))
            }
            _ => archive.answer(request),
        },
        comparer,
    );
    let queries = vec![query(&[author], &[1])];
    let (outcome, collector) = compare(&relay.url(), queries, PATIENT, Here::of(&[])).await;
    assert_eq!(collector.ids(), sorted_ids(&all));
    assert_eq!((outcome.complete, outcome.gaps), (1, vec![]));
    assert!(relay.record().connections > 1);
}

#[tokio::test]
async fn what_a_relay_counts_and_does_not_give_is_named() {
    names_and_does_not_give(3).await;
}

#[tokio::test]
async fn private_messages_that_a_relay_counts_and_does_not_give_are_withheld() {
    names_and_does_not_give(4).await;
}

async fn names_and_does_not_give(hidden_kind: u64) {
    let author = Author::new(1);
    let all = events(40, |number| {
        let kind = if number % 2 == 0 { hidden_kind } else { 1 };
        author.event(kind, START + number, json!([]), &number.to_string())
    });
    let (_hidden, given): (Vec<String>, Vec<String>) =
        all.iter().cloned().partition(|event| !event.contains("\"kind\":1,"));
    let comparer = Archive::new(&all, 500).comparer();
    let archive = Archive::new(&given, 500);
    let relay = ScriptedRelay::start_comparing(
        |_| Arrival::Welcome,
        move |request| archive.answer(request),
        comparer,
    );
    let authors = [author];
    let queries = vec![query(&authors, &[1]), query(&authors, &[hidden_kind])];
    let (outcome, collector) = compare(&relay.url(), queries, PATIENT, Here::of(&[])).await;
    assert_eq!(collector.ids(), sorted_ids(&given));
    let reason = GapReason::NotGiven(20, None);
    let named = query(&authors, &[hidden_kind]);
    match hidden_kind {
        // Whom they do not concern, a relay does not give them.
        4 => {
            let withheld = [Withheld { filter: named, reason: reason.to_string() }];
            assert_eq!((outcome.gaps, &outcome.withheld[..]), (vec![], &withheld[..]));
        }
        _ => assert_eq!(
            (outcome.gaps, outcome.withheld),
            (vec![Gap { filter: named, reason }], vec![])
        ),
    }
}

#[tokio::test]
async fn what_is_gone_when_it_is_asked_for_is_no_gap() {
    let author = Author::new(1);
    let all = notes_of(&author, 40);
    let (before, after) = (Archive::new(&all, 500).comparer(), Archive::new(&all[1..], 500));
    let comparer = after.comparer();
    let relay = ScriptedRelay::start_comparing(
        |_| Arrival::Welcome,
        move |request| after.answer(request),
        move |round| if round.number == 1 { before(round) } else { comparer(round) },
    );
    let queries = vec![query(&[author], &[1])];
    let (outcome, collector) = compare(&relay.url(), queries, PATIENT, Here::of(&[])).await;
    assert_eq!(collector.ids(), sorted_ids(&all[1..]));
    assert_eq!((outcome.complete, outcome.gaps), (1, vec![]));
}

#[tokio::test]
async fn an_event_that_only_claims_an_id_does_not_stand_for_it() {
    let author = Author::new(1);
    let all = notes_of(&author, 40);
    let archive = Archive::new(&all, 500);
    let hostile = {
        let archive = archive.clone();
        let comparer = archive.comparer();
        ScriptedRelay::start_comparing(
            |_| Arrival::Welcome,
            move |request| {
                let page = archive.page(&request.filter);
                answer(page.into_iter().map(|it| Act::Event(forged(&it))).chain([Act::Eose]))
            },
            comparer,
        )
    };
    let good = archive.comparing();
    let ledger = Arc::<WantList>::default();
    let (bad, collector) = (Collector::default(), Collector::default());
    let ask = || vec![query(std::slice::from_ref(&author), &[1])];
    let mut forger = sharing_peer(&hostile.url(), &ledger, Here::of(&[]));
    let mut peer = sharing_peer(&good.url(), &ledger, Here::of(&[]));
    let (outcome, _) =
        tokio::join!(forger.fetch(ask(), PATIENT, &bad), peer.fetch(ask(), PATIENT, &collector));
    assert_eq!(collector.ids(), sorted_ids(&all));
    assert!(outcome.gaps.len() <= 1);
}

#[tokio::test]
async fn ids_of_events_that_nobody_asked_about_bring_nothing() {
    let (author, other) = (Author::new(1), Author::new(2));
    let archive = Archive::new(&notes_of(&other, 30), 500);
    let comparer = archive.comparer();
    let relay = ScriptedRelay::start_comparing(
        |_| Arrival::Welcome,
        move |request| archive.answer(request),
        move |round| {
            let everything = round.filter.as_ref().map(|_| json!({}));
            comparer(&Round { filter: everything, ..round.clone() })
        },
    );
    let queries = vec![query(&[author], &[1])];
    let (outcome, collector) = compare(&relay.url(), queries, PATIENT, Here::of(&[])).await;
    assert_eq!((collector.count(), outcome.events), (0, 0));
    assert!(matches!(outcome.gaps[..], [Gap { reason: GapReason::NotGiven(30, None), .. }]));
}

#[tokio::test]
async fn a_relay_that_promises_without_end_is_asked_page_by_page() {
    let author = Author::new(1);
    let number = std::sync::atomic::AtomicU64::new(0);
    let relay = ScriptedRelay::start_comparing(
        |_| Arrival::Welcome,
        |_| answer([Act::Eose]),
        move |_| {
            // One range over all time with a hundred ids that do not exist.
            let mut message = vec![0x61, 0, 0, 2, 100];
            for _ in 0..100 {
                let next = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                message.extend([&next.to_be_bytes()[..], &[7; 24]].concat());
            }
            answer([Act::NegMsg(message)])
        },
    );
    let filters: Vec<Filter> =
        (0..30).map(|kind| query(std::slice::from_ref(&author), &[kind])).collect();
    let (outcome, collector) = compare(&relay.url(), filters, PATIENT, Here::of(&[])).await;
    assert_eq!((collector.count(), outcome.complete), (0, 30));
    let [Gap { reason: GapReason::NotGiven(count, None), .. }, ..] = outcome.gaps[..] else {
        panic!("{outcome:?}");
    };
    assert!((1_000..1_500).contains(&count), "{count}");
    // The controls of "nothing" are among them.
    assert!((30..36).contains(&pages_asked(&relay)), "{}", pages_asked(&relay));
}

#[tokio::test]
async fn an_answer_that_ends_before_its_events_costs_no_event() {
    let author = Author::new(1);
    let all = notes_of(&author, 60);
    let archive = Archive::new(&all, 500);
    let comparer = archive.comparer();
    let relay = ScriptedRelay::start_comparing(
        |_| Arrival::Welcome,
        move |request| {
            let page = archive.page(&request.filter);
            answer([Act::Eose].into_iter().chain(page.into_iter().map(Act::Event)))
        },
        comparer,
    );
    let queries = vec![query(&[author], &[1])];
    let (outcome, collector) = compare(&relay.url(), queries, PATIENT, Here::of(&[])).await;
    assert_eq!(collector.ids(), sorted_ids(&all));
    assert_eq!(outcome.gaps, []);
}

#[tokio::test]
async fn a_relay_that_gives_pages_and_refuses_ids_is_asked_page_by_page() {
    let author = Author::new(1);
    for count in [3, 300, 3_000] {
        for refusal in [Act::Closed("blocked: filter needs authors or kinds".into()), Act::Eose] {
            let all = notes_of(&author, count);
            let archive = Archive::new(&all, 500);
            let comparer = archive.comparer();
            let refused = refusal.clone();
            let relay = ScriptedRelay::start_comparing(
                |_| Arrival::Welcome,
                move |request| match request.filter["ids"].is_null() {
                    true => archive.answer(request),
                    false => answer([refused.clone()]),
                },
                comparer,
            );
            let queries = vec![query(std::slice::from_ref(&author), &[1])];
            let (outcome, collector) = compare(&relay.url(), queries, PATIENT, Here::of(&[])).await;
            assert!(collector.ids() == sorted_ids(&all), "{} of {count}", collector.count());
            assert_eq!((outcome.complete, outcome.gaps), (1, vec![]), "{count} {refusal:?}");
        }
    }
}
