//! Event ids, pubkeys and signatures: fixed byte strings that are written in hex.

use std::fmt;
use std::str::FromStr;

use bech32::Hrp;
use bech32::primitives::decode::CheckedHrpstring;

use super::hex;

/// Why a text is no pubkey or event id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither 64 hex digits nor something that starts with `npub1`.
    #[error("not a pubkey: expected 64 hex digits or an npub")]
    NotAPubkey,
    /// Starts with `npub1` but is not a valid NIP-19 public key.
    #[error("not a valid npub: its checksum, length or characters are wrong")]
    BadNpub,
    /// A NIP-19 secret key was given where a pubkey belongs.
    #[error(
        "this is a secret key (nsec), not a pubkey: never put it in a list or on a command line"
    )]
    SecretKey,
    /// Neither 64 hex digits nor a valid NIP-19 secret key. The text is not repeated.
    #[error("not a secret key: expected 64 hex digits or an nsec")]
    NotASecretKey,
    /// Not 64 lowercase hex digits.
    #[error("not an event id: expected 64 lowercase hex digits")]
    NotAnEventId,
}

macro_rules! byte_string {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Wraps raw bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Lowercase hex only, as NIP-01 writes it in events.
            #[doc(hidden)]
            pub fn from_lowercase_hex(text: &str) -> Option<Self> {
                hex::decode_lowercase(text.as_bytes()).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(hex::Text::<$len>::new().format(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

byte_string!(
    /// An event id: the SHA-256 of the event's NIP-01 text.
    EventId,
    32
);
byte_string!(
    /// An author's public key: the x coordinate of a secp256k1 point (BIP-340). Not every
    /// 32 bytes are a point on the curve; that shows when a signature is checked.
    Pubkey,
    32
);
byte_string!(
    /// A BIP-340 signature.
    Signature,
    64
);

impl Pubkey {
    /// 64 hex digits in any case. The form of pubkey files.
    #[doc(hidden)]
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::decode(text.as_bytes()).map(Self)
    }

    /// The first eight hex digits, as log lines name a pubkey.
    #[doc(hidden)]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

impl FromStr for Pubkey {
    type Err = KeyError;

    /// Hex in any case, or an npub (NIP-19).
    fn from_str(text: &str) -> Result<Self, KeyError> {
        if let Some(pubkey) = Self::from_hex(text) {
            return Ok(pubkey);
        }
        let prefix = text.get(..5).unwrap_or_default().to_ascii_lowercase();
        match prefix.as_str() {
            "npub1" => decode_bech32("npub", text).map(Self).ok_or(KeyError::BadNpub),
            "nsec1" => Err(KeyError::SecretKey),
            _ => Err(KeyError::NotAPubkey),
        }
    }
}

/// An author's secret key. It is shown nowhere.
#[derive(Clone)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;

    /// Hex in any case, or an nsec (NIP-19).
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = hex::decode(text.as_bytes()).or_else(|| decode_bech32("nsec", text));
        bytes.map(Self).ok_or(KeyError::NotASecretKey)
    }
}

fn decode_bech32(prefix: &str, text: &str) -> Option<[u8; 32]> {
    let checked = CheckedHrpstring::new::<bech32::Bech32>(text).ok()?;
    if checked.hrp() != Hrp::parse(prefix).ok()? {
        return None;
    }
    let bytes: Vec<u8> = checked.byte_iter().collect();
    bytes.try_into().ok()
}

impl FromStr for EventId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_lowercase_hex(text).ok_or(KeyError::NotAnEventId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e";
    const NPUB: &str = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg";

    #[test]
    fn a_pubkey_is_read_from_hex_of_any_case_and_from_npub() {
        let expected = Pubkey::from_hex(HEX).unwrap();
        assert_eq!(HEX.parse(), Ok(expected));
        assert_eq!(HEX.to_uppercase().parse(), Ok(expected));
        assert_eq!(NPUB.parse(), Ok(expected));
        assert_eq!(NPUB.to_uppercase().parse(), Ok(expected));
        assert_eq!(expected.to_string(), HEX);
    }

    #[test]
    fn what_is_no_pubkey_says_why() {
        let bad_checksum = NPUB.replace("vjptg", "vjptq");
        assert_eq!("".parse::<Pubkey>(), Err(KeyError::NotAPubkey));
        assert_eq!(HEX[..63].parse::<Pubkey>(), Err(KeyError::NotAPubkey));
        assert_eq!("é".repeat(32).parse::<Pubkey>(), Err(KeyError::NotAPubkey));
        assert_eq!(bad_checksum.parse::<Pubkey>(), Err(KeyError::BadNpub));
        assert_eq!("npub1".parse::<Pubkey>(), Err(KeyError::BadNpub));
        assert_eq!(
            "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5".parse::<Pubkey>(),
            Err(KeyError::SecretKey)
        );
    }

    #[test]
    fn a_secret_key_is_read_from_hex_and_from_nsec_and_not_shown() {
        let nsec = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5";
        let hex = "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa";
        for text in [nsec, hex] {
            let key: SecretKey = text.parse().unwrap();
            assert_eq!(hex::encode(key.as_bytes()), hex);
            assert_eq!(format!("{key:?}"), "SecretKey(…)");
        }
        assert_eq!(NPUB.parse::<SecretKey>().unwrap_err(), KeyError::NotASecretKey);
    }

    #[test]
    fn an_event_id_in_uppercase_is_refused() {
        assert!(HEX.parse::<EventId>().is_ok());
        assert_eq!(HEX.to_uppercase().parse::<EventId>(), Err(KeyError::NotAnEventId));
    }
}
