//! The owner side of a query on one core: answers [`Request`]s over its shards and keeps the cursors between them.
//!
//! A query that ends early is stopped on every core ([`Executor::stop`]): its cursors go, and what is being read for it
//! ends at the next block. The number of cursors is bounded all the same: opening one more forgets the one that was
//! idle longest, whose asker, if it still lives, gets a clear error.

use std::cell::Cell as StdCell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::exec::fragment::Chunk;
use crate::exec::fragment::CursorId;
use crate::exec::fragment::Fragment;
use crate::exec::fragment::Part;
use crate::exec::fragment::QueryId;
use crate::exec::fragment::Request;
use crate::exec::fragment::Response;
use crate::exec::fragment::Work;
use crate::exec::lookup;
use crate::exec::reader::Meter;
use crate::exec::rows::RowScan;
use crate::exec::schema;
use crate::exec::select;
use crate::exec::select::Group;
use crate::exec::select::SelectedSeries;
use crate::exec::view::View;
use crate::exec::windows::WindowScan;
use crate::stdx::budget::Budget;
use crate::stdx::budget::Taken;

/// Most cursors one core keeps open. A statement has one for each of its calls, on every core.
const CURSORS_MAX: usize = 1024;

/// Runs fragments over the shards of one core.
pub struct Executor<V: View> {
    views: Vec<V>,
    cursors: RefCell<BTreeMap<CursorId, Open<V>>>,
    /// Queries being read for now, and what stops them.
    reading: RefCell<Vec<(QueryId, Rc<Meter>)>>,
    memory: Budget,
    next_id: StdCell<CursorId>,
    clock: StdCell<u64>,
}

/// An open fragment.
struct Open<V: View> {
    scan: Scan<V>,
    series_count: u64,
    query: QueryId,
    meter: Rc<Meter>,
    /// Memory of the list of its series, and of everything.
    list_bytes: usize,
    memory: Taken,
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

    fn held_bytes(&self) -> usize {
        match self {
            Scan::Rows(scan) => scan.held_bytes(),
            Scan::Windows(scan) => scan.held_bytes(),
        }
    }

    /// How often a point counts: stock reads it again for each call.
    fn weight(&self) -> u64 {
        match self {
            Scan::Rows(_) => 1,
            Scan::Windows(scan) => scan.call_count(),
        }
    }
}

impl<V: View> Executor<V> {
    /// An executor over the shards of this core.
    pub fn new(views: Vec<V>) -> Executor<V> {
        Executor::within(views, Budget::default())
    }

    /// One whose open fragments share `memory` with all other queries.
    pub fn within(views: Vec<V>, memory: Budget) -> Executor<V> {
        Executor {
            views,
            cursors: RefCell::default(),
            reading: RefCell::default(),
            memory,
            next_id: StdCell::new(1),
            clock: StdCell::new(0),
        }
    }

    /// The shards.
    pub fn views(&self) -> &[V] {
        &self.views
    }

    /// Cursors that are open now.
    pub fn cursor_count(&self) -> usize {
        self.cursors.borrow().len()
    }

    /// Nobody waits for `query` any more.
    pub fn stop(&self, query: QueryId) {
        self.cursors.borrow_mut().retain(|_, open| open.query != query);
        for (_, meter) in self.reading.borrow().iter().filter(|reading| reading.0 == query) {
            meter.is_stopped.set(true);
        }
    }

    /// Answers one request of a query that nothing can stop.
    pub async fn handle(&self, request: Request) -> Response {
        self.handle_for(0, request).await
    }

    /// Answers one request of `query`, in bounded work between yields.
    pub async fn handle_for(&self, query: QueryId, request: Request) -> Response {
        self.clock.set(self.clock.get() + 1);
        match request {
            Request::Open(fragment) => {
                let meter = Rc::new(Meter::default());
                self.while_reading(query, &meter, self.open(query, *fragment, meter.clone())).await
            }
            Request::Next(id) => {
                let open = self.cursors.borrow_mut().remove(&id);
                match open {
                    Some(open) => {
                        let meter = open.meter.clone();
                        self.while_reading(query, &meter, self.advance(id, open)).await
                    }
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

    /// Does `work`, which [`Executor::stop`] can end through `meter`.
    async fn while_reading(&self, query: QueryId, meter: &Rc<Meter>, work: impl Future<Output = Response>) -> Response {
        self.reading.borrow_mut().push((query, meter.clone()));
        let response = work.await;
        self.reading.borrow_mut().retain(|reading| !Rc::ptr_eq(&reading.1, meter));
        response
    }

    async fn open(&self, query: QueryId, fragment: Fragment, meter: Rc<Meter>) -> Response {
        let mut filter_fields = Vec::new();
        let groups = match select::select(&self.views, &fragment, &mut filter_fields).await {
            Ok(groups) => groups,
            Err(error) => return Response::Failed(error),
        };
        let series_count = groups.iter().map(|group| group.series.len() as u64).sum();
        if fragment.series_max > 0 && series_count > fragment.series_max {
            // The asker adds up the cores and says how many there are.
            return Response::Chunk(Chunk { series_count, ..Chunk::default() });
        }
        let list_bytes = groups.iter().map(group_bytes).sum();
        let Ok(memory) = self.memory.take(list_bytes as u64) else {
            return Response::Failed(memory_error(self.memory.max()));
        };
        let fragment = Rc::new(fragment);
        let scan = match &fragment.work {
            Work::Rows { .. } => {
                Scan::Rows(Box::new(RowScan::new(fragment.clone(), groups, &filter_fields, meter.clone())))
            }
            Work::Windows { .. } => {
                Scan::Windows(Box::new(WindowScan::new(fragment.clone(), groups, &filter_fields, meter.clone())))
            }
        };
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        self.advance(id, Open { scan, series_count, query, meter, list_bytes, memory, used: 0 }).await
    }

    async fn advance(&self, id: CursorId, mut open: Open<V>) -> Response {
        let parts = match open.scan.next(&self.views).await {
            Ok(parts) => parts,
            Err(error) => return Response::Failed(error),
        };
        let (series_count, points) = (open.series_count, open.scan.weight() * open.meter.points.take());
        if parts.is_empty() || open.scan.is_done() || open.meter.is_stopped.get() {
            return Response::Chunk(Chunk { cursor: None, parts, series_count, points });
        }
        if !open.memory.resize((open.list_bytes + open.scan.held_bytes()) as u64) {
            return Response::Failed(memory_error(self.memory.max()));
        }
        open.used = self.clock.get();
        let mut cursors = self.cursors.borrow_mut();
        if cursors.len() >= CURSORS_MAX {
            let oldest = cursors.iter().min_by_key(|(_, open)| open.used).map(|(id, _)| *id);
            oldest.and_then(|oldest| cursors.remove(&oldest));
        }
        cursors.insert(id, open);
        Response::Chunk(Chunk { cursor: Some(id), parts, series_count, points })
    }
}

/// The text of a query for which there is no memory beside the others.
pub fn memory_error(max: u64) -> String {
    format!("queries need more than their {max} bytes of memory together; try again when fewer run")
}

fn group_bytes(group: &Group) -> usize {
    64 + group.series.len() * size_of::<SelectedSeries>() + group.tags.iter().map(|tag| tag.len() + 16).sum::<usize>()
}
