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

/// How far we are with one connection. Challenge, refusal, answer and OK may come in any order.
///
/// Pure: it knows neither the connection nor the clock. The caller bounds how long
/// [`is_pending`](Self::is_pending) holds up its requests, and then calls [`expire`](Self::expire).
#[derive(Debug, Default)]
pub(super) struct Authentication {
    state: State,
    /// The newest challenge, unless it has been answered.
    challenge: Option<String>,
    /// The challenge is to be answered, or the next one as soon as it comes.
    is_wanted: bool,
    /// Challenges that have been answered.
    answers: u32,
    /// How often a challenge has been waited for.
    waits: u32,
    /// Why the relay does not accept our answer.
    refusal: Option<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    NotAsked,
    /// The relay has refused something and not sent a challenge yet.
    Waiting,
    Sent(EventId),
    /// The relay has not said in time what it thinks of our answer.
    Unconfirmed(EventId),
    Accepted,
    Refused,
}

/// What is to be done about a request that is refused because the relay wants to know us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AuthStep {
    /// The request is to be repeated once nothing [is pending](Authentication::is_pending).
    Repeat,
    /// Nothing helps.
    Refused,
}

/// Challenges that are answered on one connection: a relay may want to know again after a while,
/// and must not make us sign without end.
const ANSWERS: u32 = 4;
/// Challenges that are waited for on one connection, before and after the relay has accepted us.
const WAITS: u32 = 2;
/// Longer than any relay's challenge, so that it cannot be used to make us sign just anything.
const CHALLENGE: usize = 1_000;

impl Authentication {
    /// The relay has sent a challenge; a new one replaces the old.
    pub(super) fn challenge(&mut self, challenge: &str) {
        if challenge.len() <= CHALLENGE && self.answers < ANSWERS {
            self.challenge = Some(challenge.to_owned());
            if self.state == State::Waiting {
                self.state = State::NotAsked;
            }
        }
    }

    /// The relay is to know us even if it refuses nothing: it says that it wants to, or may hide
    /// something. Holds nothing up before a challenge has come.
    pub(super) fn want(&mut self) {
        let may_be = [State::NotAsked, State::Refused].contains(&self.state);
        self.is_wanted |= may_be;
    }

    /// Whether the relay has sent a challenge that has not been answered, and does not know us: an
    /// empty answer may hide what only those may see who are known.
    pub(super) fn may_hide(&self) -> bool {
        self.challenge.is_some() && !self.is_accepted()
    }

    /// The relay has refused a request. `has_key`: there is a key to answer with; `was_before`:
    /// the request had been sent before the relay accepted us.
    pub(super) fn required(&mut self, has_key: bool, was_before: bool) -> AuthStep {
        if !has_key {
            return AuthStep::Refused;
        }
        match self.state {
            State::Sent(_) | State::Waiting => AuthStep::Repeat,
            State::Accepted | State::Unconfirmed(_) if was_before => AuthStep::Repeat,
            _ if self.challenge.is_some() => {
                self.is_wanted = true;
                AuthStep::Repeat
            }
            State::NotAsked | State::Accepted if self.waits < WAITS => {
                self.waits += 1;
                self.is_wanted = true;
                self.state = State::Waiting;
                AuthStep::Repeat
            }
            _ => AuthStep::Refused,
        }
    }

    /// The message that answers the challenge, if that is to be done now. To be asked for before
    /// any other message is sent.
    pub(super) fn answer(&mut self, key: &AuthKey, relay: &str) -> Option<String> {
        if !self.is_wanted || matches!(self.state, State::Sent(_)) {
            return None;
        }
        let challenge = self.challenge.take()?;
        let (id, event) = key.answer(relay, &challenge);
        self.state = State::Sent(id);
        self.is_wanted = false;
        self.answers += 1;
        Some(auth(&event))
    }

    /// An OK; returns whether it is about us.
    pub(super) fn ok(&mut self, id: &str, accepted: bool, message: &str) -> bool {
        let sent = match &self.state {
            State::Sent(sent) | State::Unconfirmed(sent) => sent.to_string(),
            _ => return false,
        };
        if sent != id {
            return false;
        }
        if accepted {
            self.state = State::Accepted;
            self.refusal = None;
        } else {
            // Our answer may have crossed a newer challenge.
            self.is_wanted = self.challenge.is_some();
            self.state = if self.is_wanted { State::NotAsked } else { State::Refused };
            self.refusal = Some(message.to_owned());
        }
        true
    }

    /// Whether the relay knows us, as far as it has said anything about that.
    pub(super) fn is_accepted(&self) -> bool {
        matches!(self.state, State::Accepted | State::Unconfirmed(_))
    }

    /// Whether the relay owes a challenge, or has to say what it thinks of our answer.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self.state, State::Sent(_) | State::Waiting)
    }

    /// The relay has not done it in time. What it was asked may be repeated all the same: some
    /// relays accept an answer without a word.
    pub(super) fn expire(&mut self) {
        self.state = match std::mem::take(&mut self.state) {
            State::Sent(id) => State::Unconfirmed(id),
            State::Waiting => {
                self.is_wanted = false;
                State::Refused
            }
            other => other,
        };
    }

    /// What the relay said when it did not accept our answer; a stranger's text.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
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

    /// One thing that happens, and what comes of it.
    enum Step {
        Challenge(&'static str),
        Want,
        /// A refusal of a request that was sent before, or after, the relay accepted us.
        Refusal {
            was_before: bool,
            step: AuthStep,
        },
        /// This challenge is answered now, or nothing.
        Answer(Option<&'static str>),
        Ok(bool),
        Expire,
    }

    const AGAIN: Step = Step::Refusal { was_before: true, step: AuthStep::Repeat };
    const AFTERWARDS: Step = Step::Refusal { was_before: false, step: AuthStep::Repeat };
    const NO: Step = Step::Refusal { was_before: false, step: AuthStep::Refused };

    /// Goes through the steps; returns the machine at their end.
    fn after(steps: Vec<Step>) -> Authentication {
        let (key, mut machine, mut id) = (key(), Authentication::default(), String::new());
        for (step, number) in steps.into_iter().zip(0..) {
            match step {
                Step::Challenge(challenge) => machine.challenge(challenge),
                Step::Want => machine.want(),
                Step::Refusal { was_before, step } => {
                    assert_eq!(machine.required(true, was_before), step, "step {number}");
                }
                Step::Answer(expected) => {
                    let sent = machine.answer(&key, "wss://r");
                    let sent = sent.map(|sent| serde_json::from_str::<Value>(&sent).unwrap());
                    let challenge = sent.as_ref().map(|sent| sent[1]["tags"][1][1].clone());
                    assert_eq!(challenge, expected.map(Value::from), "step {number}");
                    if let Some(sent) = sent {
                        id = sent[1]["id"].as_str().unwrap().to_owned();
                    }
                }
                Step::Ok(accepted) => {
                    assert!(!machine.ok("another", accepted, ""));
                    assert!(machine.ok(&id, accepted, "because"), "step {number}");
                }
                Step::Expire => machine.expire(),
            }
        }
        machine
    }

    #[test]
    fn challenge_refusal_answer_and_ok_come_in_every_order() {
        use Step::{Answer, Challenge, Expire, Ok, Want};
        let a = || Challenge("a");
        for (order, steps, is_accepted) in [
            ("challenge first", vec![a(), Answer(None), AGAIN, Answer(Some("a")), Ok(true)], true),
            ("refusal first", vec![AGAIN, Answer(None), a(), Answer(Some("a")), Ok(true)], true),
            (
                "challenge between refusals",
                vec![AGAIN, AGAIN, a(), AGAIN, Answer(Some("a")), AGAIN, Answer(None), Ok(true)],
                true,
            ),
            ("challenge instead of a refusal", vec![a(), Want, Answer(Some("a")), Ok(true)], true),
            (
                "wanted before the challenge",
                vec![Want, Answer(None), a(), Answer(Some("a")), Ok(true)],
                true,
            ),
            (
                "a newer challenge before the answer",
                vec![a(), Challenge("b"), AGAIN, Answer(Some("b")), Ok(true)],
                true,
            ),
            (
                "a newer challenge crosses the answer",
                vec![AGAIN, a(), Answer(Some("a")), Challenge("b"), Ok(false), Answer(Some("b"))]
                    .into_iter()
                    .chain([Ok(true)])
                    .collect(),
                true,
            ),
            (
                "a newer challenge with an answer that is accepted is not answered for nothing",
                vec![AGAIN, a(), Answer(Some("a")), Challenge("b"), Ok(true), Answer(None)],
                true,
            ),
            (
                "known once, and to be known again",
                vec![AGAIN, a(), Answer(Some("a")), Ok(true), AFTERWARDS, Challenge("b")]
                    .into_iter()
                    .chain([Answer(Some("b")), Ok(true)])
                    .collect(),
                true,
            ),
            ("a refusal from before", vec![a(), AGAIN, Answer(Some("a")), Ok(true), AGAIN], true),
            ("no OK at all", vec![a(), AGAIN, Answer(Some("a")), Expire, AGAIN], true),
            ("no OK, and it does not help", vec![a(), AGAIN, Answer(Some("a")), Expire, NO], true),
            ("a late OK", vec![a(), AGAIN, Answer(Some("a")), Expire, Ok(true)], true),
            ("a late no", vec![a(), AGAIN, Answer(Some("a")), Expire, Ok(false), NO], false),
            ("OK false", vec![a(), AGAIN, Answer(Some("a")), Ok(false), NO, Answer(None)], false),
            (
                "OK false, and another challenge",
                vec![a(), AGAIN, Answer(Some("a")), Ok(false), Challenge("b"), AFTERWARDS]
                    .into_iter()
                    .chain([Answer(Some("b")), Ok(true)])
                    .collect(),
                true,
            ),
            ("no challenge", vec![AGAIN, Expire, NO], false),
            (
                "a challenge after we have given up",
                vec![AGAIN, Expire, a(), AFTERWARDS, Answer(Some("a")), Ok(true)],
                true,
            ),
        ] {
            let machine = after(steps);
            assert_eq!(machine.is_accepted(), is_accepted, "{order}");
            assert!(!machine.is_pending(), "{order}");
        }
    }

    #[test]
    fn requests_wait_for_a_challenge_and_for_what_the_relay_thinks_of_the_answer() {
        use Step::{Answer, Challenge, Want};
        assert!(after(vec![AGAIN]).is_pending());
        assert!(after(vec![AGAIN, Challenge("a"), Answer(Some("a"))]).is_pending());
        assert!(!after(vec![Want]).is_pending());
        assert!(!after(vec![Challenge("a")]).is_pending());
    }

    #[test]
    fn without_a_key_nothing_is_waited_for() {
        let mut machine = Authentication::default();
        machine.challenge("a");
        assert_eq!(machine.required(false, true), AuthStep::Refused);
        assert!(!machine.is_pending());
    }

    #[test]
    fn the_relay_is_quoted_until_it_accepts() {
        use Step::{Answer, Challenge, Ok};
        let no = || vec![Challenge("a"), AGAIN, Answer(Some("a")), Ok(false)];
        assert_eq!(after(no()).refusal(), Some("because"));
        let yes = [Challenge("b"), AGAIN, Answer(Some("b")), Ok(true)];
        assert_eq!(after(no().into_iter().chain(yes).collect()).refusal(), None);
    }

    #[test]
    fn only_a_challenge_that_was_never_answered_may_hide_something() {
        use Step::{Answer, Challenge, Ok};
        assert!(!after(vec![]).may_hide());
        assert!(after(vec![Challenge("a")]).may_hide());
        let known = vec![Challenge("a"), AGAIN, Answer(Some("a")), Ok(true), Challenge("b")];
        assert!(!after(known).may_hide());
    }

    #[test]
    fn no_relay_makes_us_sign_or_wait_without_end_nor_what_is_no_challenge() {
        let (key, mut machine) = (key(), Authentication::default());
        machine.challenge(&"x".repeat(CHALLENGE + 1));
        assert!(!machine.may_hide());
        let (mut signed, mut waited) = (0, 0);
        for number in 0..100 {
            if number % 2 == 0 {
                machine.challenge(&number.to_string());
            }
            machine.required(true, false);
            signed += u32::from(machine.answer(&key, "r").is_some());
            waited += u32::from(machine.is_pending());
            machine.expire();
        }
        assert_eq!((signed, waited), (ANSWERS, ANSWERS));
    }
}
