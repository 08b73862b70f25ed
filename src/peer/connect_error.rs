//! Why no connection came about, and whether another attempt is worth it.
//!
//! It judges what others met; it never dials.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::http::{HeaderMap, StatusCode, header};
use url::Url;

use super::limits::LONGEST_RETRY_AFTER;

/// Characters of a stranger's address that an error repeats.
const SHOWN: usize = 200;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ConnectError {
    #[error("no connection within {0} s")]
    TimedOut(u64),
    #[error("the URL has no host or port")]
    NoHost,
    #[error(
        "{host} is a Tor service, and this program does not connect through Tor: name the relay's \
         address outside of Tor, or leave it out"
    )]
    Onion { host: String },
    #[error("cannot resolve {host}: {}", cause_of(source))]
    Resolve { host: String, source: io::Error },
    #[error(
        "{host} has only loopback or private addresses, which are not dialled for a peer that a swarm file names (--allow-local-peers permits it)"
    )]
    LocalAddress { host: String },
    #[error("cannot connect to {address}: {source}")]
    Tcp { address: SocketAddr, source: io::Error },
    #[error("WebSocket handshake: {0}")]
    Handshake(Box<Error>),
    #[error("the relay answers the WebSocket handshake with HTTP {status}: try again later")]
    Unavailable {
        status: StatusCode,
        /// How long the relay wants to be left alone, as far as that is reasonable.
        retry_after: Option<Duration>,
    },
    #[error("moved to {to} (HTTP {status}); use that address")]
    Moved { status: StatusCode, to: String },
    #[error(
        "the other side ended the connection before it answered the WebSocket handshake, as a tunnel does whose far end is not reached"
    )]
    Unanswered,
    #[error("TLS: {0}")]
    Tls(rustls::Error),
}

impl ConnectError {
    /// What became of a handshake with the relay at this address.
    pub(super) fn of_handshake(error: Error, url: &Url) -> Self {
        match error {
            Error::Protocol(ProtocolError::HandshakeIncomplete) => Self::Unanswered,
            Error::Io(error) if is_cut(&error) => Self::Unanswered,
            Error::Http(response) => Self::of_response(response, url),
            error => Self::Handshake(Box::new(error)),
        }
    }

    fn of_response(response: Box<Response>, url: &Url) -> Self {
        let (status, headers) = (response.status(), response.headers());
        match status.as_u16() {
            // The last five are Cloudflare's: the relay behind it is away.
            408 | 429 | 500 | 502 | 503 | 504 | 520..=524 => {
                Self::Unavailable { status, retry_after: retry_after(headers) }
            }
            301 | 302 | 303 | 307 | 308 => Self::Moved { status, to: target(headers, url) },
            _ => Self::Handshake(Box::new(Error::Http(response))),
        }
    }

    /// Whether the relay is there and may take a connection in a moment. A relay that is not
    /// reached at all is not worth the time of another attempt.
    pub fn may_be_tried_again(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Unanswered => true,
            Self::Handshake(error) => match &**error {
                // While it was about TLS.
                Error::Io(error) => is_cut(error),
                // Some proxies refuse in the oldest version of HTTP.
                Error::Protocol(error) => matches!(error, ProtocolError::WrongHttpVersion),
                _ => false,
            },
            _ => false,
        }
    }

    /// How long the relay wants to be left alone, [`LONGEST_RETRY_AFTER`] at most.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Whether the other side has ended the connection.
fn is_cut(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof)
}

/// The standard library puts words of its own in front of what the resolver says.
fn cause_of(error: &io::Error) -> String {
    let text = error.to_string();
    let (_, cause) = text.split_once("lookup address information: ").unwrap_or(("", &text));
    cause.to_owned()
}

/// The pause of a `Retry-After`: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Duration::MAX
        }
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            let pause = date.duration_since(jiff::Timestamp::now());
            Duration::try_from(pause).unwrap_or_default()
        }
    };
    Some(pause.min(LONGEST_RETRY_AFTER))
}

/// Where the relay says that it has gone.
fn target(headers: &HeaderMap, url: &Url) -> String {
    let Some(location) = headers.get(header::LOCATION) else {
        return "an address that the relay does not name".to_owned();
    };
    let location = String::from_utf8_lossy(location.as_bytes());
    let target = match url.join(&location) {
        Ok(mut target) => {
            let scheme = match target.scheme() {
                "http" => "ws",
                "https" => "wss",
                other => other,
            };
            let scheme = scheme.to_owned();
            // An error leaves it as the relay has it, which is as clear.
            let _ = target.set_scheme(&scheme);
            target.to_string()
        }
        Err(_) => location.into_owned(),
    };
    target.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::http;

    use super::*;

    fn refused(status: u16, name: &str, value: &str) -> ConnectError {
        let response = http::Response::builder().status(status).header(name, value).body(None);
        let url = Url::parse("wss://relay.example/inbox").unwrap();
        ConnectError::of_handshake(Error::Http(Box::new(response.unwrap())), &url)
    }

    #[test]
    fn a_relay_that_is_busy_or_cuts_the_handshake_may_be_tried_again_and_no_other() {
        let url = Url::parse("wss://relay.example").unwrap();
        let cut = |kind: io::ErrorKind| ConnectError::of_handshake(Error::Io(kind.into()), &url);
        for status in [408, 429, 500, 502, 503, 504, 520, 524] {
            assert!(refused(status, "x", "y").may_be_tried_again(), "{status}");
        }
        for kind in [io::ErrorKind::ConnectionReset, io::ErrorKind::UnexpectedEof] {
            assert!(cut(kind).may_be_tried_again(), "{kind}");
        }
        for status in [200, 301, 400, 401, 403, 404, 426, 501] {
            assert!(!refused(status, "x", "y").may_be_tried_again(), "{status}");
        }
        let dead = [
            ConnectError::TimedOut(1),
            ConnectError::NoHost,
            ConnectError::Onion { host: String::new() },
            ConnectError::Resolve { host: String::new(), source: io::Error::other("x") },
            ConnectError::Tcp {
                address: ([127, 0, 0, 1], 1).into(),
                source: io::ErrorKind::ConnectionRefused.into(),
            },
            cut(io::ErrorKind::PermissionDenied),
        ];
        for error in dead {
            assert!(!error.may_be_tried_again(), "{error}");
        }
    }

    #[test]
    fn the_pause_that_a_relay_asks_for_is_seconds_or_a_date_and_never_long() {
        let pause = |text: &str| refused(503, "Retry-After", text).retry_after();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(pause("1"), seconds(1));
        assert_eq!(pause(" 0 "), seconds(0));
        for long in ["31", "86400", "99999999999999999999999", "Mon, 31 Dec 2998 23:59:59 GMT"] {
            assert_eq!(pause(long), seconds(30), "{long}");
        }
        assert_eq!(pause("Wed, 21 Oct 2015 07:28:00 GMT"), seconds(0));
        for none in ["", "soon", "-1", "1.5", "2015-10-21"] {
            assert_eq!(pause(none), None, "{none}");
        }
        assert_eq!(refused(503, "x", "1").retry_after(), None);
        assert_eq!(
            refused(503, "Retry-After", "1").to_string(),
            "the relay answers the WebSocket handshake with HTTP 503 Service Unavailable: try \
             again later"
        );
    }

    #[test]
    fn a_relay_that_has_moved_is_named_with_its_new_address() {
        for (location, target) in [
            ("https://new.example/", "wss://new.example/"),
            ("http://new.example:81/a?b", "ws://new.example:81/a?b"),
            ("wss://new.example/", "wss://new.example/"),
            ("/outbox", "wss://relay.example/outbox"),
            ("outbox", "wss://relay.example/outbox"),
            ("//new.example", "wss://new.example/"),
            ("mailto:x@y", "mailto:x@y"),
            ("https://[", "https://["),
        ] {
            for status in [301, 302, 307, 308] {
                let error = refused(status, "Location", location).to_string();
                let status = StatusCode::from_u16(status).unwrap();
                let expected = format!("moved to {target} (HTTP {status}); use that address");
                assert_eq!(error, expected);
            }
        }
        let nowhere = refused(301, "x", "y").to_string();
        assert!(nowhere.starts_with("moved to an address that the relay does not name (HTTP 301"));
        let long = refused(301, "Location", &format!("/{}", "é".repeat(5_000))).to_string();
        assert!(long.len() < 300, "{long}");
    }
}
