//! The files of a simulated disk: what reads see, what is durable, and what lies between.
//!
//! Rules, the hardest that hardware and file systems are known to play by:
//!
//! - a write is in pieces of 512 bytes; until a sync that began after it ended, each piece may survive a power loss or
//!   not, whatever happens to others before or after it;
//! - the length of a file changes in order, but may lag behind;
//! - a name made, replaced or removed may survive or not until its folder is synced, each for itself;
//! - when a sync fails, what it should have made durable may be so, may be gone at once, or may be readable until the
//!   power fails. A later sync that succeeds changes nothing about it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use crate::disk::sim::prng::Prng;

/// What a device writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// Number of a file, whatever it is called.
pub type FileId = u64;

#[derive(Clone, Debug)]
enum Change {
    Write { position: usize, bytes: Vec<u8> },
    Resize(usize),
}

#[derive(Clone, Debug)]
struct Unsynced {
    number: u64,
    ended: bool,
    change: Change,
}

#[derive(Clone, Debug, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Unsynced>,
}

/// A change of one folder's names.
#[derive(Clone, Debug)]
enum NameChange {
    File(PathBuf, FileId),
    Folder(PathBuf),
    Gone(PathBuf),
    Moved(PathBuf, PathBuf, FileId),
}

/// Names of files and folders.
#[derive(Clone, Debug, Default)]
struct Names {
    files: BTreeMap<PathBuf, FileId>,
    folders: BTreeSet<PathBuf>,
}

impl Names {
    fn apply(&mut self, change: &NameChange) {
        match change {
            NameChange::File(path, id) => {
                self.files.insert(path.clone(), *id);
            }
            NameChange::Folder(path) => {
                self.folders.insert(path.clone());
            }
            NameChange::Gone(path) => {
                self.files.remove(path);
            }
            NameChange::Moved(source, target, id) => {
                self.files.remove(source);
                self.files.insert(target.clone(), *id);
            }
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Files {
    contents: BTreeMap<FileId, Content>,
    seen: Names,
    durable: Names,
    unsynced: Vec<(PathBuf, u64, NameChange)>,
    next_file: FileId,
    next_change: u64,
}

impl Files {
    /// The file called `path`.
    pub fn lookup(&self, path: &Path) -> Option<FileId> {
        self.seen.files.get(path).copied()
    }

    /// Whether the folder is there; the root always is.
    pub fn has_folder(&self, path: &Path) -> bool {
        path.parent().is_none() || self.seen.folders.contains(path)
    }

    /// Creates a file, or empties the one that is there.
    pub fn create(&mut self, path: &Path) -> FileId {
        if let Some(id) = self.lookup(path) {
            let number = self.resize(id, 0);
            self.ended(id, number);
            return id;
        }
        self.next_file += 1;
        self.contents.insert(self.next_file, Content::default());
        self.rename_in(path, NameChange::File(path.to_owned(), self.next_file));
        self.next_file
    }

    /// Creates a folder and those above it.
    pub fn create_folder(&mut self, path: &Path) {
        let missing: Vec<PathBuf> =
            path.ancestors().filter(|folder| !self.has_folder(folder)).map(Path::to_owned).collect();
        for folder in missing.into_iter().rev() {
            self.rename_in(&folder, NameChange::Folder(folder.clone()));
        }
    }

    /// Renames; false when there is no such file.
    pub fn rename(&mut self, source: &Path, target: &Path) -> bool {
        assert_eq!(source.parent(), target.parent(), "a rename inside one folder");
        let Some(id) = self.lookup(source) else { return false };
        self.rename_in(target, NameChange::Moved(source.to_owned(), target.to_owned(), id));
        true
    }

    /// Removes; false when there is no such file.
    pub fn remove(&mut self, path: &Path) -> bool {
        let known = self.lookup(path).is_some();
        if known {
            self.rename_in(path, NameChange::Gone(path.to_owned()));
        }
        known
    }

    fn rename_in(&mut self, path: &Path, change: NameChange) {
        self.seen.apply(&change);
        self.next_change += 1;
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        self.unsynced.push((folder, self.next_change, change));
    }

    /// Names of the files in a folder.
    pub fn list(&self, folder: &Path) -> Vec<String> {
        let inside = self.seen.files.keys().filter(|path| path.parent() == Some(folder));
        inside.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect()
    }

    /// Number of the newest change so far: what a sync that begins now covers.
    pub fn newest_change(&self) -> u64 {
        self.next_change
    }

    /// Makes the changes of a folder up to `newest` durable.
    pub fn sync_folder(&mut self, folder: &Path, newest: u64) {
        let durable = &mut self.durable;
        self.unsynced.retain(|(place, number, change)| {
            let covered = place == folder && *number <= newest;
            if covered {
                durable.apply(change);
            }
            !covered
        });
    }

    /// What reads see.
    pub fn read(&self, id: FileId, position: u64, bytes: usize) -> Vec<u8> {
        let seen = &self.contents[&id].seen;
        let start = (position as usize).min(seen.len());
        seen[start..seen.len().min(start + bytes)].to_vec()
    }

    /// Length as reads see it.
    pub fn size(&self, id: FileId) -> u64 {
        self.contents[&id].seen.len() as u64
    }

    /// All files that have a name, as reads see them.
    pub fn all(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.seen.files.iter().map(|(path, id)| (path.as_path(), &self.contents[id].seen[..]))
    }

    /// All files that have a name.
    pub fn named(&self) -> Vec<FileId> {
        self.seen.files.values().copied().collect()
    }

    /// Bytes come into a file behind everybody's back: at once, for good, as far as it reaches.
    pub fn overwrite(&mut self, id: FileId, position: usize, bytes: &[u8]) {
        let Some(content) = self.contents.get_mut(&id) else { return };
        for side in [&mut content.seen, &mut content.durable] {
            let end = side.len().min(position + bytes.len());
            if position < end {
                side[position..end].copy_from_slice(&bytes[..end - position]);
            }
        }
    }

    /// Bytes of all files that have a name.
    pub fn bytes(&self) -> u64 {
        self.seen.files.values().map(|id| self.size(*id)).sum()
    }

    /// Begins a write; it has the number returned.
    pub fn write(&mut self, id: FileId, position: u64, bytes: &[u8]) -> u64 {
        self.change(id, Change::Write { position: position as usize, bytes: bytes.to_vec() })
    }

    /// Begins a change of length; it has the number returned.
    pub fn resize(&mut self, id: FileId, bytes: u64) -> u64 {
        self.change(id, Change::Resize(bytes as usize))
    }

    fn change(&mut self, id: FileId, change: Change) -> u64 {
        self.next_change += 1;
        let content = self.contents.get_mut(&id).expect("an open file is there");
        apply(&mut content.seen, &change);
        content.unsynced.push(Unsynced { number: self.next_change, ended: false, change });
        self.next_change
    }

    /// A write or change of length has ended: syncs that begin from now on cover it.
    pub fn ended(&mut self, id: FileId, number: u64) {
        let content = self.contents.get_mut(&id).expect("an open file is there");
        for unsynced in content.unsynced.iter_mut().filter(|unsynced| unsynced.number == number) {
            unsynced.ended = true;
        }
    }

    /// The changes that a sync that begins now makes durable.
    pub fn covered(&self, id: FileId) -> Vec<u64> {
        let unsynced = &self.contents[&id].unsynced;
        unsynced.iter().filter(|unsynced| unsynced.ended).map(|unsynced| unsynced.number).collect()
    }

    /// A sync that covered these changes has succeeded.
    pub fn sync(&mut self, id: FileId, covered: &[u64]) {
        let content = self.contents.get_mut(&id).expect("an open file is there");
        for unsynced in std::mem::take(&mut content.unsynced) {
            if !covered.contains(&unsynced.number) {
                content.unsynced.push(unsynced);
                continue;
            }
            apply(&mut content.durable, &unsynced.change);
            if let Change::Resize(length) = unsynced.change {
                content.unsynced.iter_mut().for_each(|earlier| cut(&mut earlier.change, length));
            }
        }
    }

    /// A sync that covered these changes has failed.
    pub fn fail_sync(&mut self, id: FileId, covered: &[u64], prng: &mut Prng) {
        let content = self.contents.get_mut(&id).expect("an open file is there");
        for unsynced in std::mem::take(&mut content.unsynced) {
            let Change::Write { position, bytes } = &unsynced.change else {
                content.unsynced.push(unsynced);
                continue;
            };
            if !covered.contains(&unsynced.number) {
                content.unsynced.push(unsynced);
                continue;
            }
            match prng.below(3) {
                // It had arrived all the same.
                0 => apply(&mut content.durable, &unsynced.change),
                // Readable, and lost with the power.
                1 => {}
                // Gone at once.
                _ => restore(&mut content.seen, &content.durable, *position, bytes.len()),
            }
        }
    }

    /// The process is gone, the machine is not: everything under way arrives.
    pub fn process_loss(&mut self) {
        for content in self.contents.values_mut() {
            content.unsynced.iter_mut().for_each(|unsynced| unsynced.ended = true);
        }
    }

    /// The power is gone, and with it whatever the seed takes.
    pub fn power_loss(&mut self, prng: &mut Prng) {
        for (_, _, change) in std::mem::take(&mut self.unsynced) {
            if prng.below(2) == 0 {
                self.durable.apply(&change);
            }
        }
        self.lose_orphans();
        self.seen = self.durable.clone();
        let named: BTreeSet<FileId> = self.seen.files.values().copied().collect();
        self.contents.retain(|id, _| named.contains(id));
        for content in self.contents.values_mut() {
            lose(content, prng);
        }
    }

    /// Files and folders whose folder did not survive.
    fn lose_orphans(&mut self) {
        let folders = &self.durable.folders;
        let has = |folder: &Path| folder.parent().is_none() || folders.contains(folder);
        let reachable = |path: &Path| path.ancestors().skip(1).all(has);
        let lost: Vec<PathBuf> = folders.iter().filter(|folder| !reachable(folder)).cloned().collect();
        let files: BTreeMap<PathBuf, FileId> =
            self.durable.files.iter().filter(|(path, _)| reachable(path)).map(|(p, id)| (p.clone(), *id)).collect();
        self.durable.files = files;
        for folder in lost {
            self.durable.folders.remove(&folder);
        }
    }
}

/// Decides for each unsynced change what is left of it.
fn lose(content: &mut Content, prng: &mut Prng) {
    let changes = std::mem::take(&mut content.unsynced);
    // Lengths change in order: from here on they did not.
    let lengths_kept = prng.below(changes.len() as u64 + 1) as usize;
    for (index, unsynced) in changes.iter().enumerate() {
        match &unsynced.change {
            Change::Resize(bytes) if index < lengths_kept => content.durable.resize(*bytes, 0),
            Change::Resize(_) => {}
            Change::Write { position, bytes } => {
                if index < lengths_kept && !bytes.is_empty() && content.durable.len() < position + bytes.len() {
                    content.durable.resize(position + bytes.len(), 0);
                }
                lose_sectors(&mut content.durable, *position, bytes, prng);
            }
        }
    }
    content.seen = content.durable.clone();
}

/// Writes the sectors that arrived: all, none, those up to some place, or any.
fn lose_sectors(durable: &mut [u8], position: usize, bytes: &[u8], prng: &mut Prng) {
    let sectors = bytes.len().div_ceil(SECTOR_BYTES);
    let fate = prng.below(4);
    let end = prng.below(sectors as u64 + 1) as usize;
    for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
        let arrived = match fate {
            0 => true,
            1 => false,
            2 => index < end,
            _ => prng.below(2) == 0,
        };
        let start = position + index * SECTOR_BYTES;
        if arrived && start < durable.len() {
            let end = durable.len().min(start + sector.len());
            durable[start..end].copy_from_slice(&sector[..end - start]);
        }
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Resize(length) => bytes.resize(*length, 0),
        Change::Write { position, bytes: written } => {
            let end = position + written.len();
            if written.is_empty() {
                return;
            }
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*position..end].copy_from_slice(written);
        }
    }
}

/// What was cut off cannot come back: a write from before, even a failed one, ends with the file.
fn cut(change: &mut Change, length: usize) {
    if let Change::Write { position, bytes } = change {
        bytes.truncate(length.saturating_sub(*position));
    }
}

/// What reads see becomes what is durable again, inside one range; the length stays.
fn restore(seen: &mut [u8], durable: &[u8], position: usize, bytes: usize) {
    for (index, byte) in seen.iter_mut().enumerate().skip(position).take(bytes) {
        *byte = durable.get(index).copied().unwrap_or(0);
    }
}
