//! Saying who we are (NIP-42): only to a relay that wants to know it, only with a key that the
//! operator gave for it. The key is never shown.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use secp256k1::{Keypair, schnorr};
use serde_json::{Value, json};

use super::message::auth;
use crate::nostr::{Event, EventId, ExpectedId, Pubkey, SecretKey, Signature, TagField};

/// Kind of the event that answers a challenge.
const AUTHENTICATION: u64 = 22_242;

/// A key that relays may know us by.
#[derive(Clone)]
pub struct AuthKey(Keypair);

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthKey(…)")
    }
}

impl AuthKey {
    /// `None`: the bytes are no secret key of secp256k1.
    pub fn new(secret: &SecretKey) -> Option<Self> {
        Keypair::from_secret_bytes(*secret.as_bytes()).ok().map(Self)
    }

    /// The pubkey by which relays know us.
    pub fn pubkey(&self) -> Pubkey {
        Pubkey::from_bytes(self.0.x_only_public_key().0.to_byte_array())
    }

    /// The event that answers a challenge of the relay at this address, and its id.
    fn answer(&self, relay: &str, challenge: &str) -> (EventId, Value) {
        let pubkey = self.pubkey();
        let created_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
        let tags = [["relay", relay], ["challenge", challenge]];
        let event = Event {
            id: EventId::from_bytes([0; 32]),
            pubkey,
            created_at,
            kind: AUTHENTICATION,
            tags: tags.map(|tag| tag.map(|field| TagField::Text(field.into())).to_vec()).to_vec(),
            content: "".into(),
            sig: Signature::from_bytes([0; 64]),
        };
        let id = ExpectedId::of(&event).nip01;
        let signature = schnorr::sign_no_aux_rand(id.as_bytes(), &self.0);
        let event = json!({
            "id": id,
            "pubkey": pubkey,
            "created_at": created_at,
            "kind": AUTHENTICATION,
            "tags": tags,
            "content": "",
            "sig": hex::encode(signature.to_byte_array()),
        });
        (id, event)
    }
}

/// How far we are with one connection.
#[derive(Debug, Default)]
pub(super) struct Authentication {
    challenge: Option<String>,
    state: State,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    NotAsked,
    Sent(EventId),
    Accepted,
    Refused,
}

/// What is to be done about a request that is refused because the relay wants to know us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AuthStep {
    /// This is to be sent, and the request repeated when it has been accepted.
    Send(String),
    /// The request is to be repeated, at once or when the answer is there.
    Repeat,
    /// Nothing helps.
    Refused,
}

impl Authentication {
    /// The relay has sent a challenge; a new one replaces the old.
    pub(super) fn challenge(&mut self, challenge: &str) {
        // Longer than any relay's, so that it cannot be used to make us sign just anything.
        if challenge.len() <= 1_000 {
            self.challenge = Some(challenge.to_owned());
        }
    }

    /// `was_before`: the request had been sent before the relay accepted us.
    pub(super) fn required(
        &mut self,
        key: Option<&AuthKey>,
        relay: &str,
        was_before: bool,
    ) -> AuthStep {
        match (&self.state, key, &self.challenge) {
            (State::NotAsked, Some(key), Some(challenge)) => {
                let (id, event) = key.answer(relay, challenge);
                self.state = State::Sent(id);
                AuthStep::Send(auth(&event))
            }
            (State::Sent(_), ..) => AuthStep::Repeat,
            (State::Accepted, ..) if was_before => AuthStep::Repeat,
            _ => AuthStep::Refused,
        }
    }

    /// An OK; returns whether it is about us.
    pub(super) fn ok(&mut self, id: &str, accepted: bool) -> bool {
        let is_ours = matches!(&self.state, State::Sent(sent) if sent.to_string() == id);
        if is_ours {
            self.state = if accepted { State::Accepted } else { State::Refused };
        }
        is_ours
    }

    /// Whether the relay still has to say what it thinks of our answer.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self.state, State::Sent(_))
    }

    /// The relay has not said it in time.
    pub(super) fn expire(&mut self) {
        self.state = State::Refused;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::signature;

    fn key() -> AuthKey {
        AuthKey::new(&"07".repeat(32).parse().unwrap()).unwrap()
    }

    #[test]
    fn the_answer_to_a_challenge_is_a_genuine_event() {
        let (id, event) = key().answer("wss://relay.example", "x\"y");
        let text = event.to_string();
        let event = Event::parse(&text).unwrap();
        assert_eq!(ExpectedId::of(&event).nip01, id);
        assert_eq!((event.id, event.kind), (id, 22_242));
        assert!(signature::is_valid(&id, &event.pubkey, &event.sig));
        assert!(text.contains(r#"[["relay","wss://relay.example"],["challenge","x\"y"]]"#));
    }

    #[test]
    fn the_key_is_not_shown() {
        assert_eq!(format!("{:?}", key()), "AuthKey(…)");
    }

    #[test]
    fn a_challenge_is_answered_once_and_what_was_refused_before_is_repeated() {
        let key = key();
        let mut authentication = Authentication::default();
        assert_eq!(authentication.required(Some(&key), "r", true), AuthStep::Refused);
        authentication.challenge("c");
        assert_eq!(authentication.required(None, "r", true), AuthStep::Refused);
        let AuthStep::Send(text) = authentication.required(Some(&key), "r", true) else {
            panic!("no answer")
        };
        assert_eq!(authentication.required(Some(&key), "r", true), AuthStep::Repeat);
        let sent: Value = serde_json::from_str(&text).unwrap();
        assert!(!authentication.ok("another", true));
        assert!(authentication.ok(sent[1]["id"].as_str().unwrap(), true));
        assert_eq!(authentication.required(Some(&key), "r", true), AuthStep::Repeat);
        assert_eq!(authentication.required(Some(&key), "r", false), AuthStep::Refused);
    }
}
