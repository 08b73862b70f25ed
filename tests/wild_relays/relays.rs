//! The relays: what each does, what must come from it, and what must be said.

use std::time::Duration;

use serde_json::json;

use crate::quirks::{
    Challenge, Comparing, Door, Login, Order, Quirks, Refusal, Rule, Speech, TooMuch, Verdict,
    Withholds,
};
use crate::support::events::{Author, START, events};

/// Kinds that relays keep for the parties to them.
const PRIVATE: &[u64] = &[4, 1059];

/// A relay, and one run that asks it.
pub struct Wild {
    pub name: &'static str,
    pub quirks: Quirks,
    pub authors: Vec<Author>,
    pub events: Vec<String>,
    /// The run has a key to log in with.
    pub has_key: bool,
    /// More arguments of the run.
    pub arguments: &'static [&'static str],
    pub comes: Comes,
    pub said: Said,
    /// Some events come by their ids alone.
    pub by_id: bool,
}

/// What has to be here at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comes {
    All,
    /// What small questions reach, which is not all.
    Reachable,
    /// What small questions reach, or a gap that is told.
    ReachableOrGap,
}

/// What the run has to say of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Complete,
    /// Incomplete, with a reason that contains this.
    Incomplete(&'static str),
    /// Complete, with something withheld for a reason that contains this.
    Withheld(&'static str),
    /// Anything that is true.
    Either,
}

impl Wild {
    /// Whether the relay accepts our key.
    pub fn is_let_in(&self) -> bool {
        let verdict = self.quirks.login.map(|login| login.verdict);
        self.has_key && !matches!(verdict, None | Some(Verdict::Rejects(_)))
    }

    fn with(self, authors: Vec<Author>, events: Vec<String>) -> Self {
        Self { authors, events, ..self }
    }

    /// 60 notes of each author.
    fn with_many(self) -> Self {
        let events = many(60);
        self.with(five(), events)
    }

    /// A direct message and a gift wrap beside the notes.
    fn with_messages(self) -> Self {
        let events = [few(), messages()].concat();
        let arguments = &["--kinds", "0,1,3,4,7,1059,30023"];
        Self { arguments, ..self.with(five(), events) }
    }

    /// So many authors, each with two notes.
    fn with_crowd(self, count: u64) -> Self {
        let authors = Author::all(1..count + 1);
        let events = events(2 * authors.len(), |number| {
            let author = &authors[number as usize / 2];
            author.note(START + number, &number.to_string())
        });
        self.with(authors, events)
    }

    fn with_key(self) -> Self {
        Self { has_key: true, ..self }
    }

    fn comes(self, comes: Comes) -> Self {
        Self { comes, ..self }
    }

    fn said(self, said: Said) -> Self {
        Self { said, ..self }
    }

    fn by_id(self) -> Self {
        Self { by_id: true, ..self }
    }

    /// Or a gap that is told.
    fn or_gap(self) -> Self {
        Self { comes: Comes::ReachableOrGap, said: Said::Either, ..self }
    }
}

fn five() -> Vec<Author> {
    Author::all(1..6)
}

/// Six notes of each author, and a profile.
fn few() -> Vec<String> {
    let authors = five();
    let notes = authors.iter().flat_map(|author| {
        (0..6).map(|number| author.note(START + number, &format!("note {number}")))
    });
    let profiles = authors.iter().map(|author| author.profile(START + 100, "somebody"));
    notes.chain(profiles).collect()
}

fn many(of_each: u64) -> Vec<String> {
    let authors = five();
    events(5 * of_each as usize, |number| {
        let author = &authors[(number / of_each) as usize];
        author.note(START + number % of_each, &number.to_string())
    })
}

fn messages() -> Vec<String> {
    let author = Author::new(1);
    let to = json!([["p", Author::new(2).pubkey()]]);
    vec![
        author.event(4, START + 200, to.clone(), "secret?iv=x"),
        author.event(1059, START + 201, to, "wrapped"),
    ]
}

fn wild(name: &'static str, quirks: Quirks) -> Wild {
    Wild {
        name,
        quirks,
        authors: five(),
        events: few(),
        has_key: false,
        arguments: &[],
        comes: Comes::All,
        said: Said::Complete,
        by_id: false,
    }
}

fn plain() -> Quirks {
    Quirks::default()
}

fn refuses(what: TooMuch, how: Refusal) -> Quirks {
    Quirks { refuses: vec![Rule { what, how }], ..plain() }
}

fn compares(comparing: Comparing) -> Quirks {
    Quirks { comparing, ..plain() }
}

fn speaks(speech: Speech) -> Quirks {
    Quirks { speech, ..plain() }
}

/// Everything is guarded.
fn logs_in(challenge: Challenge, refusal: Refusal, verdict: Verdict) -> Quirks {
    Quirks { login: Some(Login { challenge, guards: None, refusal, verdict }), ..plain() }
}

fn withholds(how: Option<Refusal>, names_them: bool, comparing: Comparing) -> Quirks {
    Quirks { withholds: Some(Withholds { kinds: PRIVATE, how, names_them }), comparing, ..plain() }
}

const LOG_IN: Refusal = Refusal::Closed("auth-required: log in first");
const TOO_MANY_KINDS: &str = "too many kinds";

/// Every relay of the table.
pub fn wild_relays() -> Vec<Wild> {
    let mut all = Vec::new();
    all.extend(pages());
    all.extend(filters());
    all.extend(refusals());
    all.extend(dense_times());
    all.extend(comparisons());
    all.extend(logins());
    all.extend(private_messages());
    all.extend(speeches());
    all.extend(several_at_once());
    all
}

/// Caps and orders of pages.
fn pages() -> Vec<Wild> {
    let capped = |cap, order| Quirks { cap, order, ..plain() };
    vec![
        wild("gives 5 events at most", capped(5, Order::Newest)).with_many(),
        wild("gives 20 events at most", capped(20, Order::Newest)).with_many(),
        wild("gives 100 events at most", capped(100, Order::Newest)).with_many(),
        wild("gives 500 events, 400 in four seconds", capped(500, Order::Newest))
            .with(five(), dense(5, 80, 4)),
        wild("gives the oldest first, 20 at most", capped(20, Order::Oldest)).with_many().or_gap(),
        wild("gives the oldest first, and all of them", capped(500, Order::Oldest)).with_many(),
        wild("gives the newest 20 in no order", capped(20, Order::Shuffled)).with_many(),
        wild("gives any 100 in no order", capped(100, Order::Random)).with_many().or_gap(),
        wild("gives one author after the other, 20 at most", capped(20, Order::ByAuthor))
            .with_many()
            .or_gap(),
        wild(
            "caps all filters of a REQ together at 20",
            Quirks { caps_all_filters_together: true, ..capped(20, Order::Newest) },
        )
        .with_many(),
    ]
}

/// Fields of filters that are read in ways of their own.
fn filters() -> Vec<Wild> {
    vec![
        wild("excludes the second of until", Quirks { until_is_exclusive: true, ..plain() }),
        wild(
            "excludes the second of until, 20 at most",
            Quirks { until_is_exclusive: true, cap: 20, ..plain() },
        )
        .with_many()
        .or_gap(),
        wild(
            "excludes the second of since, 20 at most",
            Quirks { since_is_exclusive: true, cap: 20, ..plain() },
        )
        .with_many()
        .or_gap(),
        wild("knows no limit", Quirks { ignores: &["limit"], ..plain() }).with_many(),
        wild("knows no until, 20 at most", Quirks { ignores: &["until"], cap: 20, ..plain() })
            .with_many()
            .or_gap(),
        wild("knows no kinds", Quirks { ignores: &["kinds"], cap: 100, ..plain() })
            .with_many()
            .or_gap(),
        wild(
            "heeds the first filter only",
            Quirks { heeds_the_first_filter_only: true, cap: 20, ..plain() },
        )
        .with_many()
        .or_gap(),
        wild("knows no ids", Quirks { ignores: &["ids"], ..compares(Comparing::Works) }),
        wild("finds nothing by id", Quirks { finds_no_ids: true, ..compares(Comparing::Works) }),
    ]
}

/// What is too much, and how that is said.
fn refusals() -> Vec<Wild> {
    let kinds = |how| refuses(TooMuch::Kinds(10), how);
    let closed = |text| Refusal::Closed(text);
    vec![
        wild("refuses more than 10 kinds: CLOSED", kinds(closed(TOO_MANY_KINDS))),
        wild("refuses more than 10 kinds: NOTICE", kinds(Refusal::Notice(TOO_MANY_KINDS))),
        wild("refuses more than 10 kinds: NOTICE, CLOSED", kinds(Refusal::NoticeAndClosed("no"))),
        wild(
            "refuses more than 10 kinds: NOTICE, EOSE",
            Quirks {
                info: Some(json!({
                    "supported_nips": [1, 11, 42, 70],
                    "software": "https://github.com/fiatjaf/khatru",
                })),
                comparing: Comparing::Refuses(Refusal::Silence),
                ..kinds(Refusal::NoticeAndEnd(TOO_MANY_KINDS))
            },
        ),
        wild(
            "refuses more than 10 kinds: NOTICE, EOSE, and an empty set to compare",
            Quirks {
                cap: 100,
                info: Some(json!({
                    "supported_nips": [1, 11, 42, 70, 77],
                    "software": "https://github.com/fiatjaf/khatru",
                    "limitation": {"max_limit": 100},
                })),
                comparing: Comparing::EmptySet,
                ..kinds(Refusal::NoticeAndEnd(TOO_MANY_KINDS))
            },
        ),
        wild("refuses more than 10 kinds: an empty end", kinds(Refusal::End)),
        wild("refuses more than 10 kinds: silence", kinds(Refusal::Silence)),
        wild("refuses more than 10 kinds: hangs up", kinds(Refusal::HangUp)),
        wild("refuses more than 10 kinds: cuts the connection", kinds(Refusal::Cut)),
        wild(
            "refuses more than one kind in odd words",
            refuses(TooMuch::Kinds(1), closed("Anfrage unzulässig")),
        ),
        wild(
            "takes 20 authors at most: CLOSED",
            refuses(TooMuch::Authors(20), closed("invalid: too many authors in filter (max 20)")),
        )
        .with_crowd(59),
        wild("takes 20 authors at most: an empty end", refuses(TooMuch::Authors(20), Refusal::End))
            .with_crowd(59),
        wild("takes one author at most", refuses(TooMuch::Authors(1), closed("error: authors")))
            .with_crowd(8),
        wild("refuses a limit above 100: CLOSED", refuses(TooMuch::Limit(100), closed("limit"))),
        wild(
            "refuses a limit above 100: NOTICE",
            refuses(TooMuch::Limit(100), Refusal::Notice("invalid: limit must be <= 100")),
        ),
        wild(
            "refuses more than 30 days",
            refuses(TooMuch::Span(30 * 86_400), closed("blocked: time range too wide")),
        ),
        wild("refuses a limit above 100: an empty end", refuses(TooMuch::Limit(100), Refusal::End))
            .with_many(),
        wild(
            "ignores more than one filter",
            Quirks { cap: 20, ..refuses(TooMuch::Filters(1), Refusal::Silence) },
        )
        .with_many(),
        wild(
            "refuses more than one filter",
            Quirks { cap: 20, ..refuses(TooMuch::Filters(1), closed("error: one filter only")) },
        )
        .with_many(),
        wild(
            "allows two subscriptions",
            refuses(TooMuch::Open(2), closed("ERROR: too many concurrent REQs")),
        ),
        wild(
            "allows one subscription: NOTICE",
            Quirks {
                cap: 20,
                ..refuses(
                    TooMuch::Open(1),
                    Refusal::Notice("Maximum concurrent subscription count reached"),
                )
            },
        )
        .with_many(),
        wild(
            "is asked too often: CLOSED",
            refuses(TooMuch::Every(3), closed("rate-limited: slow down")),
        ),
        wild("takes messages of 2,000 bytes", refuses(TooMuch::Bytes(2_000), closed("too long")))
            .with_crowd(59),
        wild("hangs up on messages of 2,000 bytes", refuses(TooMuch::Bytes(2_000), Refusal::Cut))
            .with_crowd(59),
        wild(
            "does not take one kind",
            refuses(TooMuch::Kind(30_023), closed("blocked: kind 30023 not allowed")),
        )
        .said(Said::Incomplete("kind 30023 not allowed")),
        wild(
            "does not take kinds from 10,000 on: NOTICE",
            refuses(TooMuch::KindFrom(10_000), Refusal::Notice("error: kind not supported here")),
        )
        .said(Said::Incomplete("kind not supported here")),
        wild("says an empty end to its first question", refuses(TooMuch::First(1), Refusal::End)),
        wild(
            "refuses whatever it is asked",
            refuses(TooMuch::First(usize::MAX), closed("go away")),
        )
        .comes(Comes::ReachableOrGap)
        .said(Said::Incomplete("go away")),
        wild(
            "is busy once: 503",
            Quirks { door: Door::Busy { times: 1, status: 503, retry_after: Some(1) }, ..plain() },
        ),
        wild(
            "is busy once: 429",
            Quirks { door: Door::Busy { times: 1, status: 429, retry_after: None }, ..plain() },
        ),
        wild("cuts the first handshake", Quirks { door: Door::Cut { times: 1 }, ..plain() }),
    ]
}

/// So many notes of each of some authors, spread over some seconds.
fn dense(authors: u64, of_each: u64, seconds: u64) -> Vec<String> {
    let authors = Author::all(1..authors + 1);
    events(authors.len() * of_each as usize, |number| {
        let author = &authors[(number / of_each) as usize];
        author.note(START + number % seconds, &number.to_string())
    })
}

/// Seconds in which there is much.
fn dense_times() -> Vec<Wild> {
    let capped = || Quirks { cap: 20, ..plain() };
    let old = || {
        let author = Author::new(1);
        [few(), vec![author.note(0, "the first second"), author.note(1, "the second")]].concat()
    };
    vec![
        wild("gives 20 events at most, 150 of many authors in one second", capped())
            .with(Author::all(1..31), dense(30, 5, 1)),
        wild("gives 20 events at most, 60 of one author and kind in one second", capped())
            .with(five(), [few(), dense(1, 60, 1)].concat())
            .comes(Comes::Reachable)
            .said(Said::Incomplete("second")),
        wild("the same, and it compares", Quirks { comparing: Comparing::Works, ..capped() })
            .with(five(), [few(), dense(1, 60, 1)].concat())
            .by_id(),
        wild("has events of the first two seconds", plain()).with(five(), old()),
        wild("has events of the first two seconds, 5 at most", Quirks { cap: 5, ..plain() })
            .with(five(), old()),
    ]
}

/// Relays that do something about NIP-77.
fn comparisons() -> Vec<Wild> {
    let refuses_to = |how| compares(Comparing::Refuses(how));
    let by_id = |what, how| Quirks { comparing: Comparing::Works, ..refuses(what, how) };
    let advertised = json!({"supported_nips": [1, 11, 77], "software": "of its own"});
    vec![
        wild("compares", compares(Comparing::Works)).with_many(),
        wild("hangs up when it is to compare", refuses_to(Refusal::HangUp)),
        wild("cuts the connection when it is to compare", refuses_to(Refusal::Cut)),
        wild(
            "is silent when it is to compare",
            Quirks { info: Some(advertised.clone()), ..refuses_to(Refusal::Silence) },
        ),
        wild("refuses to compare: NEG-ERR", refuses_to(Refusal::Closed("error: disabled"))),
        wild("finds every comparison too large", refuses_to(Refusal::Closed("RESULTS_TOO_BIG"))),
        wild("compares with an empty set", compares(Comparing::EmptySet)),
        wild("compares with an empty set, and has messages", compares(Comparing::EmptySet))
            .with_messages(),
        wild("compares, and names 7 ids that it does not give", compares(Comparing::NamesMore(7)))
            .said(Said::Incomplete("did not come")),
        wild(
            "compares, and refuses ids",
            by_id(TooMuch::Ids(0), Refusal::Closed("blocked: no filters by id")),
        ),
        wild("compares, and is silent about ids", by_id(TooMuch::Ids(0), Refusal::Silence)),
        wild(
            "compares, and takes 5 ids at most",
            by_id(TooMuch::Ids(5), Refusal::Notice("too many ids")),
        ),
        wild(
            "compares, and takes 10 kinds at most",
            by_id(TooMuch::Kinds(10), Refusal::Closed(TOO_MANY_KINDS)),
        ),
    ]
}

/// Relays that want to know who asks (NIP-42).
fn logins() -> Vec<Wild> {
    let closed = |challenge| logs_in(challenge, LOG_IN, Verdict::Accepts);
    let notice = Refusal::Notice("restricted: log in to read");
    let informed = |quirks| Quirks {
        info: Some(json!({"supported_nips": [1, 42], "limitation": {"auth_required": true}})),
        ..quirks
    };
    vec![
        wild("wants a login: CLOSED, then the challenge", informed(closed(Challenge::AfterRefusal)))
            .with_key(),
        wild("wants a login: the challenge, then CLOSED", informed(closed(Challenge::BeforeRefusal)))
            .with_key(),
        wild("wants a login: the challenge at connect", closed(Challenge::AtConnect)).with_key(),
        wild("wants a login: the challenge a moment later", closed(Challenge::LongAfterRefusal))
            .with_key(),
        wild("wants a login: the challenge and nothing else", closed(Challenge::InsteadOfRefusal))
            .with_key(),
        wild("wants a login: a newer challenge with each refusal", closed(Challenge::Again))
            .with_key(),
        wild(
            "wants a login: an empty end",
            informed(logs_in(Challenge::AtConnect, Refusal::End, Verdict::Accepts)),
        )
        .with_key(),
        wild("wants a login: NOTICE", logs_in(Challenge::AtConnect, notice, Verdict::Accepts))
            .with_key(),
        wild(
            "wants a login: CLOSED restricted",
            logs_in(
                Challenge::AtConnect,
                Refusal::Closed("restricted: members only"),
                Verdict::Accepts,
            ),
        )
        .with_key(),
        wild("wants a login: and compares", Quirks {
            comparing: Comparing::Works,
            ..closed(Challenge::BeforeRefusal)
        })
        .with_key(),
        wild(
            "wants a login: says no OK",
            logs_in(Challenge::AtConnect, LOG_IN, Verdict::AcceptsInSilence),
        )
        .with_key(),
        wild(
            "wants a login: OK false, and a newer challenge",
            logs_in(Challenge::AtConnect, LOG_IN, Verdict::RejectsTheFirst),
        )
        .with_key(),
        wild(
            "wants a login: OK false",
            logs_in(Challenge::AtConnect, LOG_IN, Verdict::Rejects("restricted: not on the list")),
        )
        .with_key()
        .comes(Comes::Reachable)
        .said(Said::Incomplete("not on the list")),
        wild("wants a login, and we have no key", closed(Challenge::AtConnect))
            .comes(Comes::Reachable)
            .said(Said::Incomplete("auth-required")),
        wild(
            "wants a login, and we have no key: an empty end",
            logs_in(Challenge::AtConnect, Refusal::End, Verdict::Accepts),
        )
        .comes(Comes::Reachable)
        .said(Said::Either),
        wild("wants a login for kinds 4 and 1059: NOTICE", Quirks {
            login: Some(Login {
                challenge: Challenge::AtConnect,
                guards: Some(PRIVATE),
                refusal: Refusal::Notice(
                    "restricted: we can't serve kind-4 to unauthenticated users, does your client \
                     implement NIP-42?",
                ),
                verdict: Verdict::Accepts,
            }),
            ..plain()
        })
        .with_messages()
        .with_key(),
    ]
}

/// Relays that keep direct messages for the parties to them.
fn private_messages() -> Vec<Wild> {
    let closed = |text| Some(Refusal::Closed(text));
    let refused = "auth-required: cannot serve kinds 4 and 1059";
    let no_compare = || plain().comparing;
    let withheld = |name, quirks| wild(name, quirks).with_messages().comes(Comes::Reachable);
    vec![
        withheld(
            "withholds kinds 4 and 1059: CLOSED",
            withholds(closed(refused), false, no_compare()),
        )
        .said(Said::Withheld("auth-required")),
        withheld(
            "withholds kinds 4 and 1059: CLOSED, and it compares",
            withholds(closed(refused), false, Comparing::Works),
        )
        .said(Said::Withheld("auth-required")),
        withheld("withholds kinds 4 and 1059: left out", withholds(None, false, no_compare())),
        withheld(
            "withholds kinds 4 and 1059: left out, and of comparisons too",
            withholds(None, false, Comparing::Works),
        ),
        withheld(
            "withholds kinds 4 and 1059: left out, and named in comparisons",
            withholds(None, true, Comparing::Works),
        )
        .said(Said::Withheld("4")),
        withheld(
            "withholds kinds 4 and 1059: CLOSED, and named in comparisons",
            withholds(closed("restricted: these are not yours"), true, Comparing::Works),
        )
        .said(Said::Withheld("4")),
        wild(
            "withholds kinds 4 and 1059 until the login: CLOSED",
            Quirks {
                login: Some(Login {
                    challenge: Challenge::BeforeRefusal,
                    guards: Some(PRIVATE),
                    refusal: Refusal::Closed(refused),
                    verdict: Verdict::Accepts,
                }),
                comparing: Comparing::Works,
                ..plain()
            },
        )
        .with_messages()
        .with_key(),
    ]
}

/// Ways to speak.
fn speeches() -> Vec<Wild> {
    let with = |speech| speaks(speech);
    let usual = Speech::default();
    vec![
        wild("says the end before the events", with(Speech { ends_first: true, ..usual })).or_gap(),
        wild("says each end twice", with(Speech { ends_twice: true, ..usual })),
        wild("says ends of other subscriptions", with(Speech { ends_others: true, ..usual })),
        wild("says CLOSED after each end", with(Speech { closes_after_the_end: true, ..usual })),
        wild(
            "says CLOSED in place of each end",
            with(Speech { closes_in_place_of_the_end: true, ..usual }),
        )
        .or_gap(),
        wild(
            "says what is no message before each answer",
            with(Speech { keeps_alive: true, ..usual }),
        ),
        wild(
            "cuts each connection after 30 events",
            with(Speech { cuts_after: Some(30), ..usual }),
        )
        .with(five(), many(20)),
        wild("says everything in binary messages", with(Speech { in_binary: true, ..usual })),
        wild("says subscriptions in upper case", with(Speech { shouts: true, ..usual })).or_gap(),
        wild("adds fields and white space", with(Speech { embellishes: true, ..usual })),
        wild(
            "waits 20 ms before each event",
            with(Speech { pause: Some(Duration::from_millis(20)), ..usual }),
        ),
        wild("has an event of 3 MB among small ones", plain()).with(
            five(),
            [few(), vec![Author::new(3).note(START + 3, &"B".repeat(3_000_000))]].concat(),
        ),
    ]
}

/// Relays with several of these.
fn several_at_once() -> Vec<Wild> {
    let closed = |what, text| Rule { what, how: Refusal::Closed(text) };
    let notice = |what, text| Rule { what, how: Refusal::Notice(text) };
    let ends = |what, text| Rule { what, how: Refusal::NoticeAndEnd(text) };
    let messages_need_a_login = |refusal| {
        let (challenge, guards) = (Challenge::AtConnect, Some(PRIVATE));
        Some(Login { challenge, guards, refusal, verdict: Verdict::Accepts })
    };
    vec![
        wild(
            "takes one author and one kind",
            Quirks {
                refuses: vec![
                    closed(TooMuch::Authors(1), "error: one author"),
                    closed(TooMuch::Kinds(1), "error: one kind"),
                ],
                ..plain()
            },
        ),
        wild(
            "takes 10 kinds, 20 authors, a limit of 100 and one filter, each said otherwise",
            Quirks {
                refuses: vec![
                    ends(TooMuch::Kinds(10), TOO_MANY_KINDS),
                    closed(TooMuch::Authors(20), "invalid: too many authors"),
                    notice(TooMuch::Limit(100), "limit"),
                    Rule { what: TooMuch::Filters(1), how: Refusal::Silence },
                ],
                ..plain()
            },
        )
        .with_crowd(45),
        wild(
            "takes 10 kinds, gives 100 events, and wants a login for messages",
            Quirks {
                cap: 100,
                refuses: vec![ends(TooMuch::Kinds(10), TOO_MANY_KINDS)],
                login: messages_need_a_login(Refusal::Closed("auth-required: these are private")),
                comparing: Comparing::EmptySet,
                ..plain()
            },
        )
        .with_messages()
        .with_key(),
        wild(
            "gives 20 events, the newest first, and hangs up after 45",
            Quirks {
                cap: 20,
                speech: Speech { cuts_after: Some(45), ..Speech::default() },
                ..plain()
            },
        )
        .with(five(), many(20)),
        wild(
            "compares 50 events, gives 20, and takes 10 ids",
            Quirks {
                cap: 20,
                comparing: Comparing::Works,
                refuses: vec![
                    closed(TooMuch::Matches(50), "blocked: too many query results"),
                    closed(TooMuch::Ids(10), "too many ids"),
                ],
                ..plain()
            },
        ),
        wild(
            "compares, gives 20, withholds messages that it names, and takes 10 kinds",
            Quirks {
                cap: 20,
                refuses: vec![closed(TooMuch::Kinds(10), TOO_MANY_KINDS)],
                ..withholds(None, true, Comparing::Works)
            },
        )
        .with_messages()
        .comes(Comes::Reachable)
        .said(Said::Withheld("4")),
        wild(
            "wants a login by an empty end, and takes 10 kinds by an empty end",
            Quirks {
                refuses: vec![Rule { what: TooMuch::Kinds(10), how: Refusal::End }],
                ..logs_in(Challenge::AtConnect, Refusal::End, Verdict::Accepts)
            },
        )
        .with_key(),
        wild(
            "gives the oldest first, 20 at most, of 10 kinds",
            Quirks {
                cap: 20,
                order: Order::Oldest,
                refuses: vec![closed(TooMuch::Kinds(10), TOO_MANY_KINDS)],
                ..plain()
            },
        )
        .with_many()
        .or_gap(),
    ]
}
