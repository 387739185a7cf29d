//! `inspect` and `verify`: the directory that `run` would use, looked at and left as it is.
//!
//! Exit code: 0 all sound, 1 damage found, 2 could not be done.

use super::arguments::InspectArguments;
use super::arguments::ToolArguments;
use super::load_config;
use crate::segment::SegmentError;
use crate::tools::directory::Directory;
use crate::tools::inspect;
use crate::tools::inspect::BlockUsage;
use crate::tools::print;
use crate::tools::progress::Progress;
use crate::tools::verify;
use serde::Serialize;
use std::error::Error;
use std::io;
use std::io::BufWriter;
use std::io::Write;
use std::path::Path;

/// Whether all was sound.
pub type Outcome = Result<bool, Box<dyn Error>>;

/// Checks the directory.
pub fn verify(arguments: &ToolArguments) -> Outcome {
    let directory = open(arguments)?;
    directory.forget_cached()?;
    let report = verify::verify(&directory, &Progress::new(directory.bytes()?))?;
    written(|out| if arguments.json { json(&report, out) } else { print::report(&report, out) })?;
    Ok(report.sound)
}

/// Says what takes how much.
pub fn inspect(arguments: &InspectArguments) -> Outcome {
    let directory = open(&arguments.tool)?;
    let is_json = arguments.tool.json;
    if let Some(segment) = &arguments.segment {
        // As the shell sees it, else as `verify` names it.
        let path = if segment.exists() { segment.clone() } else { directory.dir.join(segment) };
        return blocks(&path, is_json);
    }
    let inventory = inspect::inspect(&directory, &Progress::new(directory.bytes()?))?;
    written(|out| if is_json { json(&inventory, out) } else { print::inventory(&inventory, out) })?;
    Ok(inventory.unreadable.is_empty())
}

/// The blocks of one segment, each printed as soon as it is read: a segment may have millions.
fn blocks(path: &Path, is_json: bool) -> Outcome {
    let mut is_sound = true;
    let mut out = BufWriter::new(io::stdout());
    if is_json {
        write!(out, "[")?;
    } else {
        writeln!(out, "{}", print::BLOCK_HEADS)?;
    }
    let mut separator = "";
    inspect::blocks(path, |block: BlockUsage| -> Result<(), BlocksError> {
        is_sound &= block.problem.is_none();
        if is_json {
            write!(out, "{separator}\n{}", serde_json::to_string(&block).map_err(io::Error::from)?)?;
            separator = ",";
            return Ok(());
        }
        Ok(print::block(&block, &mut out)?)
    })?;
    if is_json {
        writeln!(out, "\n]")?;
    }
    out.flush()?;
    Ok(is_sound)
}

#[derive(Debug, thiserror::Error)]
enum BlocksError {
    #[error("{0}")]
    Output(#[from] io::Error),
    #[error("{0}")]
    Segment(#[from] SegmentError),
}

fn open(arguments: &ToolArguments) -> Result<Directory, Box<dyn Error>> {
    let config = load_config(&arguments.config())?;
    Ok(Directory::open(&config.data.dir)?)
}

fn json(value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// To stdout; a reader that has gone away (`| head`) is an error and not a panic.
fn written(print: impl FnOnce(&mut BufWriter<io::Stdout>) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout());
    print(&mut out)?;
    out.flush()
}
