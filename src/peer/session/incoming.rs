//! What a message of the peer does: to the conversation, and to whoever takes the events.

use std::pin::pin;

use tokio::time::Instant;

use super::{Interruption, PeerSession, closed, unless};
use crate::peer::connection::Received;
use crate::peer::conversation::Conversation;
use crate::peer::host::{EventSink, Stopped, Unwanted};
use crate::peer::message::RelayMessage;
use crate::peer::too_large::TooLarge;

impl PeerSession {
    /// Takes in what came; returns a subscription that has ended and must be closed.
    pub(super) async fn take_in(
        &mut self,
        conversation: &mut Conversation,
        received: Received,
        sink: &impl EventSink,
    ) -> Result<Option<String>, Interruption> {
        match received {
            Received::Text(text) => return self.handle(conversation, &text, sink).await,
            Received::NotText => no_message(conversation, sink),
            Received::TooLarge(it) => too_large(&it, conversation, sink),
            Received::Close(frame) => return Err(closed(frame)),
            Received::Idle => conversation.budget.note_idle(),
        }
        Ok(None)
    }

    /// Handles one message; returns a subscription that has ended and must be closed.
    async fn handle(
        &mut self,
        conversation: &mut Conversation,
        text: &str,
        sink: &impl EventSink,
    ) -> Result<Option<String>, Interruption> {
        let message = RelayMessage::parse(text);
        if !matches!(message, Some(RelayMessage::Event { .. } | RelayMessage::NegMsg { .. })) {
            conversation.budget.note_size(text.len());
        }
        match message {
            Some(RelayMessage::Event { subscription, event }) => {
                match conversation.receive(&subscription, event.get()) {
                    Ok(event) => {
                        let since = Instant::now();
                        sink.event(&event).await.map_err(|Stopped| Interruption::Stopped)?;
                        conversation.excuse(since.elapsed());
                    }
                    Err(what) => sink.unwanted(what),
                }
            }
            Some(RelayMessage::EndOfStoredEvents { subscription, is_finish }) => {
                let ended = conversation.end_of_stored_events(&subscription, is_finish);
                return Ok(ended.then(|| subscription.into_owned()));
            }
            Some(RelayMessage::Closed { subscription, message }) => {
                conversation.closed(&subscription, &message);
            }
            Some(RelayMessage::Notice(text)) => conversation.notice(&text),
            Some(RelayMessage::NegMsg { subscription, payload }) => {
                if let (Some(share), Some(filter)) =
                    (&self.share, conversation.needs_items(&subscription, &payload))
                {
                    let since = Instant::now();
                    let here = unless(pin!(self.stop.told()), share.local.items(&filter)).await?;
                    conversation.excuse(since.elapsed());
                    if !conversation.learn_items(&subscription, here) {
                        return Ok(None);
                    }
                }
                let named = conversation.neg_msg(&subscription, &payload);
                if let (Some(share), Some((needed, filter))) = (&self.share, named) {
                    let since = Instant::now();
                    let missing = share.local.missing(needed);
                    match unless(pin!(self.stop.told()), missing).await {
                        Ok(missing) => conversation.offer(&subscription, &filter, missing),
                        Err(stopped) => {
                            conversation.compare_again(&subscription, &filter);
                            return Err(stopped);
                        }
                    }
                    conversation.excuse(since.elapsed());
                }
            }
            Some(RelayMessage::NegErr { subscription, reason, has_maximum }) => {
                conversation.neg_err(&subscription, &reason, has_maximum);
            }
            Some(RelayMessage::Auth(challenge)) => conversation.challenge(&challenge),
            Some(RelayMessage::Ok { id, accepted, message }) => {
                conversation.ok(&id, accepted, &message);
            }
            Some(RelayMessage::Other) => conversation.budget.note_idle(),
            None => no_message(conversation, sink),
        }
        Ok(None)
    }
}

fn no_message(conversation: &mut Conversation, sink: &impl EventSink) {
    conversation.budget.note_useless();
    sink.unwanted(Unwanted::NotAMessage);
}

/// A message that was too large for us: an event is set aside and named. It costs the peer as much
/// trust as something useless, so that there is an end to them.
fn too_large(message: &TooLarge, conversation: &mut Conversation, sink: &impl EventSink) {
    let subscription = message.subscription.as_deref().unwrap_or_default();
    match message.name.as_deref() {
        Some("EVENT") => {
            conversation.budget.note_useless();
            let is_asked = conversation.receive_too_large(subscription, message.id);
            let (id, bytes) = (message.id, message.bytes);
            let what = if is_asked { Unwanted::TooLarge { id, bytes } } else { Unwanted::Unasked };
            sink.unwanted(what);
        }
        // Half of the question may have an answer that is not too large.
        Some("NEG-MSG") => conversation.neg_err(subscription, "too large: its message", false),
        _ => {
            conversation.budget.note_size(usize::try_from(message.bytes).unwrap_or(usize::MAX));
            no_message(conversation, sink);
        }
    }
}
