//! An event in the two forms that strfry stores: its JSON and its PackedEvent.
//!
//! Applies strfry's structural rules and names refusals in strfry's words. Does not check the id
//! or the signature; it offers the hash that the id must be.

use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::node::EventLimits;
use crate::nostr::{Event, EventId, Malformed, Pubkey, Signature, TagField, json, kind};
use crate::strfry_db::{PackedEvent, packed};

/// Why strfry would not store an event, whatever its signature. The wording is that of strfry
/// 1.1.1 where strfry has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Refusal {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("too many tags: {0}")]
    TooManyTags(usize),
    #[error("tag val too large: {0}")]
    TagValueTooLarge(usize),
    #[error("unexpected size for fixed-size tag: {0}")]
    FixedSizeTag(char),
    #[error("tag {0} is not hex")]
    TagNotHex(char),
    #[error("a tag of a deletion is no address")]
    BadAddressTag,
    #[error("can't delete other user's events")]
    NotOwnEvents,
    #[error("non-digit character in expiration")]
    ExpirationNotANumber,
    #[error("invalid expiration")]
    InvalidExpiration,
    /// strfry hashes DEL as `\u007f`, NIP-01 hashes it verbatim: no id satisfies both.
    #[error("DEL character, which strfry and NIP-01 hash differently")]
    Del,
    /// Does not fit into a line that `strfry import` accepts.
    #[error("event too large: {0}")]
    TooLarge(usize),
}

/// An event as strfry stores it. Neither its id nor its signature is checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    json: String,
    content: Range<usize>,
    tags: Range<usize>,
    header: [u8; packed::HEADER],
    packed_tags: Vec<u8>,
    /// As claimed by whoever sent the event.
    pub sig: Signature,
}

impl StoredEvent {
    /// Puts the two stored forms together.
    ///
    /// # Errors
    /// What strfry would refuse about the event's structure.
    pub fn encode(event: &Event<'_>, limits: &EventLimits) -> Result<Self, Refusal> {
        let (expiration, packed_tags) = pack_tags(event, limits)?;
        let header =
            packed::header(&event.id, &event.pubkey, event.created_at, event.kind, expiration);
        let mut out = String::with_capacity(event.content.len() + 400 + 80 * event.tags.len());
        out.push_str("{\"content\":");
        let content = push(&mut out, |out| json::push_string(out, &event.content));
        out.push_str(",\"created_at\":");
        out.push_str(&event.created_at.to_string());
        out.push_str(",\"id\":\"");
        out.push_str(&event.id.to_string());
        out.push_str("\",\"kind\":");
        out.push_str(&event.kind.to_string());
        out.push_str(",\"pubkey\":\"");
        out.push_str(&event.pubkey.to_string());
        out.push_str("\",\"sig\":\"");
        out.push_str(&event.sig.to_string());
        out.push_str("\",\"tags\":");
        let tags = push(&mut out, |out| json::push_tags(out, &event.tags));
        out.push('}');

        // The writer is the only source of `\u007f`: a backslash of the text is itself escaped.
        if holds_del(event) {
            return Err(Refusal::Del);
        }
        // The newline that ends a line counts against the limit of `strfry import`.
        if out.len() + 1 > limits.max_event_size {
            return Err(Refusal::TooLarge(out.len()));
        }
        Ok(Self { json: out, content, tags, header, packed_tags, sig: event.sig })
    }

    /// The event's JSON, byte by byte as strfry would store it.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// What strfry indexes of the event.
    pub fn packed(&self) -> PackedEvent<'_> {
        PackedEvent::from_parts(&self.header, &self.packed_tags)
    }

    /// The id as claimed.
    pub fn id(&self) -> EventId {
        self.packed().id()
    }

    /// SHA-256 of the event's NIP-01 text `[0,pubkey,created_at,kind,tags,content]`.
    ///
    /// The stored JSON writes tags and content exactly as that text does, so they are hashed from
    /// where they stand.
    pub fn hash(&self) -> EventId {
        let packed = self.packed();
        let mut hash = Sha256::new();
        let head = format!("[0,\"{}\",{},{},", packed.pubkey(), packed.created_at(), packed.kind());
        hash.update(head);
        hash.update(self.json.get(self.tags.clone()).unwrap_or_default());
        hash.update(",");
        hash.update(self.json.get(self.content.clone()).unwrap_or_default());
        hash.update("]");
        EventId::from_bytes(hash.finalize().into())
    }

    /// Bytes that this event keeps in memory, roughly.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.json.capacity() + self.packed_tags.capacity()
    }
}

fn push(out: &mut String, write: impl FnOnce(&mut String)) -> Range<usize> {
    let start = out.len();
    write(out);
    start..out.len()
}

fn holds_del(event: &Event<'_>) -> bool {
    let text = |text: &str| text.bytes().any(|byte| byte == 0x7f);
    text(&event.content)
        || event.tags.iter().flatten().any(|field| match field {
            TagField::Text(value) => text(value),
            TagField::Other(value) => text(&value.to_string()),
        })
}

/// Expiration and packed tags, as strfry 1.1.1's `nostrJsonToPackedEvent` makes them.
fn pack_tags(event: &Event<'_>, limits: &EventLimits) -> Result<(u64, Vec<u8>), Refusal> {
    if event.tags.len() > limits.max_num_tags {
        return Err(Refusal::TooManyTags(event.tags.len()));
    }
    let mut packed = Vec::with_capacity(36 * event.tags.len() + 2);
    let mut expiration = 0;
    if kind::is_replaceable(event.kind) {
        // A virtual d tag in front: later ones do not count.
        pack_tag(&mut packed, b'd', b"");
    }
    for (name, value) in event.tag_pairs() {
        if let &[name] = name.as_bytes() {
            pack_named(&mut packed, event, limits, name, value)?;
        } else if name == "expiration" && expiration == 0 {
            expiration = parse_expiration(value)?;
        }
    }
    if kind::is_addressable(event.kind) {
        // A virtual d tag behind: it counts only if there was none.
        pack_tag(&mut packed, b'd', b"");
    }
    if kind::is_ephemeral(event.kind) {
        expiration = 1;
    }
    Ok((expiration, packed))
}

fn pack_named(
    packed: &mut Vec<u8>,
    event: &Event<'_>,
    limits: &EventLimits,
    name: u8,
    value: &str,
) -> Result<(), Refusal> {
    if value.len() > limits.max_tag_val_size {
        return Err(Refusal::TagValueTooLarge(value.len()));
    }
    match name {
        b'e' | b'p' => {
            let name_char = char::from(name);
            if value.len() != 64 {
                return Err(Refusal::FixedSizeTag(name_char));
            }
            let bytes = Pubkey::from_hex(value).ok_or(Refusal::TagNotHex(name_char))?;
            pack_tag(packed, name, bytes.as_bytes());
            return Ok(());
        }
        b'a' if event.kind == kind::DELETION => {
            let (_, pubkey, _) = parse_address(value).ok_or(Refusal::BadAddressTag)?;
            if pubkey != event.pubkey {
                return Err(Refusal::NotOwnEvents);
            }
        }
        _ => {}
    }
    if value.len() <= packed::MAX_TAG_VALUE {
        pack_tag(packed, name, value.as_bytes());
    }
    Ok(())
}

fn pack_tag(packed: &mut Vec<u8>, name: u8, value: &[u8]) {
    if let Ok(length) = u8::try_from(value.len()) {
        packed.extend([name, length]);
        packed.extend(value);
    }
}

fn parse_expiration(value: &str) -> Result<u64, Refusal> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::ExpirationNotANumber);
    }
    match value.parse() {
        Ok(expiration @ 100..) => Ok(expiration),
        _ => Err(Refusal::InvalidExpiration),
    }
}

/// Kind, pubkey and d-tag of an address `kind:pubkey:d-tag`, as strfry 1.1.1's `parseATag` reads
/// it: C++'s `stoull` lets white space and a sign stand in front of the kind.
pub fn parse_address(address: &str) -> Option<(u64, Pubkey, &str)> {
    let (kind, rest) = address.split_once(':')?;
    let (pubkey, d_tag) = rest.split_once(':')?;
    let kind = kind.trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    let (negative, digits) = match kind.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, kind.strip_prefix('+').unwrap_or(kind)),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kind: u64 = digits.parse().ok()?;
    let kind = if negative { kind.wrapping_neg() } else { kind };
    Some((kind, Pubkey::from_hex(pubkey)?, d_tag))
}
