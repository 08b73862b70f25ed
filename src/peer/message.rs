//! The messages of NIP-01, NIP-42 and NIP-77 between client and relay: JSON arrays.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::nostr::{EventId, Filter};

/// What a relay says. Borrows from the message; the event is not parsed yet.
#[derive(Debug)]
pub(super) enum RelayMessage<'a> {
    /// An event that answers a subscription.
    Event { subscription: Cow<'a, str>, event: &'a RawValue },
    /// All stored events of a subscription have been sent, as far as the relay's limit allows;
    /// some relays say that there are no more (NIP-67).
    EndOfStoredEvents { subscription: Cow<'a, str>, is_finish: bool },
    /// The relay ended or refused a subscription.
    Closed { subscription: Cow<'a, str>, message: Cow<'a, str> },
    /// Text for people; older relays refuse with it. Several texts are joined with `: `.
    Notice(Cow<'a, str>),
    /// The next message of a comparison (NIP-77): hex.
    NegMsg { subscription: Cow<'a, str>, payload: Cow<'a, str> },
    /// The relay ended or refused a comparison; some relays give the most events that they compare,
    /// as a number.
    NegErr { subscription: Cow<'a, str>, reason: Cow<'a, str>, has_maximum: bool },
    /// A challenge to say who we are (NIP-42).
    Auth(Cow<'a, str>),
    /// What the relay thinks of an event that it was sent, and why.
    Ok { id: Cow<'a, str>, accepted: bool, message: Cow<'a, str> },
    /// Anything else that is an array with a name: COUNT, …
    Other,
}

impl<'a> RelayMessage<'a> {
    /// `None` if the text is no message. What may be told in any way is taken as it comes: a text
    /// that is none is shown as the JSON that it is.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text.trim_start_matches('\u{feff}')).ok()
    }
}

/// The text of a REQ.
pub(super) fn req(subscription: &str, filter: &Filter) -> String {
    serde_json::json!(["REQ", subscription, filter]).to_string()
}

/// A filter that no event matches: a relay's answer to it is only its end.
pub(super) fn for_nothing() -> Filter {
    Filter { ids: Some(vec![EventId::from_bytes([0; 32])]), limit: Some(1), ..Filter::default() }
}

/// The text of a CLOSE.
pub(super) fn close(subscription: &str) -> String {
    serde_json::json!(["CLOSE", subscription]).to_string()
}

/// The text of an AUTH.
pub(super) fn auth(event: &Value) -> String {
    serde_json::json!(["AUTH", event]).to_string()
}

/// The text of a NEG-OPEN.
pub(super) fn neg_open(subscription: &str, filter: &Filter, payload: &[u8]) -> String {
    serde_json::json!(["NEG-OPEN", subscription, filter, hex::encode(payload)]).to_string()
}

/// The text of a NEG-MSG.
pub(super) fn neg_msg(subscription: &str, payload: &[u8]) -> String {
    serde_json::json!(["NEG-MSG", subscription, hex::encode(payload)]).to_string()
}

/// The text of a NEG-CLOSE.
pub(super) fn neg_close(subscription: &str) -> String {
    serde_json::json!(["NEG-CLOSE", subscription]).to_string()
}

impl<'de: 'a, 'a> Deserialize<'de> for RelayMessage<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(MessageVisitor)
    }
}

struct MessageVisitor;

/// A string that borrows where it can.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Of a text that is none, this many characters of its JSON are shown.
const SHOWN: usize = 1_000;

/// What a relay puts in the place of a text for people.
fn told(json: &RawValue) -> Cow<'_, str> {
    let inner = json.get().strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    if let Some(text) = inner.filter(|text| !text.contains('\\')) {
        return text.into();
    }
    match serde_json::from_str(json.get()) {
        Ok(Text(text)) => text,
        Err(_) if json.get() == "null" => "".into(),
        Err(_) => json.get().chars().take(SHOWN).collect::<String>().into(),
    }
}

/// What may stand behind the subscription of an EOSE: a list of words, or one, or anything.
fn is_finish(hint: &RawValue) -> bool {
    let is_finish =
        |text: &RawValue| serde_json::from_str(text.get()).is_ok_and(|Text(text)| text == "finish");
    match serde_json::from_str::<Vec<&RawValue>>(hint.get()) {
        Ok(words) => words.into_iter().any(is_finish),
        Err(_) => is_finish(hint),
    }
}

/// Whether it is a number, as it is or in a string.
fn is_number(json: &RawValue) -> bool {
    told(json).parse::<f64>().is_ok_and(f64::is_finite)
}

impl<'de> Visitor<'de> for MessageVisitor {
    type Value = RelayMessage<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array that begins with a message name")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let name = text(&mut items)?;
        let message = match name.as_ref() {
            "EVENT" => {
                let subscription = text(&mut items)?;
                let event = items.next_element()?.ok_or_else(too_short)?;
                RelayMessage::Event { subscription, event }
            }
            "EOSE" => {
                let subscription = text(&mut items)?;
                let is_finish = next(&mut items)?.is_some_and(is_finish);
                RelayMessage::EndOfStoredEvents { subscription, is_finish }
            }
            "AUTH" => RelayMessage::Auth(text(&mut items)?),
            "OK" => {
                let id = text(&mut items)?;
                let accepted = next(&mut items)?.is_some_and(|it| told(it) == "true");
                let message = next(&mut items)?.map_or("".into(), told);
                RelayMessage::Ok { id, accepted, message }
            }
            "CLOSED" => {
                let subscription = text(&mut items)?;
                let message = next(&mut items)?.map_or("".into(), told);
                RelayMessage::Closed { subscription, message }
            }
            "NOTICE" => {
                let mut notice = next(&mut items)?.map_or("".into(), told);
                while let Some(more) = next(&mut items)? {
                    if notice.len() < SHOWN && more.get().starts_with('"') {
                        notice = format!("{notice}: {}", told(more)).into();
                    }
                }
                RelayMessage::Notice(notice)
            }
            "NEG-MSG" => {
                let subscription = text(&mut items)?;
                RelayMessage::NegMsg { subscription, payload: text(&mut items)? }
            }
            "NEG-ERR" => {
                let subscription = text(&mut items)?;
                let reason = next(&mut items)?.map_or("".into(), told);
                let has_maximum = next(&mut items)?.is_some_and(is_number);
                RelayMessage::NegErr { subscription, reason, has_maximum }
            }
            _ => RelayMessage::Other,
        };
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(message)
    }
}

fn text<'de, A: SeqAccess<'de>>(items: &mut A) -> Result<Cow<'de, str>, A::Error> {
    items.next_element::<Text<'de>>()?.map(|text| text.0).ok_or_else(too_short)
}

/// The next item, whatever it is.
fn next<'de, A: SeqAccess<'de>>(items: &mut A) -> Result<Option<&'de RawValue>, A::Error> {
    items.next_element()
}

fn too_short<E: serde::de::Error>() -> E {
    E::custom("too few items")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        format!("{:?}", RelayMessage::parse(text))
    }

    #[test]
    fn each_message_is_recognised_and_what_follows_is_ignored() {
        assert_eq!(
            shown(r#"["EVENT","s1",{"id": 1}]"#),
            r#"Some(Event { subscription: "s1", event: RawValue({"id": 1}) })"#
        );
        assert_eq!(
            shown(r#"["EOSE","s1","hint",{}]"#),
            r#"Some(EndOfStoredEvents { subscription: "s1", is_finish: false })"#
        );
        for hint in [r#"["finish"]"#, r#""finish""#] {
            assert_eq!(
                shown(&format!(r#"["EOSE","s1",{hint}]"#)),
                r#"Some(EndOfStoredEvents { subscription: "s1", is_finish: true })"#
            );
        }
        assert_eq!(
            shown(r#"["EOSE","s1",["more"]]"#),
            r#"Some(EndOfStoredEvents { subscription: "s1", is_finish: false })"#
        );
        assert_eq!(
            shown(r#"["OK","aa",true,""]"#),
            r#"Some(Ok { id: "aa", accepted: true, message: "" })"#
        );
        assert_eq!(
            shown(r#"["CLOSED","s1"]"#),
            r#"Some(Closed { subscription: "s1", message: "" })"#
        );
        assert_eq!(shown(r#"["NOTICE","a\nb"]"#), r#"Some(Notice("a\nb"))"#);
        assert_eq!(
            shown(r#"["NEG-MSG","s1","61"]"#),
            r#"Some(NegMsg { subscription: "s1", payload: "61" })"#
        );
        assert_eq!(
            shown(r#"["NEG-ERR","s1","blocked: too many",1000]"#),
            r#"Some(NegErr { subscription: "s1", reason: "blocked: too many", has_maximum: true })"#
        );
        assert_eq!(shown(r#"["AUTH","challenge"]"#), r#"Some(Auth("challenge"))"#);
        assert_eq!(shown(r#"["COUNT","s1",{"count":1}]"#), "Some(Other)");
    }

    #[test]
    fn refusals_and_ends_are_understood_whatever_follows_them() {
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        for rest in ["", ",null", ",7", r#","x""#, ",{}", ",[]", ",1e999", &format!(",{deep}")] {
            let message = |start: &str| shown(&format!("[{start}{rest}]"));
            let end = r#"Some(EndOfStoredEvents { subscription: "s", is_finish: false })"#;
            assert_eq!(message(r#""EOSE","s""#), end);
            let closed = r#"Some(Closed { subscription: "s", message: "m" })"#;
            assert_eq!(message(r#""CLOSED","s","m""#), closed);
            assert_eq!(message(r#""AUTH","c""#), r#"Some(Auth("c"))"#);
            let ok = r#"Some(Ok { id: "i", accepted: false, message: "m" })"#;
            assert_eq!(message(r#""OK","i",false,"m""#), ok);
            let error = message(r#""NEG-ERR","s","r""#);
            let has_maximum = rest == ",7";
            let expected = format!(
                r#"Some(NegErr {{ subscription: "s", reason: "r", has_maximum: {has_maximum} }})"#
            );
            assert_eq!(error, expected);
            let notice = if rest == r#","x""# { "n: x" } else { "n" };
            assert_eq!(message(r#""NOTICE","n""#), format!("Some(Notice({notice:?}))"));
        }
    }

    #[test]
    fn a_text_that_is_none_is_shown_as_json_and_never_long() {
        for (json, text) in
            [("", ""), (",null", ""), (",7", "7"), (r#",{"a":"b"}"#, r#"{"a":"b"}"#), (",[]", "[]")]
        {
            let closed = format!(r#"Some(Closed {{ subscription: "s", message: {text:?} }})"#);
            assert_eq!(shown(&format!(r#"["CLOSED","s"{json}]"#)), closed);
            assert_eq!(shown(&format!(r#"["NOTICE"{json}]"#)), format!("Some(Notice({text:?}))"));
            let error = format!(
                r#"Some(NegErr {{ subscription: "s", reason: {text:?}, has_maximum: false }})"#
            );
            assert_eq!(shown(&format!(r#"["NEG-ERR","s"{json}]"#)), error);
        }
        let long =
            format!(r#"["NOTICE",["{}"],{}"x"]"#, "é".repeat(9_000), r#""y","#.repeat(9_000));
        let Some(RelayMessage::Notice(notice)) = RelayMessage::parse(&long) else { panic!() };
        assert_eq!(notice.chars().count(), SHOWN);
        for maximum in ["1000", "1e3", r#""1000""#] {
            let error = shown(&format!(r#"["NEG-ERR","s","r",{maximum}]"#));
            assert!(error.ends_with("has_maximum: true })"), "{error}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        assert_eq!(shown("\u{feff}[\"NOTICE\",\"n\"]"), r#"Some(Notice("n"))"#);
    }

    #[test]
    fn what_is_no_message_is_none() {
        for text in ["", "{}", "[]", "[1]", r#"["EVENT","s"]"#, r#"["EOSE"]"#, r#"["EOSE","s""#] {
            assert_eq!(shown(text), "None", "{text}");
        }
    }

    #[test]
    fn requests_are_written_as_nip_01_wants() {
        let filter = Filter { kinds: Some(vec![0]), limit: Some(500), ..Filter::default() };
        assert_eq!(req("s1", &filter), r#"["REQ","s1",{"kinds":[0],"limit":500}]"#);
        assert_eq!(
            neg_open("s1", &filter, &[0x61, 0xff]),
            r#"["NEG-OPEN","s1",{"kinds":[0],"limit":500},"61ff"]"#
        );
        assert_eq!(close("s1"), r#"["CLOSE","s1"]"#);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let _ = RelayMessage::parse(&text);
        }
    }
}
