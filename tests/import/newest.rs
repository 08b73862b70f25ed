//! What the newest strfry does in another way than 1.1.1: the stand-in does as it does.

use serde_json::{Value, json};

use crate::support::events::{Author, START, id_of};
use crate::support::feed;
use crate::support::node::Node;
use crate::support::strfry_bin;
use crate::{import, lines, told};

fn newest(node: &Node, flags: &[&str], events: &[String]) -> (i32, Value) {
    let mut command = node.companion(&[&["import", "--json"], flags].concat());
    told(&feed(command.env("STAND_IN_NEWEST", "1"), &lines(events)))
}

#[test]
fn a_gift_wrap_that_its_recipient_has_deleted_is_deleted_and_not_lost() {
    let (wrapper, recipient, other) = (Author::new(1), Author::new(2), Author::new(3));
    let to = |recipient: &Author| json!([["p", recipient.pubkey().to_string()]]);
    for kind in [1059, 21059] {
        let node = Node::new(&strfry_bin());
        let wrap = wrapper.event(kind, START, to(&recipient), "wrapped");
        let to_two =
            json!([["p", other.pubkey().to_string()], ["p", recipient.pubkey().to_string()]]);
        let second = wrapper.event(kind, START, to_two, "wrapped twice");
        let not_hers = wrapper.event(kind, START, to(&other), "to somebody else");
        let all = [wrap, second, not_hers];
        let named = all.each_ref().map(|wrap| json!(["e", id_of(wrap)]));
        let deletion = recipient.event(5, START + 1, json!(named), "");
        node.import(std::slice::from_ref(&deletion));
        let (code, summary) = newest(&node, &[], &all);
        assert_eq!((code, &summary["events"]), (0, &json!({ "deleted": 2, "imported": 1 })));
        let by = |wrap: &String| json!({ "id": id_of(wrap), "by": id_of(&deletion) });
        let mut blamed = summary["deleted"].as_array().unwrap().clone();
        blamed.sort_by_key(|it| it["id"] != id_of(&all[0]));
        assert_eq!(blamed, [by(&all[0]), by(&all[1])]);
        assert_eq!(summary["errors"], json!([]));
    }
}

/// 1.1.1 knows no such rule: an event that it takes must not be held back.
#[test]
fn a_strfry_that_takes_a_gift_wrap_although_its_recipient_has_deleted_it_gets_it() {
    crate::with_each_strfry(|strfry| {
        let (wrapper, recipient) = (Author::new(1), Author::new(2));
        let to = json!([["p", recipient.pubkey().to_string()]]);
        let wrap = wrapper.event(1059, START, to, "wrapped");
        let node = Node::new(strfry);
        node.import(&[recipient.event(5, START + 1, json!([["e", id_of(&wrap)]]), "")]);
        let (code, summary) = import(&node, &[], &lines(&[wrap]));
        assert_eq!((code, &summary["events"]), (0, &json!({ "imported": 1 })));
    });
}

#[test]
fn a_rejection_is_told_with_its_reason_whoever_runs_strfry() {
    let node = Node::new(&strfry_bin());
    let events = [Author::new(1).note(1, "hello"), Author::new(1).note(2, "hello")];
    let mut command = node.companion(&["import", "--json", "--plain"]);
    command.env("STAND_IN_NEWEST", "1").env("STAND_IN_REJECT_EVERY", "1");
    let (code, summary) = told(&feed(&mut command, &lines(&events)));
    assert_eq!((code, &summary["events"]), (1, &json!({ "rejected": 2 })));
    assert_eq!(summary["reasons"], json!({ "rejected: test says no": 2 }));
}
