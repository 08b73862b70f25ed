//! What a relay means when it refuses: the prefixes of NIP-01, and what relays say instead.

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The client must say who it is (NIP-42).
    AuthRequired,
    /// Whoever the client is, it must not ask this.
    Restricted,
    /// Too much was asked in too short a time.
    RateLimited,
    /// The answer would be too large, or the request is.
    TooLarge,
    /// The relay has forgotten the request.
    Ended,
    /// Anything else.
    Other,
}

impl Refusal {
    /// What the text of a CLOSED, NEG-ERR or NOTICE means.
    pub(super) fn of(message: &str) -> Self {
        let message = message.strip_prefix("ERROR: ").unwrap_or(message);
        let lower = message.to_ascii_lowercase();
        let too_large = ["too many query results", "too_big", "too big", "too large"];
        match prefix(message) {
            Some("auth-required") => Self::AuthRequired,
            Some("restricted") => Self::Restricted,
            Some("rate-limited") => Self::RateLimited,
            _ if too_large.iter().any(|text| lower.contains(text)) => Self::TooLarge,
            Some("closed") => Self::Ended,
            // Relays have so many words for too many subscriptions at once.
            _ if lower.contains("too many concurrent") => Self::RateLimited,
            _ => Self::Other,
        }
    }
}

/// Machine-readable prefix of a message (NIP-01), such as `rate-limited`.
fn prefix(message: &str) -> Option<&str> {
    let (prefix, _) = message.split_once(':')?;
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    (!prefix.is_empty() && is_word(prefix)).then_some(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_understood_whoever_words_them() {
        for (message, refusal) in [
            ("auth-required: kind 4", Refusal::AuthRequired),
            ("ERROR: auth-required: kind 4", Refusal::AuthRequired),
            ("restricted: not yours", Refusal::Restricted),
            ("rate-limited: slow down", Refusal::RateLimited),
            ("ERROR: too many concurrent REQs", Refusal::RateLimited),
            ("too many concurrent NEG requests", Refusal::RateLimited),
            ("blocked: too many query results", Refusal::TooLarge),
            ("RESULTS_TOO_BIG", Refusal::TooLarge),
            ("blocked: you are not welcome", Refusal::Other),
            ("closed: unknown subscription handle", Refusal::Ended),
            ("PROTOCOL-ERROR", Refusal::Other),
            ("error: negentropy disabled", Refusal::Other),
            ("Not a prefix: here", Refusal::Other),
            ("", Refusal::Other),
        ] {
            assert_eq!(Refusal::of(message), refusal, "{message}");
        }
    }
}
