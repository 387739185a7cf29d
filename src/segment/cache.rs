//! Pages of segment indexes that were used lately, and the blocks of pages that are read one after the other, up to a
//! bound. One for each core.

use std::cell::Cell;
use std::cell::RefCell;
use std::fmt;
use std::hash::BuildHasherDefault;
use std::hash::DefaultHasher;
use std::rc::Rc;

use quick_cache::Weighter;
use quick_cache::unsync::Cache;
use quick_cache::unsync::DefaultLifecycle;

use crate::segment::page::Page;

/// Which open segment, which of its pages, and whether its blocks are meant.
type Key = (u64, u32, bool);
/// Fixed keys: the same run evicts the same pages, as the simulation needs.
type Hasher = BuildHasherDefault<DefaultHasher>;

#[derive(Clone, Debug)]
enum Kept {
    Page(Rc<Page>),
    /// As they stand in the file.
    Blocks(Rc<Vec<u8>>),
}

#[derive(Clone, Debug)]
struct Memory;

impl Weighter<Key, Kept> for Memory {
    fn weight(&self, _: &Key, kept: &Kept) -> u64 {
        match kept {
            Kept::Page(page) => page.memory_bytes() as u64,
            Kept::Blocks(bytes) => bytes.len() as u64,
        }
    }
}

/// See the module.
pub struct PageCache {
    kept: RefCell<Cache<Key, Kept, Memory, Hasher>>,
    opened: Cell<u64>,
}

/// About how much memory something takes, to size the cache's table.
const KEPT_BYTES: u64 = 32 << 10;

impl PageCache {
    /// A cache of at most `bytes` of memory.
    pub fn new(bytes: u64) -> Rc<PageCache> {
        let count = (bytes / KEPT_BYTES) as usize;
        let kept = Cache::with(count, bytes, Memory, Hasher::default(), DefaultLifecycle::default());
        Rc::new(PageCache { kept: RefCell::new(kept), opened: Cell::new(0) })
    }

    /// A number for a segment that is opened, not used before.
    pub(super) fn register(&self) -> u64 {
        self.opened.set(self.opened.get() + 1);
        self.opened.get()
    }

    pub(super) fn page(&self, segment: u64, number: u32) -> Option<Rc<Page>> {
        match self.kept.borrow().get(&(segment, number, false)) {
            Some(Kept::Page(page)) => Some(page.clone()),
            _ => None,
        }
    }

    pub(super) fn keep_page(&self, segment: u64, number: u32, page: Rc<Page>) {
        self.kept.borrow_mut().insert((segment, number, false), Kept::Page(page));
    }

    pub(super) fn blocks(&self, segment: u64, number: u32) -> Option<Rc<Vec<u8>>> {
        match self.kept.borrow().get(&(segment, number, true)) {
            Some(Kept::Blocks(bytes)) => Some(bytes.clone()),
            _ => None,
        }
    }

    pub(super) fn keep_blocks(&self, segment: u64, number: u32, bytes: Rc<Vec<u8>>) {
        self.kept.borrow_mut().insert((segment, number, true), Kept::Blocks(bytes));
    }

    /// Memory held, about.
    pub fn bytes(&self) -> u64 {
        self.kept.borrow().weight()
    }
}

impl fmt::Debug for PageCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageCache").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}
