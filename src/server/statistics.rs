//! The statistics of a core under stock's names, as SHOW STATS, `/debug/vars` and `_internal` have them.
//!
//! What only the process has is told by core 0. Counters of what does not exist here (a Go heap) are zero: a dashboard
//! that asks for them finds them. Sizes of the storage are our own, `engine`; stock's `shard` and `tsm1_*` have no
//! like here.

use std::sync::Arc;

use crate::ingest::WriteError;
use crate::ingest::Written;
use crate::meta::Database;
use crate::observe::Counter;
use crate::observe::Statistic;
use crate::observe::Value;
use crate::server::core::Core;
use crate::server::options;
use crate::shard::Sizes;

/// Writes of one core, whatever way they came in.
#[derive(Debug, Default)]
pub struct WriteCounters {
    requests: Counter,
    points: Counter,
    stored: Counter,
    failed: Counter,
    dropped: Counter,
    timed_out: Counter,
}

impl WriteCounters {
    /// A write has ended.
    pub fn count(&self, outcome: &Result<Written, WriteError>) {
        let points = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.requests.add(1);
        match outcome {
            Ok(written) => {
                self.points.add(points(written.points));
                self.stored.add(1);
            }
            Err(WriteError::Partial { dropped, written, .. }) => {
                self.points.add(points(written.points.saturating_add(*dropped)));
                self.dropped.add(points(*dropped));
                self.failed.add(1);
            }
            Err(WriteError::Timeout) => self.timed_out.add(1),
            Err(_) => self.failed.add(1),
        }
    }

    fn statistic(&self) -> Statistic {
        let values = [
            ("pointReq", self.points.get()),
            ("pointReqLocal", self.points.get()),
            ("req", self.requests.get()),
            ("subWriteDrop", 0),
            ("subWriteOk", 0),
            ("writeDrop", self.dropped.get()),
            ("writeError", self.failed.get()),
            ("writeOk", self.stored.get()),
            ("writeTimeout", self.timed_out.get()),
        ];
        Statistic { name: "write", tags: None, values: values.map(|(name, n)| (name, Value::Integer(n))).into() }
    }
}

/// What `core` counts, and on core 0 what the process counts.
pub fn of_core(core: &Core) -> Vec<Statistic> {
    let edge = core.edge();
    let mut statistics = vec![edge.counters.statistic(&edge.options.bind), core.writes.statistic()];
    statistics.push(core.running.statistic());
    statistics.extend(core.udp.borrow().iter().map(|udp| udp.statistic()));
    statistics.extend(core.shards().map(|shards| engine(&shards.engine.sizes())));
    if core.number == 0 {
        statistics.extend(databases(core));
        statistics.push(zeros("cq", &["queryFail", "queryOk"]));
        statistics.push(zeros("subscriber", &["createFailures", "pointsWritten", "writeFailures"]));
        statistics.push(runtime());
    }
    statistics
}

fn zeros(name: &'static str, values: &[&'static str]) -> Statistic {
    Statistic { name, tags: None, values: values.iter().map(|name| (*name, Value::Integer(0))).collect() }
}

fn databases(core: &Core) -> Vec<Statistic> {
    let Some(owner) = core.owner.get() else { return Vec::new() };
    let catalog = core.catalog();
    let statistic = |database: &Arc<Database>| Statistic {
        name: "database",
        tags: Some(vec![("database", database.name.clone())]),
        values: vec![
            ("numMeasurements", value(owner.measurement_count(database.id))),
            ("numSeries", value(database.series.get())),
        ],
    };
    catalog.databases().into_iter().map(statistic).collect()
}

/// Go's figures of its memory: what the process holds, and zero for what there is not.
fn runtime() -> Statistic {
    let names = [
        "Alloc",
        "Frees",
        "HeapAlloc",
        "HeapIdle",
        "HeapInUse",
        "HeapObjects",
        "HeapReleased",
        "HeapSys",
        "Lookups",
        "Mallocs",
        "NumGC",
        "NumGoroutine",
        "PauseTotalNs",
        "Sys",
        "TotalAlloc",
    ];
    let bytes = options::resident_bytes();
    let held = ["Alloc", "HeapAlloc", "HeapInUse", "HeapSys", "Sys"];
    let figure = |name: &'static str| (name, Value::Integer(if held.contains(&name) { bytes } else { 0 }));
    Statistic { name: "runtime", tags: Some(Vec::new()), values: names.map(figure).to_vec() }
}

/// Sizes of a core's storage; cores add up.
fn engine(sizes: &Sizes) -> Statistic {
    Statistic {
        name: "engine",
        tags: Some(Vec::new()),
        values: vec![
            ("compactedBytes", value(sizes.compacted_bytes)),
            ("compactions", value(sizes.compactions)),
            ("compactionsDue", value(sizes.compactions_due)),
            ("damagedBlocks", value(sizes.damaged_blocks)),
            ("flushedBytes", value(sizes.flushed_bytes)),
            ("memtableBytes", value(sizes.memtable_bytes)),
            ("segmentBytes", value(sizes.segment_bytes)),
            ("segments", value(sizes.segments)),
            ("segmentsUnreadable", value(sizes.unreadable_segments)),
            ("series", value(sizes.series)),
            ("walBytes", value(sizes.wal_bytes)),
        ],
    }
}

fn value(count: u64) -> Value {
    Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))
}
