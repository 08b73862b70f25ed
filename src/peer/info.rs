//! What a relay says of itself (NIP-11): a JSON document under the relay's own address, over HTTP.
//!
//! All of it is a hint: a relay may say anything, or nothing. What can be read is read, whatever
//! stands beside it.

use std::borrow::Cow;
use std::fmt;

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, DATE, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::connect::{Dialler, PROGRAM};
use super::limits::INFO_BYTES;

/// NIP-77's number.
const NEGENTROPY: u64 = 77;

/// What a relay says of itself. What it does not say, or not as NIP-11 wants it, is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RelayInfo {
    /// Its name; a stranger's text.
    pub name: Option<String>,
    /// Its software; a stranger's text.
    pub software: Option<String>,
    /// The version of that; a stranger's text.
    pub version: Option<String>,
    /// The NIPs that it supports.
    pub supported_nips: Option<Vec<u64>>,
    /// The version of negentropy that it speaks, as strfry gives it.
    pub negentropy: Option<u64>,
    /// Most events that answer one filter.
    pub max_limit: Option<u64>,
    /// Most subscriptions of one connection.
    pub max_subscriptions: Option<u64>,
    /// Largest message that it takes, bytes.
    pub max_message_length: Option<u64>,
    /// Most filters in one request.
    pub max_filters: Option<u64>,
    /// Nothing is answered without NIP-42.
    pub auth_required: Option<bool>,
}

/// Characters of a text that are kept.
const TEXT: usize = 100;

impl RelayInfo {
    /// Reads as much as can be read, also of a document that breaks off. `None`: no JSON object, or
    /// nothing of one.
    fn parse(document: &[u8]) -> Option<Self> {
        let document = String::from_utf8_lossy(document);
        let document = document.trim_start_matches('\u{feff}').trim_start();
        let mut info = Self::default();
        let is_whole = each_field(document, |field, value| info.read(field, value));
        (is_whole || info != Self::default()).then_some(info)
    }

    /// A field of the document. Of one that comes again, the last that can be read counts.
    fn read(&mut self, field: &str, value: &RawValue) {
        match field {
            "name" => keep(&mut self.name, text(value)),
            "software" => keep(&mut self.software, text(value)),
            "version" => keep(&mut self.version, text(value)),
            "negentropy" => keep(&mut self.negentropy, number(value)),
            "supported_nips" => keep(&mut self.supported_nips, numbers(value)),
            "limitation" => {
                each_field(value.get(), |limit, value| match limit {
                    "max_limit" => keep(&mut self.max_limit, number(value)),
                    "max_subscriptions" => keep(&mut self.max_subscriptions, number(value)),
                    "max_message_length" => keep(&mut self.max_message_length, number(value)),
                    "max_filters" => keep(&mut self.max_filters, number(value)),
                    "auth_required" => keep(&mut self.auth_required, truth(value)),
                    _ => {}
                });
            }
            _ => {}
        }
    }

    /// Whether it says that it compares (NIP-77); `None` if it says nothing of what it does.
    pub fn says_it_compares(&self) -> Option<bool> {
        if self.negentropy.is_some() {
            return Some(true);
        }
        self.supported_nips.as_ref().map(|nips| nips.contains(&NEGENTROPY))
    }
}

fn keep<T>(place: &mut Option<T>, read: Option<T>) {
    if read.is_some() {
        *place = read;
    }
}

/// Visits the fields of a JSON object, of one that breaks off those before that place. Whatever
/// they hold, of any depth, is passed over without being built. Returns whether it is whole.
fn each_field(object: &str, visit: impl FnMut(&str, &RawValue)) -> bool {
    let mut json = serde_json::Deserializer::from_str(object);
    json.deserialize_map(Fields(visit)).is_ok()
}

struct Fields<F>(F);

impl<'de, F: FnMut(&str, &RawValue)> Visitor<'de> for Fields<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<(), A::Error> {
        while let Some((field, value)) = fields.next_entry::<Cow<'_, str>, &RawValue>()? {
            (self.0)(&field, value);
        }
        Ok(())
    }
}

fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

fn text(value: &RawValue) -> Option<String> {
    Some(string(value)?.chars().take(TEXT).collect())
}

/// A whole number, also as a fraction of zero or in a string.
fn number(value: &RawValue) -> Option<u64> {
    let string = string(value);
    let digits = string.as_deref().unwrap_or(value.get()).trim();
    digits.parse().ok().or_else(|| {
        let number: f64 = digits.parse().ok()?;
        // Beyond that not every whole number is one of these.
        let is_whole = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
        is_whole.then_some(number as u64)
    })
}

fn numbers(value: &RawValue) -> Option<Vec<u64>> {
    let values: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
    Some(values.into_iter().filter_map(number).collect())
}

fn truth(value: &RawValue) -> Option<bool> {
    string(value).as_deref().unwrap_or(value.get()).trim().parse().ok()
}

/// The answer of a relay.
pub(super) struct Document {
    /// `None`: it has nothing to say.
    pub(super) info: Option<RelayInfo>,
    /// When the relay sent it by its own clock, seconds since 1970.
    pub(super) date: Option<i64>,
}

/// Asks a relay. It has as much time as the caller gives it.
pub(super) async fn ask(dialler: &Dialler) -> Option<RelayInfo> {
    look(dialler).await?.info
}

/// Asks a relay, and looks at how it answers; `None`: not at all.
pub(super) async fn look(dialler: &Dialler) -> Option<Document> {
    let stream = dialler.open().await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let url = &dialler.url;
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let request = Request::get(path)
        .header(HOST, url.authority())
        .header(ACCEPT, "application/nostr+json")
        .header(USER_AGENT, PROGRAM)
        .body(Empty::<Bytes>::new())
        .ok()?;
    let exchange = async {
        let response = sender.send_request(request).await.ok()?;
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        let date = date.map(|date| date.timestamp().as_second());
        if !response.status().is_success() {
            return Some(Document { info: None, date });
        }
        let document = beginning(response.into_body()).await;
        let mut conversation = dialler.conversation();
        conversation.event("says of itself", Some(&String::from_utf8_lossy(&document)));
        conversation.forget();
        let info = RelayInfo::parse(&document);
        Some(Document { info, date })
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        info = &mut exchange => info,
        // The relay may end the connection with its answer.
        _ = connection => exchange.await,
    }
}

/// A document, or as much of it as comes and is read.
async fn beginning(mut body: Incoming) -> Vec<u8> {
    let mut document = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let room = INFO_BYTES.saturating_sub(document.len());
        document.extend_from_slice(data.get(..room).unwrap_or(&data));
        if data.len() >= room {
            break;
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_strfry_says_is_understood() {
        let document = r#"{"supported_nips":[1,2,77],"software":"strfry","version":"1.1.1",
            "negentropy":1,"limitation":{"max_message_length":131072,"max_subscriptions":200,
            "max_limit":500},"extra":[]}"#;
        let info = RelayInfo {
            software: Some("strfry".into()),
            version: Some("1.1.1".into()),
            supported_nips: Some(vec![1, 2, 77]),
            negentropy: Some(1),
            max_limit: Some(500),
            max_subscriptions: Some(200),
            max_message_length: Some(131_072),
            ..RelayInfo::default()
        };
        assert_eq!(info.says_it_compares(), Some(true));
        assert_eq!(RelayInfo::parse(document.as_bytes()), Some(info));
    }

    #[test]
    fn what_is_not_as_it_should_be_is_left_out() {
        let document = br#"{"name":7,"supported_nips":["x",-1,11],"limitation":{"max_limit":-5}}"#;
        let nips = Some(vec![11]);
        let info = RelayInfo { supported_nips: nips, ..RelayInfo::default() };
        assert_eq!(info.says_it_compares(), Some(false));
        assert_eq!(RelayInfo::parse(document), Some(info));
        assert_eq!(RelayInfo::parse(b"{}").unwrap().says_it_compares(), None);
        assert_eq!(RelayInfo::parse(b"<html>"), None);
        assert_eq!(RelayInfo::parse(b"[]"), None);
    }

    #[test]
    fn odd_types_give_what_can_be_read() {
        let info = |document: &str| RelayInfo::parse(document.as_bytes()).unwrap();
        for limit in ["500", "500.0", "5e2", r#""500""#, r#"" 500 ""#, r#""500.0""#] {
            let document = format!(r#"{{"limitation":{{"max_limit":{limit}}}}}"#);
            let expected = RelayInfo { max_limit: Some(500), ..RelayInfo::default() };
            assert_eq!(info(&document), expected, "{limit}");
        }
        for limit in ["null", "-1", "0.5", "1e999", "1e300", "true", "[500]", "{}", r#""""#] {
            let document = format!(r#"{{"limitation":{{"max_limit":{limit}}}}}"#);
            assert_eq!(info(&document), RelayInfo::default(), "{limit}");
        }
        for truth in ["true", r#""true""#] {
            let document = format!(r#"{{"limitation":{{"auth_required":{truth}}}}}"#);
            assert_eq!(info(&document).auth_required, Some(true));
        }
        let nips = r#"{"supported_nips":["1",11.0,null,[2],{},-4,"x",77],"limitation":null}"#;
        assert_eq!(info(nips).supported_nips, Some(vec![1, 11, 77]));
        for document in [r#"{"supported_nips":7}"#, r#"{"limitation":[1],"name":{}}"#] {
            assert_eq!(info(document), RelayInfo::default());
        }
    }

    #[test]
    fn whatever_stands_beside_a_field_does_not_hide_it() {
        let name = Some("it".to_owned());
        let deep = format!("{}{}", "[".repeat(9_000), "]".repeat(9_000));
        for document in [
            "\u{feff}{\"name\":\"it\"}",
            " \n{\"name\":\"it\"} and more",
            r#"{"name":"it","icon":"#,
            r#"{"name":"it","software":"str"#,
            r#"{"name":"it",}"#,
            r#"{"name":"old","name":"it","name":7,"name":null}"#,
            r#"{"n\u0061me":"it"}"#,
            &format!(r#"{{"deep":{deep},"name":"it"}}"#),
        ] {
            let info = RelayInfo::parse(document.as_bytes());
            assert_eq!(info, Some(RelayInfo { name: name.clone(), ..RelayInfo::default() }));
        }
        let mut document = br#"{"icon":"..","name":"it"}"#.to_vec();
        document[9] = 0xff;
        assert_eq!(RelayInfo::parse(&document).unwrap().name, name);
    }

    proptest! {
        #[test]
        fn no_document_makes_the_parser_panic(document: Vec<u8>) {
            let _ = RelayInfo::parse(&document);
        }
    }
}
