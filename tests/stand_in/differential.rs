//! The stand-in beside the real strfry, on random events; and the library's encoder beside the
//! stand-in's own.

use std::collections::BTreeSet;

use strfry_companion::import::{EventLimits, StoredEvent};
use strfry_companion::nostr::Event;

use crate::random_events::RandomEvents;
use crate::support::stand_in::judge::{judge, parse};
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

#[test]
fn the_librarys_encoder_and_the_stand_ins_agree_on_random_events() {
    let mut random = RandomEvents::new(SEED);
    let limits = EventLimits::default();
    let mut agreed = 0;
    for _ in 0..5_000 {
        let line = random.event().to_string();
        let ours = StoredEvent::encode(&Event::parse(&line).unwrap(), &limits);
        // The library refuses DEL, whatever the mode.
        let Ok(ours) = ours else { continue };
        let theirs = judge(&parse(line.as_bytes()).unwrap(), &limits, false);
        assert_eq!(Ok(NewEvent::from(&ours)), theirs, "{line}");
        agreed += 1;
    }
    assert!(agreed > 1_000, "{agreed}");
}
