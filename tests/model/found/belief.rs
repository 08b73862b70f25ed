//! What the model has found about answers that are believed although they are not true.

use super::{TAKES_ALL, fails, notes, plain};
use crate::block_on;
use crate::quirks::{
    Challenge, Comparing, Login, Order, Quirks, Refusal, Rule, Speech, Stored, TooMuch, Verdict,
    Withholds,
};
use crate::run::{Run, Said};
use crate::world::{DAY, World};

/// A world with one author and one relay, which has nothing yet.
fn without_profile(quirks: Quirks) -> World {
    let mut world = World::new("found", 1);
    world.add_peer(quirks, 1);
    world
}

/// Ninety events of three authors and of several kinds, a few of them in one second.
fn mixed(world: &mut World) -> Vec<Stored> {
    let now = world.now();
    let second = |n: u64| now - 3 * DAY - if n.is_multiple_of(9) { 0 } else { n * 1_000 };
    (0..90)
        .map(|n| world.make(n as usize % 3, [1, 7, 30_023][n as usize / 3 % 3], second(n)))
        .collect()
}

/// A node with a relay that is like this and has these events says nothing that is not true. Another
/// relay gives the profiles, so that nothing is asked for anew because one is missing.
fn is_believed_rightly(
    quirks: Quirks,
    seed: u64,
    events: impl Fn(&mut World) -> Vec<Stored> + Sync,
) {
    block_on(async {
        let mut world = World::new(&format!("found {seed}"), 3);
        world.add_peer(quirks, seed);
        let events = events(&mut world);
        world.give(0, events);
        world.add_peer(Quirks::default(), seed);
        let now = world.now();
        let profiles = (0..3).map(|author| world.make(author, 0, now - 5 * DAY)).collect();
        world.give(1, profiles);
        world.perform(&plain(&world, TAKES_ALL)).await?;
        world.pass(3_600);
        world.end().await
    });
}

#[test]
fn a_few_events_that_fall_by_chance_show_no_order() {
    for seed in 0..400 {
        let few = |world: &mut World| {
            let now = world.now();
            (0..7).map(|n| world.make(0, 1, now - 3 * DAY - n * 1_000)).collect()
        };
        is_believed_rightly(
            Quirks { cap: 5, order: Order::Random, ..Quirks::default() },
            seed,
            few,
        );
    }
}

#[test]
fn events_come_one_author_or_one_kind_after_the_other_and_all_of_them_come_or_are_missing() {
    for order in [Order::ByAuthor, Order::ByKind, Order::ByAuthorAndKind] {
        for cap in [5, 20, 60] {
            is_believed_rightly(Quirks { cap, order, ..Quirks::default() }, 1, mixed);
        }
    }
}

#[test]
fn a_control_question_that_is_cut_short_is_counted_anew() {
    for cuts_after in 5..60 {
        for order in [Order::ByAuthor, Order::ByKind] {
            let speech = Speech { cuts_after: Some(cuts_after), ..Speech::default() };
            is_believed_rightly(Quirks { cap: 5, order, speech, ..Quirks::default() }, 1, mixed);
        }
    }
}

#[test]
fn a_control_question_is_no_larger_than_the_page_that_it_is_about() {
    let refuses = vec![Rule { what: TooMuch::Limit(20), how: Refusal::End }];
    for order in [Order::ByAuthor, Order::ByKind, Order::ByAuthorAndKind] {
        let quirks = Quirks { cap: 20, order, refuses: refuses.clone(), ..Quirks::default() };
        is_believed_rightly(quirks, 1, mixed);
    }
}

#[test]
fn a_page_of_a_relay_that_ignores_kinds_may_have_been_cut_at_any_length() {
    let quirks =
        Quirks { cap: 20, order: Order::ByAuthor, ignores: &["kinds"], ..Quirks::default() };
    is_believed_rightly(quirks, 1, |world| {
        let now = world.now();
        let kinds = [1, 8];
        (0..60u64)
            .map(|n| world.make(n as usize % 3, kinds[n as usize / 3 % 2], now - 3 * DAY - n * 977))
            .collect()
    });
}

#[test]
fn a_relay_that_answers_long_questions_with_nothing_is_told_from_an_empty_one() {
    let refuses = vec![Rule { what: TooMuch::Span(60 * DAY), how: Refusal::End }];
    is_believed_rightly(Quirks { refuses, ..Quirks::default() }, 1, mixed);
}

#[test]
fn a_relay_that_has_hidden_events_is_not_believed_because_what_shows_it_is_refused() {
    // The newest event, with which it could be tested again, is of a kind that is refused.
    let refuses = vec![
        Rule { what: TooMuch::Kind(1), how: Refusal::Silence },
        Rule { what: TooMuch::Span(60 * DAY), how: Refusal::End },
    ];
    is_believed_rightly(Quirks { refuses, ..Quirks::default() }, 1, |world| {
        let now = world.now();
        (0..9).map(|n| world.make(n % 3, [1, 7, 9735][n / 3], now - 3 * DAY - n as u64)).collect()
    });
}

#[test]
fn what_a_relay_has_been_seen_to_have_is_not_forgotten_because_another_question_is_refused() {
    let refuses = vec![
        Rule { what: TooMuch::Span(60 * DAY), how: Refusal::Notice("too much") },
        Rule { what: TooMuch::Limit(100), how: Refusal::End },
    ];
    is_believed_rightly(Quirks { refuses, ..Quirks::default() }, 1, mixed);
}

#[test]
fn an_event_that_comes_after_the_end_is_not_missed_because_another_relay_withholds_it() {
    block_on(async {
        let mut world = World::new("found", 1);
        let speech = Speech { ends_first: true, ..Speech::default() };
        let comparing = Comparing::Works;
        world.add_peer(Quirks { comparing, speech, ..Quirks::default() }, 1);
        let how = Some(Refusal::Closed("auth-required: these are not yours"));
        let withholds = Some(Withholds { kinds: &[4, 1059], how, names_them: true });
        world.add_peer(Quirks { comparing, withholds, ..Quirks::default() }, 2);
        let second = world.now() - DAY / 2;
        let all = vec![world.make(0, 1059, second)];
        world.give(0, all.clone());
        world.give(1, all);
        world.perform(&plain(&world, TAKES_ALL)).await?;
        world.pass(3_600);
        world.end().await
    });
}

#[test]
fn a_sample_is_taken_although_it_ends_in_another_way() {
    let refuses = vec![Rule { what: TooMuch::Span(60 * DAY), how: Refusal::End }];
    let speech = Speech { closes_in_place_of_the_end: true, ..Speech::default() };
    is_believed_rightly(Quirks { refuses, speech, ..Quirks::default() }, 1, mixed);
}

#[test]
fn an_event_that_matches_what_was_answered_with_nothing_shows_that_it_was_not_true() {
    // The event that could be asked for again is of a kind that is refused.
    let refuses = vec![
        Rule { what: TooMuch::Kinds(10), how: Refusal::End },
        Rule { what: TooMuch::Kind(7), how: Refusal::NoticeAndEnd("too much") },
    ];
    is_believed_rightly(Quirks { refuses, ..Quirks::default() }, 1, |world| {
        let second = world.now() - 3 * DAY;
        let lively = (0..20).map(|n| world.make(n % 3, 7, second)).collect::<Vec<_>>();
        let older = (0..9).map(|n| world.make(n % 3, 30_023, second - 60 - n as u64));
        lively.into_iter().chain(older.collect::<Vec<_>>()).collect()
    });
}

#[test]
fn nothing_that_was_said_just_before_a_challenge_is_asked_again() {
    for challenge in [Challenge::AfterRefusal, Challenge::LongAfterRefusal] {
        for verdict in [Verdict::Accepts, Verdict::AcceptsInSilence] {
            let refusal = Refusal::End;
            let login = Some(Login { challenge, guards: Some(&[4, 1059]), refusal, verdict });
            is_believed_rightly(Quirks { login, ..Quirks::default() }, 1, |world| {
                let now = world.now();
                let mut all = mixed(world);
                all.extend([4, 1059].map(|kind| world.make(0, kind, now - 2 * DAY)));
                all
            });
        }
    }
}

#[test]
fn a_dense_second_is_compared_with_its_neighbours() {
    block_on(async {
        let quirks = Quirks { cap: 5, since_is_exclusive: true, ..Quirks::default() };
        let mut world = without_profile(quirks.clone());
        let second = world.now() - 3 * DAY;
        let dense = notes(&mut world, 12, |_| second);
        world.give(0, dense);
        let run = plain(&world, TAKES_ALL);
        fails(&mut world, run.clone()).await;
        // From now on it compares, with the same bounds.
        world.change(0, Quirks { comparing: Comparing::Works, ..quirks });
        world.pass(3_600);
        world.perform(&run).await?;
        world.end().await
    });
}

#[test]
fn what_comes_after_the_end_and_was_not_asked_for_may_have_cut_what_was() {
    for (cap, ignores) in [(5, &["kinds"]), (20, &["kinds"]), (5, &["until"])] {
        let speech = Speech { ends_first: true, ..Speech::default() };
        let quirks = Quirks { cap, ignores, speech, ..Quirks::default() };
        is_believed_rightly(quirks, 1, |world| {
            let now = world.now();
            let mut all: Vec<_> =
                (0..30).map(|n| world.make(0, 1, now - 3 * DAY - n * 100)).collect();
            all.push(world.make(0, 1059, now - 9 * DAY));
            all
        });
    }
}

#[test]
fn a_last_second_is_missed_also_among_what_was_not_asked_for() {
    for cap in [20, 30] {
        let ignores = &["kinds"];
        let quirks = Quirks { cap, until_is_exclusive: true, ignores, ..Quirks::default() };
        is_believed_rightly(quirks, 1, |world| {
            let second = world.now() - 3 * DAY;
            let kind = |n: u64| [1, 7, 30_023][n as usize / 3 % 3];
            // The first page ends in the middle of a second.
            let mut all: Vec<_> = (1..cap as u64 - 1)
                .map(|n| world.make(n as usize % 3, kind(n), second + n * 1_000))
                .collect();
            all.extend((0..6).map(|n| world.make(n as usize % 3, kind(n), second)));
            all.extend((1..9).map(|n| world.make(0, [1, 1059][n % 2], second - n as u64 * 900)));
            all
        });
    }
}

#[test]
fn a_question_that_is_refused_after_a_larger_one_was_answered_with_nothing_shows_nothing() {
    block_on(async {
        let mut world = World::new("found", 3);
        let refuses = vec![
            Rule { what: TooMuch::Span(60 * DAY), how: Refusal::End },
            Rule { what: TooMuch::Every(3), how: Refusal::Closed("error: too much") },
        ];
        world.add_peer(Quirks { refuses, ..Quirks::default() }, 1);
        let now = world.now();
        let all = (0..4).map(|n| world.make(n % 3, 3, now - n as u64 * 3 * DAY)).collect();
        world.give(0, all);
        let run = Run { kinds: vec![3], days: 0, ..world.plain_run() };
        fails(&mut world, run).await;
        world.pass(3_600);
        world.end().await
    });
}

#[test]
fn what_two_relays_name_and_neither_gives_by_id_is_asked_of_both_in_pages() {
    block_on(async {
        let mut world = World::new("found", 1);
        let comparing = Comparing::Works;
        world.add_peer(Quirks { finds_no_ids: true, comparing, ..Quirks::default() }, 1);
        let how = Some(Refusal::Closed("auth-required: these are not yours"));
        let withholds = Some(Withholds { kinds: &[4, 1059], how, names_them: true });
        world.add_peer(Quirks { comparing, withholds, ..Quirks::default() }, 2);
        let now = world.now();
        let message = vec![world.make(0, 4, now - 3 * DAY)];
        for peer in [0, 1] {
            world.give(peer, message.clone());
        }
        world.add_peer(Quirks::default(), 3);
        let profile = vec![world.make(0, 0, now - 5 * DAY)];
        world.give(2, profile);
        world.perform(&plain(&world, TAKES_ALL)).await?;
        world.pass(3_600);
        world.end().await
    });
}

#[test]
fn a_challenge_just_before_the_end_of_a_connection_is_heard() {
    for every in 2..8 {
        let (challenge, refusal) = (Challenge::AfterRefusal, Refusal::End);
        let (guards, verdict) = (Some(&[4][..]), Verdict::Accepts);
        let login = Some(Login { challenge, guards, refusal, verdict });
        let refuses = vec![Rule { what: TooMuch::Every(every), how: Refusal::HangUp }];
        is_believed_rightly(Quirks { refuses, login, ..Quirks::default() }, 1, |world| {
            let now = world.now();
            [1, 4, 1059].map(|kind| world.make(0, kind, now - 3 * DAY)).into()
        });
    }
}

#[test]
fn an_empty_relay_that_allows_few_open_subscriptions_is_not_taken_for_one_that_hides_something() {
    for most in [1, 2, 3] {
        for how in [Refusal::Closed("no"), Refusal::NoticeAndClosed("no"), Refusal::Notice("no")] {
            block_on(async {
                let refuses = vec![Rule { what: TooMuch::Open(most), how }];
                let mut world = without_profile(Quirks { refuses, ..Quirks::default() });
                // One question, and then several at once that tell whether its answer was true.
                let run = Run { kinds: vec![1, 7], days: 0, ..world.plain_run() };
                let (said, messages) = world.perform(&run).await?;
                assert_eq!(said, Said::Complete);
                assert!(messages < 100, "{messages} messages where {most} may be open: {how:?}");
                world.end().await
            });
        }
    }
}

#[test]
fn an_event_that_a_larger_question_did_not_bring_is_not_gone_because_the_smallest_is_refused() {
    for every in 3..14 {
        block_on(async {
            let refuses = vec![
                Rule { what: TooMuch::Kinds(5), how: Refusal::End },
                Rule { what: TooMuch::Every(every), how: Refusal::Closed("error: too much") },
            ];
            let mut world = without_profile(Quirks { refuses, ..Quirks::default() });
            let now = world.now();
            let all = [(7, 3_600), (6, 2 * DAY), (30_315, 3 * DAY)];
            let all = all.map(|(kind, age)| world.make(0, kind, now - age));
            world.give(0, all.into());
            world.add_peer(Quirks::default(), 2);
            let profile = vec![world.make(0, 0, now - 5 * DAY)];
            world.give(1, profile);
            // Afterwards two kinds are asked for from then on, and all others from the beginning.
            let (known, days) = (vec![0, 7], 0);
            world.perform(&Run { kinds: known, days, ..world.plain_run() }).await?;
            world.pass(3_600);
            let kinds = vec![1, 3, 5, 6, 7, 1063, 1111, 9735, 10_002, 30_023, 30_315];
            world.perform(&Run { kinds, days, ..world.plain_run() }).await?;
            world.pass(3_600);
            world.end().await
        });
    }
}
