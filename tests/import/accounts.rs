//! Every event that came in ends in exactly one class.

use serde_json::{Value, json};

use crate::support::events::{Author, forged, id_of};
use crate::support::node::Node;
use crate::support::strfry_bin;
use crate::{import, lines, with_each_strfry};

#[test]
fn every_class_is_told_with_the_event_that_won_or_deleted() {
    let (author, mallory) = (Author::new(1), Author::new(666));
    let article = |second, d_tag: &str| {
        author.event(30_023, second, json!([["d", d_tag]]), &format!("written at {second}"))
    };
    let regretted = author.note(100, "regretted");
    let address = format!("30023:{}:gone", author.pubkey());
    let (newer, newer_article) = (author.profile(200, "newer"), article(200, "x"));
    let deletion = author.event(5, 200, json!([["e", id_of(&regretted)]]), "");
    let address_deletion = author.event(5, 201, json!([["a", address]]), "");
    let held = [&newer, &newer_article, &deletion, &address_deletion].map(String::clone);
    let [older, older_article, gone] =
        [author.profile(100, "older"), article(100, "x"), article(100, "gone")];
    let new = author.note(300, "new");
    let input = vec![
        newer.clone(),
        older.clone(),
        older_article.clone(),
        regretted.clone(),
        gone.clone(),
        new.clone(),
        new.clone(),
        forged(&author.note(301, "true")),
        author.note(302, "true").replace("\"sig\":\"", "\"sig\":\"00").replacen("00\"}", "\"}", 1),
        mallory.note(303, "refused"),
        author.note(304, &"x".repeat(70_000)),
        "{}".to_owned(),
    ];
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        node.import(&held);
        node.write("strfry/blacklist.txt", format!("{}\n", mallory.pubkey()));
        let rejects = node.home().join("rejects.jsonl");
        let (code, summary) =
            import(&node, &["--rejects", rejects.to_str().unwrap()], &lines(&input));
        assert_eq!(code, 1, "{summary:#}");
        assert_eq!(
            summary["events"],
            json!({
                "already_present": 1, "superseded": 2, "deleted": 2, "imported": 1, "duplicate": 1,
                "bad_id": 1, "malformed": 2, "blacklisted": 1, "oversize": 1,
            })
        );
        let instead = |id: &str, by: &str| json!({ "id": id_of(id), "by": id_of(by) });
        let by_id = |list: &Value| {
            let mut list = list.as_array().unwrap().clone();
            list.sort_by_key(Value::to_string);
            list
        };
        let superseded = json!([instead(&older, &newer), instead(&older_article, &newer_article)]);
        assert_eq!(by_id(&summary["superseded"]), by_id(&superseded));
        let deleted = json!([instead(&regretted, &deletion), instead(&gone, &address_deletion)]);
        assert_eq!(by_id(&summary["deleted"]), by_id(&deleted));
        assert_eq!(summary["errors"], json!([]));

        let listed = node.read("rejects.jsonl");
        let mut places: Vec<u64> = listed
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["line"].as_u64().unwrap())
            .collect();
        places.sort_unstable();
        assert_eq!(places, [2, 3, 4, 5, 8, 9, 10, 11, 12]);
        let of_older = listed.lines().find(|line| line.contains(&id_of(&older))).unwrap();
        let of_older: Value = serde_json::from_str(of_older).unwrap();
        let reason = format!("the database holds {} in its place", id_of(&newer));
        assert_eq!([&of_older["class"], &of_older["reason"]], ["superseded", reason.as_str()]);
    });
}

#[test]
fn a_copy_is_no_second_import_however_far_away_it_is() {
    let author = Author::new(1);
    let events: Vec<String> = (0..3_000).map(|second| author.note(second, "hello")).collect();
    // The same again at once, and everything once more at the end.
    let mut input: Vec<String> =
        events.iter().flat_map(|event| [event.clone(), event.clone()]).collect();
    input.extend(events.iter().cloned());
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        let (code, summary) = import(&node, &[], &lines(&input));
        let classes = json!({ "imported": 3_000, "duplicate": 6_000 });
        assert_eq!((code, &summary["events"]), (0, &classes));
        // In one that finds them all there, a copy may be a duplicate of one that is being looked up.
        let (_, again) = import(&node, &[], &lines(&events));
        assert_eq!(again["events"], json!({ "already_present": 3_000 }));
    });
}

#[test]
fn a_forged_copy_keeps_no_genuine_one_out() {
    let author = Author::new(1);
    let genuine: Vec<String> = (0..600).map(|second| author.note(second, "true")).collect();
    let forgeries = genuine.iter().map(|event| event.replace("\"true\"", "\"false\""));
    let input: Vec<String> = forgeries.zip(&genuine).flat_map(|(f, g)| [f, g.clone()]).collect();
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        let (code, summary) = import(&node, &[], &lines(&input));
        assert_eq!((code, &summary["events"]), (1, &json!({ "imported": 600, "bad_id": 600 })));
    });
}

#[test]
fn without_verification_signatures_are_not_checked_and_ids_are() {
    let author = Author::new(1);
    let unsigned = author.note(5, "hello");
    let (start, _) = unsigned.rsplit_once("\"sig\":\"").unwrap();
    let unsigned = format!("{start}\"sig\":\"{}\"}}", "00".repeat(64));
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        let input = lines(&[unsigned.clone(), forged(&author.note(6, "true"))]);
        let (_, summary) = import(&node, &[], &input);
        assert_eq!(summary["events"], json!({ "bad_signature": 1, "bad_id": 1 }));
        let (_, summary) = import(&node, &["--no-verify"], &input);
        assert_eq!(summary["events"], json!({ "imported": 1, "bad_id": 1 }));
        assert_eq!(summary["verified"], json!(false));
    });
}

#[test]
fn a_dry_run_says_what_would_be_imported_and_starts_no_strfry() {
    let author = Author::new(1);
    let node = Node::new(&strfry_bin());
    std::fs::remove_file(node.strfry_dir().join("strfry")).unwrap();
    let note = author.note(5, "hello");
    let (code, summary) = import(&node, &["--dry-run"], &lines(&[note.clone(), note]));
    let classes = json!({ "would_import": 1, "duplicate": 1 });
    assert_eq!((code, &summary["events"]), (0, &classes));
}

#[test]
fn what_strfry_refuses_or_only_says_it_took_is_told_apart() {
    let author = Author::new(1);
    let events: Vec<String> = (0..9).map(|second| author.note(second, "hello")).collect();
    let run = |fault: &str, flag: &str| {
        let node = Node::new(&strfry_bin());
        let mut command = node.companion(&["import", "--json", flag]);
        let output = crate::support::feed(command.env(fault, "3"), &lines(&events));
        let (code, summary) = crate::told(&output);
        assert_eq!(node.events().len() as u64, summary["events"]["imported"].as_u64().unwrap());
        (code, summary)
    };
    let (code, summary) = run("STAND_IN_REJECT_EVERY", "--plain");
    // What is not there is given once more, of which strfry again refuses the third.
    let classes = json!({ "imported": 8, "rejected": 1 });
    assert_eq!((code, &summary["events"]), (1, &classes));
    assert_eq!(summary["reasons"], json!({ "rejected: test says no": 1 }));
    let (code, summary) = run("STAND_IN_DROP_EVERY", "--threads=1");
    let classes = json!({ "imported": 8, "not_confirmed": 1 });
    assert_eq!((code, &summary["events"]), (1, &classes));
}

#[test]
fn more_events_than_are_held_unconfirmed_wait_for_strfry_and_all_arrive() {
    let author = Author::new(1);
    let text = "x".repeat(30_000);
    // 30 MB, more than `limits::FIRST_BYTES`; a few cannot be fried and take the other way.
    let mut events: Vec<String> = (0..1_000).map(|second| author.note(second, &text)).collect();
    let follows: Value = (0..800).map(|number| json!(["p", format!("{number:064x}")])).collect();
    for at in (0..1_000).step_by(250) {
        events.insert(at, author.event(1, 5_000 + at as u64, follows.clone(), ""));
    }
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        let (code, summary) = import(&node, &[], &lines(&events));
        assert_eq!((code, &summary["events"]), (0, &json!({ "imported": 1_004 })));
        assert_eq!(node.events().len(), 1_004);
    });
}

#[test]
fn two_imports_at_once_disturb_neither() {
    let author = Author::new(1);
    let notes = |seconds: std::ops::Range<u64>| -> Vec<String> {
        seconds.map(|second| author.note(second, "hello")).collect()
    };
    let parts = [notes(0..2_000), notes(1_500..3_500)];
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        let summaries = std::thread::scope(|scope| {
            let runs =
                parts.each_ref().map(|part| scope.spawn(|| import(&node, &[], &lines(part))));
            runs.map(|run| run.join().unwrap())
        });
        assert_eq!(node.events().len(), 3_500);
        for (code, summary) in summaries {
            assert_eq!((code, &summary["status"]), (0, &"complete".into()));
            let imported = summary["events"]["imported"].as_u64().unwrap();
            assert!((1_500..=2_000).contains(&imported), "{summary:#}");
        }
    });
}
