//! Saying who we are, when the relay wants to know it (see [`Authentication`]).

use tokio::time::Instant;

use crate::peer::auth::{AuthKey, AuthStep, Authentication};

/// Who we are, for a relay that wants to know (NIP-42).
#[derive(Debug, Clone)]
pub(in crate::peer) struct Identity {
    pub(in crate::peer) key: AuthKey,
    /// The relay's address.
    pub(in crate::peer) relay: String,
}

/// How far we are with one connection.
#[derive(Debug)]
pub(super) struct Login {
    identity: Option<Identity>,
    auth: Authentication,
    /// When the relay accepted us.
    accepted_at: Option<Instant>,
    /// Since when it owes a challenge, or its opinion of our answer.
    pending_since: Option<Instant>,
    /// The relay says that it wants to know everybody.
    is_said: bool,
}

impl Login {
    pub(super) fn new(identity: Option<Identity>) -> Self {
        Self {
            identity,
            auth: Authentication::default(),
            accepted_at: None,
            pending_since: None,
            is_said: false,
        }
    }

    /// A new connection begins.
    pub(super) fn reset(&mut self) {
        let is_said = self.is_said;
        *self = Self::new(self.identity.take());
        if is_said {
            self.learn();
        }
    }

    /// The relay says that it wants to know everybody.
    pub(super) fn learn(&mut self) {
        self.is_said = true;
        self.auth.want();
    }

    pub(super) fn challenge(&mut self, challenge: &str) {
        self.auth.challenge(challenge);
    }

    /// It is to be told, although it has refused nothing.
    pub(super) fn want(&mut self) {
        self.auth.want();
    }

    /// Something that was asked then is refused to a stranger; whether it helps to ask again, when
    /// nothing is pending any more.
    pub(super) fn required(&mut self, asked: Instant) -> bool {
        let was_before = self.accepted_at.is_none_or(|accepted| asked < accepted);
        let step = self.auth.required(self.identity.is_some(), was_before);
        if self.auth.is_pending() {
            self.pending_since.get_or_insert_with(Instant::now);
        }
        step == AuthStep::Repeat
    }

    /// The answer to a challenge, if it is to be sent now.
    pub(super) fn answer(&mut self) -> Option<String> {
        let identity = self.identity.as_ref()?;
        let answer = self.auth.answer(&identity.key, &identity.relay)?;
        self.pending_since = Some(Instant::now());
        Some(answer)
    }

    /// Whether an empty answer to what was asked then may hide what only those may see whom the
    /// relay knows.
    pub(super) fn may_hide(&self, asked: Instant) -> bool {
        let was_unknown = self.auth.may_hide()
            || self.auth.is_pending()
            || self.accepted_at.is_some_and(|accepted| asked < accepted);
        self.identity.is_some() && was_unknown
    }

    /// Whether what was asked then may be given to us once the relay knows us: there is a key, and it
    /// has not accepted it before.
    pub(super) fn may_help(&self, asked: Instant) -> bool {
        self.identity.is_some() && self.accepted_at.is_none_or(|accepted| asked < accepted)
    }

    /// What the relay thinks of an event that it was sent; whether that is about us.
    pub(super) fn ok(&mut self, id: &str, accepted: bool, message: &str) -> bool {
        let is_ours = self.auth.ok(id, accepted, message);
        if is_ours {
            self.pending_since = None;
            self.accepted_at = accepted.then(Instant::now);
        }
        is_ours
    }

    /// Whether the relay still has to say something before it can be asked.
    pub(super) fn is_pending(&self) -> bool {
        self.auth.is_pending()
    }

    /// Since when that is so.
    pub(super) fn pending_since(&self) -> Option<Instant> {
        self.pending_since.filter(|_| self.is_pending())
    }

    /// It has not said it in time.
    pub(super) fn expire(&mut self) {
        self.auth.expire();
        self.pending_since = None;
        // An answer may have been accepted without a word.
        self.accepted_at = self.auth.is_accepted().then(Instant::now);
    }

    /// What the relay said when it did not accept our answer.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.auth.refusal()
    }
}
