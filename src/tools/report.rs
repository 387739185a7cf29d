//! What a check found, in the form in which it is printed as JSON.

use serde::Serialize;

/// Findings kept of each kind; the rest is counted. Whoever has more than this has one cause for most of them.
const FINDINGS_MAX: usize = 10_000;

/// Bytes that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file, relative to the directory.
    pub file: String,
    /// First byte concerned.
    pub offset: u64,
    /// How many, as far as the check can narrow it down.
    pub bytes: u64,
    /// Which check failed.
    pub what: String,
}

/// Something that is no damage, but good to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The file, relative to the directory.
    pub file: String,
    /// What about it.
    pub what: String,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Catalog snapshots.
    pub catalogs: u64,
    /// Frames of logs, series logs and manifests.
    pub frames: u64,
    /// Records in the logs of the cores.
    pub log_records: u64,
    /// Points in them.
    pub log_points: u64,
    /// Series of the series logs.
    pub series: u64,
    /// Visible segments.
    pub segments: u64,
    /// Their blocks.
    pub blocks: u64,
    /// Their rows.
    pub rows: u64,
    /// Their values, of all fields.
    pub values: u64,
}

/// What `verify` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The data directory.
    pub directory: String,
    /// Whether no damage was found.
    pub sound: bool,
    /// What was read.
    pub checked: Checked,
    /// How often damage was found.
    pub damage_count: u64,
    /// Where; the first ten thousand.
    pub damage: Vec<Damage>,
    /// How many notes there are.
    pub note_count: u64,
    /// The first ten thousand.
    pub notes: Vec<Note>,
}

impl Report {
    /// Of a directory in which nothing has been found yet.
    pub fn new(directory: String) -> Report {
        Report { directory, sound: true, ..Report::default() }
    }

    /// Adds damage.
    pub fn damage(&mut self, file: &str, offset: u64, bytes: u64, what: impl Into<String>) {
        self.sound = false;
        self.damage_count += 1;
        if self.damage.len() < FINDINGS_MAX {
            self.damage.push(Damage { file: file.to_owned(), offset, bytes, what: what.into() });
        }
    }

    /// Adds a note.
    pub fn note(&mut self, file: &str, what: impl Into<String>) {
        self.note_count += 1;
        if self.notes.len() < FINDINGS_MAX {
            self.notes.push(Note { file: file.to_owned(), what: what.into() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_beyond_the_bound_are_counted() {
        let mut report = Report::new(String::new());
        assert!(report.sound);
        for offset in 0..FINDINGS_MAX as u64 + 5 {
            report.damage("file", offset, 1, "what");
        }
        assert_eq!((report.damage.len(), report.damage_count, report.sound), (FINDINGS_MAX, 10_005, false));
    }
}
