//! The catalog on disk: one small file for each state, written whole, never changed.
//!
//! Owns:  the `catalog-NNNNNNNN` files of a data directory. Core 0 only.
//! In:    the encoded catalog after each change. Out: durable once [`Snapshots::save`] returns.
//!
//! One file, little-endian, zeros up to a multiple of the disk's alignment:
//!
//! | magic "MRcatlg1" | length u64 | crc32 of length and content u32 | 0 u32 | content, `length` bytes |
//!
//! A snapshot is written under another name, synced, renamed, and its folder synced; then once more under the next
//! number. If the newest is ever found damaged it is set aside under another name, and the one before it counts, which
//! says the same: what a catalog does not hold is removed.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::disk::Disk;
use crate::disk::File;
use crate::disk::align_up;
use crate::disk::names;

const MAGIC: &[u8; 8] = b"MRcatlg1";
const HEADER_BYTES: usize = 24;
/// Zeros from here to the end of the header.
const RESERVED_AT: usize = 20;

/// The snapshots of one data directory.
#[derive(Debug)]
pub struct Snapshots<P> {
    disk: P,
    dir: PathBuf,
    /// Number of the last snapshot written or tried; numbers are never used again.
    last: u64,
    /// Whole snapshots on disk, oldest first.
    kept: Vec<u64>,
}

/// What the data directory held.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The catalog; `None` when no snapshot was ever written.
    pub catalog: Option<T>,
    /// What was found damaged and set aside, in words.
    pub damage: Vec<String>,
}

/// The catalog cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The directory or a file could not be read.
    #[error("the catalog cannot be read: {0}")]
    Disk(#[from] io::Error),
    /// Each snapshot there is is damaged.
    #[error("no catalog snapshot is whole: {}", .0.join("; "))]
    Damaged(Vec<String>),
}

impl<P: Disk> Snapshots<P> {
    /// Reads the newest whole snapshot of `dir`; `decode` may refuse the content.
    pub async fn load<T>(
        disk: P,
        dir: &Path,
        decode: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<(Snapshots<P>, Loaded<T>), LoadError> {
        let names = disk.list(dir).await?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| names::parse_catalog(name)).collect();
        numbers.sort_unstable();
        let last = numbers.last().copied().unwrap_or(0);
        let mut snapshots = Snapshots { disk, dir: dir.to_path_buf(), last, kept: numbers };
        let mut damage = Vec::new();
        while let Some(&number) = snapshots.kept.last() {
            let bytes = snapshots.read(number).await?;
            match open(&bytes).and_then(&decode) {
                Ok(catalog) => return Ok((snapshots, Loaded { catalog: Some(catalog), damage })),
                Err(text) => damage.push(format!("{}: {text}", names::catalog_name(number))),
            }
            snapshots.kept.pop();
        }
        if damage.is_empty() {
            Ok((snapshots, Loaded { catalog: None, damage }))
        } else {
            Err(LoadError::Damaged(damage))
        }
    }

    /// Sets damaged snapshots aside, so that they are not met again; they stay for whoever wants to look.
    pub async fn set_aside_damaged<T>(&self, loaded: &Loaded<T>) -> io::Result<()> {
        if loaded.damage.is_empty() {
            return Ok(());
        }
        let newest_whole = self.kept.last().copied().unwrap_or(0);
        for number in newest_whole + 1..=self.last {
            let source = self.path(number);
            match self.disk.rename(&source, &source.with_extension("damaged")).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            }
        }
        self.disk.sync_dir(&self.dir).await
    }

    /// Writes a snapshot. After an error it may or may not be there after the next start.
    pub async fn save(&mut self, content: &[u8]) -> io::Result<()> {
        self.save_one(content).await?;
        if let Err(error) = self.save_one(content).await {
            tracing::warn!("the catalog has no second copy until its next change: {error}");
        }
        self.remove_old().await;
        Ok(())
    }

    async fn save_one(&mut self, content: &[u8]) -> io::Result<()> {
        self.last += 1;
        let target = self.path(self.last);
        let source = target.with_extension("new");
        if let Err(error) = self.write(&source, content).await {
            // The half-written file is in nobody's way, but its space may be what is missing.
            let _ = self.disk.remove(&source).await;
            return Err(error);
        }
        self.disk.rename(&source, &target).await?;
        self.disk.sync_dir(&self.dir).await?;
        self.kept.push(self.last);
        Ok(())
    }

    async fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let file = self.disk.create(path).await?;
        let mut buffer = self.disk.buffer(align_up(HEADER_BYTES + content.len()));
        seal(content, &mut buffer);
        file.write_at(buffer, 0).await?;
        file.sync().await?;
        file.close().await
    }

    async fn remove_old(&mut self) {
        while self.kept.len() > 2 {
            // Tried again with the next start if it fails; a file too many harms nobody.
            let _ = self.disk.remove(&self.path(self.kept[0])).await;
            self.kept.remove(0);
        }
    }

    async fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        let file = self.disk.open(&self.path(number)).await?;
        let bytes = usize::try_from(file.size().await?).unwrap_or(usize::MAX);
        let content = file.read_at(0, bytes).await?;
        file.close().await?;
        Ok(content)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(names::catalog_name(number))
    }
}

fn seal(content: &[u8], buffer: &mut [u8]) {
    let length = (content.len() as u64).to_le_bytes();
    buffer.fill(0);
    buffer[..8].copy_from_slice(MAGIC);
    buffer[8..16].copy_from_slice(&length);
    buffer[16..20].copy_from_slice(&checksum(&length, content).to_le_bytes());
    buffer[HEADER_BYTES..HEADER_BYTES + content.len()].copy_from_slice(content);
}

/// The content of a snapshot whose checksum holds.
pub fn open(file: &[u8]) -> Result<&[u8], String> {
    let cut = || format!("{} bytes are too few", file.len());
    let (header, rest) = file.split_first_chunk::<HEADER_BYTES>().ok_or_else(cut)?;
    let (magic, header) = header.split_first_chunk::<8>().ok_or_else(cut)?;
    let (length, header) = header.split_first_chunk::<8>().ok_or_else(cut)?;
    let (expected, _) = header.split_first_chunk::<4>().ok_or_else(cut)?;
    if magic != MAGIC {
        return Err("not a catalog snapshot of this version".to_string());
    }
    let bytes = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let content = rest.get(..bytes).ok_or_else(cut)?;
    if checksum(length, content) != u32::from_le_bytes(*expected) {
        return Err("the checksum is wrong".to_string());
    }
    Ok(content)
}

/// Where a whole snapshot has something other than zeros that belongs to neither header nor content.
pub fn first_foreign_byte(file: &[u8]) -> Option<usize> {
    let content_bytes = open(file).ok()?.len();
    let is_known = |index: usize| index < RESERVED_AT || (HEADER_BYTES..HEADER_BYTES + content_bytes).contains(&index);
    (0..file.len()).find(|&index| !is_known(index) && file[index] != 0)
}

fn checksum(length: &[u8], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(length);
    hasher.update(content);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::future::Future;

    use glommio::LocalExecutor;

    use super::*;
    use crate::disk::real::RealDisk;

    fn run<F: Future<Output = ()>>(work: impl FnOnce(PathBuf) -> F) {
        let folder = tempfile::tempdir().unwrap();
        LocalExecutor::default().run(async {
            RealDisk::new().probe(folder.path()).await.unwrap();
            work(folder.path().to_path_buf()).await;
        });
    }

    async fn load(dir: &Path) -> Result<(Snapshots<RealDisk>, Loaded<Vec<u8>>), LoadError> {
        Snapshots::load(RealDisk::new(), dir, |bytes| Ok(bytes.to_vec())).await
    }

    fn catalogs(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_last_saved_content_is_loaded_and_is_there_twice() {
        run(async |dir| {
            let (mut snapshots, loaded) = load(&dir).await.unwrap();
            assert!(loaded.catalog.is_none());
            for content in [&b"first"[..], &[7; 10_000], b""] {
                snapshots.save(content).await.unwrap();
                assert_eq!(load(&dir).await.unwrap().1.catalog.unwrap(), content);
            }
            assert_eq!(catalogs(&dir), ["catalog-00000005", "catalog-00000006"]);
            assert_eq!(
                fs::read(dir.join("catalog-00000005")).unwrap(),
                fs::read(dir.join("catalog-00000006")).unwrap()
            );
        });
    }

    #[test]
    fn a_damaged_snapshot_is_named_and_set_aside_and_its_copy_counts() {
        run(async |dir| {
            let (mut snapshots, _) = load(&dir).await.unwrap();
            snapshots.save(b"before").await.unwrap();
            snapshots.save(b"newest").await.unwrap();
            let path = dir.join("catalog-00000004");
            let mut bytes = fs::read(&path).unwrap();
            bytes[HEADER_BYTES] ^= 1;
            fs::write(&path, bytes).unwrap();
            let (mut snapshots, loaded) = load(&dir).await.unwrap();
            assert_eq!(loaded.catalog.as_deref(), Some(&b"newest"[..]));
            assert_eq!(loaded.damage, ["catalog-00000004: the checksum is wrong"]);
            snapshots.set_aside_damaged(&loaded).await.unwrap();
            snapshots.save(b"after").await.unwrap();
            assert_eq!(catalogs(&dir), ["catalog-00000004.damaged", "catalog-00000005", "catalog-00000006"]);
            assert_eq!(load(&dir).await.unwrap().1.catalog.unwrap(), b"after");
        });
    }

    #[test]
    fn without_a_whole_snapshot_nothing_is_guessed() {
        run(async |dir| {
            fs::write(dir.join("catalog-00000009"), b"MRcatlg1").unwrap();
            let error = load(&dir).await.unwrap_err().to_string();
            assert_eq!(error, "no catalog snapshot is whole: catalog-00000009: 8 bytes are too few");
        });
    }

    #[test]
    fn a_snapshot_that_was_never_renamed_does_not_count() {
        run(async |dir| {
            let (mut snapshots, _) = load(&dir).await.unwrap();
            snapshots.save(b"whole").await.unwrap();
            fs::write(dir.join("catalog-00000003.new"), b"half").unwrap();
            let (mut snapshots, loaded) = load(&dir).await.unwrap();
            assert_eq!(loaded.catalog.unwrap(), b"whole");
            snapshots.save(b"next").await.unwrap();
            assert_eq!(load(&dir).await.unwrap().1.catalog.unwrap(), b"next");
        });
    }
}
