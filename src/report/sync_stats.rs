//! What came in during a run, by the keys of the log's `SYNC_STATS:` line.
//!
//! Other programs read that line, so its keys and their order are fixed. A reader takes the last
//! text that looks like `files=12`, which `profiles=12` does too: therefore a key that ends in
//! another key stands before it. This file only counts; whether an event is genuine or landed in
//! the database is decided elsewhere.

use std::fmt;

use crate::nostr::{Event, TagField, kind};

macro_rules! stat_keys {
    ($($variant:ident $name:literal,)*) => {
        /// A key of the `SYNC_STATS:` line that belongs to some kinds of events. `events`, `dms`
        /// and `public`, which every event counts towards, are no such keys.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum StatKey {
            $(
                #[doc = concat!("`", $name, "`")]
                $variant,
            )*
        }

        impl StatKey {
            /// All keys, in the order of the line.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// As the line writes it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

stat_keys! {
    Deletions "deletions",
    Videos "videos",
    Profiles "profiles",
    Files "files",
    Comments "comments",
    Voice "voice",
    Tags "tags",
    Tmdb "tmdb",
    Channels "channels",
    Playlists "playlists",
    Status "status",
    Did "did",
    OreSpaces "ore_spaces",
    OreMeetings "ore_meetings",
    Oracle "oracle",
    EconomicHealth "economic_health",
    Workflows "workflows",
    N2Memory "n2_memory",
    Nip52Calendar "nip52_calendar",
    Text "text",
    Contacts "contacts",
    Reposts "reposts",
    Reactions "reactions",
    Blog "blog",
    Drafts "drafts",
    EncryptedAnalytics "encrypted_analytics",
    Analytics "analytics",
    BadgeAwards "badge_awards",
    ProfileBadges "profile_badges",
    BadgeDefinitions "badge_definitions",
    LoveLedger "love_ledger",
    Wotx2Objects "wotx2_objects",
    Wotx2Justice "wotx2_justice",
    VibrationMatches "vibration_matches",
    FrictionReports "friction_reports",
    Zaps "zaps",
    Crowdfunding "crowdfunding",
}

impl StatKey {
    /// The key that an event counts towards, if its kind has one. Kinds 10000 and 10001 are also
    /// NIP-51's mute and pin lists: they count only if tags or content show the other use.
    pub fn of(event: &Event<'_>) -> Option<Self> {
        Some(match event.kind {
            kind::PROFILE => Self::Profiles,
            1 => Self::Text,
            3 => Self::Contacts,
            kind::DELETION => Self::Deletions,
            6 => Self::Reposts,
            7 => Self::Reactions,
            8 => Self::BadgeAwards,
            21 | 22 => Self::Videos,
            40 | 41 | 42 | 44 => Self::Channels,
            1063 => Self::Files,
            1111 => Self::Comments,
            1222 | 1244 => Self::Voice,
            1505 | 30_505 => Self::Wotx2Objects,
            1506 | 30_506 => Self::Wotx2Justice,
            1984 => Self::FrictionReports,
            1985 => Self::Tags,
            1986 | 30_001 => Self::Tmdb,
            9735 => Self::Zaps,
            10_000 if has_topic(event, "encrypted") || event.content.starts_with("nip44") => {
                Self::EncryptedAnalytics
            }
            10_000 if has_topic(event, "analytics") => Self::Analytics,
            10_001 if event.tags.iter().any(|tag| is_named(tag, "a") || is_named(tag, "d")) => {
                Self::Playlists
            }
            30_005 => Self::Playlists,
            30_008 => Self::ProfileBadges,
            30_009 => Self::BadgeDefinitions,
            30_023 => Self::Blog,
            30_024 => Self::Drafts,
            30_305 => Self::LoveLedger,
            30_312 => Self::OreSpaces,
            30_313 => Self::OreMeetings,
            30_315 => Self::Status,
            30_500..=30_503 => Self::Oracle,
            30_508 => Self::VibrationMatches,
            30_800 => Self::Did,
            30_850 | 30_851 => Self::EconomicHealth,
            30_904 => Self::Crowdfunding,
            31_900..=31_902 => Self::Workflows,
            31_910 => Self::N2Memory,
            31_922..=31_925 => Self::Nip52Calendar,
            _ => return None,
        })
    }
}

fn has_topic(event: &Event<'_>, topic: &str) -> bool {
    event.tag_pairs().any(|pair| pair == ("t", topic))
}

fn is_named(tag: &[TagField<'_>], name: &str) -> bool {
    matches!(tag.first(), Some(TagField::Text(text)) if text == name)
}

/// Totals of a run. Shown as the `SYNC_STATS:` line, every key with its count, zeroes too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncStats {
    events: u64,
    direct_messages: u64,
    by_key: [u64; StatKey::ALL.len()],
}

impl Default for SyncStats {
    fn default() -> Self {
        Self { events: 0, direct_messages: 0, by_key: [0; StatKey::ALL.len()] }
    }
}

impl SyncStats {
    /// Counts one event of this kind, and towards the key that [`StatKey::of`] gave for it.
    pub fn add(&mut self, kind: u64, key: Option<StatKey>) {
        self.events = self.events.saturating_add(1);
        if kind == kind::DIRECT_MESSAGE {
            self.direct_messages = self.direct_messages.saturating_add(1);
        }
        if let Some(count) = key.and_then(|key| self.by_key.get_mut(usize::from(key as u8))) {
            *count = count.saturating_add(1);
        }
    }

    /// All events counted.
    pub fn events(&self) -> u64 {
        self.events
    }
}

impl fmt::Display for SyncStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let public = self.events.saturating_sub(self.direct_messages);
        write!(
            f,
            "SYNC_STATS: events={} dms={} public={public}",
            self.events, self.direct_messages
        )?;
        for (key, count) in StatKey::ALL.iter().zip(self.by_key) {
            write!(f, " {}={count}", key.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn key_of(kind: u64, tags: Value, content: &str) -> Option<&'static str> {
        let text = json!({
            "id": "00".repeat(32), "pubkey": "11".repeat(32), "created_at": 5, "kind": kind,
            "tags": tags, "content": content, "sig": "22".repeat(64),
        });
        StatKey::of(&Event::parse(&text.to_string()).unwrap()).map(StatKey::name)
    }

    /// As other programs on the node know them.
    #[rustfmt::skip]
    const KINDS: [(&str, &[u64]); 35] = [
        ("deletions", &[5]), ("videos", &[21, 22]), ("files", &[1063]), ("comments", &[1111]),
        ("voice", &[1222, 1244]), ("tags", &[1985]), ("tmdb", &[1986, 30001]),
        ("channels", &[40, 41, 42, 44]), ("playlists", &[30005]), ("status", &[30315]),
        ("did", &[30800]), ("ore_spaces", &[30312]), ("ore_meetings", &[30313]),
        ("oracle", &[30500, 30501, 30502, 30503]), ("economic_health", &[30850, 30851]),
        ("workflows", &[31900, 31901, 31902]), ("n2_memory", &[31910]),
        ("nip52_calendar", &[31922, 31923, 31924, 31925]), ("profiles", &[0]), ("text", &[1]),
        ("contacts", &[3]), ("reposts", &[6]), ("reactions", &[7]), ("blog", &[30023]),
        ("drafts", &[30024]), ("badge_awards", &[8]), ("profile_badges", &[30008]),
        ("badge_definitions", &[30009]), ("love_ledger", &[30305]),
        ("wotx2_objects", &[30505, 1505]), ("wotx2_justice", &[30506, 1506]),
        ("vibration_matches", &[30508]), ("friction_reports", &[1984]), ("zaps", &[9735]),
        ("crowdfunding", &[30904]),
    ];

    #[test]
    fn every_kind_up_to_65535_counts_towards_its_key_and_no_other() {
        for kind in 0..=65_535 {
            let expected =
                KINDS.iter().find(|(_, kinds)| kinds.contains(&kind)).map(|(name, _)| *name);
            assert_eq!(key_of(kind, json!([["e", "x"]]), ""), expected, "kind {kind}");
        }
    }

    #[test]
    fn kind_10001_is_a_playlist_only_with_an_a_or_d_tag() {
        assert_eq!(key_of(10_001, json!([["a", "30005:x:y"]]), ""), Some("playlists"));
        assert_eq!(key_of(10_001, json!([["e", "x"], ["d"]]), ""), Some("playlists"));
        assert_eq!(key_of(10_001, json!([["e", "a"], ["A", "x"]]), ""), None);
    }

    #[test]
    fn kind_10000_is_analytics_encrypted_analytics_or_a_mute_list() {
        let analytics = json!([["t", "analytics"]]);
        let both = json!([["t", "analytics"], ["t", "encrypted"]]);
        assert_eq!(key_of(10_000, analytics.clone(), "{}"), Some("analytics"));
        assert_eq!(key_of(10_000, both, "{}"), Some("encrypted_analytics"));
        assert_eq!(key_of(10_000, analytics, "nip44:x"), Some("encrypted_analytics"));
        assert_eq!(key_of(10_000, json!([["t", "encrypted"]]), ""), Some("encrypted_analytics"));
        assert_eq!(key_of(10_000, json!([]), "nip44"), Some("encrypted_analytics"));
        assert_eq!(key_of(10_000, json!([["p", "analytics"]]), "see nip44"), None);
    }

    #[test]
    fn the_line_holds_every_key_in_its_order_with_its_count() {
        let mut stats = SyncStats::default();
        for key in StatKey::ALL {
            stats.add(1, Some(key));
        }
        stats.add(1, Some(StatKey::Text));
        stats.add(4, None);
        stats.add(4, None);
        stats.add(10_002, None);
        assert_eq!(stats.events(), 41);
        assert_eq!(
            stats.to_string(),
            "SYNC_STATS: events=41 dms=2 public=39 deletions=1 videos=1 profiles=1 files=1 comments=1 \
             voice=1 tags=1 tmdb=1 channels=1 playlists=1 status=1 did=1 ore_spaces=1 ore_meetings=1 \
             oracle=1 economic_health=1 workflows=1 n2_memory=1 nip52_calendar=1 text=2 contacts=1 \
             reposts=1 reactions=1 blog=1 drafts=1 encrypted_analytics=1 analytics=1 \
             badge_awards=1 profile_badges=1 badge_definitions=1 love_ledger=1 wotx2_objects=1 \
             wotx2_justice=1 vibration_matches=1 friction_reports=1 zaps=1 crowdfunding=1"
        );
    }

    /// What `sync_report.sh` runs for a key, word for word.
    const READER: &str =
        r#"v=$(echo "$1" | grep -o "${2}=[0-9]*" | tail -1 | cut -d= -f2); echo "${v:-0}""#;

    #[test]
    fn the_report_script_reads_the_value_of_every_key_and_not_of_one_that_ends_in_it() {
        let mut stats = SyncStats::default();
        let keys = StatKey::ALL.iter().enumerate();
        for (number, &key) in keys.clone() {
            (0..100 + number).for_each(|_| stats.add(1, Some(key)));
        }
        let line = stats.to_string();
        let read = |key: &str| {
            let mut reader = std::process::Command::new("sh");
            let output = reader.args(["-c", READER, "sh", &line, key]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse::<usize>().unwrap()
        };
        for (number, key) in keys {
            assert_eq!(read(key.name()), 100 + number, "{}", key.name());
        }
        let total = usize::try_from(stats.events()).unwrap();
        assert_eq!(["events", "dms", "public"].map(read), [total, 0, total]);
    }

    #[test]
    fn an_empty_run_still_writes_every_key() {
        let line = SyncStats::default().to_string();
        assert_eq!(line.matches("=0").count(), 40);
        assert!(line.starts_with("SYNC_STATS: events=0 dms=0 public=0 deletions=0 "), "{line}");
        assert!(line.ends_with(" zaps=0 crowdfunding=0"), "{line}");
    }
}
