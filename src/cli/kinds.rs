//! Names of kinds, for tables.

use crate::backfill::kinds::constellation_kinds;

/// Kinds that are common on relays and not in the constellation's list, with the names that the NIPs
/// give them. Sorted.
const OTHERS: &[(u64, &str)] = &[
    (2, "recommended relay"),
    (9, "chat message"),
    (11, "thread"),
    (13, "seal"),
    (14, "direct message"),
    (15, "file message"),
    (16, "generic repost"),
    (17, "reaction to a website"),
    (20, "picture"),
    (43, "channel hide message"),
    (443, "key package"),
    (1018, "poll response"),
    (1021, "bid"),
    (1059, "gift wrap"),
    (1068, "poll"),
    (1311, "live chat message"),
    (1617, "patch"),
    (1621, "git issue"),
    (1971, "problem tracker"),
    (4550, "community post approval"),
    (7000, "job feedback"),
    (7374, "reserved cashu wallet tokens"),
    (7375, "cashu wallet tokens"),
    (7376, "cashu wallet history"),
    (9041, "zap goal"),
    (9321, "nutzap"),
    (9734, "zap request"),
    (9802, "highlight"),
    (10_003, "bookmarks"),
    (10_004, "communities"),
    (10_005, "public chats"),
    (10_006, "blocked relays"),
    (10_007, "search relays"),
    (10_009, "user groups"),
    (10_012, "favourite relays"),
    (10_015, "interests"),
    (10_019, "nutzap mint recommendation"),
    (10_030, "emojis"),
    (10_050, "relays for direct messages"),
    (10_063, "file servers"),
    (10_166, "relay monitor"),
    (13_194, "wallet information"),
    (17_375, "cashu wallet"),
    (30_000, "follow set"),
    (30_002, "relay set"),
    (30_003, "bookmark set"),
    (30_004, "article curation set"),
    (30_007, "kind mute set"),
    (30_015, "interest set"),
    (30_017, "stall"),
    (30_018, "product"),
    (30_030, "emoji set"),
    (30_063, "release artifact set"),
    (30_166, "relay discovery"),
    (30_311, "live event"),
    (30_382, "trusted assertion"),
    (30_402, "classified listing"),
    (30_617, "repository announcement"),
    (30_618, "repository state"),
    (30_818, "wiki article"),
    (31_234, "draft"),
    (31_989, "handler recommendation"),
    (31_990, "handler information"),
    (34_235, "video"),
    (34_236, "short video"),
    (34_550, "community definition"),
    (39_000, "group metadata"),
    (39_001, "group admins"),
    (39_002, "group members"),
    (39_089, "starter pack"),
];

/// The name of a kind, if it has a known one.
pub(super) fn name_of_kind(kind: u64) -> Option<&'static str> {
    let of_constellation = constellation_kinds();
    match of_constellation.binary_search_by_key(&kind, |known| known.number) {
        Ok(at) => of_constellation.get(at).map(|known| known.name.as_str()),
        Err(_) => {
            let at = OTHERS.binary_search_by_key(&kind, |(number, _)| *number).ok()?;
            OTHERS.get(at).map(|(_, name)| *name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_a_name_if_one_is_known() {
        assert_eq!(name_of_kind(0), Some("profile"));
        assert_eq!(name_of_kind(1059), Some("gift wrap"));
        assert_eq!(name_of_kind(64_999), None);
    }

    #[test]
    fn the_lists_are_sorted_and_name_no_kind_twice() {
        assert!(OTHERS.is_sorted_by(|(one, _), (next, _)| one < next));
        let named_twice: Vec<u64> = constellation_kinds()
            .iter()
            .map(|kind| kind.number)
            .filter(|kind| OTHERS.iter().any(|(number, _)| number == kind))
            .collect();
        assert_eq!(named_twice, [0; 0]);
    }
}
