use super::*;

fn ids(count: usize) -> Vec<EventId> {
    (0..count)
        .map(|number| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            EventId::from_bytes(id)
        })
        .collect()
}

/// Asks a relay that gives `limit` events of each filter, and has those that `has` says.
fn ask(count: usize, limit: usize, has: impl Fn(usize) -> bool) -> (usize, usize, usize) {
    let all = ids(count);
    let has: HashSet<EventId> =
        all.iter().enumerate().filter(|(at, _)| has(*at)).map(|(_, id)| *id).collect();
    let (mut waiting, mut limits) = (all, IdLimits::default());
    let (mut came, mut refused, mut requests) = (0, 0, 0);
    while !waiting.is_empty() {
        requests += 1;
        assert!(requests < 10_000);
        let batch: Vec<_> = waiting.drain(..limits.per_request().min(waiting.len())).collect();
        let mut request = IdRequest::new(&batch);
        let given = batch.into_iter().filter(|id| has.contains(id));
        came += given.take(limit).filter(|id| request.missing.remove(id)).count();
        match request.end(&mut limits) {
            Some(Leftover::Again(ids)) => waiting.extend(ids),
            Some(Leftover::NotGiven(ids)) => refused += ids.len(),
            None => {}
        }
    }
    (came, refused, requests)
}

#[test]
fn a_relay_that_gives_all_is_asked_once_for_each() {
    assert_eq!(ask(1_500, 500, |_| true), (1_500, 0, 3));
}

#[test]
fn a_relay_of_a_small_limit_gives_all_in_smaller_requests() {
    let (came, refused, requests) = ask(1_000, 20, |_| true);
    assert_eq!((came, refused), (1_000, 0));
    assert!(requests < 60, "{requests}");
}

#[test]
fn what_is_not_there_is_found_out_and_the_rest_comes() {
    let (came, refused, _) = ask(1_000, 500, |number| number % 3 > 0);
    assert_eq!((came, refused), (666, 334));
    let (came, refused, _) = ask(1_000, 500, |_| false);
    assert_eq!((came, refused), (0, 1_000));
}

/// How a relay refuses a request for more ids than it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refuses {
    InWords,
    Silently,
    /// It announces an end.
    AsNothing,
}

/// A relay: what it has, events in an answer, ids in a question, how it refuses more of them.
struct Relay {
    has: HashSet<EventId>,
    cap: usize,
    most: usize,
    refuses: Refuses,
}

/// What came of asking a relay for everything that its peer is waiting for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Came {
    came: usize,
    /// Not given, and nobody else has it.
    lost: usize,
    /// It refuses a request for a single event.
    is_refused: bool,
    requests: usize,
}

fn request(text: &str) -> (String, Filter) {
    crate::peer::pager::tests::request(text)
}

/// Asks one relay, as the conversation does, until nothing more is asked.
fn ask_relay(fetch: &mut IdFetch, relay: &Relay, limits: &mut PeerLimits) -> Came {
    let mut result = Came::default();
    let mut open = VecDeque::new();
    loop {
        while let Some(text) = fetch.next(&result.requests.to_string(), limits) {
            result.requests += 1;
            assert!(result.requests < 10_000);
            open.push_back(request(&text));
        }
        let Some((name, filter)) = open.pop_front() else { return result };
        let asked = filter.ids.unwrap();
        assert_eq!(filter.limit, Some(asked.len() as u64));
        let is_refused = asked.len() > relay.most;
        if is_refused && relay.refuses != Refuses::AsNothing {
            if !fetch.refused(&name, relay.refuses == Refuses::Silently, limits) {
                result.is_refused = true;
                fetch.stop();
                return result;
            }
            continue;
        }
        let given = asked.iter().filter(|id| relay.has.contains(*id));
        for id in given.take(if is_refused { 0 } else { relay.cap }) {
            assert!(fetch.has_asked(&name, id));
            result.came += usize::from(fetch.receive(&name, id));
        }
        result.lost += fetch.end(&name, limits).lost;
    }
}

/// A place in the want list for a peer that says that it has these.
fn naming(list: &std::sync::Arc<crate::peer::WantList>, named: &[EventId]) -> IdFetch {
    let member = list.join();
    assert!(member.offer(named.iter().copied()));
    IdFetch::new(member)
}

fn relay_of(has: &[EventId]) -> Relay {
    let has = has.iter().copied().collect();
    Relay { has, cap: 500, most: usize::MAX, refuses: Refuses::InWords }
}

#[test]
fn a_relay_that_takes_few_ids_or_gives_few_events_gives_everything_however_it_refuses() {
    let all = ids(1_000);
    for refuses in [Refuses::InWords, Refuses::Silently, Refuses::AsNothing] {
        for (most, cap) in [(1, 500), (7, 500), (20, 500), (100, 500), (100, 30), (500, 5)] {
            if refuses == Refuses::AsNothing && most < SMALLEST_PAGE_LIMIT {
                continue;
            }
            let mut fetch = naming(&Default::default(), &all);
            let relay = Relay { cap, most, refuses, ..relay_of(&all) };
            let came = ask_relay(&mut fetch, &relay, &mut PeerLimits::default());
            let expected =
                Came { came: 1_000, lost: 0, is_refused: false, requests: came.requests };
            assert_eq!(came, expected, "{refuses:?} {most} {cap}");
            assert!(fetch.is_done());
            let fair = 1_000 / most.min(cap).min(500) * 3 + 40;
            assert!(came.requests <= fair.max(80), "{refuses:?} {most} {cap}: {}", came.requests);
        }
    }
}

#[test]
fn silence_about_many_ids_is_followed_by_a_request_for_one() {
    let mut limits = PeerLimits::default();
    let mut fetch = naming(&Default::default(), &ids(100));
    let (name, filter) = request(&fetch.next("a", &limits).unwrap());
    assert_eq!(filter.ids.map(|ids| ids.len()), Some(100));
    assert!(fetch.is_empty(&name));
    assert!(fetch.refused(&name, true, &mut limits));
    let (name, filter) = request(&fetch.next("b", &limits).unwrap());
    assert_eq!(filter.ids.map(|ids| ids.len()), Some(1));
    assert!(!fetch.refused(&name, true, &mut limits));
}

#[test]
fn a_relay_that_refuses_a_single_id_is_found_out_by_few_requests() {
    for refuses in [Refuses::InWords, Refuses::Silently] {
        let mut fetch = naming(&Default::default(), &ids(2_000));
        let relay = Relay { most: 0, refuses, ..relay_of(&[]) };
        let came = ask_relay(&mut fetch, &relay, &mut PeerLimits::default());
        assert!(came.is_refused && came.requests <= 20, "{refuses:?} {came:?}");
        assert!(fetch.is_done());
    }
}

#[test]
fn what_one_peer_refuses_or_does_not_give_comes_from_the_next_that_has_it() {
    let all = ids(600);
    let refusing = Relay { most: 0, ..relay_of(&all) };
    for (first, came_first) in [(refusing, 0), (relay_of(&[]), 0), (relay_of(&all[..200]), 200)] {
        let list = Default::default();
        let (mut one, mut other) = (naming(&list, &all), naming(&list, &all[100..]));
        let came = ask_relay(&mut one, &first, &mut PeerLimits::default());
        assert_eq!(came.came, came_first);
        let second = ask_relay(&mut other, &relay_of(&all), &mut PeerLimits::default());
        assert_eq!((second.came, second.lost), (600 - came_first.max(100), 0));
        assert!(other.is_done());
    }
}

#[test]
fn what_nobody_gives_is_lost_once_when_the_last_that_has_it_does_not_give_it() {
    let all = ids(50);
    let list = Default::default();
    let (mut one, mut other) = (naming(&list, &all), naming(&list, &all));
    let came = ask_relay(&mut one, &relay_of(&all[..10]), &mut PeerLimits::default());
    assert_eq!((came.came, came.lost), (10, 0));
    let came = ask_relay(&mut other, &relay_of(&all[..30]), &mut PeerLimits::default());
    assert_eq!((came.came, came.lost), (20, 20));
    assert!(one.is_done() && other.is_done());
}

#[test]
fn an_event_that_cannot_be_taken_is_wanted_of_the_next_peer_and_not_of_the_same_again() {
    let all = ids(2);
    let list = Default::default();
    let (mut one, mut other) = (naming(&list, &all), naming(&list, &all));
    let mut limits = PeerLimits::default();
    let (name, _) = request(&one.next("a", &limits).unwrap());
    assert_eq!(one.only_missing(&name), None);
    one.receive_what_is_not_taken(&name, &all[0]);
    assert_eq!(one.only_missing(&name), Some(all[1]));
    assert!(one.receive(&name, &all[1]));
    assert_eq!(one.only_missing(&name), None);
    assert_eq!(one.end(&name, &mut limits), NotGiven::default());
    assert_eq!(one.next("b", &limits), None);
    let (_, filter) = request(&other.next("c", &limits).unwrap());
    assert_eq!(filter.ids, Some(vec![all[0]]));
}

#[test]
fn what_was_open_when_the_connection_ended_is_asked_again_and_nothing_late_is_taken() {
    let all = ids(40);
    let mut limits = PeerLimits::default();
    let mut fetch = naming(&Default::default(), &all);
    limits.ids = IdLimits::bounded(20);
    let [first, second] = ["a", "b"].map(|name| request(&fetch.next(name, &limits).unwrap()).1);
    let (first, second) = (first.ids.unwrap(), second.ids.unwrap());
    for id in &first {
        fetch.receive("a", id);
    }
    fetch.end("a", &mut limits);
    fetch.receive("b", &second[0]);
    assert!(fetch.has_asked("a", &first[0]) && fetch.has_asked("b", &second[1]));
    assert!(!fetch.has_asked("b", &first[0]) && !fetch.has_asked("c", &first[0]));
    fetch.put_back("b");
    fetch.forget_recent();
    assert!(!fetch.has_asked("a", &first[0]) && !fetch.has_asked("b", &second[1]));
    let mut again = request(&fetch.next("d", &limits).unwrap()).1.ids.unwrap();
    again.sort_unstable();
    let mut rest = second[1..].to_vec();
    rest.sort_unstable();
    assert_eq!(again, rest);
}

#[test]
fn as_many_requests_are_open_as_the_peer_allows() {
    let limits = PeerLimits { ids: IdLimits::bounded(20), parallel_ids: 3, ..Default::default() };
    let mut fetch = naming(&Default::default(), &ids(200));
    let open = (0..9).filter(|number| fetch.next(&number.to_string(), &limits).is_some()).count();
    assert_eq!(open, 3);
    assert_eq!(fetch.stop(), ["0", "1", "2"]);
    assert!(fetch.is_done());
}
