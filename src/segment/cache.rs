//! Pages of segment indexes that were used lately, up to a bound. One for each core.

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

/// A page: which open segment, and which of its pages.
type PageKey = (u64, u32);
/// Fixed keys: the same run evicts the same pages, as the simulation needs.
type Hasher = BuildHasherDefault<DefaultHasher>;

#[derive(Clone, Debug)]
struct Memory;

impl Weighter<PageKey, Rc<Page>> for Memory {
    fn weight(&self, _: &PageKey, page: &Rc<Page>) -> u64 {
        page.memory_bytes() as u64
    }
}

/// See the module.
pub struct PageCache {
    pages: RefCell<Cache<PageKey, Rc<Page>, Memory, Hasher>>,
    opened: Cell<u64>,
}

/// About how much memory a page takes, to size the cache's table.
const PAGE_MEMORY: u64 = 16 << 10;

impl PageCache {
    /// A cache of at most `bytes` of memory.
    pub fn new(bytes: u64) -> Rc<PageCache> {
        let pages =
            Cache::with((bytes / PAGE_MEMORY) as usize, bytes, Memory, Hasher::default(), DefaultLifecycle::default());
        Rc::new(PageCache { pages: RefCell::new(pages), opened: Cell::new(0) })
    }

    /// A number for a segment that is opened, not used before.
    pub(super) fn register(&self) -> u64 {
        self.opened.set(self.opened.get() + 1);
        self.opened.get()
    }

    pub(super) fn get(&self, segment: u64, page: u32) -> Option<Rc<Page>> {
        self.pages.borrow().get(&(segment, page)).cloned()
    }

    pub(super) fn insert(&self, segment: u64, number: u32, page: Rc<Page>) {
        self.pages.borrow_mut().insert((segment, number), page);
    }

    /// Memory held, about.
    pub fn bytes(&self) -> u64 {
        self.pages.borrow().weight()
    }
}

impl fmt::Debug for PageCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageCache").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}
