//! Reads and writes that reach another place than the one meant: a device that does what it is asked, elsewhere, and
//! says that all is well. What comes back is whole and has a checksum that holds, only of something else.

use crate::disk::sim::files::FileId;
use crate::disk::sim::files::Files;
use crate::disk::sim::prng::Prng;
use crate::limits::DISK_ALIGN;

/// The place that stands in for `position` of a file: another one of that file, or one of another file, whose content
/// begins there; `None` when there is no other.
pub fn elsewhere(files: &Files, prng: &mut Prng, id: FileId, position: u64) -> Option<(FileId, u64)> {
    let named = files.named();
    let target =
        if named.is_empty() || prng.below(2) == 0 { id } else { named[prng.below(named.len() as u64) as usize] };
    let blocks = files.size(target).div_ceil(DISK_ALIGN as u64);
    // Records and headers that are meant for the same offset look most alike.
    let is_same_offset = target != id && position < files.size(target) && prng.below(2) == 0;
    let found = if is_same_offset { position } else { prng.below(blocks.max(1)) * DISK_ALIGN as u64 };
    ((target, found) != (id, position) && found < files.size(target)).then_some((target, found))
}
