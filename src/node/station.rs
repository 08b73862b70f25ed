//! What a station says about itself in its 12345.json, and which station this node is.
//!
//! The texts are strangers': an id is checked before anybody can use it in a path or a message.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::files::{self, FileProblem};
use crate::nostr::Pubkey;

/// A station's file has about 50 keys; this is a hundred times as much as it needs.
pub(super) const MAX_STATION_BYTES: u64 = 1 << 20;
/// IPFS's own configuration.
const MAX_IPFS_CONFIG_BYTES: u64 = 1 << 20;
/// A peer id has 46 to 62 characters (libp2p, base58 or base36).
const MAX_ID_CHARACTERS: usize = 128;

/// What of a 12345.json matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Station {
    /// `ipfsnodeid`, absent when empty.
    pub id: Option<String>,
    /// `myRELAY`, absent when empty.
    pub relay: Option<String>,
    /// `captainHEX` and `NODEHEX`.
    pub pubkeys: Vec<Pubkey>,
    /// Those of the two that are there and no pubkeys.
    pub skipped_pubkeys: usize,
}

impl Station {
    /// `None` when the text is not a JSON object.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let keys: Map<String, Value> = serde_json::from_slice(text).ok()?;
        let text = |key| match keys.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => {
                Some(text.trim().to_owned()).filter(|text| !text.is_empty())
            }
            // In brackets it passes for none of the texts that belong there, and is refused.
            Some(other) => Some(format!("<{other}>")),
        };
        let (pubkeys, skipped): (Vec<_>, Vec<_>) = ["captainHEX", "NODEHEX"]
            .into_iter()
            .filter_map(text)
            .map(|text| text.parse::<Pubkey>())
            .partition(Result::is_ok);
        Some(Self {
            id: text("ipfsnodeid"),
            relay: text("myRELAY"),
            pubkeys: pubkeys.into_iter().flatten().collect(),
            skipped_pubkeys: skipped.len(),
        })
    }
}

/// Whether the text can be an IPFS peer id: letters and digits only, so that it is harmless in
/// a path, an argument and a message.
pub fn is_station_id(text: &str) -> bool {
    (1..=MAX_ID_CHARACTERS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Why the own station is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnStationError {
    /// IPFSNODEID is set to something else.
    #[error("IPFSNODEID is not an IPFS peer id: {0:?}; correct it or unset it")]
    BadVariable(String),
    /// IPFS's configuration cannot be read.
    #[error("cannot read {path:?} for the own station's id: {problem}; or set IPFSNODEID")]
    Unreadable {
        /// IPFS's configuration.
        path: PathBuf,
        /// What is wrong with it.
        problem: FileProblem,
    },
    /// IPFS's configuration does not say.
    #[error("{0:?} is not JSON with an Identity.PeerID; correct it or set IPFSNODEID")]
    NoPeerId(PathBuf),
}

/// The id of the station that this node is: `variable` (IPFSNODEID) if set, else what IPFS's
/// configuration says. `None` when there is neither.
///
/// # Errors
/// [`OwnStationError`] when what is there does not tell. It is safe to go on: the worst is that
/// the node asks itself.
pub fn own_station_id(
    variable: Option<&str>,
    ipfs_config: &Path,
) -> Result<Option<String>, OwnStationError> {
    #[derive(Deserialize)]
    struct IpfsConfig {
        #[serde(rename = "Identity")]
        identity: Identity,
    }
    #[derive(Deserialize)]
    struct Identity {
        #[serde(rename = "PeerID")]
        peer_id: String,
    }

    if let Some(id) = variable.map(str::trim).filter(|id| !id.is_empty()) {
        return if is_station_id(id) {
            Ok(Some(id.to_owned()))
        } else {
            Err(OwnStationError::BadVariable(id.chars().take(MAX_ID_CHARACTERS).collect()))
        };
    }
    let text = match files::read(ipfs_config, MAX_IPFS_CONFIG_BYTES) {
        Ok(text) => text,
        Err(FileProblem::Missing) => return Ok(None),
        Err(problem) => {
            return Err(OwnStationError::Unreadable { path: ipfs_config.to_owned(), problem });
        }
    };
    // The file also holds the node's private key: nothing of it may reach a message.
    serde_json::from_slice::<IpfsConfig>(&text)
        .ok()
        .map(|config| config.identity.peer_id)
        .filter(|id| is_station_id(id))
        .map(Some)
        .ok_or_else(|| OwnStationError::NoPeerId(ipfs_config.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_four_keys_are_found_among_all_others() {
        let (captain, node) = ("AB".repeat(32), "0c".repeat(32));
        let text = format!(
            r#"{{"version":"1.1","captainHEX":" {captain} ","deep":{{"myRELAY":[[]]}},
            "ipfsnodeid":"12D3KooWabc","myRELAY":" wss://relay.example ","NODEHEX":"{node}"}}"#
        );
        assert_eq!(
            Station::parse(text.as_bytes()),
            Some(Station {
                id: Some("12D3KooWabc".into()),
                relay: Some("wss://relay.example".into()),
                pubkeys: vec![Pubkey::from_bytes([0xab; 32]), Pubkey::from_bytes([0x0c; 32])],
                skipped_pubkeys: 0,
            })
        );
    }

    #[test]
    fn values_of_other_types_lose_only_themselves() {
        let text = br#"{"ipfsnodeid":5,"myRELAY":"","captainHEX":["x"],"NODEHEX":null}"#;
        assert_eq!(
            Station::parse(text),
            Some(Station {
                id: Some("<5>".into()),
                relay: None,
                pubkeys: vec![],
                skipped_pubkeys: 1,
            })
        );
    }

    #[test]
    fn what_is_not_a_json_object_is_no_station() {
        let deep = "{\"a\":".repeat(100_000);
        for text in ["", "null", "[]", "{", "{}x", "<html>", "\"12345\"", &deep] {
            assert_eq!(Station::parse(text.as_bytes()), None, "{text:.20}");
        }
    }

    #[test]
    fn an_id_that_could_leave_its_directory_is_refused() {
        assert!(is_station_id("12D3KooWL2FcDJ41U9SyLuvDmA5qGzyoaj2RoEHiJPpCvY8jvx9u"));
        assert!(is_station_id(&"a".repeat(128)) && !is_station_id(&"a".repeat(129)));
        for bad in ["", ".", "..", "../x", "a/b", "a b", "-x", "a\0", "é", "a\n", "$(x)", "x;y"] {
            assert!(!is_station_id(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_own_station_is_named_by_the_variable_or_else_by_ipfs() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config");
        assert_eq!(own_station_id(None, &config), Ok(None));
        std::fs::write(&config, r#"{"Identity":{"PeerID":"12D3b","PrivKey":"secret"}}"#).unwrap();
        assert_eq!(own_station_id(None, &config), Ok(Some("12D3b".into())));
        assert_eq!(own_station_id(Some(" \n"), &config), Ok(Some("12D3b".into())));
        assert_eq!(own_station_id(Some("12D3a"), &config), Ok(Some("12D3a".into())));
        assert_eq!(
            own_station_id(Some("../x"), &config),
            Err(OwnStationError::BadVariable("../x".into()))
        );
        for bad in ["{\"Identity\":{\"PrivKey\":\"secret\"}}", "secret", "{\"Identity\":5}"] {
            std::fs::write(&config, bad).unwrap();
            let error = own_station_id(None, &config).unwrap_err();
            assert_eq!(error, OwnStationError::NoPeerId(config.clone()));
            assert!(!error.to_string().contains("secret"));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let _ = Station::parse(&bytes);
        }
    }
}
