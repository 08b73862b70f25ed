//! The one hex decoder and encoder of the crate.

/// Decodes exactly `N` bytes of hex, any case. `None` for another length or another character.
pub fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    // The crate would take a `0x` in front for no part of the number, as strfry does.
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    ::hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// Like [`decode`], but refuses uppercase digits: NIP-01 wants lowercase in events.
pub fn decode_lowercase<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    decode(text)
}

/// Lowercase hex of `N` bytes, on the stack.
pub type Text<const N: usize> = ::hex::Buffer<N>;

/// Lowercase hex.
pub fn encode(bytes: &[u8]) -> String {
    ::hex::encode(bytes)
}

/// Appends lowercase hex.
pub fn push(out: &mut String, bytes: &[u8]) {
    out.extend(bytes.iter().flat_map(|&byte| digits(byte).map(char::from)));
}

/// Appends lowercase hex, as bytes.
pub fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes.iter().flat_map(|&byte| digits(byte)));
}

fn digits(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_are_hex_and_as_many_as_the_bytes_need() {
        assert_eq!(decode(b"0aFf"), Some([0x0a, 0xff]));
        assert_eq!(decode_lowercase::<2>(b"0aFf"), None);
        for wrong in ["0x0aff", "0xff", "0aff0", "0a", "0agg", "", " aff", "0a\u{e9}"] {
            assert_eq!(decode::<2>(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
