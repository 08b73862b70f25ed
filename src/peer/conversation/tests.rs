use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::nostr::Pubkey;
use crate::peer::auth::AuthKey;
use crate::peer::id_fetch::NotGiven;
use crate::peer::item_set::ItemSet;
use crate::peer::limits::{
    NOT_GIVEN, PARALLEL_SUBSCRIPTIONS, RATE_LIMITED_IN_A_ROW, SMALLEST_PAGE_LIMIT,
};
use crate::peer::outcome::Withheld;
use crate::peer::pager::tests::filter_of;

const PACE: Pace = Pace { time_out: Duration::from_secs(60), first_pause: Duration::ZERO };
const RESTRICTED: &str = "auth-required: who are you?";

/// What we say to a peer.
#[derive(Debug, Clone, PartialEq)]
enum Sent {
    Req(String, Filter),
    Close(String),
    NegOpen(String, Filter),
    NegMsg(String),
    NegClose(String),
    /// The answer to this challenge, and its id.
    Auth(String, String),
}

/// A conversation, with a peer whose answers the test gives.
struct Talk {
    conversation: Conversation,
    here: ItemSet,
    sent: u64,
}

fn author(byte: u8) -> Pubkey {
    Pubkey::from_bytes([byte; 32])
}

/// Two authors, these kinds, a thousand seconds.
fn query(kinds: &[u64]) -> Filter {
    Filter {
        authors: Some(vec![author(1), author(2)]),
        kinds: Some(kinds.to_vec()),
        until: Some(1_000),
        ..Filter::default()
    }
}

/// The smallest part of such a query.
fn smallest(byte: u8, kind: u64) -> Filter {
    let (authors, kinds) = (Some(vec![author(byte)]), Some(vec![kind]));
    Filter { authors, kinds, ..query(&[]) }
}

/// The first page of such a query, which is asked for with a second more.
fn page(filter: Filter) -> Filter {
    Filter { limit: Some(500), until: Some(1_001), ..filter }
}

fn small_page(filter: Filter) -> Filter {
    Filter { limit: Some(SMALLEST_PAGE_LIMIT as u64), ..page(filter) }
}

fn id(number: u64) -> EventId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_be_bytes());
    EventId::from_bytes(id)
}

fn event(number: u64, byte: u8, kind: u64, created_at: u64) -> String {
    json!({
        "id": id(number), "pubkey": author(byte), "created_at": created_at, "kind": kind,
        "tags": [], "content": "", "sig": "00".repeat(64),
    })
    .to_string()
}

fn parse(text: &str) -> Sent {
    let message: Vec<Value> = serde_json::from_str(text).unwrap();
    let text = |at: usize| message[at].as_str().unwrap().to_owned();
    match &*text(0) {
        "REQ" => Sent::Req(text(1), filter_of(&message[2])),
        "CLOSE" => Sent::Close(text(1)),
        "NEG-OPEN" => Sent::NegOpen(text(1), filter_of(&message[2])),
        "NEG-MSG" => Sent::NegMsg(text(1)),
        "NEG-CLOSE" => Sent::NegClose(text(1)),
        "AUTH" => {
            let tags = message[1]["tags"].as_array().unwrap();
            assert_eq!(tags[0], json!(["relay", "wss://relay.example"]));
            let text = |it: &Value| it.as_str().unwrap().to_owned();
            Sent::Auth(text(&tags[1][1]), text(&message[1]["id"]))
        }
        other => panic!("{other}"),
    }
}

impl Talk {
    fn with(queries: Vec<Filter>, member: Option<Member>, key: Option<&str>) -> Self {
        let identity = key.map(|key| Identity {
            key: AuthKey::new(&key.repeat(32).parse().unwrap()).unwrap(),
            relay: "wss://relay.example".into(),
        });
        let limits = (PeerLimits::default(), Budget::default());
        let queries = queries.into_iter().map(Arc::new).collect();
        let conversation = Conversation::new(queries, PACE, limits, member, identity);
        Self { conversation, here: ItemSet::new([]), sent: 0 }
    }

    /// Everything is asked page by page, by a stranger.
    fn paging(queries: Vec<Filter>) -> Self {
        Self::with(queries, None, None)
    }

    /// The same, with a key.
    fn known(queries: Vec<Filter>) -> Self {
        Self::with(queries, None, Some("07"))
    }

    /// With a want list.
    fn comparing(queries: Vec<Filter>) -> Self {
        Self::with(queries, Some(Arc::<WantList>::default().join()), None)
    }

    /// All that may be said now.
    fn say(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        loop {
            match self.conversation.next(self.sent + 1) {
                Next::Send(text) => {
                    self.sent += 1;
                    sent.push(parse(&text));
                }
                Next::LookUp(_) => {
                    self.sent += 1;
                    let here = self.here.clone();
                    self.conversation.compare(self.sent, Ok(here.into()));
                }
                Next::Wait => return sent,
            }
            assert!(sent.len() < 1_000);
        }
    }

    /// The questions that may be asked now, of pages or ids; nothing else is said.
    fn ask(&mut self) -> Vec<(String, Filter)> {
        let sent = self.say();
        let request = |sent| match sent {
            Sent::Req(name, filter) => (name, filter),
            other => panic!("{other:?}"),
        };
        sent.into_iter().map(request).collect()
    }

    /// The only question.
    fn ask_one(&mut self) -> (String, Filter) {
        let [one] = self.ask().try_into().unwrap();
        one
    }

    fn end(&mut self, name: &str) {
        assert!(self.conversation.end_of_stored_events(name, false), "{name}");
    }

    /// Gives this event, which is new.
    fn give(&mut self, name: &str, event: &str) {
        assert!(self.conversation.receive(name, event).is_ok(), "{event}");
    }

    /// Answers everything with nothing more, until all has ended.
    fn finish(mut self) -> FetchOutcome {
        let mut last = Vec::new();
        for _ in 0..1_000 {
            for sent in self.say() {
                if let Sent::Req(name, _) = &sent {
                    self.end(name);
                }
                last = vec![sent];
            }
            if self.conversation.is_done() {
                return self.conversation.into_parts().0;
            }
            // What a peer that gave nothing may still send is not waited for here.
            self.conversation.outcome.events += 1;
        }
        panic!("it does not end: {last:?}");
    }

    fn gaps(self) -> Vec<Gap> {
        self.finish().gaps
    }

    /// The words by which all open requests are refused.
    fn notice(&mut self, text: &str) {
        self.conversation.notice(text);
    }

    /// The time for an answer after a notice is over.
    fn wait_after_a_notice(&mut self) {
        self.conversation.take_notices_for_refusals();
    }

    /// The time in which a large question is answered is over.
    fn wait_for_an_answer(&mut self) {
        self.conversation.take_silence_for_refusal();
    }
}

fn names(asked: &[(String, Filter)]) -> Vec<String> {
    asked.iter().map(|(name, _)| name.clone()).collect()
}

fn closes(asked: &[(String, Filter)]) -> Vec<Sent> {
    names(asked).into_iter().map(Sent::Close).collect()
}

fn filters(asked: Vec<(String, Filter)>) -> Vec<Filter> {
    asked.into_iter().map(|(_, filter)| filter).collect()
}

/// Nine queries, each of its own kind.
fn nine() -> Vec<Filter> {
    (0..9).map(|kind| query(&[kind])).collect()
}

// Words for people.

#[test]
fn a_notice_while_one_question_is_open_refuses_it_and_less_is_asked() {
    let mut talk = Talk::paging(vec![query(&[1, 3])]);
    let (name, filter) = talk.ask_one();
    assert_eq!(filter, page(query(&[1, 3])));
    talk.notice("ERROR: too many kinds");
    assert_eq!(talk.ask(), []);
    talk.wait_after_a_notice();
    let [close, Sent::Req(_, smaller)] = &talk.say()[..] else { panic!() };
    let expected = small_page(smallest(1, 1));
    assert_eq!((close, smaller), (&Sent::Close(name), &expected));
}

#[test]
fn a_notice_while_several_questions_are_open_makes_them_be_asked_one_at_a_time() {
    let mut talk = Talk::paging(nine());
    let asked = talk.ask();
    let expected: Vec<Filter> = (0..4).map(|kind| page(query(&[kind]))).collect();
    assert_eq!(filters(asked.clone()), expected);
    talk.notice("something is wrong");
    talk.wait_after_a_notice();
    let mut said = talk.say();
    let Some(Sent::Req(name, filter)) = said.pop() else { panic!() };
    assert_eq!((said, filter), (closes(&asked), page(query(&[4]))));
    talk.give(&name, &event(1, 1, 4, 9));
    talk.end(&name);
    assert_eq!(talk.ask_one().1, Filter { until: Some(9), ..page(query(&[4])) });
}

#[test]
fn each_of_several_questions_is_answered_although_a_notice_came() {
    let mut talk = Talk::paging(nine());
    let asked = talk.ask();
    talk.notice("welcome to this relay");
    for ((name, _), number) in asked.iter().zip(0..) {
        talk.give(name, &event(number, 1, number, 9));
        talk.end(name);
    }
    let outcome = talk.finish();
    assert_eq!((outcome.complete, outcome.gaps), (9, vec![]));
}

#[test]
fn an_empty_end_after_a_notice_is_a_refusal_and_not_an_end() {
    let mut talk = Talk::paging(vec![query(&[1, 3])]);
    let (name, _) = talk.ask_one();
    talk.notice("ERROR: too many kinds");
    talk.end(&name);
    let (name, filter) = talk.ask_one();
    assert_eq!(filter, small_page(smallest(1, 1)));
    talk.notice("no");
    talk.end(&name);
    for _ in 0..20 {
        for (name, _) in talk.ask() {
            talk.notice("no");
            talk.end(&name);
        }
    }
    // The smallest is refused for several, so the relay is not asked any more.
    let gaps = talk.gaps();
    let parts = |gap: &Gap| {
        assert_eq!(gap.reason, GapReason::Closed("no".into()));
        let Filter { authors, kinds, .. } = &gap.filter;
        authors.iter().flatten().count() * kinds.iter().flatten().count()
    };
    assert_eq!(gaps.iter().map(parts).sum::<usize>(), 4, "{gaps:?}");
}

#[test]
fn an_empty_end_after_a_notice_while_several_are_open_is_asked_again_alone() {
    let mut talk = Talk::paging(nine());
    let asked = talk.ask();
    talk.notice("something is wrong");
    talk.end(&asked[0].0);
    assert_eq!(talk.ask(), []);
    let open = talk.conversation.clock.open().len();
    assert_eq!(open, PARALLEL_SUBSCRIPTIONS - 1);
    for ((name, _), number) in asked.iter().zip(0..).skip(1) {
        talk.give(name, &event(number, 1, number, 9));
        talk.end(name);
    }
    let outcome = talk.finish();
    assert_eq!((outcome.complete, outcome.gaps), (9, vec![]));
}

#[test]
fn an_end_with_events_after_a_notice_is_an_end() {
    let mut talk = Talk::paging(vec![query(&[1])]);
    let (name, _) = talk.ask_one();
    talk.notice("this relay is going to be restarted");
    talk.give(&name, &event(1, 1, 1, 9));
    assert!(talk.conversation.end_of_stored_events(&name, true));
    let outcome = talk.finish();
    assert_eq!((outcome.complete, outcome.events, outcome.gaps), (1, 1, vec![]));
}

#[test]
fn requests_that_are_refused_at_the_same_time_count_as_one_complaint() {
    let mut talk = Talk::paging(nine());
    assert_eq!(talk.ask().len(), 4);
    talk.notice("ERROR: too many concurrent REQs");
    talk.notice("ERROR: too many concurrent REQs");
    let limits = &talk.conversation.limits;
    assert_eq!((limits.complaints, limits.parallel), (1, 2));
    talk.wait_after_a_notice();
    assert_eq!(talk.say().len(), 5);
    talk.notice("ERROR: too many concurrent REQs");
    let limits = &talk.conversation.limits;
    assert_eq!((limits.complaints, limits.parallel), (2, 1));
}

#[test]
fn a_peer_that_rate_limits_a_single_question_gets_pauses_and_at_last_a_gap_that_says_so() {
    for in_words in [false, true] {
        let mut talk = Talk::paging(vec![query(&[1])]);
        for _ in 0..RATE_LIMITED_IN_A_ROW {
            let Some(Sent::Req(name, filter)) = talk.say().pop() else { panic!() };
            assert_eq!(filter, page(query(&[1])));
            if in_words {
                talk.notice("rate-limited: slow down");
                talk.wait_after_a_notice();
            } else {
                talk.conversation.closed(&name, "rate-limited: slow down");
            }
        }
        let Some(Sent::Req(name, _)) = talk.say().pop() else { panic!() };
        talk.conversation.closed(&name, "rate-limited: slow down");
        let reason = GapReason::Closed("rate-limited: slow down".into());
        assert_eq!(talk.gaps(), [Gap { filter: query(&[1]), reason }], "{in_words}");
    }
}

#[test]
fn a_pause_that_is_over_does_not_cut_the_patience_short() {
    let mut talk = Talk::paging(nine());
    let asked = talk.ask();
    talk.conversation.closed(&asked[0].0, "rate-limited: slow down");
    for (name, _) in &asked[1..3] {
        talk.conversation.end_of_stored_events(name, true);
    }
    assert!(!talk.ask().is_empty());
    assert!(talk.conversation.patience() > PACE.time_out / 5);
}

// Saying who we are.

/// Accepts the answer to this challenge, which is all that is said.
fn log_in(talk: &mut Talk, challenge: &str) {
    let said = talk.say();
    let [Sent::Auth(answered, id)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(answered, challenge);
    talk.conversation.ok(id, true, "");
}

#[test]
fn with_a_key_what_was_refused_is_asked_again_in_whatever_order_challenge_and_refusal_come() {
    type Steps = fn(&mut Talk, &str);
    let orders: [(&str, Steps); 7] = [
        ("challenge, CLOSED", |talk, name| {
            talk.conversation.challenge("c");
            talk.conversation.closed(name, RESTRICTED);
        }),
        ("CLOSED, challenge", |talk, name| {
            talk.conversation.closed(name, RESTRICTED);
            assert_eq!(talk.say(), []);
            talk.conversation.challenge("c");
        }),
        ("an old challenge, CLOSED, a new one", |talk, name| {
            talk.conversation.challenge("old");
            talk.conversation.closed(name, RESTRICTED);
            talk.conversation.challenge("c");
        }),
        ("challenge, restricted", |talk, name| {
            talk.conversation.challenge("c");
            talk.conversation.closed(name, "restricted: members only");
        }),
        ("challenge, NOTICE", |talk, _| {
            talk.conversation.challenge("c");
            talk.notice(RESTRICTED);
            talk.wait_after_a_notice();
            let said = talk.conversation.outbox.pop_front();
            assert!(said.is_some_and(|said| said.contains("CLOSE")));
        }),
        ("challenge, an empty end", |talk, name| {
            talk.conversation.challenge("c");
            talk.end(name);
        }),
        ("challenge and nothing else", |talk, _| {
            talk.conversation.challenge("c");
            talk.wait_after_a_notice();
            let said = talk.conversation.outbox.pop_front();
            assert!(said.is_some_and(|said| said.contains("CLOSE")));
        }),
    ];
    for (order, steps) in orders {
        let mut talk = Talk::known(vec![query(&[1, 3])]);
        let (name, _) = talk.ask_one();
        steps(&mut talk, &name);
        log_in(&mut talk, "c");
        let (name, filter) = talk.ask_one();
        assert_eq!(filter, page(query(&[1, 3])), "{order}");
        talk.give(&name, &event(1, 1, 1, 9));
        assert!(talk.conversation.end_of_stored_events(&name, true));
        let outcome = talk.finish();
        assert_eq!((outcome.complete, outcome.gaps), (1, vec![]), "{order}");
    }
}

#[test]
fn a_peer_that_says_that_it_wants_to_know_us_is_told_as_soon_as_its_challenge_comes() {
    let mut talk = Talk::known(vec![query(&[1])]);
    talk.conversation.learn(&RelayInfo { auth_required: Some(true), ..RelayInfo::default() });
    talk.conversation.challenge("c");
    log_in(&mut talk, "c");
    assert_eq!(talk.ask_one().1, page(query(&[1])));
}

#[test]
fn a_peer_that_says_nothing_about_our_answer_is_asked_again() {
    let mut talk = Talk::known(vec![query(&[1])]);
    let (name, _) = talk.ask_one();
    talk.conversation.challenge("c");
    talk.conversation.closed(&name, RESTRICTED);
    assert!(matches!(&talk.say()[..], [Sent::Auth(..)]));
    assert_eq!(talk.say(), []);
    talk.conversation.login.expire();
    assert_eq!(talk.ask_one().1, page(query(&[1])));
}

#[test]
fn a_challenge_that_never_comes_leaves_a_gap_with_the_refusal() {
    let mut talk = Talk::known(vec![smallest(1, 7)]);
    let (name, _) = talk.ask_one();
    talk.conversation.closed(&name, RESTRICTED);
    assert_eq!(talk.say(), []);
    talk.conversation.login.expire();
    let (name, _) = talk.ask_one();
    talk.conversation.closed(&name, RESTRICTED);
    let reason = GapReason::Closed(RESTRICTED.into());
    assert_eq!(talk.gaps(), [Gap { filter: smallest(1, 7), reason }]);
}

#[test]
fn why_a_peer_does_not_accept_our_key_is_in_the_gap() {
    let mut talk = Talk::known(vec![smallest(1, 7)]);
    let (name, _) = talk.ask_one();
    talk.conversation.challenge("c");
    talk.conversation.closed(&name, RESTRICTED);
    let [Sent::Auth(_, id)] = &talk.say()[..] else { panic!() };
    talk.conversation.ok(id, false, "restricted: not on the list");
    let (name, _) = talk.ask_one();
    talk.conversation.closed(&name, RESTRICTED);
    let reason = format!("{RESTRICTED} (it did not accept our key: restricted: not on the list)");
    let reason = GapReason::Closed(reason);
    assert_eq!(talk.gaps(), [Gap { filter: smallest(1, 7), reason }]);
}

#[test]
fn after_a_new_connection_a_peer_is_told_again() {
    let mut talk = Talk::known(vec![query(&[1])]);
    let (name, _) = talk.ask_one();
    talk.conversation.challenge("c");
    talk.conversation.closed(&name, RESTRICTED);
    log_in(&mut talk, "c");
    talk.ask_one();
    talk.conversation.connection_ended(&GapReason::Cut("it ends".into()));
    let (name, _) = talk.ask_one();
    talk.conversation.challenge("d");
    talk.conversation.closed(&name, RESTRICTED);
    log_in(&mut talk, "d");
    assert_eq!(talk.ask_one().1, page(query(&[1])));
}

// What a stranger must not see.

#[test]
fn of_what_a_peer_denies_to_a_stranger_private_kinds_are_withheld_and_all_others_are_gaps() {
    for words in [RESTRICTED, "restricted: not for you"] {
        let mut talk = Talk::paging(vec![query(&[1, 4, 7, 1059])]);
        let mut asked = 0;
        loop {
            let requests = talk.ask();
            if requests.is_empty() {
                break;
            }
            for (name, filter) in requests {
                asked += 1;
                let kinds = filter.kinds.unwrap_or_default();
                if filter.ids.is_none() && kinds.iter().any(|kind| [4, 7, 1059].contains(kind)) {
                    talk.conversation.closed(&name, words);
                } else {
                    if kinds == [1] && filter.since.is_none() && filter.until >= Some(1_000) {
                        let author = filter.authors.unwrap()[0].as_bytes()[0];
                        let _ = talk.conversation.receive(&name, &event(1, author, 1, 9));
                    }
                    talk.end(&name);
                }
            }
        }
        assert!(asked < 40, "{asked}");
        let outcome = talk.finish();
        let kinds = |filters: Vec<&Filter>| -> Vec<u64> {
            let kinds = filters.iter().flat_map(|filter| filter.kinds.iter().flatten().copied());
            kinds.collect::<std::collections::BTreeSet<u64>>().into_iter().collect()
        };
        let authors = |filters: Vec<&Filter>| -> usize {
            let authors = filters.iter().flat_map(|filter| filter.authors.iter().flatten());
            authors.collect::<HashSet<_>>().len()
        };
        let reason = GapReason::Closed(words.into()).to_string();
        let withheld: Vec<&Filter> = outcome.withheld.iter().map(|it| &it.filter).collect();
        let gaps: Vec<&Filter> = outcome.gaps.iter().map(|it| &it.filter).collect();
        assert_eq!((kinds(withheld.clone()), authors(withheld)), (vec![4, 1059], 2), "{words}");
        assert_eq!((kinds(gaps.clone()), authors(gaps)), (vec![7], 2), "{words}");
        assert!(outcome.withheld.iter().all(|withheld| withheld.reason == reason));
    }
}

#[test]
fn private_kinds_that_are_refused_without_being_denied_are_gaps() {
    let mut talk = Talk::paging(vec![smallest(1, 4)]);
    for _ in 0..3 {
        if let Some((name, _)) = talk.ask().into_iter().next() {
            talk.conversation.closed(&name, "error: no such kind");
        }
    }
    let reason = GapReason::Closed("error: no such kind".into());
    let outcome = talk.finish();
    let gap = Gap { filter: smallest(1, 4), reason };
    assert_eq!((outcome.gaps, outcome.withheld), (vec![gap], vec![]));
}

#[test]
fn a_comparison_of_private_kinds_that_is_denied_is_withheld_and_another_one_is_asked_by_pages() {
    let mut talk = Talk::comparing(vec![query(&[4, 1059]), query(&[1, 4])]);
    talk.conversation.limits.says_it_compares = true;
    let said = talk.say();
    let [Sent::NegOpen(private, _), Sent::NegOpen(mixed, _)] = &said[..] else {
        panic!("{said:?}")
    };
    talk.conversation.neg_err(private, RESTRICTED, false);
    let withheld = Withheld {
        filter: query(&[4, 1059]),
        reason: GapReason::Closed(RESTRICTED.into()).to_string(),
    };
    assert_eq!(talk.conversation.outcome.withheld, [withheld]);
    talk.conversation.neg_err(mixed, RESTRICTED, false);
    assert_eq!(talk.ask_one().1, page(query(&[1, 4])));
}

// Connections that end, and silence.

#[test]
fn a_connection_that_ends_twice_at_one_large_question_refuses_it_and_less_is_asked() {
    let mut talk = Talk::paging(vec![query(&[1, 3])]);
    let cut = GapReason::Cut("it ends".into());
    for _ in 0..2 {
        assert_eq!(talk.ask_one().1, page(query(&[1, 3])));
        assert!(talk.conversation.learns_from_the_end());
        talk.conversation.connection_ended(&cut);
    }
    assert_eq!(talk.ask_one().1, small_page(smallest(1, 1)));
}

#[test]
fn after_a_connection_ended_at_several_questions_each_is_asked_alone_and_the_first_one_last() {
    let mut talk = Talk::paging(nine());
    assert_eq!(talk.ask().len(), 4);
    assert!(!talk.conversation.learns_from_the_end());
    talk.conversation.limits.says_nothing = SaysNothing::Truly;
    talk.conversation.connection_ended(&GapReason::Cut("it ends".into()));
    let mut kinds = Vec::new();
    for _ in 0..4 {
        let (name, filter) = talk.ask_one();
        kinds.extend(filter.kinds.unwrap());
        talk.end(&name);
    }
    kinds.extend(filters(talk.ask()).into_iter().flat_map(|filter| filter.kinds.unwrap()));
    assert_eq!(kinds, [4, 5, 6, 7, 8, 1, 2, 3]);
}

#[test]
fn silence_about_one_large_question_refuses_it_and_about_several_asks_them_alone() {
    let mut talk = Talk::paging(vec![query(&[1, 3])]);
    let (name, _) = talk.ask_one();
    talk.wait_for_an_answer();
    let [close, Sent::Req(_, smaller)] = &talk.say()[..] else { panic!() };
    let expected = small_page(smallest(1, 1));
    assert_eq!((close, smaller), (&Sent::Close(name), &expected));
    let mut talk = Talk::paging(nine());
    let asked = talk.ask();
    talk.wait_for_an_answer();
    let mut said = talk.say();
    let Some(Sent::Req(_, filter)) = said.pop() else { panic!() };
    assert_eq!((said, filter), (closes(&asked), page(query(&[4]))));
}

#[test]
fn a_peer_that_never_answers_the_smallest_question_leaves_gaps_that_say_so() {
    let mut talk = Talk::paging(vec![query(&[1, 3])]);
    for _ in 0..20 {
        if talk.say().is_empty() {
            break;
        }
        talk.wait_for_an_answer();
    }
    let outcome = talk.finish();
    let parts: usize = outcome
        .gaps
        .iter()
        .map(|gap| {
            assert_eq!(gap.reason, GapReason::Unanswered(20));
            let Filter { authors, kinds, .. } = &gap.filter;
            authors.iter().flatten().count() * kinds.iter().flatten().count()
        })
        .sum();
    assert_eq!((outcome.complete, parts), (0, 4));
}

#[test]
fn what_is_given_up_is_a_gap_and_what_has_ended_is_not() {
    let mut talk = Talk::paging(nine());
    let asked = talk.ask();
    talk.give(&asked[1].0, &event(1, 1, 1, 9));
    assert!(talk.conversation.end_of_stored_events(&asked[1].0, true));
    talk.say();
    talk.conversation.give_up(&GapReason::Stopped);
    let outcome = talk.finish();
    let mut kinds: Vec<u64> =
        outcome.gaps.iter().flat_map(|gap| gap.filter.kinds.clone().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!((outcome.complete, kinds), (1, vec![0, 2, 3, 4, 5, 6, 7, 8]));
}

// Comparisons and ids.

/// An answer to any comparison that names these events.
fn naming(numbers: std::ops::Range<u64>) -> String {
    let count = u8::try_from(numbers.end - numbers.start).unwrap();
    assert!(count < 128);
    let mut payload = vec![0x61, 0, 0, 2, count];
    numbers.for_each(|number| payload.extend(id(number).as_bytes()));
    hex::encode(payload)
}

/// The answer names these events, and they are offered to all peers.
fn name(talk: &mut Talk, subscription: &str, numbers: std::ops::Range<u64>) {
    let named = talk.conversation.neg_msg(subscription, &naming(numbers));
    let (needed, filter) = named.unwrap();
    talk.conversation.offer(subscription, &filter, needed);
}

#[test]
fn a_notice_after_a_first_comparison_says_that_the_peer_does_not_compare() {
    let mut talk = Talk::comparing(vec![query(&[1]), query(&[3])]);
    let said = talk.say();
    let [Sent::NegOpen(compared, _)] = &said[..] else { panic!("{said:?}") };
    talk.notice("ERROR: unknown message type");
    assert_eq!(talk.conversation.limits.comparing, Comparing::Refused);
    let said = talk.say();
    let [close, Sent::Req(_, first), Sent::Req(_, second)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(close, &Sent::NegClose(compared.clone()));
    let mut pages = [first.clone(), second.clone()];
    pages.sort_by_key(|page| page.kinds.clone());
    assert_eq!(pages, [page(query(&[1])), page(query(&[3]))]);
}

#[test]
fn a_connection_that_ends_at_a_first_comparison_says_that_the_peer_does_not_compare() {
    let mut talk = Talk::comparing(vec![query(&[1])]);
    assert!(matches!(&talk.say()[..], [Sent::NegOpen(..)]));
    talk.conversation.connection_ended(&GapReason::Cut("it ends".into()));
    assert_eq!(talk.ask_one().1, page(query(&[1])));
}

#[test]
fn what_a_comparison_finds_is_fetched_by_id_and_everything_is_complete() {
    let mut talk = Talk::comparing(vec![query(&[1])]);
    let said = talk.say();
    let [Sent::NegOpen(compared, filter)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(filter, &query(&[1]));
    name(&mut talk, compared, 0..3);
    let said = talk.say();
    let [close, Sent::Req(ids, filter)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(close, &Sent::NegClose(compared.clone()));
    let mut asked = filter.ids.clone().unwrap();
    asked.sort_unstable();
    assert_eq!((asked, filter.limit), ((0..3).map(id).collect(), Some(3)));
    // These events only claim their ids: they are taken, and do not stand for them.
    talk.give(ids, &event(0, 1, 1, 5));
    assert!(talk.conversation.receive(ids, &event(1, 1, 7, 5)).is_err());
    assert!(talk.conversation.receive(ids, &event(9, 1, 1, 5)).is_err());
    let member = &talk.conversation.ids.as_ref().unwrap().member;
    assert!((0..3).all(|number| member.settle(&id(number))));
    talk.end(ids);
    // Nothing has come by this end that stands for an id: it is seen whether it comes later.
    let outcome = talk.finish();
    assert_eq!((outcome.complete, outcome.events, outcome.gaps), (1, 2, vec![]));
}

#[test]
fn what_a_peer_names_and_never_gives_is_looked_for_twice_more_and_then_named() {
    for (kinds, is_withheld) in [(&[1, 4][..], false), (&[4], true)] {
        let mut talk = Talk::comparing(vec![query(kinds)]);
        let (mut compared, mut pages) = (0, 0);
        for _ in 0..100 {
            for sent in talk.say() {
                match sent {
                    Sent::NegOpen(subscription, _) => {
                        compared += 1;
                        name(&mut talk, &subscription, 0..3);
                    }
                    Sent::Req(name, filter) => {
                        pages += usize::from(filter.ids.is_none());
                        talk.end(&name);
                    }
                    _ => {}
                }
            }
            talk.conversation.outcome.events = 1;
        }
        assert_eq!(compared, 2);
        assert!(pages > 0);
        let outcome = talk.finish();
        let reason = GapReason::NotGiven(3, None);
        let filter = query(kinds);
        let expected = match is_withheld {
            true => (vec![], vec![Withheld { filter, reason: reason.to_string() }]),
            false => (vec![Gap { filter, reason }], vec![]),
        };
        assert_eq!((outcome.gaps, outcome.withheld), expected);
    }
}

#[test]
fn a_peer_that_gives_nothing_of_very_much_that_it_names_is_asked_page_by_page() {
    let mut talk = Talk::comparing(vec![query(&[1])]);
    let said = talk.say();
    let [Sent::NegOpen(compared, _)] = &said[..] else { panic!("{said:?}") };
    name(&mut talk, compared, 0..100);
    let ids: Vec<EventId> = (0..NOT_GIVEN as u64 + 5).map(id).collect();
    talk.conversation.note_not_given(NotGiven { lost: ids.len(), ids });
    let Conversation { not_given, not_given_is_cut, .. } = &talk.conversation;
    assert_eq!((not_given.len(), *not_given_is_cut), (NOT_GIVEN, true));
    assert_eq!(talk.conversation.limits.comparing, Comparing::Refused);
    let said = talk.say();
    let [Sent::NegClose(_), Sent::Req(_, filter)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(filter, &page(query(&[1])));
}

#[test]
fn a_peer_that_compares_and_shows_nothing_is_asked_whether_that_is_true() {
    let mut talk = Talk::comparing(vec![query(&[1])]);
    let said = talk.say();
    let [Sent::NegOpen(compared, _)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(talk.conversation.neg_msg(compared, "61"), None);
    let said = talk.say();
    let [Sent::NegClose(_), Sent::Req(name, filter)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(filter, &page(query(&[1])));
    talk.give(name, &event(1, 1, 1, 5));
    talk.end(name);
    assert_eq!(talk.conversation.outcome.complete, 0);
    assert!(!talk.conversation.is_done());
}

#[test]
fn events_are_asked_of_many_peers_in_fewer_requests_of_each() {
    let ids = |first: u64| (first..first + 2_500).map(id);
    let begun = |peers: u64| {
        let list = Arc::<WantList>::default();
        let others: Vec<Member> = (1..peers).map(|_| list.join()).collect();
        others.iter().zip(1..).for_each(|(other, number)| {
            assert!(other.offer(ids(number * 10_000)));
        });
        let member = list.join();
        member.offer(ids(0));
        let mut talk = Talk::with(vec![query(&[1])], Some(member), None);
        let of_ids = |sent: &Sent| matches!(sent, Sent::Req(_, filter) if filter.ids.is_some());
        talk.say().into_iter().filter(of_ids).count()
    };
    assert_eq!([1, 8, 16, 32, 50].map(begun), [4, 4, 2, 1, 1]);
}
