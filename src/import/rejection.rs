//! Which event a line of strfry's log rejects, and why. The line may hold anything.

use super::encode::StoredEvent;
use super::limits::REJECTION_QUOTE;

/// strfry's reason, if this line of its log rejects this event. Up to 1.1.1:
/// `Rejected event: <first 200 bytes of its JSON> reason: <reason>`; later
/// `Rejected event <id>: <reason>`.
pub(super) fn reason<'a>(line: &'a str, event: &StoredEvent) -> Option<&'a str> {
    let rest = line.strip_prefix("Rejected event")?;
    if let Some(json) = rest.strip_prefix(": ") {
        let quoted = event.json().as_bytes();
        let quoted = String::from_utf8_lossy(quoted.get(..REJECTION_QUOTE).unwrap_or(quoted));
        return json.strip_prefix(&*quoted)?.strip_prefix(" reason: ");
    }
    rest.trim_start().strip_prefix(&event.id().to_string())?.strip_prefix(": ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::EventLimits;
    use crate::nostr::Event;

    fn event(content: &str) -> StoredEvent {
        let text = serde_json::json!({
            "id": "11".repeat(32), "pubkey": "22".repeat(32), "created_at": 5, "kind": 1,
            "tags": [], "content": content, "sig": "33".repeat(64),
        });
        let text = text.to_string();
        let event = Event::parse(&text).unwrap();
        StoredEvent::encode(&event, &EventLimits::default()).unwrap()
    }

    #[test]
    fn a_rejection_names_its_event_in_the_words_of_any_strfry() {
        // The 200th byte is in the middle of a character.
        for content in ["short", &"x".repeat(300), &"\u{20ac}".repeat(100)] {
            let event = event(content);
            let (json, id) = (event.json(), event.id());
            let shown =
                String::from_utf8_lossy(json.as_bytes().get(..200).unwrap_or(json.as_bytes()));
            let old = format!("Rejected event: {shown} reason: no: really");
            let new = format!("Rejected event {id}: no: really");
            for line in [old, new] {
                assert_eq!(reason(&line, &event), Some("no: really"), "{line}");
            }
            for line in [
                "Rejected event unknown: no".to_owned(),
                "Rejected event: {} reason: no".to_owned(),
                format!("Rejected event {}: no", "44".repeat(32)),
                format!("Rejected event {id}"),
            ] {
                assert_eq!(reason(&line, &event), None, "{line}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_rejection_is_read(line in ".{0,300}", content in "[^\u{7f}]{0,200}", cut in 0usize..400) {
            let event = event(&content);
            let _ = reason(&format!("Rejected event{line}"), &event);
            for line in [
                format!("Rejected event: {} reason: {line}", event.json()),
                format!("Rejected event {}: {line}", event.id()),
            ] {
                let cut = String::from_utf8_lossy(line.as_bytes().get(..cut).unwrap_or_default());
                let _ = reason(&cut, &event);
            }
        }
    }
}
