//! What all connections of one core share: settings, services, counters, spare buffers, the stop flag.
//!
//! Owns:  one `Edge` for each core, never shared with another.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;
use std::time::SystemTime;

use crate::http::input::Buffers;
use crate::http::options::Options;
use crate::http::throttle::Throttle;
use crate::http::wire::gzip::Gunzip;
use crate::observe::http::HttpCounters;
use crate::observe::requests::Requests;

/// Unpackers a core keeps: one holds about 40 KiB.
const UNPACKERS_MAX: usize = 8;

/// What all connections of one core share.
#[derive(Debug)]
pub struct Edge<S> {
    /// Settings.
    pub options: Options,
    /// Everything below.
    pub services: S,
    /// Counters of this core.
    pub counters: HttpCounters,
    /// The gate of `/write`.
    pub throttle: Throttle,
    /// Who sends requests, for whoever asks.
    pub requests: Requests,
    /// Spare receive buffers.
    pub buffers: Buffers,
    /// When this core started to serve, ns.
    pub started_ns: i64,
    unpackers: RefCell<Vec<Gunzip>>,
    stop: Stop,
    date: RefCell<(i64, String)>,
    node: [u8; 6],
    last_tick: Cell<u64>,
}

impl<S> Edge<S> {
    /// The edge of one core; `node` tells request ids of this core from all others.
    pub fn new(options: Options, services: S, node: [u8; 6], started_ns: i64) -> Edge<S> {
        Edge {
            throttle: Throttle::new(options.write_bounds),
            options,
            services,
            counters: HttpCounters::default(),
            requests: Requests::default(),
            buffers: Buffers::default(),
            started_ns,
            unpackers: RefCell::new(Vec::new()),
            stop: Stop::default(),
            date: RefCell::new((i64::MIN, String::new())),
            node,
            last_tick: Cell::new(0),
        }
    }

    /// The stop flag of this core.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Appends the value of a `Date` header; formatted once a second.
    pub fn push_date(&self, now_ns: i64, out: &mut Vec<u8>) {
        let second = now_ns.div_euclid(1_000_000_000);
        let mut date = self.date.borrow_mut();
        if date.0 != second {
            let since = Duration::from_secs(second.max(0).unsigned_abs());
            *date = (second, httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since));
        }
        out.extend_from_slice(date.1.as_bytes());
    }

    /// A new time-based request id. Two of one core never share a tick.
    pub fn request_id(&self, now_ns: i64) -> String {
        const GREGORIAN_TICKS: u64 = 0x01b2_1dd2_1381_4000;
        let now = now_ns.max(0).unsigned_abs() / 100 + GREGORIAN_TICKS;
        let tick = now.max(self.last_tick.get() + 1);
        self.last_tick.set(tick);
        let counter = u16::from_be_bytes([self.node[4], self.node[5]]);
        let stamp = uuid::Timestamp::from_gregorian_time(tick, counter);
        uuid::Uuid::new_v1(stamp, &self.node).to_string()
    }

    /// An unpacker, fresh or used before.
    pub fn take_unpacker(&self) -> Gunzip {
        let spare = self.unpackers.borrow_mut().pop();
        spare.unwrap_or_default()
    }

    /// Keeps an unpacker for the next one who asks.
    pub fn give_unpacker(&self, mut unpacker: Gunzip) {
        let mut spare = self.unpackers.borrow_mut();
        if spare.len() < UNPACKERS_MAX {
            unpacker.reset();
            spare.push(unpacker);
        }
    }
}

/// Asks the connections of one core to end: a request in flight is finished, an idle connection closes at once.
#[derive(Debug, Default)]
pub struct Stop {
    set: Cell<bool>,
    open: Cell<usize>,
    next_id: Cell<u64>,
    /// Connections that wait for a request.
    idle: RefCell<HashMap<u64, Waker>>,
    /// Whoever waits for the last connection to end.
    drain: RefCell<Option<Waker>>,
}

impl Stop {
    /// Sets the flag and wakes the idle connections.
    pub fn set(&self) {
        self.set.set(true);
        let idle = std::mem::take(&mut *self.idle.borrow_mut());
        idle.into_values().for_each(Waker::wake);
    }

    /// Whether the flag is set.
    pub fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Connections open on this core.
    pub fn open(&self) -> usize {
        self.open.get()
    }

    /// Waits until no connection is open.
    pub async fn drained(&self) {
        poll_fn(|cx| {
            if self.open.get() == 0 {
                return Poll::Ready(());
            }
            *self.drain.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// A connection begins; it says so by the id it gets.
    pub fn enter(&self) -> u64 {
        self.open.set(self.open.get() + 1);
        self.next_id.set(self.next_id.get() + 1);
        self.next_id.get()
    }

    /// The connection has ended.
    pub fn leave(&self, id: u64) {
        self.idle.borrow_mut().remove(&id);
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0
            && let Some(waker) = self.drain.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// Whether the flag is set; if not, the task is woken when it is.
    pub fn poll_idle(&self, id: u64, cx: &Context<'_>) -> bool {
        if !self.set.get() {
            self.idle.borrow_mut().insert(id, cx.waker().clone());
        }
        self.set.get()
    }

    /// The connection no longer waits.
    pub fn busy(&self, id: u64) {
        self.idle.borrow_mut().remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_version_1_and_differ() {
        let edge = Edge::new(Options::default(), (), [1, 2, 3, 4, 5, 6], 0);
        let ids: Vec<String> = (0..3).map(|_| edge.request_id(1_500_000_000_000_000_000)).collect();
        assert_ne!(ids[0], ids[1]);
        assert_ne!(ids[1], ids[2]);
        assert_eq!(&ids[0][14..15], "1");
        assert!(ids[0].ends_with("-010203040506"));
    }

    #[test]
    fn the_date_follows_the_clock() {
        let edge = Edge::new(Options::default(), (), [0; 6], 0);
        let mut out = Vec::new();
        edge.push_date(1_500_000_000_999_999_999, &mut out);
        assert_eq!(out, b"Fri, 14 Jul 2017 02:40:00 GMT");
    }
}
