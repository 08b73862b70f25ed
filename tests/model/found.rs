//! What the model has found, each told as the shortest story that shows it.

mod belief;

use crate::block_on;
use crate::node::Intake;
use crate::quirks::{
    Challenge, Comparing, Login, Order, Quirks, Refusal, Rule, Speech, Stored, TooMuch, Verdict,
    Withholds,
};
use crate::run::{Run, Said};
use crate::world::{DAY, World};

/// A world with one author and one relay.
fn one_author(quirks: Quirks) -> World {
    let mut world = World::new("found", 1);
    world.add_peer(quirks, 1);
    give_profiles(&mut world);
    world
}

/// The first author has profiles, one of which is taken: where none is here, everything is asked for
/// anew, and no hole shows.
fn give_profiles(world: &mut World) {
    let newest = world.now() - 600;
    let profiles = (0..4).map(|second| world.make(0, 0, newest - second)).collect();
    world.give(0, profiles);
}

fn notes(world: &mut World, count: u64, second: impl Fn(u64) -> u64) -> Vec<Stored> {
    (0..count).map(|number| world.make(0, 1, second(number))).collect()
}

/// Performs a run that is not to be complete.
async fn fails(world: &mut World, run: Run) {
    let (said, _) = world.perform(&run).await.unwrap_or_else(|fault| panic!("{fault}"));
    assert_ne!(said, Said::Complete);
}

/// What happens to a plain run.
fn plain(world: &World, intake: Intake) -> Run {
    Run { intake, ..world.plain_run() }
}

const TAKES_ALL: Intake = Intake { window: 1, rejects: 0, stops_after: None };

#[test]
fn a_hole_in_a_lively_second_closes() {
    for comparing in [Comparing::Works, Quirks::default().comparing] {
        block_on(async {
            let mut world = one_author(Quirks { comparing, ..Quirks::default() });
            let second = world.now() - 2 * DAY;
            let lively = notes(&mut world, 60, |_| second);
            world.give(0, lively);
            let rejecting = plain(&world, Intake { rejects: 5, ..TAKES_ALL });
            fails(&mut world, rejecting).await;
            world.pass(3_600);
            world.end().await
        });
    }
}

#[test]
fn what_one_peer_gave_and_was_rejected_is_asked_for_again_of_another_that_has_it() {
    block_on(async {
        let mut world = World::new("found", 1);
        let quirks = Quirks { comparing: Comparing::Works, ..Quirks::default() };
        world.add_peer(quirks.clone(), 1);
        world.add_peer(quirks, 2);
        let now = world.now();
        give_profiles(&mut world);
        let all = notes(&mut world, 30, |number| now - 3 * DAY - number);
        world.give(0, all.clone());
        world.give(1, all);
        let rejecting = plain(&world, Intake { rejects: 3, ..TAKES_ALL });
        fails(&mut world, rejecting).await;
        world.pass(3_600);
        for peer in [0, 1] {
            let run = Run { peers: vec![peer], ..world.plain_run() };
            world.perform(&run).await?;
        }
        world.end().await
    });
}

#[test]
fn a_first_run_killed_after_the_profile_came_is_carried_on() {
    for dies_at in 3..60 {
        block_on(async {
            let mut world = one_author(Quirks { cap: 20, ..Quirks::default() });
            let now = world.now();
            let mut all = notes(&mut world, 60, |number| now - 20 * DAY - number);
            all.push(world.make(0, 0, now - 60));
            world.give(0, all);
            let run = Run { dies_at: Some(dies_at), ..plain(&world, TAKES_ALL) };
            world.perform(&run).await?;
            world.pass(3_600);
            world.end().await
        });
    }
}

#[test]
fn what_comes_as_the_run_is_told_to_stop_is_asked_for_again() {
    for stops_after in 0..12 {
        block_on(async {
            let comparing = Comparing::Works;
            let mut world = one_author(Quirks { comparing, ..Quirks::default() });
            let now = world.now();
            let all = notes(&mut world, 10, |number| now - 3 * DAY - number);
            world.give(0, all);
            let stops = Intake { stops_after: Some(stops_after), ..TAKES_ALL };
            world.perform(&plain(&world, stops)).await?;
            world.pass(3_600);
            world.end().await
        });
    }
}

#[test]
fn a_run_that_asks_for_less_hides_no_hole() {
    block_on(async {
        let mut world = one_author(Quirks::default());
        let now = world.now();
        let all = notes(&mut world, 40, |number| now - number * DAY / 4);
        world.give(0, all);
        let rejecting = plain(&world, Intake { rejects: 4, ..TAKES_ALL });
        fails(&mut world, rejecting).await;
        for kinds in [vec![7], vec![0, 3]] {
            let narrow = Run { kinds, ..world.plain_run() };
            world.perform(&narrow).await?;
        }
        let later = Run { ignores_state: true, ..world.plain_run() };
        world.perform(&later).await?;
        world.pass(5 * DAY);
        world.end().await
    });
}

#[test]
fn two_dense_seconds_side_by_side_are_both_here_or_both_missing() {
    block_on(async {
        let mut world = one_author(Quirks { cap: 5, ..Quirks::default() });
        let second = world.now() - 3 * DAY;
        let dense = notes(&mut world, 40, |number| second + number % 2);
        world.give(0, dense);
        let run = plain(&world, TAKES_ALL);
        fails(&mut world, run.clone()).await;
        world.pass(3_600);
        // As a hole is asked for: these two seconds alone.
        fails(&mut world, run).await;
        world.pass(3_600);
        world.end().await
    });
}

#[test]
fn a_comparison_with_an_empty_set_is_not_believed_because_the_first_question_has_no_answer() {
    block_on(async {
        let mut world = World::new("found", 2);
        world.add_peer(Quirks { comparing: Comparing::EmptySet, ..Quirks::default() }, 1);
        let now = world.now();
        let past = [0, 1].map(|author| world.make(author, 0, now - 3 * DAY));
        world.give(0, past.into());
        world.perform(&world.plain_run()).await?;
        world.pass(3 * DAY);
        let authors = world.authors()[..1].to_vec();
        let of_one = Run { authors, ..world.plain_run() };
        world.perform(&of_one).await?;
        world.pass(DAY);
        // Of the first author there is nothing new, of the second there is.
        let news = vec![world.make(1, 7, now + 3_600)];
        world.give(0, news);
        world.perform(&world.plain_run()).await?;
        world.end().await
    });
}

#[test]
fn a_comparison_with_an_empty_set_is_not_believed_for_messages_either() {
    block_on(async {
        let mut world = one_author(Quirks { comparing: Comparing::EmptySet, ..Quirks::default() });
        let second = world.now() - 2 * DAY;
        let all = [1, 4, 1059].map(|kind| world.make(0, kind, second));
        world.give(0, all.into());
        world.perform(&world.plain_run()).await?;
        world.end().await
    });
}

#[test]
fn a_hole_at_a_relay_that_excludes_a_bound_does_not_close_by_itself() {
    for (since_is_exclusive, until_is_exclusive) in [(true, false), (false, true)] {
        block_on(async {
            let quirks = Quirks { since_is_exclusive, until_is_exclusive, ..Quirks::default() };
            let mut world = one_author(quirks);
            let now = world.now();
            let all = notes(&mut world, 30, |number| now - 3 * DAY - number * 60);
            world.give(0, all);
            let rejecting = plain(&world, Intake { rejects: 3, ..TAKES_ALL });
            fails(&mut world, rejecting).await;
            world.pass(3_600);
            world.perform(&world.plain_run()).await?;
            world.pass(3_600);
            world.end().await
        });
    }
}

/// A relay that refuses kinds 4 and 1059 as restricted, until it knows us.
fn gives_messages_after_a_login(challenges: &[Challenge], verdict: Verdict) {
    for &challenge in challenges {
        block_on(async {
            let refusal = Refusal::Closed("restricted: members only");
            let login = Some(Login { challenge, guards: Some(&[4, 1059]), refusal, verdict });
            let comparing = Comparing::Works;
            let mut world = one_author(Quirks { login, comparing, ..Quirks::default() });
            let second = world.now() - 2 * DAY;
            let messages = vec![world.make(0, 4, second), world.make(0, 1059, second)];
            world.give(0, messages);
            world.perform(&plain(&world, TAKES_ALL)).await?;
            world.pass(3_600);
            world.end().await
        });
    }
}

#[test]
fn a_message_that_a_relay_gives_to_those_who_log_in_is_asked_for_with_a_key() {
    let challenges = [Challenge::AtConnect, Challenge::BeforeRefusal];
    gives_messages_after_a_login(&challenges, Verdict::Accepts);
}

#[test]
fn a_message_is_asked_for_with_a_key_also_if_the_challenge_comes_after_the_refusal() {
    gives_messages_after_a_login(&[Challenge::AfterRefusal], Verdict::Accepts);
}

#[test]
fn a_message_is_asked_for_with_a_key_also_if_the_relay_wants_a_newer_answer() {
    let challenges = [Challenge::AtConnect, Challenge::BeforeRefusal];
    gives_messages_after_a_login(&challenges, Verdict::RejectsTheFirst);
}

#[test]
fn a_span_that_worked_is_not_the_longest_that_works() {
    block_on(async {
        let mut world = World::new("found", 2);
        let how = Refusal::Closed("error: too many kinds");
        let refuses = vec![Rule { what: TooMuch::Kinds(10), how }];
        world.add_peer(Quirks { refuses, ..Quirks::default() }, 1);
        let now = world.now();
        let all = (0..40).map(|day| world.make(0, 1, now - day * DAY)).collect();
        world.give(0, all);
        // Of the first author what is new is asked for, of the second everything.
        let profile = vec![world.make(0, 0, now - 50 * DAY)];
        world.give(0, profile);
        let authors = world.authors()[..1].to_vec();
        let of_one = Run { authors, ..world.plain_run() };
        world.perform(&of_one).await?;
        world.pass(DAY);
        let (said, messages) = world.perform(&world.plain_run()).await?;
        assert_eq!(said, Said::Complete);
        assert!(messages < 1_000, "{messages} messages");
        world.end().await
    });
}

#[test]
fn time_that_is_divided_because_nothing_was_not_true_has_a_bound() {
    block_on(async {
        let mut world = World::new("found", 2);
        let refuses = vec![Rule { what: TooMuch::Span(2 * DAY), how: Refusal::End }];
        world.add_peer(Quirks { refuses, ..Quirks::default() }, 1);
        world.add_peer(Quirks::default(), 2);
        let now = world.now();
        let all = (0..40).map(|day| world.make(0, 1, now - day * DAY)).collect();
        world.give(0, all);
        // Of the first author what is new is asked for, of the second everything.
        let profile = vec![world.make(0, 0, now - 50 * DAY)];
        world.give(1, profile);
        let authors = world.authors()[..1].to_vec();
        let of_one = Run { authors, peers: vec![1], ..world.plain_run() };
        world.perform(&of_one).await?;
        let (said, messages) = world.perform(&world.plain_run()).await?;
        assert_ne!(said, Said::Complete);
        assert!(messages < 15_000, "{messages} messages");
        world.pass(3_600);
        world.end().await
    });
}

#[test]
fn a_last_second_that_fills_the_largest_page_of_a_relay_is_not_called_whole() {
    block_on(async {
        let mut world = one_author(Quirks { cap: 5, ..Quirks::default() });
        let second = world.now() - 3 * DAY;
        let dense = notes(&mut world, 12, |_| second);
        world.give(0, dense);
        let run = plain(&world, TAKES_ALL);
        fails(&mut world, run).await;
        world.pass(3_600);
        world.end().await
    });
}

#[test]
fn a_last_second_is_whole_where_the_relay_gives_more_events_at_once() {
    block_on(async {
        let mut world = World::new("found", 2);
        world.add_peer(Quirks::default(), 1);
        let second = world.now() - 3 * DAY;
        let mut all = notes(&mut world, 12, |_| second);
        all.extend((0..20).map(|number| world.make(1, 7, second - number)));
        world.give(0, all);
        let authors = world.authors()[..1].to_vec();
        let of_one = Run { authors, ..world.plain_run() };
        let (said, _) = world.perform(&of_one).await?;
        assert_eq!(said, Said::Complete);
        world.end().await
    });
}

/// A relay that answers with nothing until it knows us.
fn gives_all_after_a_login(challenge: Challenge, verdict: Verdict) {
    block_on(async {
        let login = Some(Login { challenge, guards: None, refusal: Refusal::End, verdict });
        let mut world = one_author(Quirks { login, ..Quirks::default() });
        let now = world.now();
        let all = notes(&mut world, 30, |number| now - 2 * DAY - number);
        world.give(0, all);
        world.perform(&plain(&world, TAKES_ALL)).await?;
        world.pass(3_600);
        world.end().await
    });
}

#[test]
fn an_empty_answer_is_not_believed_while_a_newer_challenge_is_to_be_answered() {
    for challenge in [Challenge::AtConnect, Challenge::Again, Challenge::BeforeRefusal] {
        gives_all_after_a_login(challenge, Verdict::RejectsTheFirst);
    }
}

#[test]
fn what_was_empty_before_a_late_challenge_is_asked_for_again() {
    gives_all_after_a_login(Challenge::LongAfterRefusal, Verdict::Accepts);
    gives_all_after_a_login(Challenge::LongAfterRefusal, Verdict::RejectsTheFirst);
}

#[test]
fn nothing_is_not_believed_at_a_limit_at_which_nothing_has_come() {
    block_on(async {
        let refuses = vec![
            Rule { what: TooMuch::Kinds(10), how: Refusal::Closed("error: too much") },
            Rule { what: TooMuch::Limit(20), how: Refusal::End },
        ];
        let mut world = World::new("found", 6);
        world.add_peer(Quirks { refuses, ..Quirks::default() }, 1);
        let now = world.now();
        let mut all = Vec::new();
        for author in 0..6 {
            all.extend((0..8).map(|number| world.make(author, 7, now - 3 * DAY - number)));
        }
        world.give(0, all);
        world.perform(&plain(&world, TAKES_ALL)).await?;
        world.pass(3_600);
        world.end().await
    });
}

#[test]
fn an_end_that_is_said_before_the_events_ends_no_control_question() {
    block_on(async {
        let refuses = vec![Rule { what: TooMuch::Limit(100), how: Refusal::End }];
        let speech = Speech { ends_first: true, ..Speech::default() };
        let mut world = one_author(Quirks { refuses, speech, ..Quirks::default() });
        let now = world.now();
        let all = notes(&mut world, 30, |number| now - 2 * DAY - number);
        world.give(0, all);
        world.perform(&plain(&world, TAKES_ALL)).await?;
        world.pass(3_600);
        world.end().await
    });
}

#[test]
fn a_dense_second_at_a_relay_that_excludes_the_first_is_not_empty_for_its_other_authors() {
    block_on(async {
        let mut world = World::new("found", 4);
        world.add_peer(Quirks { cap: 5, since_is_exclusive: true, ..Quirks::default() }, 1);
        let second = world.now() - 3 * DAY;
        let mut all = Vec::new();
        for author in 0..4 {
            all.extend((0..3).map(|_| world.make(author, 7, second)));
        }
        all.push(world.make(0, 1, second - 60));
        world.give(0, all);
        world.perform(&plain(&world, TAKES_ALL)).await?;
        world.pass(3_600);
        world.end().await
    });
}

#[test]
fn one_author_after_the_other_shows_although_the_first_second_is_left_out() {
    block_on(async {
        let mut world = World::new("found", 2);
        let quirks =
            Quirks { order: Order::ByAuthor, since_is_exclusive: true, ..Quirks::default() };
        world.add_peer(Quirks { cap: 20, ..quirks }, 1);
        let second = world.now() - 3 * DAY;
        let mut all: Vec<_> = (0..19).map(|n| world.make(0, 1, second + n)).collect();
        // Of the other author everything is one second newer than the end of the first page.
        all.push(world.make(0, 1, second - 100));
        all.extend((0..3).map(|_| world.make(1, 1, second - 99)));
        world.give(0, all);
        world.perform(&plain(&world, TAKES_ALL)).await?;
        world.pass(3_600);
        world.end().await
    });
}

/// The run of a node whose only relay is like this ends, after no more than so many messages.
fn ends_within(most: usize, quirks: Quirks) {
    block_on(async {
        let mut world = World::new("found", 4);
        world.add_peer(quirks, 1);
        let now = world.now();
        let all =
            (0..120).map(|n| world.make(n % 4, [0, 1, 7, 1059][n / 4 % 4], now - n as u64 * 7_000));
        let all = all.collect();
        world.give(0, all);
        let (_, messages) = world.perform(&plain(&world, TAKES_ALL)).await?;
        assert!(messages <= most, "{messages} messages");
        world.pass(3_600);
        world.end().await
    });
}

#[test]
fn a_relay_that_allows_one_open_subscription_is_not_asked_more_at_once_for_long() {
    let refuses = vec![
        Rule { what: TooMuch::Open(1), how: Refusal::Closed("no") },
        Rule { what: TooMuch::Span(60 * DAY), how: Refusal::Closed("no") },
    ];
    ends_within(3_000, Quirks { refuses, ..Quirks::default() });
}

#[test]
fn a_kind_that_is_kept_for_others_is_not_asked_for_day_by_day() {
    let how = Some(Refusal::Closed("auth-required: these are not yours"));
    let withholds = Some(Withholds { kinds: &[4, 1059], how, names_them: true });
    let refuses = vec![Rule { what: TooMuch::Span(60 * DAY), how: Refusal::Closed("no") }];
    ends_within(6_000, Quirks { cap: 20, refuses, withholds, ..Quirks::default() });
}

#[test]
fn a_relay_without_any_order_is_given_up_for_what_it_cuts() {
    ends_within(6_000, Quirks { cap: 5, order: Order::Random, ..Quirks::default() });
}

#[test]
fn a_question_that_a_relay_cuts_is_made_smaller_although_others_are_answered_meanwhile() {
    let login = Some(Login {
        challenge: Challenge::AfterRefusal,
        guards: None,
        refusal: Refusal::End,
        verdict: Verdict::RejectsTheFirst,
    });
    let refuses = vec![Rule { what: TooMuch::Authors(1), how: Refusal::Cut }];
    ends_within(6_000, Quirks { login, refuses, ..Quirks::default() });
}
