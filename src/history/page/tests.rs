use serde_json::json;

use super::*;
use crate::history::run::RunGap;
use crate::peer::Cause;

const HOSTILE: &str = "<script>alert(1)</script>\" onload='x' &amp; \u{202e}\u{1b}[2J{{ w.title }}";

fn run(text: &str) -> Run {
    serde_json::from_value(json!({
        "version": 1, "status": "incomplete", "started_at": "2026-11-26T03:12:01Z", "seconds": 12.34,
        "pubkeys": 3, "received": 12_345, "events": {"imported": 1_234, "bad_id": 2, text: 1},
        "profiles": {"found": 1, "missing": 1, "recovered": 1, "missing_pubkeys": [text]},
        "reasons": {text: 3}, "errors": [text],
        "gained": {"bytes": 99, "kinds": {"0": 4, "1": 1_230}, "days": {text: 7, "2026-11-25": 1_227}},
        "phases": [{"name": text, "seconds": 1.0}], "peak_memory": 12_000_000,
        "peers": [{"name": text, "url": text, "status": "failed", "received": 0, "events": {},
                   "gaps": [{"reason": text}]}],
    }))
    .unwrap()
}

fn history(text: &str, runs: usize) -> History {
    History { runs: vec![(run(text), String::new()); runs], skipped: 0 }
}

#[test]
fn there_is_no_page_of_no_run() {
    assert_eq!(page(&History::default(), Language::English), Ok(None));
}

#[test]
fn whatever_strangers_write_is_text() {
    for language in [Language::English, Language::French] {
        let plain = page(&history("plain", 2), language).unwrap().unwrap();
        let hostile = page(&history(HOSTILE, 2), language).unwrap().unwrap();
        let tags = |page: &str| page.matches('<').count();
        assert_eq!(tags(&plain), tags(&hostile));
        let quotes = |page: &str| page.matches('"').count();
        assert_eq!(quotes(&plain), quotes(&hostile));
        assert!(!hostile.contains(['\u{202e}', '\u{1b}']));
        assert!(!hostile.contains("<script") && hostile.contains("{{ w.title }}"));
    }
}

#[test]
fn the_page_loads_nothing() {
    let page = page(&history("plain", 2), Language::French).unwrap().unwrap();
    for word in ["http:", "https:", "src=", "url(", "@import", "<link rel=\"stylesheet"] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn the_sentence_tells_what_happened_in_both_languages() {
    let sentence = |language: Language| sentence(&run("x"), language.words(), language);
    assert_eq!(
        sentence(Language::English),
        "In 12.3 s the run brought 1,234 new events into the database. 1 of 1 peer did not give all that \
         was asked; the next run asks for the rest. Profiles: 1 recovered, 1 still missing."
    );
    assert_eq!(
        sentence(Language::French),
        "En 12,3 s, le passage a apporté 1\u{202f}234 nouveaux événements dans la base de données. 1 pair \
         sur 1 n’a pas donné tout ce qui était demandé\u{a0}; le prochain passage demandera le reste. \
         Profils\u{a0}: 1 récupérés, 1 encore manquants."
    );
}

#[test]
fn relays_that_are_asked_for_profiles_alone_are_not_among_the_peers() {
    let mut run = run("x");
    run.fallback = run.peers.clone();
    run.fallback[0].name = "public".to_owned();
    let history = History { runs: vec![(run, String::new())], skipped: 0 };
    let page = Page::new(&history.runs[0].0, &history, Language::English);
    let names = |group: &PeerGroup| group.rows.iter().map(|row| row.name.clone()).collect();
    let groups: Vec<(&str, Vec<String>)> =
        page.peers.iter().map(|group| (group.title, names(group))).collect();
    assert_eq!(
        groups,
        [
            ("Peers", vec!["x".to_owned()]),
            ("Relays asked for missing profiles", vec!["public".to_owned()]),
        ]
    );
}

#[test]
fn a_chart_of_few_runs_names_the_first_and_the_last_beside_one_another() {
    let words = Language::English.words();
    let point = |name: &str| Point { value: 0.7, class: "", name: name.to_owned() };
    let ends = |count: usize| {
        let points = (0..count).map(|number| point(&(count - number).to_string())).collect();
        let chart = chart("", points, |seconds| words.duration(seconds), words);
        (chart.most, chart.first, chart.last)
    };
    let most = || "Highest: 0.7 s".to_owned();
    assert_eq!(ends(1), (most(), "1".to_owned(), String::new()));
    assert_eq!(ends(4), (most(), "1 – 4".to_owned(), String::new()));
    assert_eq!(ends(20), (most(), "1".to_owned(), "20".to_owned()));
}

#[test]
fn each_class_of_events_has_a_french_name() {
    for class in crate::backfill::Class::ALL {
        let is_named =
            Language::French.class(class.name()) != Language::English.class(class.name());
        // A dry run is never in the history.
        assert_eq!(is_named, *class != crate::backfill::Class::WouldImport, "{class:?}");
    }
}

/// One of each reason, as a history has it.
fn gaps() -> Vec<RunGap> {
    use crate::peer::GapReason::*;
    let words = || "words <b>".to_owned();
    let reasons = [
        NotConnected(words()),
        DenseSecond(7),
        IgnoresFilter,
        SaysNothing,
        AfterItsEnd,
        Closed(words()),
        Unanswered(7),
        NoOrder,
        TimedOut(7, None),
        TimedOut(7, Some(words())),
        TooSlow(7),
        Cut(words()),
        NotGiven(7, None),
        NotGiven(7, Some(words())),
        Useless,
        Forged(7),
        Strangers(7),
        Stopped,
    ];
    let of_peers = reasons.iter().map(|reason| (reason.to_string(), Cause::from(reason)));
    let ours = [
        ("7 events are not here".to_owned(), Cause::counted("unsettled", 7)),
        ("too many events".to_owned(), Cause::named("too_many_unsettled")),
    ];
    let gap = |(reason, cause): (String, Cause)| {
        serde_json::from_value(json!({"reason": reason, "cause": cause})).unwrap()
    };
    of_peers.chain(ours).map(gap).collect()
}

#[test]
fn every_reason_is_told_in_french_with_its_number_and_its_words() {
    for gap in gaps() {
        let (english, french) = (Language::English.reason(&gap), Language::French.reason(&gap));
        assert_eq!(english, gap.reason);
        assert_ne!(french, english);
        let cause = gap.cause.unwrap();
        assert_eq!(french.contains('7'), cause.number.is_some(), "{french}");
        assert_eq!(french.ends_with(" : words <b>"), cause.words.is_some(), "{french}");
    }
    let mut run = run("plain");
    run.peers[0].gaps = gaps().drain(8..10).collect();
    let history = History { runs: vec![(run, String::new())], skipped: 0 };
    let page = page(&history, Language::French).unwrap().unwrap();
    let told =
        "rien de nouveau pendant 7 s; rien de nouveau pendant 7 s, après cet avis : words &#60;b";
    assert!(page.contains(told), "{page}");
}

#[test]
fn a_reason_whose_cause_is_not_known_is_told_as_it_was_noted() {
    for cause in [json!(null), json!({"name": "of a later version", "number": 1, "words": null})] {
        let gap: RunGap =
            serde_json::from_value(json!({"reason": "because", "cause": cause})).unwrap();
        assert_eq!(Language::French.reason(&gap), "because");
    }
    let gap: RunGap = serde_json::from_value(json!({"reason": "because"})).unwrap();
    assert_eq!(Language::French.reason(&gap), "because");
}

#[test]
fn a_page_of_a_long_history_with_long_lists_is_bounded() {
    let mut history = history("plain", 500);
    let mut run = run(&"x".repeat(5_000));
    run.peers = vec![run.peers[0].clone(); 10_000];
    run.profiles.missing_pubkeys = vec!["y".repeat(64); 2_000];
    run.gained.kinds = (0..60_000).map(|kind| (kind, 1)).collect();
    run.reasons = (0..1_000).map(|number| (number.to_string(), 1)).collect();
    history.runs[0].0 = run;
    let page = page(&history, Language::English).unwrap().unwrap();
    assert!(page.len() < 500_000, "{}", page.len());
    assert!(page.contains("Other kinds") && page.contains("59,975"));
}
