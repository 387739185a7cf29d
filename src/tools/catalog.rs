//! The catalog's snapshots, each checked to its last byte, and what the newest whole one says of the rest.

use crate::disk::Disk;
use crate::disk::File;
use crate::disk::names;
use crate::disk::read_only::ReadOnlyDisk;
use crate::meta;
use crate::meta::Catalog;
use crate::model::DatabaseId;
use crate::model::TimeRange;
use crate::server::core;
use crate::server::snapshots;
use crate::shard::Live;
use crate::shard::PartitionKey;
use crate::tools::directory::Directory;
use crate::tools::progress::Progress;
use crate::tools::report::Report;

/// What the newest whole snapshot says.
#[derive(Debug, Default)]
pub struct Known {
    /// The catalog; `None`: there is none, or none that is whole.
    pub catalog: Option<Catalog>,
    /// What of the shards it has use for.
    pub live: Option<Live>,
    /// Whether there is any snapshot.
    pub has_snapshot: bool,
}

impl Known {
    /// Whether the data of a shard group counts. Without a catalog nothing can be told, and all does.
    pub fn is_live(&self, key: &PartitionKey) -> bool {
        self.live.as_ref().is_none_or(|live| live.groups.contains_key(key))
    }

    /// The times of a shard group.
    pub fn range(&self, key: &PartitionKey) -> Option<TimeRange> {
        self.live.as_ref()?.groups.get(key).copied()
    }

    /// Whether it is sure that there is such a database.
    pub fn has_database(&self, id: DatabaseId) -> bool {
        self.live.as_ref().is_some_and(|live| live.databases.contains(&id))
    }
}

/// Checks all snapshots.
pub async fn check(directory: &Directory, progress: &Progress, report: &mut Report) -> std::io::Result<Known> {
    let mut known = Known::default();
    let entries = directory.list("")?;
    let mut snapshots: Vec<_> =
        entries.iter().filter_map(|entry| Some((names::parse_catalog(&entry.name)?, entry))).collect();
    snapshots.sort();
    for (_, entry) in snapshots {
        known.has_snapshot = true;
        progress.file(&entry.name, entry.bytes);
        report.checked.catalogs += 1;
        let bytes = match read(directory, &entry.name).await {
            Ok(bytes) => bytes,
            Err(error) => {
                report.damage(&entry.name, 0, entry.bytes, format!("cannot be read: {error}"));
                continue;
            }
        };
        match decode(&bytes) {
            Ok(catalog) => known.catalog = Some(catalog),
            Err(what) => report.damage(&entry.name, 0, entry.bytes, what),
        }
        if let Some(offset) = snapshots::first_foreign_byte(&bytes) {
            report.damage(&entry.name, offset as u64, 1, "the padding is not zero");
        }
    }
    known.live = known.catalog.as_ref().map(|catalog| core::live(catalog, 0));
    Ok(known)
}

fn decode(file: &[u8]) -> Result<Catalog, String> {
    meta::decode(snapshots::open(file)?, meta::Options::default()).map_err(|error| error.to_string())
}

async fn read(directory: &Directory, name: &str) -> std::io::Result<Vec<u8>> {
    let file = ReadOnlyDisk.open(&directory.path(name)).await?;
    let bytes = usize::try_from(file.size().await?).unwrap_or(usize::MAX);
    file.read_at(0, bytes).await
}
