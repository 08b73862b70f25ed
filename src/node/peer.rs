//! One relay to ask: where it is and how it became known.
//!
//! It checks the form of an address; it never resolves or dials one.

use std::fmt;
use std::path::PathBuf;

use url::{Host, ParseError, Url};

/// Longer than any relay's address has reason to be.
const MAX_URL_BYTES: usize = 2048;
/// Of a refused text, this much is repeated in a message.
const MAX_QUOTED_CHARACTERS: usize = 80;

/// A relay to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// For messages: the station's id, else the host, with its port unless that is the usual one.
    pub name: String,
    /// A ws or wss URL with a host, without user name, password and fragment.
    pub url: Url,
    /// How it became known.
    pub source: PeerSource,
    /// The station's id, if its relay listens on its own machine and is reached through IPFS.
    pub tunnel: Option<String>,
}

/// How a relay became known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerSource {
    /// A station's own words.
    Swarm {
        /// The station's 12345.json.
        file: PathBuf,
        /// Its `ipfsnodeid`: letters and digits only.
        station: Option<String>,
    },
    /// Named by the operator, and so trusted.
    CommandLine,
    /// A public relay that is asked for profiles found nowhere else.
    Fallback,
    /// Named by an author as a place where they publish (NIP-65).
    Author,
}

impl Peer {
    pub(super) fn new(url: Url, source: PeerSource) -> Self {
        let name = match &source {
            PeerSource::Swarm { station: Some(station), .. } => station.clone(),
            _ => url.authority().to_owned(),
        };
        Self { name, url, source, tunnel: None }
    }

    /// The same relay, reached through a tunnel to its station.
    pub(super) fn through_tunnel(self, station: &str) -> Self {
        Self { tunnel: Some(station.to_owned()), ..self }
    }

    /// The address as people write it, without the `/` that an empty path ends in.
    pub fn address(&self) -> &str {
        address_of(&self.url)
    }

    /// The same for every way to write the same address: differences in a final `/` or a final
    /// dot of the host do not count.
    pub(crate) fn key(&self) -> String {
        // Every such station says the same address.
        if let Some(station) = &self.tunnel {
            return format!("/p2p/{station}");
        }
        let mut url = self.url.clone();
        if let Some(Host::Domain(host)) = self.url.host() {
            // An error leaves the host as it is, which only makes two addresses differ.
            let _ = url.set_host(Some(host.trim_end_matches('.')));
        }
        url.set_path(self.url.path().trim_end_matches('/'));
        url.into()
    }
}

/// See [`Peer::address`].
pub(super) fn address_of(url: &Url) -> &str {
    let is_root = url.path() == "/" && url.query().is_none();
    url.as_str().strip_suffix('/').filter(|_| is_root).unwrap_or(url.as_str())
}

/// A relay named by the operator. It may be anywhere, this machine included.
///
/// # Errors
/// [`UrlError`] when the text is no ws or wss URL.
pub fn explicit_peer(url: &str) -> Result<Peer, UrlError> {
    Ok(Peer::new(relay_url(url)?, PeerSource::CommandLine))
}

/// A public relay that is asked for profiles found nowhere else.
///
/// # Errors
/// [`UrlError`] when the text is no ws or wss URL.
pub fn fallback_peer(url: &str) -> Result<Peer, UrlError> {
    Ok(Peer::new(relay_url(url)?, PeerSource::Fallback))
}

/// A relay that an author names: a stranger's word.
///
/// # Errors
/// [`UrlError`] when the text is no ws or wss URL.
pub fn author_peer(url: &str) -> Result<Peer, UrlError> {
    Ok(Peer::new(relay_url(url)?, PeerSource::Author))
}

/// Why a text is no relay's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlError {
    /// The text, shortened, without a password.
    pub url: String,
    /// What is wrong with it.
    pub problem: UrlProblem,
}

impl fmt::Display for UrlError {
    /// The text comes from a stranger, so control and bidi characters are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a relay's address: {}", self.url, self.problem)
    }
}

impl std::error::Error for UrlError {}

/// What is wrong with a relay's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlProblem {
    /// Longer than any has reason to be.
    #[error("longer than 2048 bytes")]
    TooLong,
    /// Not a URL, or one without a host.
    #[error("{0}; write it as wss://host or ws://host:port")]
    Malformed(#[from] url::ParseError),
    /// A URL of something else.
    #[error("it must start with wss:// or ws://")]
    NotWebSocket,
    /// A URL with a user name or a password.
    #[error("a user name or password does not belong there")]
    UserInfo,
    /// Port 0 cannot be dialled.
    #[error("0 is not a port")]
    PortZero,
}

/// Checks and normalises the address of a relay.
pub(super) fn relay_url(text: &str) -> Result<Url, UrlError> {
    let error = |problem| UrlError { url: quotable(text), problem };
    if text.len() > MAX_URL_BYTES {
        return Err(error(UrlProblem::TooLong));
    }
    let mut url = match Url::parse(text) {
        // A host without a scheme.
        Err(ParseError::RelativeUrlWithoutBase) => return Err(error(UrlProblem::NotWebSocket)),
        url => url.map_err(|problem| error(problem.into()))?,
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(error(UrlProblem::UserInfo));
    }
    if !matches!(url.scheme(), "ws" | "wss") {
        return Err(error(UrlProblem::NotWebSocket));
    }
    if url.port() == Some(0) {
        return Err(error(UrlProblem::PortZero));
    }
    url.set_fragment(None);
    Ok(url)
}

/// The beginning of a refused text, from behind the place for a password.
fn quotable(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => "…@".chars().chain(rest.chars()).take(MAX_QUOTED_CHARACTERS).collect(),
        None => text.chars().take(MAX_QUOTED_CHARACTERS).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_relay_named_by_the_operator_may_be_on_this_machine() {
        assert_eq!(
            explicit_peer(" WS://127.0.0.1:7777/#x "),
            Ok(Peer {
                name: "127.0.0.1:7777".into(),
                url: Url::parse("ws://127.0.0.1:7777").unwrap(),
                source: PeerSource::CommandLine,
                tunnel: None,
            })
        );
        let peer = fallback_peer("wss://Relay.Example:443").unwrap();
        assert_eq!((peer.address(), peer.name.as_str()), ("wss://relay.example", "relay.example"));
        assert_eq!(peer.source, PeerSource::Fallback);
        let peer = explicit_peer("wss://relay.example/inbox/?a=/").unwrap();
        assert_eq!(peer.address(), "wss://relay.example/inbox/?a=/");
    }

    #[test]
    fn what_is_no_address_of_a_relay_is_refused() {
        for (url, problem) in [
            ("http://relay.example", UrlProblem::NotWebSocket),
            ("file:///etc/passwd", UrlProblem::NotWebSocket),
            ("wss://", UrlProblem::Malformed(url::ParseError::EmptyHost)),
            ("relay.example", UrlProblem::NotWebSocket),
            ("wss://a b/", UrlProblem::Malformed(url::ParseError::IdnaError)),
            ("ws://h:0", UrlProblem::PortZero),
            ("ws://h:99999", UrlProblem::Malformed(url::ParseError::InvalidPort)),
        ] {
            assert_eq!(explicit_peer(url), Err(UrlError { url: url.into(), problem }));
        }
        let long = explicit_peer(&format!("wss://{}", "a".repeat(3000))).unwrap_err();
        assert_eq!((long.url.len(), long.problem), (80, UrlProblem::TooLong));
    }

    #[test]
    fn a_refused_address_shows_no_password_and_no_terminal_codes() {
        assert_eq!(
            explicit_peer("wss://me:hunter2@relay.example/").unwrap_err().to_string(),
            "\"…@relay.example/\" is not a relay's address: a user name or password does not \
             belong there"
        );
        let malformed = explicit_peer("wss://me:hunter2@a b").unwrap_err();
        assert_eq!(malformed.url, "…@a b");
        let shown = explicit_peer("http://\u{1b}[31m\u{202e}\n").unwrap_err().to_string();
        assert!(shown.starts_with(r#""http://\u{1b}[31m\u{202e}\n" is not"#), "{shown}");
    }

    #[test]
    fn ways_to_write_the_same_address_have_the_same_key() {
        let key = |url| explicit_peer(url).unwrap().key();
        for url in [
            "wss://RELAY.example/",
            "WSS://relay.example:443",
            "wss://relay.example.//",
            "wss://relay.example#x",
        ] {
            assert_eq!(key(url), key("wss://relay.example"), "{url}");
        }
        for url in ["ws://relay.example", "wss://relay.example:444", "wss://relay.example/a"] {
            assert_ne!(key(url), key("wss://relay.example"), "{url}");
        }
        assert_eq!(key("ws://[::1]:80/a/"), key("ws://[::1]/a"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_checks_panic(text: String, host in "[a-z0-9.\\[\\]:%@/-]{0,30}") {
            for text in [text, format!("wss://{host}")] {
                if let Ok(peer) = explicit_peer(&text) {
                    prop_assert!(peer.url.has_host() && peer.name.is_ascii());
                    let again = explicit_peer(peer.url.as_str()).unwrap();
                    prop_assert_eq!(again.key(), peer.key());
                }
            }
        }
    }
}
