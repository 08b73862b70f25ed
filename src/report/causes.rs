//! An error in one line, with what caused it.

use std::error::Error;

/// The error, followed by those of its causes that it does not quote itself.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open x: {source}; try again")]
    struct Quotes {
        source: io::Error,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot start")]
    struct Silent(#[source] Quotes);

    #[test]
    fn each_cause_is_told_once() {
        let quotes = Quotes { source: io::Error::other("no disk") };
        assert_eq!(with_causes(&quotes), "cannot open x: no disk; try again");
        assert_eq!(with_causes(&Silent(quotes)), "cannot start: cannot open x: no disk; try again");
    }
}
