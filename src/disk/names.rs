//! Names of the files in a data directory: the one place that knows them.
//!
//! ```text
//! DIR/FORMAT                    format version and shard count (written once, by server::checks)
//! DIR/LOCK                      held by the running process
//! DIR/catalog-NNNNNNNN          catalog snapshots, the newest whole one counts
//! DIR/wal/GEN-CORE-EPOCH-CORES.wal
//!                               one core's log since its last memtable freeze; GEN counts the starts, CORES is how
//!                               many there were (before format 3 the name ended before it)
//! DIR/shard-NNNN/series.log     series keys and ids
//! DIR/shard-NNNN/series.new     the next series log, until it takes the place of the one before
//! DIR/shard-NNNN/manifest.log   which segments are visible
//! DIR/shard-NNNN/manifest.new   the next manifest, until it takes the place of the one before
//! DIR/shard-NNNN/NNNNNNNN.seg   segments
//! ```

use std::path::Path;
use std::path::PathBuf;

/// A shard's series log.
pub const SERIES_LOG: &str = "series.log";
/// A shard's next series log.
pub const NEW_SERIES_LOG: &str = "series.new";
/// A shard's manifest.
pub const MANIFEST: &str = "manifest.log";
/// A shard's next manifest.
pub const NEW_MANIFEST: &str = "manifest.new";

/// Folder of the logs.
pub fn wal_dir(dir: &Path) -> PathBuf {
    dir.join("wal")
}

/// Folder of one shard.
pub fn shard_dir(dir: &Path, shard: u16) -> PathBuf {
    dir.join(format!("shard-{shard:04}"))
}

/// The shard whose folder is called `name`.
pub fn parse_shard(name: &str) -> Option<u16> {
    let digits = name.strip_prefix("shard-")?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Identity of one log file. Orders by age inside one core; files of several cores of one start cover disjoint shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WalName {
    /// Counts the starts of this data directory.
    pub generation: u32,
    /// Counts the memtable freezes of one core since its start.
    pub epoch: u32,
    /// The core that wrote it.
    pub core: u16,
    /// How many cores there were then: it owned the shards whose number leaves `core` when divided by it. `None`: not
    /// known, from before format 3.
    pub core_count: Option<u16>,
}

impl WalName {
    /// The file's name.
    pub fn file_name(self) -> String {
        let WalName { generation, epoch, core, core_count } = self;
        let cores = core_count.map_or_else(String::new, |count| format!("-{count:04}"));
        format!("{generation:08}-{core:04}-{epoch:08}{cores}.wal")
    }

    /// The identity of a file called `name`; `None` for anything else.
    pub fn parse(name: &str) -> Option<WalName> {
        let mut parts = name.strip_suffix(".wal")?.split('-');
        let generation = parts.next()?.parse().ok()?;
        let core = parts.next()?.parse().ok()?;
        let epoch = parts.next()?.parse().ok()?;
        let core_count = match parts.next() {
            Some(count) => Some(count.parse().ok().filter(|&count| count > core)?),
            None => None,
        };
        parts.next().is_none().then_some(WalName { generation, epoch, core, core_count })
    }

    /// Whether it may hold records of `shard`.
    pub fn may_hold(self, shard: u16) -> bool {
        self.core_count.is_none_or(|count| shard % count == self.core)
    }
}

/// A catalog snapshot's file name.
pub fn catalog_name(number: u64) -> String {
    format!("catalog-{number:08}")
}

/// The number of the catalog snapshot called `name`.
pub fn parse_catalog(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("catalog-")?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// A segment's file name.
pub fn segment_name(number: u64) -> String {
    format!("{number:08}.seg")
}

/// The number of the segment called `name`.
pub fn parse_segment(name: &str) -> Option<u64> {
    name.strip_suffix(".seg")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wal_names_read_back_and_foreign_names_do_not() {
        let name = WalName { generation: 7, epoch: 12, core: 3, core_count: Some(4) };
        assert_eq!(WalName::parse(&name.file_name()), Some(name));
        let old = WalName { core_count: None, ..name };
        assert_eq!(WalName::parse(&old.file_name()), Some(old));
        assert!(name.may_hold(7) && !name.may_hold(8) && old.may_hold(8));
        assert_eq!(WalName::parse("00000007-0003.wal"), None);
        assert_eq!(WalName::parse("00000007-0003-00000012-0003.wal"), None);
        assert_eq!(WalName::parse("x-0003-1.wal"), None);
        assert_eq!(parse_segment(&segment_name(42)), Some(42));
        assert_eq!(parse_segment("42"), None);
        let folder = shard_dir(Path::new(""), 7);
        assert_eq!(folder.to_str().and_then(parse_shard), Some(7));
        assert_eq!(parse_shard("shard-+7"), None);
        assert_eq!(parse_catalog(&catalog_name(42)), Some(42));
        assert_eq!(parse_catalog("catalog-00000042.new"), None);
        assert_eq!(parse_catalog("catalog-+42"), None);
    }
}
