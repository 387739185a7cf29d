//! How far a tool has come, on stderr and only where somebody looks: by bytes, since files differ.

use std::cell::Cell;

use indicatif::ProgressBar;
use indicatif::ProgressStyle;

/// A bar over all bytes of a directory. Not drawn unless stderr is a terminal.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    /// Bytes of the files before this one, and of this one.
    before: Cell<u64>,
    current: Cell<u64>,
}

impl Progress {
    /// Over so many bytes.
    pub fn new(bytes: u64) -> Progress {
        let template = "{bar:30} {percent:>3} %  {bytes}/{total_bytes}  {bytes_per_sec}  {eta}  {msg}";
        let style = ProgressStyle::with_template(template).expect("the template is a constant");
        let bar = ProgressBar::new(bytes).with_style(style);
        Progress { bar, before: Cell::new(0), current: Cell::new(0) }
    }

    /// One that nobody sees.
    pub fn hidden() -> Progress {
        Progress { bar: ProgressBar::hidden(), before: Cell::new(0), current: Cell::new(0) }
    }

    /// The file before is done; the next one is so long.
    pub fn file(&self, name: &str, bytes: u64) {
        self.before.set(self.before.get() + self.current.replace(bytes));
        self.bar.set_position(self.before.get());
        self.bar.set_message(name.to_owned());
    }

    /// Here in the file.
    pub fn reached(&self, position: u64) {
        self.bar.set_position(self.before.get() + position.min(self.current.get()));
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
