//! An event in the two forms that strfry stores: its JSON and its PackedEvent.
//!
//! Applies strfry's structural rules and names refusals in strfry's words. Does not check the id
//! or the signature; it offers the hash that the id must be.

use std::fmt::Write;
use std::ops::Range;

use sha2::{Digest, Sha256};

use super::accounts::Class;
use crate::node::{END_OF_TIME, EventLimits};
use crate::nostr::json::{self, Rewritten};
use crate::nostr::{Event, EventId, Malformed, Pubkey, Signature, TagField, hex, kind};
use crate::strfry_db::{PackedEvent, packed_event};

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
    /// strfry hashes and stores it in other digits than its author.
    #[error("number {0} in a tag, which strfry stores in another way")]
    Number(String),
    /// strfry misprints some numbers of this size. Its newer releases may not.
    #[error("number {0} in a tag, of a size at which strfry 1.1.1 misprints numbers")]
    Misprinted(String),
    /// strfry hashes and stores them sorted.
    #[error("keys of an object in a tag that are not in order, in which strfry stores them")]
    KeyOrder,
    /// Does not fit into a line that `strfry import` accepts.
    #[error("event too large: {0}")]
    TooLarge(usize),
    /// strfry would store it, and could be ended by every query that meets it ([`END_OF_TIME`]).
    #[error("dated {0}: from 1099511627776 on strfry's queries have no room for the second")]
    BeyondTime(u64),
}

impl Refusal {
    /// The class in which the event is counted.
    pub fn class(&self) -> Class {
        match self {
            Self::TooLarge(_) => Class::Oversize,
            Self::BeyondTime(_) => Class::TooNew,
            _ => Class::Malformed,
        }
    }
}

/// An event as strfry stores it. Neither its id nor its signature is checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    json: String,
    packed: Vec<u8>,
    content: Range<usize>,
    tags: Range<usize>,
    /// As claimed by whoever sent the event.
    pub sig: Signature,
}

/// What stands in front of the packed event in a fried line, and what ends the line.
const FRIED: &str = ",\"fried\":\"";
const FRIED_END: &str = "\"}";

/// Five numbers, and with them the signature.
const SPOOLED_NUMBERS: usize = 5 * size_of::<u64>();
const SPOOLED_HEADER: usize = SPOOLED_NUMBERS + 64;

impl StoredEvent {
    /// Puts the two stored forms together.
    ///
    /// # Errors
    /// What strfry would refuse about the event's structure.
    pub fn encode(event: &Event<'_>, limits: &EventLimits) -> Result<Self, Refusal> {
        let packed = pack(event, Some(limits))?;
        if event.created_at >= END_OF_TIME {
            return Err(Refusal::BeyondTime(event.created_at));
        }
        let mut out = String::with_capacity(event.content.len() + 400 + 80 * event.tags.len());
        out.push_str("{\"content\":");
        let content = push(&mut out, |out| json::push_string(out, &event.content));
        out.push_str(",\"created_at\":");
        push_number(&mut out, event.created_at);
        out.push_str(",\"id\":\"");
        hex::push(&mut out, event.id.as_bytes());
        out.push_str("\",\"kind\":");
        push_number(&mut out, event.kind);
        out.push_str(",\"pubkey\":\"");
        hex::push(&mut out, event.pubkey.as_bytes());
        out.push_str("\",\"sig\":\"");
        hex::push(&mut out, event.sig.as_bytes());
        out.push_str("\",\"tags\":");
        let tags = push(&mut out, |out| json::push_tags(out, &event.tags));
        out.push('}');

        if let Some(refusal) = rewritten(event) {
            return Err(refusal);
        }
        // The newline that ends a line counts against the limit of `strfry import`.
        if out.len() + 1 > limits.max_event_size {
            return Err(Refusal::TooLarge(out.len()));
        }
        Ok(Self { json: out, packed, content, tags, sig: event.sig })
    }

    /// The event's JSON, byte by byte as strfry would store it.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// What strfry indexes of the event.
    pub fn packed(&self) -> PackedEvent<'_> {
        let header = self.packed_header();
        PackedEvent::from_parts(header, self.packed.get(packed_event::HEADER..).unwrap_or_default())
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
        let mut head = String::with_capacity(128);
        head.push_str("[0,\"");
        hex::push(&mut head, packed.pubkey().as_bytes());
        head.push_str("\",");
        push_number(&mut head, packed.created_at());
        head.push(',');
        push_number(&mut head, packed.kind());
        head.push(',');
        let mut hash = Sha256::new();
        hash.update(head);
        hash.update(self.part(&self.tags));
        hash.update(",");
        hash.update(self.part(&self.content));
        hash.update("]");
        EventId::from_bytes(hash.finalize().into())
    }

    fn part(&self, range: &Range<usize>) -> &str {
        self.json.get(range.clone()).unwrap_or_default()
    }

    /// Whether strfry may be given the event as a fried line.
    ///
    /// Its limit on lines (strfry 1.1.1, `cmd_import.cpp`: `events.maxEventSize`) is one on fried
    /// lines too, and a longer one ends the whole import. And a line that is cut short because we
    /// are killed must never look like another fried line: an object in a tag can hold what a
    /// fried line ends with.
    pub fn can_be_fried(&self, limits: &EventLimits) -> bool {
        let length = self.json.len() + FRIED.len() + 2 * self.packed.len() + FRIED_END.len();
        // The newline counts, the brace that the fried member goes in front of is there already.
        length <= limits.max_event_size && !self.json.contains(FRIED)
    }

    /// Appends the line that `strfry import` takes, newline included.
    pub fn push_line(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.json.as_bytes());
        out.push(b'\n');
    }

    /// Appends the line that `strfry import --fried` takes, newline included.
    pub fn push_fried_line(&self, out: &mut Vec<u8>) {
        let open = self.json.as_bytes().split_last().map_or(&[][..], |(_, open)| open);
        out.extend_from_slice(open);
        out.extend_from_slice(FRIED.as_bytes());
        hex::push_bytes(out, &self.packed);
        out.extend_from_slice(FRIED_END.as_bytes());
        out.push(b'\n');
    }

    /// What of the packed event comes before its tags.
    fn packed_header(&self) -> &[u8; packed_event::HEADER] {
        self.packed.first_chunk().expect("encoding begins with the header")
    }

    /// Bytes that [`StoredEvent::push_spooled`] appends.
    pub(super) fn spooled_bytes(&self) -> usize {
        SPOOLED_HEADER + self.json.len() + self.packed.len()
    }

    /// Appends all of it, for [`StoredEvent::from_spooled`].
    pub(super) fn push_spooled(&self, out: &mut Vec<u8>) {
        let Range { start: content, end: content_end } = self.content;
        let Range { start: tags, end: tags_end } = self.tags;
        for number in [self.json.len(), content, content_end, tags, tags_end] {
            out.extend_from_slice(&(number as u64).to_ne_bytes());
        }
        out.extend_from_slice(self.sig.as_bytes());
        out.extend_from_slice(self.json.as_bytes());
        out.extend_from_slice(&self.packed);
    }

    /// `None`: these bytes are not what was appended.
    pub(super) fn from_spooled(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.split_first_chunk::<SPOOLED_NUMBERS>()?;
        let (sig, rest) = rest.split_first_chunk()?;
        let number = |at: usize| {
            let number = numbers.as_chunks().0.get(at).copied().map(u64::from_ne_bytes)?;
            usize::try_from(number).ok()
        };
        let (json, packed) = rest.split_at_checked(number(0)?)?;
        PackedEvent::from_bytes(packed)?;
        Some(Self {
            json: std::str::from_utf8(json).ok()?.to_owned(),
            packed: packed.to_owned(),
            content: number(1)?..number(2)?,
            tags: number(3)?..number(4)?,
            sig: Signature::from_bytes(*sig),
        })
    }

    /// Bytes that this event keeps in memory, roughly.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.json.capacity() + self.packed.capacity()
    }
}

fn push(out: &mut String, write: impl FnOnce(&mut String)) -> Range<usize> {
    let start = out.len();
    write(out);
    start..out.len()
}

fn push_number(out: &mut String, number: u64) {
    // Writing into a string never fails.
    let _ = write!(out, "{number}");
}

/// What strfry would store in other bytes than the author wrote: then the id that it stores is not
/// the hash of what it stores, or it refuses the event because its own hash is another.
pub(crate) fn rewritten(event: &Event<'_>) -> Option<Refusal> {
    let del = |text: &str| text.as_bytes().contains(&0x7f).then_some(Rewritten::Del);
    let rewritten = del(&event.content).or_else(|| {
        event.tags.iter().flatten().find_map(|field| match field {
            TagField::Text(text) => del(text),
            TagField::Other(text) => json::rewritten(text),
        })
    });
    rewritten.map(Refusal::from)
}

impl From<Rewritten> for Refusal {
    fn from(rewritten: Rewritten) -> Self {
        match rewritten {
            Rewritten::Del => Self::Del,
            Rewritten::KeyOrder => Self::KeyOrder,
            // Enough to find it by; a number can be as long as an event.
            Rewritten::Number(text) => Self::Number(text.chars().take(40).collect()),
            Rewritten::Misprinted(text) => Self::Misprinted(text.chars().take(40).collect()),
        }
    }
}

/// The PackedEvent, as strfry 1.1.1's `nostrJsonToPackedEvent` makes it.
///
/// Without limits, for events that an older or otherwise configured strfry has stored.
pub(crate) fn pack(event: &Event<'_>, limits: Option<&EventLimits>) -> Result<Vec<u8>, Refusal> {
    if limits.is_some_and(|limits| event.tags.len() > limits.max_num_tags) {
        return Err(Refusal::TooManyTags(event.tags.len()));
    }
    let mut packed = Vec::with_capacity(packed_event::HEADER + 36 * event.tags.len() + 2);
    packed.extend_from_slice(&[0; packed_event::HEADER]);
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
    let header =
        packed_event::header(&event.id, &event.pubkey, event.created_at, event.kind, expiration);
    packed[..packed_event::HEADER].copy_from_slice(&header);
    Ok(packed)
}

fn pack_named(
    packed: &mut Vec<u8>,
    event: &Event<'_>,
    limits: Option<&EventLimits>,
    name: u8,
    value: &str,
) -> Result<(), Refusal> {
    if limits.is_some_and(|limits| value.len() > limits.max_tag_val_size) {
        return Err(Refusal::TagValueTooLarge(value.len()));
    }
    match name {
        b'e' | b'p' => {
            let name_char = char::from(name);
            if value.len() != 64 {
                return Err(Refusal::FixedSizeTag(name_char));
            }
            // strfry reads 31 bytes of this; a deletion that names them deletes by a prefix.
            if let (None, Some(digits)) = (limits, value.strip_prefix("0x"))
                && let Some(bytes) = hex::decode::<31>(digits.as_bytes())
            {
                pack_tag(packed, name, &bytes);
                return Ok(());
            }
            let bytes = Pubkey::from_hex(value).ok_or(Refusal::TagNotHex(name_char))?;
            pack_tag(packed, name, bytes.as_bytes());
            return Ok(());
        }
        b'a' if event.kind == kind::DELETION && limits.is_some() => {
            let (_, pubkey, _) = parse_address(value).ok_or(Refusal::BadAddressTag)?;
            if pubkey != event.pubkey {
                return Err(Refusal::NotOwnEvents);
            }
        }
        _ => {}
    }
    if value.len() <= packed_event::MAX_TAG_VALUE {
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
