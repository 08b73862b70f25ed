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
            ("auth-required: kind 4", Refusal::AuthRequired),
            ("ERROR: auth-required: kind 4", Refusal::AuthRequired),
            ("restricted: not yours", Refusal::Restricted),
            ("rate-limited: slow down", Refusal::RateLimited),
            ("ERROR: too many concurrent REQs", Refusal::RateLimited),
            ("too many concurrent NEG requests", Refusal::RateLimited),
            ("Maximum concurrent subscription count reached", Refusal::RateLimited),
            ("ERROR: too many subscriptions", Refusal::RateLimited),
            ("error: too many open subscriptions", Refusal::RateLimited),
            ("Too Many Subs", Refusal::RateLimited),
            ("too many requests", Refusal::RateLimited),
            ("blocked: too many active REQs", Refusal::RateLimited),
            ("Maximum number of subscriptions exceeded", Refusal::RateLimited),
            ("invalid: subscription limit reached (20)", Refusal::RateLimited),
            ("You are rate limited", Refusal::RateLimited),
            ("ERROR: bad req: subscription id too long, maximum 64", Refusal::Other),
            ("error: too many filters", Refusal::Other),
            ("error: too many authors in the request", Refusal::Other),
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
