//! `inspect`: what takes how much, by database, retention policy and shard group.
//!
//! In:   a directory. Out: an [`Inventory`]; its fields are those of the JSON document.
//!
//! All segments are read whole, since only the blocks tell their codecs. What cannot be read is named and left out of
//! the sums; `verify` says more about it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use futures_lite::future::block_on;
use hashbrown::HashSet;
use roaring::RoaringBitmap;
use serde::Serialize;

use crate::batch;
use crate::disk::names;
use crate::disk::names::WalName;
use crate::disk::read_only::ReadOnlyDisk;
use crate::model::Bytes;
use crate::model::DatabaseId;
use crate::segment::PageCache;
use crate::segment::Segment;
use crate::segment::SegmentError;
use crate::shard;
use crate::shard::LogRecord;
use crate::shard::Manifest;
use crate::shard::PartitionKey;
use crate::tools::catalog;
use crate::tools::catalog::Known;
use crate::tools::directory::Directory;
use crate::tools::directory::Entry;
use crate::tools::directory::shard_folder;
use crate::tools::log;
use crate::tools::log::LogFound;
use crate::tools::progress::Progress;
use crate::tools::report::Damage;
use crate::tools::report::Report;
use crate::tools::segment::parts;
use crate::tools::series::SeriesTable;
use crate::tools::usage::Usage;
use crate::wal::LogId;

/// What `inspect` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Inventory {
    /// The data directory.
    pub directory: String,
    /// Its shards.
    pub shards: u16,
    /// Bytes of all its files.
    pub bytes: u64,
    /// All visible segments.
    pub segments: Usage,
    /// In order of creation.
    pub databases: Vec<DatabaseUsage>,
    /// Logs of the cores: points that are not, or not for sure, in segments.
    pub logs: Vec<LogUsage>,
    /// Series logs of all shards.
    pub series_logs: LogTotals,
    /// Manifests of all shards.
    pub manifests: ManifestTotals,
    /// Segments that nothing names any more, or whose shard group is gone: the next start removes them.
    pub leftover: Leftover,
    /// How often something could not be read.
    pub unreadable_count: u64,
    /// Where; the first ten thousand.
    pub unreadable: Vec<Damage>,
}

/// One database.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DatabaseUsage {
    /// Its name.
    pub name: String,
    /// Series of the series logs, also those without a point left.
    pub series: u64,
    /// Measurements of these.
    pub measurements: u64,
    /// Its segments.
    pub segments: Usage,
    /// In order of creation.
    pub policies: Vec<PolicyUsage>,
}

/// One retention policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PolicyUsage {
    /// Its name.
    pub name: String,
    /// Its segments.
    pub segments: Usage,
    /// By start.
    pub groups: Vec<GroupUsage>,
}

/// One shard group.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GroupUsage {
    /// As SHOW SHARDS has it.
    pub id: u64,
    /// First instant inside, ns.
    pub start: i64,
    /// First instant behind it, ns.
    pub end: i64,
    /// Its segments.
    pub segments: Usage,
}

/// One log file of a core.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogUsage {
    /// Relative to the directory.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Commits.
    pub frames: u64,
    /// Batches and deletions.
    pub records: u64,
    /// Points in the batches.
    pub points: u64,
    /// Deletions.
    pub deletions: u64,
    /// Behind the last whole frame.
    pub torn_bytes: u64,
}

/// Logs of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogTotals {
    /// Files.
    pub files: u64,
    /// Their length.
    pub bytes: u64,
    /// Records in them.
    pub records: u64,
}

/// All manifests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ManifestTotals {
    /// Files.
    pub files: u64,
    /// Their length.
    pub bytes: u64,
    /// Records in them.
    pub records: u64,
    /// Deletions in them.
    pub tombstones: u64,
}

/// Files that are not looked into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// How many.
    pub segments: u64,
    /// Their length.
    pub bytes: u64,
}

/// Adds everything up. An error means that the directory itself could not be listed.
pub fn inspect(directory: &Directory, progress: &Progress) -> io::Result<Inventory> {
    let mut inspector = Inspector {
        directory,
        progress,
        inventory: Inventory {
            directory: directory.dir.display().to_string(),
            shards: directory.shard_count,
            bytes: directory.bytes()?,
            ..Inventory::default()
        },
        unreadable: Report::default(),
        groups: BTreeMap::new(),
        index: BTreeMap::new(),
    };
    block_on(inspector.run())?;
    progress.finish();
    Ok(inspector.inventory)
}

struct Inspector<'a> {
    directory: &'a Directory,
    progress: &'a Progress,
    inventory: Inventory,
    unreadable: Report,
    groups: BTreeMap<PartitionKey, Usage>,
    /// Series and measurements of each database.
    index: BTreeMap<DatabaseId, (u64, HashSet<Bytes>)>,
}

impl Inspector<'_> {
    async fn run(&mut self) -> io::Result<()> {
        let known = catalog::check(self.directory, self.progress, &mut self.unreadable).await?;
        self.add_logs().await?;
        for shard in 0..self.directory.shard_count {
            self.add_shard(shard, &known).await?;
        }
        self.sum(&known);
        self.inventory.unreadable_count = self.unreadable.damage_count;
        self.inventory.unreadable = std::mem::take(&mut self.unreadable.damage);
        Ok(())
    }

    async fn add_logs(&mut self) -> io::Result<()> {
        for entry in self.directory.list_if_there("wal")? {
            let Some(wal) = WalName::parse(&entry.name) else { continue };
            let file = format!("wal/{}", entry.name);
            let mut usage = LogUsage { file: file.clone(), bytes: entry.bytes, ..LogUsage::default() };
            let on_record = |record: &[u8]| {
                match shard::decode_log(record) {
                    Some(LogRecord::Batch { batch, .. }) => {
                        usage.points += batch::Reader::of(batch).map_or(0, |reader| u64::from(reader.row_count));
                    }
                    Some(LogRecord::Deletion(_)) => usage.deletions += 1,
                    None => return Err("a record of no known kind".to_owned()),
                }
                Ok(())
            };
            if let Some(found) = self.read_log(&file, entry.bytes, shard::log_id(wal), on_record).await {
                (usage.frames, usage.records, usage.torn_bytes) = (found.frames, found.records, found.torn_bytes);
            }
            self.inventory.logs.push(usage);
        }
        Ok(())
    }

    async fn read_log(
        &mut self,
        file: &str,
        bytes: u64,
        id: LogId,
        on_record: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Option<LogFound> {
        self.progress.file(file, bytes);
        match log::read(&self.directory.path(file), id, self.progress, on_record).await {
            Ok(found) => {
                for (offset, bytes, what) in &found.damage {
                    self.unreadable.damage(file, *offset, *bytes, what.as_str());
                }
                Some(found)
            }
            Err(error) => {
                self.unreadable.damage(file, 0, bytes, format!("cannot be read: {error}"));
                None
            }
        }
    }

    async fn add_shard(&mut self, shard: u16, known: &Known) -> io::Result<()> {
        let folder = shard_folder(shard);
        let entries = self.directory.list_if_there(&folder)?;
        let mut series = SeriesTable::default();
        if let Some(totals) = self
            .add_shard_log(&folder, names::SERIES_LOG, shard::series_log_id(shard), &entries, |record| {
                series.take(record)
            })
            .await
        {
            add_totals(&mut self.inventory.series_logs, totals);
        }
        series.count(&mut self.index);
        let mut manifest = Manifest::default();
        let take = |record: &[u8]| {
            if manifest.take(shard, record) { Ok(()) } else { Err("a record of no known kind".to_owned()) }
        };
        if let Some(totals) =
            self.add_shard_log(&folder, names::MANIFEST, shard::manifest_id(shard), &entries, take).await
        {
            let manifests = &mut self.inventory.manifests;
            manifests.files += totals.files;
            manifests.bytes += totals.bytes;
            manifests.records += totals.records;
        }
        self.inventory.manifests.tombstones += manifest.tombstones.len() as u64;
        // Series of a shard group are counted once, however many segments it has.
        let mut group_series: BTreeMap<PartitionKey, RoaringBitmap> = BTreeMap::new();
        let listed = manifest.by_number();
        for entry in &entries {
            let Some(number) = names::parse_segment(&entry.name) else { continue };
            let file = format!("{folder}/{}", entry.name);
            self.progress.file(&file, entry.bytes);
            match listed.get(&number) {
                Some(key) if known.range(key).is_some() => {
                    self.add_segment(&file, entry.bytes, *key, group_series.entry(*key).or_default()).await;
                }
                _ => {
                    self.inventory.leftover.segments += 1;
                    self.inventory.leftover.bytes += entry.bytes;
                }
            }
        }
        for (key, series) in group_series {
            self.groups.entry(key).or_default().series += series.len();
        }
        Ok(())
    }

    async fn add_shard_log(
        &mut self,
        folder: &str,
        name: &str,
        id: LogId,
        entries: &[Entry],
        on_record: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Option<LogTotals> {
        let entry = entries.iter().find(|entry| entry.name == name)?;
        let found = self.read_log(&format!("{folder}/{name}"), entry.bytes, id, on_record).await?;
        Some(LogTotals { files: 1, bytes: entry.bytes, records: found.records })
    }

    async fn add_segment(&mut self, file: &str, bytes: u64, key: PartitionKey, series: &mut RoaringBitmap) {
        let segment = match Segment::open(&ReadOnlyDisk, &self.directory.path(file), &PageCache::new(0)).await {
            Ok(segment) => segment,
            Err(error) => {
                let (offset, what) = parts(&error);
                return self.unreadable.damage(file, offset, bytes - offset.min(bytes), what);
            }
        };
        let usage = self.groups.entry(key).or_default();
        let index = segment.index_range();
        usage.segments += 1;
        usage.bytes += segment.bytes();
        usage.index_bytes += index.end - index.start;
        usage.padding_bytes += segment.bytes() - index.end;
        *series |= segment.series();
        for number in 0..segment.page_count() {
            let (blocks, start, end) = segment.page_place(number);
            let page = match segment.page(number).await {
                Ok(page) => page,
                Err(error) => {
                    usage.unreadable_bytes += end - blocks;
                    self.unreadable.damage(file, start, end - start, parts(&error).1);
                    continue;
                }
            };
            usage.index_bytes += end - start;
            for block in page.entries() {
                match segment.examine(block).await {
                    Ok(examined) => usage.add_block(segment.fields(), block, &examined),
                    Err(error) => {
                        let (offset, what) = parts(&error);
                        usage.unreadable_bytes += u64::from(block.bytes);
                        self.unreadable.damage(file, offset, block.bytes.into(), what);
                    }
                }
            }
            self.progress.reached(end);
        }
    }

    /// Gives the sums their names.
    fn sum(&mut self, known: &Known) {
        for database in known.catalog.iter().flat_map(|catalog| catalog.databases()) {
            let (series, measurements) = self.index.remove(&database.id).unwrap_or_default();
            let mut database_usage = DatabaseUsage {
                name: database.name.clone(),
                series,
                measurements: measurements.len() as u64,
                ..DatabaseUsage::default()
            };
            for policy in &database.policies {
                let mut policy_usage = PolicyUsage { name: policy.name.clone(), ..PolicyUsage::default() };
                for group in &policy.groups {
                    let key = PartitionKey { database: database.id, policy: policy.id, group: group.id };
                    let segments = self.groups.remove(&key).unwrap_or_default();
                    policy_usage.segments.add(&segments);
                    let (id, start, end) = (group.id.0, group.start, group.end);
                    policy_usage.groups.push(GroupUsage { id, start, end, segments });
                }
                database_usage.segments.add(&policy_usage.segments);
                database_usage.policies.push(policy_usage);
            }
            self.inventory.segments.add(&database_usage.segments);
            self.inventory.databases.push(database_usage);
        }
    }
}

fn add_totals(into: &mut LogTotals, totals: LogTotals) {
    into.files += totals.files;
    into.bytes += totals.bytes;
    into.records += totals.records;
}

/// One block of a segment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BlockUsage {
    /// Its series, by the number that the shard's series log gives it.
    pub series: u32,
    /// First byte in the file.
    pub offset: u64,
    /// Length.
    pub bytes: u32,
    /// Rows.
    pub rows: u32,
    /// First time, ns.
    pub first_time: i64,
    /// Last time, ns.
    pub last_time: i64,
    /// How the times are coded.
    pub time_codec: &'static str,
    /// Bytes of the times.
    pub time_bytes: u32,
    /// In the order of the file.
    pub columns: Vec<BlockColumn>,
    /// Why it could not be read.
    pub problem: Option<String>,
}

/// One column of a block.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BlockColumn {
    /// Measurement.
    pub measurement: String,
    /// Field.
    pub field: String,
    /// Type.
    pub r#type: &'static str,
    /// How the values are coded.
    pub codec: &'static str,
    /// Values.
    pub values: u64,
    /// Bytes of the values.
    pub bytes: u32,
    /// Bytes that say which rows have a value.
    pub presence_bytes: u32,
}

/// Hands every block of one segment to `on_block`, which may stop it with an error of its own.
pub fn blocks<E: From<SegmentError>>(
    path: &Path,
    mut on_block: impl FnMut(BlockUsage) -> Result<(), E>,
) -> Result<(), E> {
    block_on(async {
        let segment = Segment::open(&ReadOnlyDisk, path, &PageCache::new(0)).await?;
        for number in 0..segment.page_count() {
            for block in segment.page(number).await?.entries() {
                let mut usage = BlockUsage {
                    series: block.series,
                    offset: block.offset,
                    bytes: block.bytes,
                    rows: block.rows,
                    first_time: block.range.min,
                    last_time: block.range.max,
                    time_codec: "",
                    time_bytes: 0,
                    columns: Vec::new(),
                    problem: None,
                };
                match segment.examine(block).await {
                    Ok(examined) => {
                        (usage.time_codec, usage.time_bytes) = (examined.times_codec, examined.times_bytes);
                        usage.columns.extend(examined.columns.iter().map(|column| {
                            let field = &segment.fields()[column.field as usize];
                            BlockColumn {
                                measurement: String::from_utf8_lossy(&field.measurement).into_owned(),
                                field: String::from_utf8_lossy(&field.name).into_owned(),
                                r#type: field.field_type.name(),
                                codec: column.codec,
                                values: column.value_count(examined.times.len()),
                                bytes: column.values_bytes,
                                presence_bytes: column.valid_bytes,
                            }
                        }));
                    }
                    Err(error) => usage.problem = Some(parts(&error).1),
                }
                on_block(usage)?;
            }
        }
        Ok(())
    })
}
