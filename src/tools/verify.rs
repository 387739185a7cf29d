//! `verify`: every byte of a data directory read and checked, every damage named, nothing changed.
//!
//! In:   a directory. Out: a [`Report`].
//!
//! What a crash may leave is a note and no damage: the torn tail of a log, a segment that no manifest names yet, a file
//! that was never renamed. The next start takes all of it away.

#![allow(clippy::disallowed_methods, reason = "no executor runs here")]

use std::collections::BTreeMap;
use std::fs;
use std::io;

use futures_lite::future::block_on;
use roaring::RoaringBitmap;

use crate::batch;
use crate::batch::SeriesRef;
use crate::disk::names;
use crate::disk::names::WalName;
use crate::series::key;
use crate::server::layout;
use crate::shard;
use crate::shard::Live;
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
use crate::tools::report::Report;
use crate::tools::segment;
use crate::tools::segment::Expected;
use crate::tools::series::SeriesTable;
use crate::wal::LogId;

/// Checks everything. An error means that the directory itself could not be listed.
pub fn verify(directory: &Directory, progress: &Progress) -> io::Result<Report> {
    let mut verifier = Verifier::new(directory, progress);
    block_on(verifier.run())?;
    progress.finish();
    Ok(verifier.report)
}

/// Checks logs and shards only, against what a catalog says of them.
pub fn verify_shards(directory: &Directory, live: Live, progress: &Progress) -> io::Result<Report> {
    let mut verifier = Verifier::new(directory, progress);
    verifier.known.live = Some(live);
    block_on(verifier.check_storage())?;
    Ok(verifier.report)
}

struct Verifier<'a> {
    directory: &'a Directory,
    progress: &'a Progress,
    report: Report,
    known: Known,
    /// By shard, from the logs of the cores.
    logged: BTreeMap<u16, Logged>,
}

/// Series that records of the logs name.
#[derive(Debug, Default)]
struct Logged {
    /// With their keys.
    new: RoaringBitmap,
    /// As known, in databases that are there.
    used: RoaringBitmap,
}

impl<'a> Verifier<'a> {
    fn new(directory: &'a Directory, progress: &'a Progress) -> Verifier<'a> {
        let report = Report::new(directory.dir.display().to_string());
        Verifier { directory, progress, report, known: Known::default(), logged: BTreeMap::new() }
    }

    async fn run(&mut self) -> io::Result<()> {
        self.check_format();
        self.look_round()?;
        self.known = catalog::check(self.directory, self.progress, &mut self.report).await?;
        self.check_storage().await?;
        if !self.known.has_snapshot && (self.report.checked.segments > 0 || self.report.checked.log_records > 0) {
            self.report.damage("catalog-*", 0, 0, "there is data but no catalog");
        }
        Ok(())
    }

    async fn check_storage(&mut self) -> io::Result<()> {
        self.check_logs().await?;
        for shard in 0..self.directory.shard_count {
            self.check_shard(shard).await?;
        }
        Ok(())
    }

    fn check_format(&mut self) {
        let name = layout::FORMAT_NAME;
        let bytes = fs::read(self.directory.path(name)).unwrap_or_default();
        let format = match &self.directory.format {
            Ok(format) => format,
            Err(problem) => return self.report.damage(name, 0, bytes.len() as u64, problem.as_str()),
        };
        let expected = format.text().into_bytes();
        let length = bytes.len().max(expected.len());
        if let Some(offset) = (0..length).find(|&index| bytes.get(index) != expected.get(index)) {
            let bytes = length.saturating_sub(offset) as u64;
            self.report.damage(name, offset as u64, bytes, "not the text that a new directory gets");
        }
    }

    /// What is there that should not be, at the top.
    fn look_round(&mut self) -> io::Result<()> {
        let has_snapshot = |name: &str| names::parse_catalog(name).is_some();
        for entry in self.directory.list("")? {
            let Entry { name, bytes, is_folder } = entry;
            if is_folder {
                match names::parse_shard(&name) {
                    Some(shard) if shard >= self.directory.shard_count => {
                        let count = self.directory.shard_count;
                        self.report.damage(&name, 0, 0, format!("a folder beyond the {count} shards of FORMAT"));
                    }
                    Some(shard) if shard_folder(shard) == name => {}
                    None if name == "wal" || name == "lost+found" => {}
                    _ => self.report.note(&name, "a folder that is not Millrace's"),
                }
                continue;
            }
            self.count_file(bytes);
            if name == layout::FORMAT_NAME_UNFINISHED || name.ends_with(".new") || name.starts_with("probe-") {
                self.report.note(&name, "left behind by a start or change that was cut off");
            } else if name.ends_with(".damaged") {
                self.report.note(&name, "set aside as damaged before");
            } else if name != layout::FORMAT_NAME && name != layout::LOCK_NAME && !has_snapshot(&name) {
                self.report.note(&name, "not a file of Millrace");
            }
        }
        Ok(())
    }

    fn count_file(&mut self, bytes: u64) {
        self.report.checked.files += 1;
        self.report.checked.bytes += bytes;
    }

    async fn check_logs(&mut self) -> io::Result<()> {
        for entry in self.directory.list_if_there("wal")? {
            let name = format!("wal/{}", entry.name);
            self.count_file(entry.bytes);
            self.progress.file(&name, entry.bytes);
            match WalName::parse(&entry.name).filter(|wal| wal.file_name() == entry.name) {
                Some(wal) => self.check_log(&name, entry.bytes, wal).await,
                None => self.report.note(&name, "not a log"),
            }
        }
        Ok(())
    }

    async fn check_log(&mut self, name: &str, bytes: u64, wal: WalName) {
        let (known, logged, shard_count) = (&self.known, &mut self.logged, self.directory.shard_count);
        let mut points = 0;
        let on_record = |record: &[u8]| {
            points += check_record(record, shard_count, known, logged)?;
            Ok(())
        };
        let found = log::read(&self.directory.path(name), shard::log_id(wal), self.progress, on_record).await;
        if let Some(found) = self.take_log(name, bytes, found) {
            self.report.checked.log_records += found.records;
            self.report.checked.log_points += points;
        }
    }

    /// Takes what was found in a log of any kind.
    fn take_log(&mut self, name: &str, bytes: u64, found: io::Result<LogFound>) -> Option<LogFound> {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                self.report.damage(name, 0, bytes, format!("cannot be read: {error}"));
                return None;
            }
        };
        self.report.checked.frames += found.frames;
        for (offset, bytes, what) in &found.damage {
            self.report.damage(name, *offset, *bytes, what.as_str());
        }
        if found.torn_bytes > 0 {
            let LogFound { torn_bytes, end, .. } = found;
            self.report
                .note(name, format!("{torn_bytes} bytes from byte {end} on are a torn tail, never acknowledged"));
        }
        Some(found)
    }

    async fn check_shard(&mut self, shard: u16) -> io::Result<()> {
        let folder = shard_folder(shard);
        let entries = match self.directory.list(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The first start makes them all before anything can be stored.
                if self.known.has_snapshot {
                    self.report.damage(&folder, 0, 0, "the folder of a shard is missing");
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        entries.iter().for_each(|entry| self.count_file(entry.bytes));
        let mut series = SeriesTable::default();
        let mut manifest = Manifest::default();
        self.check_shard_log(&folder, names::SERIES_LOG, shard::series_log_id(shard), &entries, |record| {
            series.take(record)
        })
        .await;
        let take = |record: &[u8]| {
            let is_known = manifest.take(shard, record);
            if is_known { Ok(()) } else { Err("it is no record of a manifest".to_owned()) }
        };
        let is_manifest_sound =
            self.check_shard_log(&folder, names::MANIFEST, shard::manifest_id(shard), &entries, take).await;
        self.report.checked.series += series.len();
        self.check_logged_series(shard, &folder, &series);
        let orphan = if is_manifest_sound {
            "an orphan: no manifest names it, the next start removes it"
        } else {
            "what is left of the damaged manifest does not name it: it may hold points, and stays"
        };
        self.check_segments(&folder, &entries, &manifest, orphan, &series).await;
        Ok(())
    }

    /// Whether it is sound.
    async fn check_shard_log(
        &mut self,
        folder: &str,
        file: &str,
        id: LogId,
        entries: &[Entry],
        on_record: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> bool {
        let damage_before = self.report.damage_count;
        let name = format!("{folder}/{file}");
        let Some(entry) = entries.iter().find(|entry| entry.name == file) else {
            if self.known.has_snapshot {
                self.report.damage(&name, 0, 0, "it is missing");
            }
            return !self.known.has_snapshot;
        };
        self.progress.file(&name, entry.bytes);
        let found = log::read(&self.directory.path(&name), id, self.progress, on_record).await;
        self.take_log(&name, entry.bytes, found);
        self.report.damage_count == damage_before
    }

    /// What the logs name must have a key somewhere.
    fn check_logged_series(&mut self, shard: u16, folder: &str, series: &SeriesTable) {
        let Some(Logged { new, used }) = self.logged.remove(&shard) else { return };
        let mut missing = (used - new).into_iter().filter(|&id| !series.contains(id));
        if let Some(first) = missing.next() {
            let count = 1 + missing.count();
            let what = format!("{count} series of the logs have no key here or there, the first is {first}");
            self.report.damage(&format!("{folder}/series.log"), 0, 0, what);
        }
    }

    async fn check_segments(
        &mut self,
        folder: &str,
        entries: &[Entry],
        manifest: &Manifest,
        orphan: &str,
        series: &SeriesTable,
    ) {
        let is_there = |number: u64| entries.iter().any(|entry| entry.name == names::segment_name(number));
        let listed = manifest.by_number();
        for (&number, key) in &listed {
            if self.known.range(key).is_some() && !is_there(number) {
                let name = format!("{folder}/{}", names::segment_name(number));
                self.report.damage(&name, 0, 0, "the manifest names it, but it is missing");
            }
        }
        for entry in entries {
            let name = format!("{folder}/{}", entry.name);
            if [names::SERIES_LOG, names::MANIFEST].contains(&&*entry.name) {
                continue;
            }
            self.progress.file(&name, entry.bytes);
            if entry.name.ends_with(".new") {
                self.report.note(&name, "left behind by a change that was cut off");
                continue;
            }
            let number = names::parse_segment(&entry.name);
            let Some(number) = number.filter(|&number| names::segment_name(number) == entry.name) else {
                self.report.note(&name, "not a file of Millrace");
                continue;
            };
            match listed.get(&number) {
                None => self.report.note(&name, orphan),
                Some(key) if !self.known.is_live(key) => {
                    self.report.note(&name, "of a shard group that is gone: the next start removes it");
                }
                Some(&key) => {
                    let range = self.known.range(&key);
                    let expected = Expected { key: Some(key), range, series };
                    let path = self.directory.path(&name);
                    segment::check(&path, &name, entry.bytes, expected, self.progress, &mut self.report).await;
                }
            }
        }
    }
}

/// Checks a record of a core's log; the points in it.
fn check_record(
    record: &[u8],
    shard_count: u16,
    known: &Known,
    logged: &mut BTreeMap<u16, Logged>,
) -> Result<u64, String> {
    let in_range = |shard: u16| {
        if shard < shard_count { Ok(()) } else { Err(format!("it is for shard {shard} of {shard_count}")) }
    };
    match shard::decode_log(record).ok_or("it is of no known kind")? {
        LogRecord::Deletion(deletion) => in_range(deletion.shard).map(|()| 0),
        LogRecord::Batch { shard, ids, batch } => {
            in_range(shard)?;
            let reader = batch::Reader::of(batch).map_err(|error| error.to_string())?;
            if reader.destination.shard != shard {
                return Err(format!("its batch is for shard {}", reader.destination.shard));
            }
            if ids.len() != reader.keys.len() {
                return Err(format!("{} ids for {} keys", ids.len(), reader.keys.len()));
            }
            for key in &reader.keys {
                key::parse_key(key).map_err(|error| error.to_string())?;
            }
            let logged = logged.entry(shard).or_default();
            logged.new.extend(ids.iter().map(|id| id.0));
            check_rows(&reader, known, logged)
        }
    }
}

fn check_rows(reader: &batch::Reader<'_>, known: &Known, logged: &mut Logged) -> Result<u64, String> {
    let batch::Reader { destination, layouts, keys, .. } = reader;
    let key = PartitionKey { database: destination.database, policy: destination.policy, group: destination.group };
    let range = known.range(&key);
    let is_database_there = known.has_database(destination.database);
    let mut rows = reader.rows();
    let mut points = 0;
    while let Some(row) = rows.next_row().map_err(|error| error.to_string())? {
        match row.series {
            SeriesRef::Known(id) if is_database_there => {
                logged.used.insert(id.0);
            }
            SeriesRef::New(index) if index as usize >= keys.len() => return Err("a row of no series".to_owned()),
            _ => {}
        }
        if range.is_some_and(|range| !range.contains(row.time)) {
            return Err(format!("a row at {} is not in its shard group", row.time));
        }
        let layout = layouts.get(row.layout as usize).ok_or("a row of no layout")?;
        for (_, field_type) in &layout.fields {
            rows.value(*field_type).map_err(|error| error.to_string())?;
        }
        points += 1;
    }
    Ok(points)
}
