//! The requests with statements that run on this core: what SHOW QUERIES lists, KILL QUERY ends, and limits count.
//!
//! Owns:  an entry for each running request of this core, from its authorisation to its last row.
//! In:    requests as they start; kills, from any core.
//! Out:   a [`Ticket`] for each, which tells it when and why to end, and removes the entry when dropped.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crate::model::Kill;
use crate::model::RunningQuery;
use crate::observe;
use crate::observe::Statistic;
use crate::observe::Value;
use crate::stdx::budget::Budget;
use crate::stdx::budget::Counter;
use crate::stdx::budget::Taken;
use crate::stdx::notify::Notify;

/// What all cores count together.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// Ids given so far.
    pub ids: Counter,
    /// Numbers given to countings of requests by sender.
    pub trackings: Counter,
    /// Requests that run.
    pub running: Counter,
    /// Bytes that running requests hold.
    pub memory: Counter,
}

/// The limits on each request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// `max-concurrent-queries`; 0: none.
    pub running_max: u64,
    /// `query-timeout`.
    pub time_max: Option<Duration>,
    /// `log-queries-after`.
    pub log_after: Option<Duration>,
}

/// See the module.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    limits: Limits,
    entries: RefCell<BTreeMap<u64, Rc<Entry>>>,
    executed: observe::Counter,
    finished: observe::Counter,
    duration_ns: observe::Counter,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    text: String,
    database: String,
    started: Instant,
    is_killed: Cell<bool>,
    is_logged: Cell<bool>,
    killed: Notify,
}

impl Running {
    /// Nothing runs yet.
    pub fn new(shared: Arc<Shared>, limits: Limits) -> Rc<Running> {
        Rc::new(Running {
            shared,
            limits,
            entries: RefCell::default(),
            executed: observe::Counter::default(),
            finished: observe::Counter::default(),
            duration_ns: observe::Counter::default(),
        })
    }

    /// Lets a request run, or says what of stock's limits keeps it from it.
    pub fn enter(self: &Rc<Self>, text: String, database: String) -> Result<Ticket, String> {
        let max = self.limits.running_max;
        let place = Budget::new(self.shared.running.clone(), max).take(1);
        let place = place.map_err(|count| format!("max-concurrent-queries limit exceeded({count}, {max})"))?;
        let id = self.shared.ids.add(1) + 1;
        let entry = Rc::new(Entry {
            id,
            text,
            database,
            started: Instant::now(),
            is_killed: Cell::new(false),
            is_logged: Cell::new(false),
            killed: Notify::default(),
        });
        self.entries.borrow_mut().insert(id, Rc::clone(&entry));
        self.executed.add(1);
        Ok(Ticket { running: Rc::clone(self), entry, _place: place })
    }

    /// A number that nothing else of all cores has.
    pub fn new_id(&self) -> u64 {
        self.shared.trackings.add(1) + 1
    }

    /// What runs here.
    pub fn list(&self) -> Vec<RunningQuery> {
        let describe = |entry: &Rc<Entry>| RunningQuery {
            id: entry.id,
            text: entry.text.clone(),
            database: entry.database.clone(),
            duration_ns: u64::try_from(entry.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
            is_killed: entry.is_killed.get(),
        };
        self.entries.borrow().values().map(describe).collect()
    }

    /// Stock's counters.
    pub fn statistic(&self) -> Statistic {
        let active = self.entries.borrow().len() as i64;
        let values = [
            ("queriesActive", active),
            ("queriesExecuted", self.executed.get()),
            ("queriesFinished", self.finished.get()),
            ("queryDurationNs", self.duration_ns.get()),
            ("recoveredPanics", 0),
        ];
        Statistic {
            name: "queryExecutor",
            tags: None,
            values: values.map(|(name, n)| (name, Value::Integer(n))).into(),
        }
    }

    /// Ends a request of this core.
    pub fn kill(&self, id: u64) -> Kill {
        match self.entries.borrow().get(&id) {
            None => Kill::Unknown,
            Some(entry) if entry.is_killed.replace(true) => Kill::AlreadyKilled,
            Some(entry) => {
                entry.killed.notify_all();
                Kill::Killed
            }
        }
    }
}

/// A request's place among the running ones.
#[derive(Debug)]
pub struct Ticket {
    running: Rc<Running>,
    entry: Rc<Entry>,
    _place: Taken,
}

impl Ticket {
    /// The request's number.
    pub fn id(&self) -> u64 {
        self.entry.id
    }

    /// Why the request has to end now, if it has to.
    pub fn verdict(&self) -> Option<&'static str> {
        if self.entry.is_killed.get() {
            return Some("query interrupted");
        }
        let is_late = self.running.limits.time_max.is_some_and(|max| self.entry.started.elapsed() >= max);
        is_late.then_some("query-timeout limit exceeded")
    }

    /// Ends with the verdict, once there is one; says meanwhile that the request is slow.
    pub async fn condemned(&self, sleep: impl AsyncFn(Duration)) -> &'static str {
        loop {
            let killed = self.entry.killed.notified();
            if let Some(verdict) = self.verdict() {
                return verdict;
            }
            self.log_if_slow();
            match self.next_event() {
                Some(event) => futures_lite::future::or(killed, sleep(event)).await,
                None => killed.await,
            }
        }
    }

    /// How long until the clock alone changes something.
    fn next_event(&self) -> Option<Duration> {
        let limits = &self.running.limits;
        let log_after = limits.log_after.filter(|_| !self.entry.is_logged.get());
        let elapsed = self.entry.started.elapsed();
        limits.time_max.into_iter().chain(log_after).map(|at| at.saturating_sub(elapsed)).min()
    }

    fn log_if_slow(&self) {
        let Some(threshold) = self.running.limits.log_after else { return };
        if self.entry.started.elapsed() < threshold || self.entry.is_logged.replace(true) {
            return;
        }
        let Entry { id, text, database, .. } = &*self.entry;
        tracing::warn!("Detected slow query: {text} (qid: {id}, database: {database}, threshold: {threshold:?})");
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // It may have spent its time on a client that took its rows slowly.
        self.log_if_slow();
        self.running.entries.borrow_mut().remove(&self.entry.id);
        self.running.finished.add(1);
        let elapsed_ns = self.entry.started.elapsed().as_nanos();
        self.running.duration_ns.add(i64::try_from(elapsed_ns).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;

    use super::*;

    fn cores(limits: Limits) -> [Rc<Running>; 2] {
        let shared = Arc::new(Shared::default());
        [Running::new(shared.clone(), limits), Running::new(shared, limits)]
    }

    #[test]
    fn ids_count_up_over_all_cores_and_are_not_used_again() {
        let [first, second] = cores(Limits::default());
        let tickets = [&first, &second, &first].map(|core| core.enter("SHOW QUERIES".into(), "d".into()).unwrap());
        assert_eq!(tickets.each_ref().map(Ticket::id), [1, 2, 3]);
        drop(tickets);
        assert_eq!(first.enter(String::new(), String::new()).unwrap().id(), 4);
        assert_eq!(first.list(), []);
    }

    #[test]
    fn the_limit_counts_all_cores() {
        let [first, second] = cores(Limits { running_max: 1, ..Limits::default() });
        let ticket = first.enter(String::new(), String::new()).unwrap();
        let refused = second.enter(String::new(), String::new()).unwrap_err();
        assert_eq!(refused, "max-concurrent-queries limit exceeded(1, 1)");
        drop(ticket);
        assert!(second.enter(String::new(), String::new()).is_ok());
    }

    #[test]
    fn a_killed_request_is_condemned_and_listed_until_it_ends() {
        let [core, other] = cores(Limits::default());
        let ticket = core.enter("SELECT v FROM m".into(), "d".into()).unwrap();
        assert_eq!(ticket.verdict(), None);
        assert_eq!(other.kill(1), Kill::Unknown);
        assert_eq!(core.kill(1), Kill::Killed);
        assert_eq!(core.kill(1), Kill::AlreadyKilled);
        assert_eq!(block_on(ticket.condemned(async |_| ())), "query interrupted");
        let listed = core.list();
        assert_eq!((&*listed[0].text, &*listed[0].database, listed[0].is_killed), ("SELECT v FROM m", "d", true));
        drop(ticket);
        assert_eq!(core.kill(1), Kill::Unknown);
    }

    #[test]
    fn time_runs_out() {
        let [core, _] = cores(Limits { time_max: Some(Duration::ZERO), ..Limits::default() });
        let ticket = core.enter(String::new(), String::new()).unwrap();
        assert_eq!(block_on(ticket.condemned(async |_| ())), "query-timeout limit exceeded");
    }
}
