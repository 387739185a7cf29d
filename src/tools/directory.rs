//! A data directory as the tools see it: locked against servers, listed, never changed.

#![allow(clippy::disallowed_methods, reason = "no executor runs here")]

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::disk::names;
use crate::disk::read_only;
use crate::server::checks::BootError;
use crate::server::layout;
use crate::server::layout::Format;
use crate::server::layout::Found;

/// See the module.
#[derive(Debug)]
pub struct Directory {
    /// Where, absolute.
    pub dir: PathBuf,
    /// How many shards it has; as many as there are folders when `FORMAT` cannot be read.
    pub shard_count: u16,
    /// What `FORMAT` says, or why it cannot be read.
    pub format: Result<Format, String>,
    /// Keeps servers out.
    _found: Found,
}

/// What a folder holds under one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Length of a file.
    pub bytes: u64,
    /// Whether it is a folder.
    pub is_folder: bool,
}

impl Directory {
    /// Opens it; fails while a server has it open, and for what is no data directory of a known format.
    pub fn open(dir: &Path) -> Result<Directory, BootError> {
        let found = layout::open_existing(dir)?;
        let (dir, format) = (found.dir.clone(), found.format.clone());
        let mut directory = Directory { dir, shard_count: 0, format, _found: found };
        match &directory.format {
            Ok(format) => directory.shard_count = format.shard_count,
            Err(_) => {
                let entries = directory.list("").unwrap_or_default();
                let shards = entries.iter().filter_map(|entry| names::parse_shard(&entry.name));
                directory.shard_count = shards.max().map_or(0, |last| last.saturating_add(1));
            }
        }
        Ok(directory)
    }

    /// What a folder holds, by name; `folder` is relative, empty for the directory itself.
    pub fn list(&self, folder: &str) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.path(folder))? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            entries.push(Entry {
                name: entry.file_name().to_string_lossy().into_owned(),
                bytes: if metadata.is_file() { metadata.len() } else { 0 },
                is_folder: metadata.is_dir(),
            });
        }
        entries.sort();
        Ok(entries)
    }

    /// As [`Directory::list`]; a folder that is not there holds nothing.
    pub fn list_if_there(&self, folder: &str) -> io::Result<Vec<Entry>> {
        match self.list(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            outcome => outcome,
        }
    }

    /// The place of something inside.
    pub fn path(&self, relative: &str) -> PathBuf {
        if relative.is_empty() { self.dir.clone() } else { self.dir.join(relative) }
    }

    /// Bytes of all files that belong to it.
    pub fn bytes(&self) -> io::Result<u64> {
        Ok(self.files()?.iter().map(|(_, bytes)| bytes).sum())
    }

    /// What is read from now on comes from the device, as far as the kernel does as it is told.
    pub fn forget_cached(&self) -> io::Result<()> {
        self.files()?.iter().for_each(|(name, _)| read_only::forget_cached(&self.path(name)));
        Ok(())
    }

    /// Its files and their lengths.
    pub fn files(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        let shards = (0..self.shard_count).map(shard_folder);
        for folder in [String::new(), "wal".to_owned()].into_iter().chain(shards) {
            let entries = self.list_if_there(&folder)?.into_iter().filter(|entry| !entry.is_folder);
            let name =
                |entry: &Entry| if folder.is_empty() { entry.name.clone() } else { format!("{folder}/{}", entry.name) };
            files.extend(entries.map(|entry| (name(&entry), entry.bytes)));
        }
        Ok(files)
    }
}

/// A shard's folder, relative.
pub fn shard_folder(shard: u16) -> String {
    names::shard_dir(Path::new(""), shard).display().to_string()
}
