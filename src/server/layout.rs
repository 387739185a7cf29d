//! The data directory: made, locked, and recognised before anything in it is read.
//!
//! Owns:  the lock on the directory, for as long as the [`Layout`] lives.
//! In:    a path and how many shards a new directory gets. Out: how many it has.
//!
//! `FORMAT` is a text, so that an operator can read it with any tool and any version can read it for ever:
//!
//! | line | meaning |
//! |---|---|
//! | `millrace-format = 3` | version of all formats in the directory together |
//! | `shards = 8` | fixed when the directory is made; series are spread by it |
//!
//! Invariant: a directory without a whole `FORMAT` holds no data. The file appears by rename after a sync, and is
//! replaced in the same way before anything of a later format is written.

// All of this runs on the main thread before any executor exists.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "boot blocks; nothing else runs yet")]

use crate::server::checks::BootError;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

/// Version of the formats this program writes. It reads them all from 1 on.
pub const FORMAT_VERSION: u64 = 3;

/// The file that tells them.
pub const FORMAT_NAME: &str = "FORMAT";
/// What it is called until it is whole.
pub const FORMAT_NAME_UNFINISHED: &str = "FORMAT.tmp";
/// The file whose lock says that a server runs.
pub const LOCK_NAME: &str = "LOCK";

/// What the `FORMAT` file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Of all formats together.
    pub version: u64,
    /// Fixed when the directory was made.
    pub shard_count: u16,
}

impl Format {
    /// The whole file.
    pub fn text(self) -> String {
        format!("millrace-format = {}\nshards = {}\n", self.version, self.shard_count)
    }
}

/// A data directory that is ours alone.
#[derive(Debug)]
pub struct Layout {
    /// Where.
    pub dir: PathBuf,
    /// How many shards it has.
    pub shard_count: u16,
    /// Whether it was made just now.
    pub is_new: bool,
    /// Held open: the kernel lets go of the lock when the process ends, however it ends.
    _lock: File,
}

/// Opens the directory, or makes it with `shard_count` shards.
pub fn open_or_create(dir: &Path, shard_count: u16) -> Result<Layout, BootError> {
    assert!(shard_count > 0, "a directory has shards");
    let wrong = |source| BootError::Directory { path: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(wrong)?;
    // Absolute, so that messages and later opens do not depend on where the process stands.
    let dir = &fs::canonicalize(dir).map_err(wrong)?;
    let lock = lock(dir)?;
    let existing = read_format(dir)?;
    let is_new = existing.is_none();
    if is_new {
        refuse_foreign(dir)?;
    }
    let shard_count = existing.map_or(shard_count, |format| format.shard_count);
    if existing.is_none_or(|format| format.version < FORMAT_VERSION) {
        create_format(dir, shard_count)
            .map_err(|source| BootError::DirectoryReadOnly { path: dir.to_owned(), source })?;
    }
    Ok(Layout { dir: dir.to_owned(), shard_count, is_new, _lock: lock })
}

/// A data directory that is only looked at: no server starts in it meanwhile, and nothing in it changes.
#[derive(Debug)]
pub struct Found {
    /// Where.
    pub dir: PathBuf,
    /// What `FORMAT` says; the error says why that cannot be told.
    pub format: Result<Format, String>,
    /// Held open, as in [`Layout`]; shared, so that several may look.
    _lock: Option<File>,
}

/// Opens a directory that exists, as it is.
pub fn open_existing(dir: &Path) -> Result<Found, BootError> {
    let wrong = |source| BootError::Directory { path: dir.to_owned(), source };
    let dir = &fs::canonicalize(dir).map_err(wrong)?;
    let lock = lock_shared(dir)?;
    let format = match read_format(dir) {
        Ok(Some(format)) => Ok(format),
        Ok(None) => return Err(BootError::DirectoryUnknown { path: dir.to_owned() }),
        Err(BootError::FormatDamaged { problem, .. }) => Err(problem),
        Err(error) => return Err(error),
    };
    Ok(Found { dir: dir.to_owned(), format, _lock: lock })
}

/// `None` where there is no lock file, and so no server.
fn lock_shared(dir: &Path) -> Result<Option<File>, BootError> {
    let path = dir.join(LOCK_NAME);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(BootError::Directory { path, source }),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(held(dir, file)),
        Err(TryLockError::Error(source)) => Err(BootError::Directory { path, source }),
    }
}

fn held(dir: &Path, file: File) -> BootError {
    let mut owner = String::new();
    // For the message only.
    let _ = file.take(16).read_to_string(&mut owner);
    owner.retain(|letter| letter.is_ascii_digit());
    BootError::DirectoryLocked { path: dir.to_owned(), owner }
}

fn lock(dir: &Path) -> Result<File, BootError> {
    let read_only = |source| BootError::DirectoryReadOnly { path: dir.to_owned(), source };
    let path = dir.join(LOCK_NAME);
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(read_only)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(read_only)?;
            file.write_all(std::process::id().to_string().as_bytes()).map_err(read_only)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Err(held(dir, file)),
        Err(TryLockError::Error(source)) => Err(BootError::Directory { path: path.clone(), source }),
    }
}

/// `None` when there is no such file.
fn read_format(dir: &Path) -> Result<Option<Format>, BootError> {
    let path = dir.join(FORMAT_NAME);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(BootError::Directory { path, source }),
    };
    let damaged = |problem: &str| BootError::FormatDamaged { path: path.clone(), problem: problem.to_owned() };
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged("is not text"))?;
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
        line.and_then(|value| value.trim().parse::<u64>().ok())
    };
    let version = number("millrace-format").ok_or_else(|| damaged("does not say which format"))?;
    if version > FORMAT_VERSION {
        return Err(BootError::FormatNewer { path: dir.to_owned(), found: version, known: FORMAT_VERSION });
    }
    let shards = number("shards").and_then(|count| u16::try_from(count).ok()).filter(|&count| count > 0);
    let shard_count = shards.ok_or_else(|| damaged("does not say how many shards"))?;
    Ok(Some(Format { version, shard_count }))
}

/// A directory with files of somebody else is not taken over.
fn refuse_foreign(dir: &Path) -> Result<(), BootError> {
    let wrong = |source| BootError::Directory { path: dir.to_owned(), source };
    for entry in fs::read_dir(dir).map_err(wrong)? {
        let name = entry.map_err(wrong)?.file_name();
        // lost+found: the top of a file system of its own.
        if ![LOCK_NAME, FORMAT_NAME_UNFINISHED, "lost+found"].iter().any(|ours| name == *ours) {
            return Err(BootError::DirectoryForeign {
                path: dir.to_owned(),
                example: name.to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}

fn create_format(dir: &Path, shard_count: u16) -> io::Result<()> {
    let unfinished = dir.join(FORMAT_NAME_UNFINISHED);
    let mut file = File::create(&unfinished)?;
    file.write_all(Format { version: FORMAT_VERSION, shard_count }.text().as_bytes())?;
    file.sync_all()?;
    fs::rename(unfinished, dir.join(FORMAT_NAME))?;
    sync_dir(dir)?;
    // The directory's own name must survive too.
    dir.parent().map_or(Ok(()), sync_dir)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(dir: &Path) -> String {
        open_or_create(dir, 4).expect_err("must be refused").to_string()
    }

    #[test]
    fn a_new_directory_is_made_and_keeps_its_shard_count() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/b");
        let layout = open_or_create(&dir, 4).unwrap();
        assert_eq!((layout.shard_count, layout.is_new), (4, true));
        drop(layout);
        let layout = open_or_create(&dir, 9).unwrap();
        assert_eq!((layout.shard_count, layout.is_new), (4, false));
    }

    #[test]
    fn a_second_server_is_kept_out_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = open_or_create(dir.path(), 4).unwrap();
        let text = refused(dir.path());
        assert!(text.ends_with(&format!("is in use by another process (process {})", std::process::id())), "{text}");
        drop(first);
        open_or_create(dir.path(), 4).unwrap();
    }

    #[test]
    fn looking_keeps_servers_out_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let look = || open_existing(dir.path());
        assert!(look().unwrap_err().to_string().ends_with("so it is not a data directory of Millrace"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let server = open_or_create(dir.path(), 4).unwrap();
        assert!(look().unwrap_err().to_string().contains("is in use by another process"));
        drop(server);
        let (one, other) = (look().unwrap(), look().unwrap());
        let format = Ok(Format { version: FORMAT_VERSION, shard_count: 4 });
        assert_eq!((one.format, other.format), (format.clone(), format));
        assert!(refused(dir.path()).contains("is in use by another process"));
    }

    #[test]
    fn an_older_format_becomes_this_one_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("FORMAT"), "millrace-format = 1\nshards = 9\n").unwrap();
        assert_eq!(open_existing(dir.path()).unwrap().format, Ok(Format { version: 1, shard_count: 9 }));
        let layout = open_or_create(dir.path(), 4).unwrap();
        assert_eq!((layout.shard_count, layout.is_new), (9, false));
        drop(layout);
        assert_eq!(open_existing(dir.path()).unwrap().format, Ok(Format { version: FORMAT_VERSION, shard_count: 9 }));
    }

    #[test]
    fn a_newer_format_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let text = "millrace-format = 4\nwhatever = comes\n";
        fs::write(dir.path().join("FORMAT"), text).unwrap();
        assert!(refused(dir.path()).contains("has format 4, this version reads up to 3"));
        assert_eq!(fs::read_to_string(dir.path().join("FORMAT")).unwrap(), text);
    }

    #[test]
    fn a_damaged_format_file_is_named() {
        for (content, expected) in [
            (&b"\xff\xfe"[..], "is not text"),
            (b"", "does not say which format"),
            (b"millrace-format = x\n", "does not say which format"),
            (b"millrace-format = 1\n", "does not say how many shards"),
            (b"millrace-format = 1\nshards = 0\n", "does not say how many shards"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("FORMAT"), content).unwrap();
            let text = refused(dir.path());
            assert!(text.ends_with(expected), "{text}");
        }
    }

    #[test]
    fn a_start_cut_off_before_the_format_was_written_is_repeated() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("FORMAT.tmp"), "millr").unwrap();
        fs::write(dir.path().join("LOCK"), "1").unwrap();
        fs::create_dir(dir.path().join("lost+found")).unwrap();
        assert!(open_or_create(dir.path(), 4).unwrap().is_new);
    }

    #[test]
    fn a_directory_of_something_else_is_not_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("_internal")).unwrap();
        assert!(refused(dir.path()).contains("holds files but no FORMAT file"));
    }

    #[test]
    fn a_file_in_place_of_the_directory_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        fs::write(&path, "x").unwrap();
        let text = refused(&path);
        assert!(text.starts_with(&format!("data directory {}: ", path.display())), "{text}");
        let text = refused(&path.join("below"));
        assert!(text.contains("file/below: "), "{text}");
    }
}
