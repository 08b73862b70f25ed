//! PackedEvent, the value of table `Event`: what strfry indexes of an event.
//!
//! | offset | bytes | field |
//! |---:|---:|---|
//! | 0 | 32 | id |
//! | 32 | 32 | pubkey |
//! | 64 | 8 | created_at |
//! | 72 | 8 | kind |
//! | 80 | 8 | expiration: 0 none, 1 ephemeral kind, else the `expiration` tag |
//! | 88 | … | tags, each: name (1), length (1), value (length) |
//!
//! Integers are native-endian; strfry refuses a database of the other endianness.

use crate::nostr::{EventId, Pubkey};

const PUBKEY: usize = 32;
const CREATED_AT: usize = 64;
const KIND: usize = 72;
const EXPIRATION: usize = 80;
/// Bytes in front of the tags; no PackedEvent is shorter.
pub const HEADER: usize = 88;
/// A longer tag value stays in the JSON and is not packed.
/// strfry 1.1.1, `MAX_INDEXED_TAG_VAL_SIZE`.
pub const MAX_TAG_VALUE: usize = 255;

/// A PackedEvent, borrowed from where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedEvent<'a> {
    header: &'a [u8; HEADER],
    tags: &'a [u8],
}

impl<'a> PackedEvent<'a> {
    /// `None` if the bytes are too few for the header. Tags are looked at when they are read.
    #[doc(hidden)]
    pub fn from_bytes(bytes: &'a [u8]) -> Option<Self> {
        let (header, tags) = bytes.split_first_chunk::<HEADER>()?;
        Some(Self { header, tags })
    }

    /// The header as [`header`] makes it, and the packed tags.
    #[doc(hidden)]
    pub fn from_parts(header: &'a [u8; HEADER], tags: &'a [u8]) -> Self {
        Self { header, tags }
    }

    /// The whole PackedEvent, as table `Event` holds it.
    #[doc(hidden)]
    pub fn to_vec(&self) -> Vec<u8> {
        [self.header.as_slice(), self.tags].concat()
    }

    /// The event's id.
    pub fn id(&self) -> EventId {
        EventId::from_bytes(self.field::<32>(0))
    }

    /// The author.
    pub fn pubkey(&self) -> Pubkey {
        Pubkey::from_bytes(self.field::<32>(PUBKEY))
    }

    /// Seconds since 1970.
    pub fn created_at(&self) -> u64 {
        u64::from_ne_bytes(self.field(CREATED_AT))
    }

    /// The kind.
    pub fn kind(&self) -> u64 {
        u64::from_ne_bytes(self.field(KIND))
    }

    /// 0 none, 1 ephemeral kind, else the second from which the event is expired.
    pub fn expiration(&self) -> u64 {
        u64::from_ne_bytes(self.field(EXPIRATION))
    }

    /// The five header fields as they lie there.
    pub(crate) fn header(&self) -> &'a [u8; HEADER] {
        self.header
    }

    /// The indexed tags as they lie there.
    #[doc(hidden)]
    pub fn tag_bytes(&self) -> &'a [u8] {
        self.tags
    }

    /// Name and value of each indexed tag, in order; ends where the bytes stop making sense.
    pub fn tags(&self) -> Tags<'a> {
        Tags { rest: self.tags }
    }

    /// Value of the first `d` tag, by which strfry replaces replaceable and addressable events.
    pub fn d_tag(&self) -> Option<&'a [u8]> {
        self.tags().find(|&(name, _)| name == b'd').map(|(_, value)| value)
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        if let Some(field) = self.header.get(at..at + N) {
            bytes.copy_from_slice(field);
        }
        bytes
    }
}

/// Iterator over packed tags.
#[derive(Debug, Clone)]
pub struct Tags<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Tags<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[name, length], rest) = self.rest.split_first_chunk::<2>()?;
        let (value, rest) = rest.split_at_checked(usize::from(length))?;
        self.rest = rest;
        Some((name, value))
    }
}

/// The five header fields, put together as strfry does.
pub fn header(
    id: &EventId,
    pubkey: &Pubkey,
    created_at: u64,
    kind: u64,
    expiration: u64,
) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..PUBKEY].copy_from_slice(id.as_bytes());
    header[PUBKEY..CREATED_AT].copy_from_slice(pubkey.as_bytes());
    header[CREATED_AT..KIND].copy_from_slice(&created_at.to_ne_bytes());
    header[KIND..EXPIRATION].copy_from_slice(&kind.to_ne_bytes());
    header[EXPIRATION..].copy_from_slice(&expiration.to_ne_bytes());
    header
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed() -> Vec<u8> {
        let mut bytes =
            header(&EventId::from_bytes([1; 32]), &Pubkey::from_bytes([2; 32]), 3, 4, 5).to_vec();
        bytes.extend(b"d\x00t\x03abcd\x01x");
        bytes
    }

    #[test]
    fn every_field_lies_at_its_offset() {
        let bytes = packed();
        let event = PackedEvent::from_bytes(&bytes).unwrap();
        assert_eq!(event.id(), EventId::from_bytes([1; 32]));
        assert_eq!(event.pubkey(), Pubkey::from_bytes([2; 32]));
        assert_eq!((event.created_at(), event.kind(), event.expiration()), (3, 4, 5));
        let tags: Vec<_> = event.tags().collect();
        assert_eq!(tags, [(b'd', &b""[..]), (b't', b"abc"), (b'd', b"x")]);
        assert_eq!(event.d_tag(), Some(&b""[..]));
    }

    #[test]
    fn an_event_cut_at_any_byte_yields_only_whole_tags() {
        let bytes = packed();
        for at in 0..bytes.len() {
            match PackedEvent::from_bytes(&bytes[..at]) {
                None => assert!(at < HEADER),
                Some(event) => {
                    let read: usize = event.tags().map(|(_, value)| 2 + value.len()).sum();
                    assert!(HEADER + read <= at);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            if let Some(event) = PackedEvent::from_bytes(&bytes) {
                let _ = (event.tags().count(), event.d_tag(), event.kind());
            }
        }
    }
}
