//! What a relay says of itself (NIP-11): a JSON document under the relay's own address, over HTTP.
//!
//! All of it is a hint: a relay may say anything, or nothing.

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, DATE, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::Value;

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

impl RelayInfo {
    /// `None`: no JSON object.
    fn parse(document: &[u8]) -> Option<Self> {
        let document: Value = serde_json::from_slice(document).ok()?;
        document.as_object()?;
        let text = |field: &str| {
            let text = document.get(field)?.as_str()?;
            Some(text.chars().take(100).collect())
        };
        let limit = |field: &str| document.get("limitation")?.get(field)?.as_u64();
        let nips = document.get("supported_nips").and_then(Value::as_array);
        Some(Self {
            name: text("name"),
            software: text("software"),
            version: text("version"),
            supported_nips: nips.map(|nips| nips.iter().filter_map(Value::as_u64).collect()),
            negentropy: document.get("negentropy").and_then(Value::as_u64),
            max_limit: limit("max_limit"),
            max_subscriptions: limit("max_subscriptions"),
            max_message_length: limit("max_message_length"),
            max_filters: limit("max_filters"),
            auth_required: document
                .get("limitation")
                .and_then(|it| it.get("auth_required")?.as_bool()),
        })
    }

    /// Whether it says that it compares (NIP-77); `None` if it says nothing of what it does.
    pub fn says_it_compares(&self) -> Option<bool> {
        if self.negentropy.is_some() {
            return Some(true);
        }
        self.supported_nips.as_ref().map(|nips| nips.contains(&NEGENTROPY))
    }
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
        if response.status() != StatusCode::OK {
            return Some(Document { info: None, date });
        }
        let body = Limited::new(response.into_body(), INFO_BYTES).collect().await;
        let info = body.ok().and_then(|body| RelayInfo::parse(&body.to_bytes()));
        Some(Document { info, date })
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        info = &mut exchange => info,
        // The relay may end the connection with its answer.
        _ = connection => exchange.await,
    }
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
        let document = br#"{"name":7,"supported_nips":["1",-1,11],"limitation":{"max_limit":-5}}"#;
        let nips = Some(vec![11]);
        let info = RelayInfo { supported_nips: nips, ..RelayInfo::default() };
        assert_eq!(info.says_it_compares(), Some(false));
        assert_eq!(RelayInfo::parse(document), Some(info));
        assert_eq!(RelayInfo::parse(b"{}").unwrap().says_it_compares(), None);
        assert_eq!(RelayInfo::parse(b"<html>"), None);
        assert_eq!(RelayInfo::parse(b"[]"), None);
    }

    proptest! {
        #[test]
        fn no_document_makes_the_parser_panic(document: Vec<u8>) {
            let _ = RelayInfo::parse(&document);
        }
    }
}
