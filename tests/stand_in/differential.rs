//! The stand-in beside the real strfry, on random events; and the library's encoder beside the
//! stand-in's own.

use std::collections::BTreeSet;
use std::path::Path;

use rayon::prelude::*;
use strfry_companion::import::{EventLimits, Refusal, StoredEvent};
use strfry_companion::nostr::Event;

use crate::random_events::RandomEvents;
use crate::support::stand_in::judge::judge;
use crate::support::stand_in::tao::parse;
use crate::support::stand_in::writer::NewEvent;
use crate::support::tables::assert_same_tables;
use crate::support::{NO_STRFRY, messages, real_strfry, run_strfry, strfry_bin, strfry_node};

const SEED: u64 = 7;

#[test]
fn after_every_batch_of_random_events_all_tables_are_those_of_strfry() {
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    let mut random = RandomEvents::new(SEED);
    let (ours, theirs) = (strfry_node(), strfry_node());
    let mut earlier: Vec<String> = Vec::new();
    // One transaction for each import: a longer debounce than any import takes.
    let arguments = ["import", "--no-verify", "--show-rejected", "--debounce-millis=600000"];
    for batch in 0..8 {
        let mut lines: Vec<String> = (0..600).map(|_| format!("{}\n", random.event())).collect();
        // Some come again, from this batch and from earlier ones.
        lines.extend(lines.iter().step_by(50).cloned().collect::<Vec<_>>());
        lines.extend(earlier.iter().step_by(70).cloned());
        let input = lines.concat();
        let what_happened = |program, node: &std::path::Path| {
            let imported = run_strfry(program, node, &arguments, input.as_bytes());
            assert!(imported.status.success(), "{imported:?}");
            let told = ["Deleting", "Writer:", "Rejected", "Done."];
            let mut log = messages(&imported);
            log.retain(|line| told.iter().any(|word| line.starts_with(word)));
            BTreeSet::from_iter(log)
        };
        let by_us = what_happened(strfry_bin(), ours.path());
        let by_them = what_happened(strfry.clone(), theirs.path());
        let only_us: Vec<_> = by_us.difference(&by_them).collect();
        let only_them: Vec<_> = by_them.difference(&by_us).collect();
        assert!(only_us.is_empty() && only_them.is_empty(), "{batch}: {only_us:#?} {only_them:#?}");
        assert_same_tables(&ours.path().join("strfry-db"), &theirs.path().join("strfry-db"));
        earlier.extend(lines);
    }
    for _ in 0..60 {
        let filters = serde_json::json!([random.filter(), random.filter()]).to_string();
        let found = |program, node| run_strfry(program, node, &["scan", &filters], b"").stdout;
        let (ours, theirs) =
            (found(strfry_bin(), ours.path()), found(strfry.clone(), theirs.path()));
        assert_eq!(ours, theirs, "{filters}");
    }
}

/// So many in all. A failure names its line; the seeds are the numbers of the parts.
const ENCODED: u64 = 100_000;

#[test]
fn the_librarys_encoder_and_the_stand_ins_agree_on_random_events() {
    const PART: u64 = 5_000;
    let limits = EventLimits::default();
    let agreed: u64 = (0..ENCODED / PART)
        .into_par_iter()
        .map(|seed| {
            let mut random = RandomEvents::new(seed);
            let lines = (0..PART).map(|_| random.odd_event().to_string());
            lines.filter(|line| agree(line, &limits)).count() as u64
        })
        .sum();
    assert!(agreed > ENCODED / 5, "{agreed}");
}

/// Whether both take the event, and then in the same forms.
fn agree(line: &str, limits: &EventLimits) -> bool {
    let ours = Event::parse(line)
        .map_err(Refusal::from)
        .and_then(|event| StoredEvent::encode(&event, limits));
    // The library refuses what strfry writes in other bytes, whatever the mode.
    if let Err(Refusal::Del | Refusal::Number(_) | Refusal::KeyOrder) = ours {
        return false;
    }
    let theirs = judge(&parse(line.as_bytes()).unwrap(), limits, false);
    match (&ours, &theirs) {
        (Ok(ours), Ok(theirs)) => assert_eq!(NewEvent::from(ours), *theirs, "{line}"),
        (Err(_), Err(_)) => {}
        _ => panic!("{ours:?} {theirs:?} {line}"),
    }
    ours.is_ok()
}

#[test]
fn fried_lines_of_ours_make_the_database_that_plain_lines_make() {
    fried_as_plain(&strfry_bin(), 2, 1_500);
    match real_strfry() {
        Some(strfry) => fried_as_plain(&strfry, 20, 5_000),
        None => println!("{NO_STRFRY}"),
    }
}

fn fried_as_plain(strfry: &Path, batches: u64, size: usize) {
    let limits = EventLimits::default();
    let (fried, plain) = (strfry_node(), strfry_node());
    for seed in 0..batches {
        // The batches have nothing in common but their shapes, so none deletes what another needs.
        let mut random = RandomEvents::new(seed);
        let events: Vec<StoredEvent> = (0..size)
            .filter_map(|_| {
                let line = random.odd_event().to_string();
                StoredEvent::encode(&Event::parse(&line).unwrap(), &limits).ok()
            })
            .filter(|event| event.can_be_fried(&limits))
            .collect();
        let import = |node: &Path, flag: &str, push: fn(&StoredEvent, &mut Vec<u8>)| {
            let mut lines = Vec::new();
            events.iter().for_each(|event| push(event, &mut lines));
            // One transaction for each import: a longer debounce than any import takes.
            let arguments = ["import", flag, "--debounce-millis=600000"];
            let imported = run_strfry(strfry, node, &arguments, &lines);
            assert!(imported.status.success(), "{imported:?}");
        };
        import(fried.path(), "--fried", StoredEvent::push_fried_line);
        import(plain.path(), "--no-verify", StoredEvent::push_line);
    }
    assert_same_tables(&fried.path().join("strfry-db"), &plain.path().join("strfry-db"));
}
