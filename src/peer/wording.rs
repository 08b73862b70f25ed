//! What a relay means when it refuses: the prefixes of NIP-01, and what relays say instead. A hint:
//! nothing depends on it.

/// What the words say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wording {
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

/// How relays say, each in its own words, that too much is open or was asked in a short time.
const TOO_MUCH_AT_ONCE: [&str; 19] = [
    "too many concurrent",
    "too many simultaneous",
    "too many open",
    "too many active",
    "too many subs",
    "too many req",
    "too many connections",
    "too many messages",
    "too fast",
    "slow down",
    "rate limit",
    "rate-limit",
    "concurrent subscription",
    "max subscriptions",
    "maximum subscriptions",
    "number of subscriptions",
    "subscription count",
    "subscription limit",
    "subscriptions limit",
];

impl Wording {
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
            _ if TOO_MUCH_AT_ONCE.iter().any(|text| lower.contains(text)) => Self::RateLimited,
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
            ("auth-required: kind 4", Wording::AuthRequired),
            ("ERROR: auth-required: kind 4", Wording::AuthRequired),
            ("restricted: not yours", Wording::Restricted),
            ("rate-limited: slow down", Wording::RateLimited),
            ("ERROR: too many concurrent REQs", Wording::RateLimited),
            ("too many concurrent NEG requests", Wording::RateLimited),
            ("Maximum concurrent subscription count reached", Wording::RateLimited),
            ("ERROR: too many subscriptions", Wording::RateLimited),
            ("error: too many open subscriptions", Wording::RateLimited),
            ("Too Many Subs", Wording::RateLimited),
            ("too many requests", Wording::RateLimited),
            ("blocked: too many active REQs", Wording::RateLimited),
            ("Maximum number of subscriptions exceeded", Wording::RateLimited),
            ("invalid: subscription limit reached (20)", Wording::RateLimited),
            ("You are rate limited", Wording::RateLimited),
            ("ERROR: bad req: subscription id too long, maximum 64", Wording::Other),
            ("error: too many filters", Wording::Other),
            ("error: too many authors in the request", Wording::Other),
            ("blocked: too many query results", Wording::TooLarge),
            ("RESULTS_TOO_BIG", Wording::TooLarge),
            ("blocked: you are not welcome", Wording::Other),
            ("closed: unknown subscription handle", Wording::Ended),
            ("PROTOCOL-ERROR", Wording::Other),
            ("error: negentropy disabled", Wording::Other),
            ("Not a prefix: here", Wording::Other),
            ("", Wording::Other),
        ] {
            assert_eq!(Wording::of(message), refusal, "{message}");
        }
    }
}
