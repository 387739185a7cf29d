//! The owner side of a query on one core: answers [`Request`]s over its shards and keeps the cursors between them.
//!
//! An asker that goes away without closing leaves a cursor behind. The number of cursors is bounded: opening one more
//! forgets the one that was idle longest, whose asker, if it still lives, gets a clear error.

use std::cell::Cell as StdCell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::exec::fragment::Chunk;
use crate::exec::fragment::CursorId;
use crate::exec::fragment::Fragment;
use crate::exec::fragment::Part;
use crate::exec::fragment::Request;
use crate::exec::fragment::Response;
use crate::exec::fragment::Work;
use crate::exec::lookup;
use crate::exec::rows::RowScan;
use crate::exec::schema;
use crate::exec::select;
use crate::exec::view::View;
use crate::exec::windows::WindowScan;

/// Most cursors one core keeps open. A statement has one for each of its calls, on every core.
const CURSORS_MAX: usize = 1024;

/// Runs fragments over the shards of one core.
pub struct Executor<V: View> {
    views: Vec<V>,
    cursors: RefCell<BTreeMap<CursorId, Open<V>>>,
    next_id: StdCell<CursorId>,
    clock: StdCell<u64>,
}

/// An open fragment.
struct Open<V: View> {
    scan: Scan<V>,
    series_count: u64,
    /// When it was last asked, in requests.
    used: u64,
}

enum Scan<V: View> {
    Rows(Box<RowScan<V>>),
    Windows(Box<WindowScan>),
}

impl<V: View> Scan<V> {
    async fn next(&mut self, views: &[V]) -> Result<Vec<Part>, String> {
        match self {
            Scan::Rows(scan) => scan.next(views).await,
            Scan::Windows(scan) => scan.next(views).await,
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Scan::Rows(scan) => scan.is_done(),
            Scan::Windows(scan) => scan.is_done(),
        }
    }
}

impl<V: View> Executor<V> {
    /// An executor over the shards of this core.
    pub fn new(views: Vec<V>) -> Executor<V> {
        Executor { views, cursors: RefCell::new(BTreeMap::new()), next_id: StdCell::new(1), clock: StdCell::new(0) }
    }

    /// The shards.
    pub fn views(&self) -> &[V] {
        &self.views
    }

    /// Cursors that are open now.
    pub fn cursor_count(&self) -> usize {
        self.cursors.borrow().len()
    }

    /// Answers one request, in bounded work between yields.
    pub async fn handle(&self, request: Request) -> Response {
        self.clock.set(self.clock.get() + 1);
        match request {
            Request::Open(fragment) => self.open(*fragment).await,
            Request::Next(id) => {
                let open = self.cursors.borrow_mut().remove(&id);
                match open {
                    Some(open) => self.advance(id, open).await,
                    None => Response::Failed("query cursor is gone: it was idle while too many others ran".into()),
                }
            }
            Request::Close(id) => {
                self.cursors.borrow_mut().remove(&id);
                Response::Closed
            }
            Request::Groups(fragment, count) => self.groups(&fragment, count).await,
            Request::Schema(request) => match schema::read(&self.views, &request).await {
                Ok(schema) => Response::Schema(schema),
                Err(error) => Response::Failed(error),
            },
            Request::Lookup(request) => match lookup::answer(&self.views, &request).await {
                Ok(page) => Response::Lookup(page),
                Err(error) => Response::Failed(error),
            },
        }
    }

    async fn groups(&self, fragment: &Fragment, count: u64) -> Response {
        match select::select(&self.views, fragment, &mut Vec::new()).await {
            Ok(mut groups) => {
                groups.sort_by_cached_key(|group| fragment.tag_set_key(&group.tags));
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                Response::Groups(groups.into_iter().take(count).map(|group| group.tags).collect())
            }
            Err(error) => Response::Failed(error),
        }
    }

    async fn open(&self, fragment: Fragment) -> Response {
        let mut filter_fields = Vec::new();
        let groups = match select::select(&self.views, &fragment, &mut filter_fields).await {
            Ok(groups) => groups,
            Err(error) => return Response::Failed(error),
        };
        let series_count = groups.iter().map(|group| group.series.len() as u64).sum();
        if fragment.series_max > 0 && series_count > fragment.series_max {
            // The asker adds up the cores and says how many there are.
            return Response::Chunk(Chunk { cursor: None, parts: Vec::new(), series_count });
        }
        let fragment = Rc::new(fragment);
        let scan = match &fragment.work {
            Work::Rows { .. } => Scan::Rows(Box::new(RowScan::new(fragment.clone(), groups, &filter_fields))),
            Work::Windows { .. } => Scan::Windows(Box::new(WindowScan::new(fragment.clone(), groups, &filter_fields))),
        };
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        self.advance(id, Open { scan, series_count, used: 0 }).await
    }

    async fn advance(&self, id: CursorId, mut open: Open<V>) -> Response {
        let parts = match open.scan.next(&self.views).await {
            Ok(parts) => parts,
            Err(error) => return Response::Failed(error),
        };
        let series_count = open.series_count;
        if parts.is_empty() || open.scan.is_done() {
            return Response::Chunk(Chunk { cursor: None, parts, series_count });
        }
        open.used = self.clock.get();
        let mut cursors = self.cursors.borrow_mut();
        if cursors.len() >= CURSORS_MAX {
            let oldest = cursors.iter().min_by_key(|(_, open)| open.used).map(|(id, _)| *id);
            oldest.and_then(|oldest| cursors.remove(&oldest));
        }
        cursors.insert(id, open);
        Response::Chunk(Chunk { cursor: Some(id), parts, series_count })
    }
}
