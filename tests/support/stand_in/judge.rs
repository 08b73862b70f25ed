//! strfry's verdict on one line of input, and the two forms in which it would store the event.
//!
//! Written from strfry's rules without the library's encoder, so that each is a check of the other.
//! Where the library refuses more than strfry does (uppercase hex, DEL), this accepts as strfry
//! does.

use std::collections::BTreeMap;

use secp256k1::{XOnlyPublicKey, schnorr};
use sha2::{Digest, Sha256};
use strfry_companion::import::{EventLimits, parse_address};
use strfry_companion::nostr::kind;

use super::tao::Json;
use super::writer::NewEvent;

/// strfry 1.1.1, `MAX_INDEXED_TAG_VAL_SIZE`.
const MAX_INDEXED_TAG_VALUE: usize = 255;
/// What strfry keeps of an event, in the order in which it writes them.
const STORED_KEYS: [&str; 7] = ["content", "created_at", "id", "kind", "pubkey", "sig", "tags"];

/// Judges an event.
///
/// # Errors
/// strfry's words for what is wrong.
pub fn judge(event: &Json, limits: &EventLimits, verify: bool) -> Result<NewEvent, String> {
    if !matches!(event, Json::Object(_)) {
        return Err("event is not an object".into());
    }
    let packed = pack(event, limits)?;
    if verify {
        verify_id_and_signature(event, &packed)?;
    }
    let json = stored_json(event)?;
    if verify && json.len() > limits.max_event_size {
        return Err(format!("event too large: {}", json.len()));
    }
    NewEvent::new(packed, json).ok_or_else(|| "PackedEventView too short".into())
}

/// Judges an event that a client sends to a relay of that limits, at that time; no policy plugin
/// and no authentication (strfry 1.1.1, `verifyEventTimestamp`, `ingesterProcessEvent`).
///
/// # Errors
/// strfry's words for what is wrong.
pub fn judge_as_relay(event: &Json, limits: &EventLimits, now: u64) -> Result<(), String> {
    let judged = judge(event, limits, true)?;
    let packed = judged.packed();
    let (created_at, expiration) = (packed.created_at(), packed.expiration());
    let (oldest, too_old) = match expiration {
        1 => (60, "ephemeral event expired"),
        _ => (94_608_000, "created_at too early"),
    };
    if created_at < now.saturating_sub(oldest) {
        return Err(too_old.into());
    }
    if created_at > now + limits.seconds_ahead {
        return Err("created_at too late".into());
    }
    if expiration > 1 && expiration <= now {
        return Err("event expired".into());
    }
    let content = member(event, "content")?.as_str().unwrap_or_default();
    if matches!(packed.kind(), 6 | 16) && content.contains("[\"-\"]") {
        return Err("blocked: reposts can't embed protected events".into());
    }
    match packed.tags().any(|(name, _)| name == b'-') {
        true => Err("blocked: event marked as protected".into()),
        false => Ok(()),
    }
}

/// A line of `import --fried`: the stored JSON with the PackedEvent in hex as its last member.
/// Nothing of it is checked.
pub fn parse_fried(line: &str) -> Option<NewEvent> {
    let (json, packed) = line.strip_suffix("\"}")?.rsplit_once(",\"fried\":\"")?;
    NewEvent::new(unhex(packed).ok()?, format!("{json}}}"))
}

/// strfry's hex decoder: any case, and an `0x` in front is no part of the number.
pub fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    if !digits.len().is_multiple_of(2) {
        return Err("uneven size input to from_hex".into());
    }
    hex::decode(digits).map_err(|_| {
        let odd = digits.iter().find(|digit| !digit.is_ascii_hexdigit()).copied();
        format!("unexpected character in from_hex: {}", odd.unwrap_or_default())
    })
}

fn pack(event: &Json, limits: &EventLimits) -> Result<Vec<u8>, String> {
    let id = unhex(text(member(event, "id")?, "event id field was not a string")?)?;
    let pubkey = unhex(text(member(event, "pubkey")?, "event pubkey field was not a string")?)?;
    let created_at =
        unsigned(member(event, "created_at")?, "event created_at field was not an integer")?;
    let kind = unsigned(member(event, "kind")?, "event kind field was not an integer")?;
    if id.len() != 32 {
        return Err("unexpected id size".into());
    }
    if pubkey.len() != 32 {
        return Err("unexpected pubkey size".into());
    }
    text(member(event, "content")?, "event content field was not a string")?;

    let all_tags = array(member(event, "tags")?, "tags field not an array")?;
    if all_tags.len() > limits.max_num_tags {
        return Err(format!("too many tags: {}", all_tags.len()));
    }
    let mut expiration = 0;
    let mut tags = Vec::new();
    if kind::is_replaceable(kind) {
        tags.extend(b"d\0");
    }
    for tag in all_tags {
        let tag = array(tag, "tag in tags field was not an array")?;
        let name = text(tag.first().ok_or("too few fields in tag")?, "tag name was not a string")?;
        let value = match tag.get(1) {
            Some(value) => text(value, "tag val was not a string")?,
            None => "",
        };
        if let &[name] = name.as_bytes() {
            let value = indexed_value(name, value, kind, &pubkey, limits)?;
            if value.len() <= MAX_INDEXED_TAG_VALUE {
                tags.extend([name, value.len() as u8]);
                tags.extend(value);
            }
        } else if name == "expiration" && expiration == 0 {
            expiration = parse_expiration(value)?;
        }
    }
    if kind::is_addressable(kind) {
        tags.extend(b"d\0");
    }
    if kind::is_ephemeral(kind) {
        expiration = 1;
    }
    let integers = [created_at, kind, expiration].map(u64::to_le_bytes).concat();
    Ok([id, pubkey, integers, tags].concat())
}

fn indexed_value(
    name: u8,
    value: &str,
    kind: u64,
    author: &[u8],
    limits: &EventLimits,
) -> Result<Vec<u8>, String> {
    if value.len() > limits.max_tag_val_size {
        return Err(format!("tag val too large: {}", value.len()));
    }
    match name {
        b'e' | b'p' if value.len() != 64 => {
            Err(format!("unexpected size for fixed-size tag: {}", char::from(name)))
        }
        b'e' | b'p' => unhex(value),
        b'a' if kind == kind::DELETION => match parse_address(value) {
            None => Err("parse error".into()),
            Some((_, owner, _)) if owner.as_bytes() != author => {
                Err("can't delete other user's events".into())
            }
            Some(_) => Ok(value.into()),
        },
        _ => Ok(value.into()),
    }
}

fn parse_expiration(value: &str) -> Result<u64, String> {
    if !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("non-digit character".into());
    }
    match value.parse() {
        Ok(expiration @ 100..) => Ok(expiration),
        Ok(_) => Err("invalid expiration".into()),
        // C++ names the function that failed.
        Err(_) => Err("stoull".into()),
    }
}

fn verify_id_and_signature(event: &Json, packed: &[u8]) -> Result<(), String> {
    let mut hashed = String::from("[0");
    for key in ["pubkey", "created_at", "kind", "tags", "content"] {
        hashed.push(',');
        member(event, key)?.write(&mut hashed);
    }
    hashed.push(']');
    let (id, pubkey) = (&packed[..32], &packed[32..64]);
    if Sha256::digest(hashed)[..] != *id {
        return Err("bad event id".into());
    }
    let sig = unhex(text(member(event, "sig")?, "event sig was not a string")?)?;
    let sig: [u8; 64] = sig.try_into().map_err(|_| "verify sig: bad input size")?;
    let pubkey = pubkey.try_into().map_err(|_| "verify sig: bad input size")?;
    let key = XOnlyPublicKey::from_byte_array(pubkey).map_err(|_| "verify sig: bad pubkey")?;
    schnorr::verify(&schnorr::Signature::from_byte_array(sig), id, &key)
        .map_err(|_| "bad signature".into())
}

fn stored_json(event: &Json) -> Result<String, String> {
    let mut stored = BTreeMap::new();
    for key in STORED_KEYS {
        stored.insert(key.into(), member(event, key)?.clone());
    }
    let mut json = String::new();
    Json::Object(stored).write(&mut json);
    Ok(json)
}

fn member<'a>(object: &'a Json, key: &str) -> Result<&'a Json, String> {
    object.get(key).ok_or_else(|| format!("JSON object key \"{key}\" not found"))
}

fn text<'a>(value: &'a Json, otherwise: &str) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| otherwise.into())
}

fn unsigned(value: &Json, otherwise: &str) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| otherwise.into())
}

fn array<'a>(value: &'a Json, otherwise: &str) -> Result<&'a [Json], String> {
    value.as_array().ok_or_else(|| otherwise.into())
}
