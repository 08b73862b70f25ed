//! Events that end every strfry that is given them: none of them ends an import, and everything
//! else arrives.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::killed::processes_of;
use crate::stubs::{assert_true, notes, stub};
use crate::support::events::{Author, START, id_of};
use crate::support::node::Node;
use crate::support::run_strfry;
use crate::{import, lines, with_each_strfry};

/// Correctly signed events of one author. Committed one after the other, the last makes strfry
/// 1.1.1 throw `unprocessed deletion`: the index in which it looks for the newest deletion of an
/// address is in the order of little-endian bytes.
struct Deadly {
    /// Sorts behind every other deletion of the address, and is dated before the articles.
    first_deletion: String,
    /// Dated after both articles, and not seen by strfry as long as the first is there.
    deletion: String,
    article: String,
    /// Deletes the first deletion.
    undeletion: String,
    newer_article: String,
}

impl Deadly {
    fn by(author: &Author) -> Self {
        let second = START | 0xff;
        let address = json!([["a", format!("30023:{}:x", author.pubkey())]]);
        let article = |at, text| author.event(30_023, at, json!([["d", "x"]]), text);
        let first_deletion = author.event(5, second, address.clone(), "");
        let undoes = json!([["e", id_of(&first_deletion)]]);
        Self {
            deletion: author.event(5, second + 101, address, "cut"),
            article: article(second + 50, "one"),
            undeletion: author.event(5, second + 55, undoes, ""),
            newer_article: article(second + 60, "two"),
            first_deletion,
        }
    }

    /// A node whose strfry dies of the newer article.
    fn node(&self, strfry: &Path) -> Node {
        let node = Node::new(strfry);
        node.import(&[self.first_deletion.clone(), self.deletion.clone()]);
        node.import(std::slice::from_ref(&self.article));
        node.import(std::slice::from_ref(&self.undeletion));
        node
    }
}

#[test]
fn an_event_that_would_kill_strfry_is_found_deleted_and_never_given_to_it() {
    let deadly = Deadly::by(&Author::new(7));
    let mut input = vec![deadly.newer_article.clone(), deadly.newer_article.clone()];
    input.extend(notes(30));
    with_each_strfry(|strfry| {
        let node = deadly.node(strfry);
        let given = lines(&input[..1]);
        let died = run_strfry("./strfry", &node.strfry_dir(), &["import"], &given);
        assert_eq!(died.status.signal(), Some(Signal::ABORT.as_raw()), "{died:?}");
        let said = String::from_utf8_lossy(&died.stderr);
        let (_, end) = said.split_once("terminate called after").unwrap();
        let thrown =
            " throwing an instance of 'std::runtime_error'\n  what():  unprocessed deletion\n";
        assert!(end.starts_with(thrown), "{said}");

        for flags in [&["--dry-run"][..], &["--plain"], &[]] {
            let node = deadly.node(strfry);
            let (code, summary) = import(&node, flags, &lines(&input));
            let new = if flags == ["--dry-run"] { "would_import" } else { "imported" };
            assert_eq!(summary["events"], json!({ "deleted": 2, new: 30 }), "{summary:#}");
            assert_eq!((code, &summary["errors"]), (0, &json!([])));
            let by = json!({ "id": id_of(&input[0]), "by": id_of(&deadly.deletion) });
            assert_eq!(summary["deleted"], json!([by, by]));
        }
    });
}

#[test]
fn what_strfry_dies_of_because_of_events_of_the_same_run_is_settled_each_time() {
    // Each deletion ends a commit, so that its articles come in the next one, and everything is
    // checked before the first.
    let script = "part=\"$0.$$\"; : > \"$part\"
        while IFS= read -r line; do
            printf '%s\\n' \"$line\" >> \"$part\"
            case $line in *'\"cut\"'*) \"$strfry\" \"$@\" < \"$part\" || kill -ABRT $$; : > \"$part\";;
            esac
        done
        exec \"$strfry\" \"$@\" < \"$part\"";
    let mut input: Vec<String> = (1..=5)
        .map(|number| Deadly::by(&Author::new(number)))
        .flat_map(|it| {
            [it.first_deletion, it.deletion, it.article, it.undeletion, it.newer_article]
        })
        .collect();
    input.extend(notes(20));
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        let stub = stub(&node, script);
        let (code, summary) =
            import(&node, &["--strfry-bin", stub.to_str().unwrap()], &lines(&input));
        // An article that strfry takes before it sees the second deletion is there.
        let imported = summary["events"]["imported"].as_u64().unwrap();
        let deleted = 45 - imported;
        assert!((5..=10).contains(&deleted), "{summary:#}");
        assert_eq!(summary["events"], json!({ "imported": imported, "deleted": deleted }));
        let [error] = &summary["errors"].as_array().unwrap()[..] else { panic!("{summary:#}") };
        let error = error.as_str().unwrap();
        assert!(error.starts_with("strfry had to be started again: strfry import ended with "));
        assert!(error.contains("unprocessed deletion"), "{error}");
        assert_eq!(code, 1);
        // The first deletions are gone again.
        let held = node.events().len() as u64;
        assert_eq!(held, imported - 5);
        let (code, summary) = import(&node, &[], &lines(&input));
        let classes = json!({ "already_present": held, "deleted": 45 - held });
        assert_eq!((code, &summary["events"]), (0, &classes), "{summary:#}");
    });
}

/// Takes all of its input, and dies if there is such an event in it.
fn dies_of(text: &str) -> String {
    format!(
        "part=\"$0.$$\"; echo >> \"$0.starts\"; cat > \"$part\"
        grep -q '{text}' \"$part\" && kill -ABRT $$
        exec \"$strfry\" \"$@\" < \"$part\""
    )
}

fn starts(stub: &Path) -> usize {
    fs::read(format!("{}.starts", stub.display())).unwrap().len()
}

#[test]
fn events_that_kill_every_strfry_are_singled_out_and_named_and_all_others_arrive() {
    let author = Author::new(9);
    let killers: Vec<String> = (0..4).map(|at| author.note(START + at, "deadly")).collect();
    let mut input = notes(600);
    // The last one again at the end, when it has been found: no copy of it is given either.
    let places = [0, 1, 300, input.len(), input.len()];
    let copies = [0, 1, 2, 3, 3];
    for (at, killer) in places.into_iter().zip(copies).rev() {
        input.insert(at, killers[killer].clone());
    }
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        let stub = stub(&node, &dies_of("deadly"));
        let (code, summary) =
            import(&node, &["--strfry-bin", stub.to_str().unwrap()], &lines(&input));
        let classes = json!({ "imported": 600, "rejected": 4, "duplicate": 1 });
        assert_eq!((code, &summary["events"]), (1, &classes), "{summary:#}");
        assert_true(&node, &summary);
        let words = "strfry ended (signal: 6 (SIGABRT)) each time it was given";
        let reasons = json!({ format!("rejected: {words} this event"): 4 });
        assert_eq!(summary["reasons"], reasons);
        let errors = summary["errors"].as_array().unwrap();
        let died = "strfry had to be started again: strfry import ended with signal: 6 (SIGABRT)";
        assert!(errors[0].as_str().unwrap().starts_with(died));
        let named: Vec<Value> = killers
            .iter()
            .map(|killer| format!("{words} event {}", id_of(killer)).into())
            .collect();
        assert_eq!(errors[1..], named);
        assert_eq!(processes_of(node.home()), [""; 0]);
    });
}

#[test]
fn one_that_dies_whatever_it_is_given_blames_no_event_and_is_not_started_without_end() {
    for count in [1, 3, 600] {
        let node = Node::new(&crate::support::strfry_bin());
        let stub = stub(&node, &dies_of("hello"));
        let (code, summary) =
            import(&node, &["--strfry-bin", stub.to_str().unwrap()], &lines(&notes(count)));
        assert_eq!((code, &summary["status"]), (3, &"failed".into()));
        assert_eq!(summary["events"]["rejected"], Value::Null, "{summary:#}");
        assert_eq!(node.events().len(), 0);
        assert!(starts(&stub) <= 20, "{}", starts(&stub));
        let errors = summary["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 2, "{errors:?}");
        let died = "cannot import: strfry import ended with signal: 6 (SIGABRT)";
        assert!(errors[1].as_str().unwrap().starts_with(died), "{errors:?}");
    }
}
