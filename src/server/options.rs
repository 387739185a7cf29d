//! The settings as each part of a running server takes them, and what is chosen from the machine.

use std::hash::BuildHasher;
use std::hash::RandomState;
use std::path::Path;
use std::time::Duration;

use crate::config::Config;
use crate::config::options::Durability;
use crate::config::options::HttpOptions;
use crate::http;
use crate::http::options::DebugAccess;
use crate::http::throttle::Bounds;
use crate::memtable::CHUNK_WORDS;
use crate::server::running;
use crate::shard;

/// Active memtables of one core when nothing else is said: an eighth of the machine's memory over all cores, within
/// these. What is being flushed takes as much again. A larger one gained nothing in the load harness.
const MEMTABLE_BYTES_MIN: u64 = 32 << 20;
const MEMTABLE_BYTES_MAX: u64 = 128 << 20;
/// Log of one core that is not in segments yet. A start replays it: 256 MiB of small integers take two seconds.
const WAL_BYTES: u64 = 256 << 20;
/// Batches of one core that wait for the log.
const PENDING_BYTES: usize = 64 << 20;
/// Index pages and blocks of segments that each core keeps.
const PAGE_CACHE_BYTES: u64 = 64 << 20;
/// Series log of a shard that is not worth writing anew: a start reads it in milliseconds.
const SERIES_LOG_BYTES: u64 = 1 << 20;
/// Dormant series whose keys are not worth that all cores forget the ids of a database.
const DORMANT_SERIES: usize = 1024;
/// Shortest age at which points go into segments for it: each flush writes a segment for each shard.
const COLD_FLUSH_NS_MIN: u64 = 1_000_000_000;
/// What writes leave free of the device, beyond what flushes will need: for the catalog, manifests and logs of series.
const RESERVE_BYTES: u64 = 16 << 20;
/// A write waits no longer than this for room, so that its client hears of the overload before it gives up.
const WRITE_WAIT_NS_MAX: u64 = 5 * 1_000_000_000;

/// How a core keeps its shards; the number of the core is to be filled in.
pub fn engine(config: &Config, dir: &Path, shard_count: u16, core_count: u16, generation: u32) -> shard::Options {
    let all_bytes = config.data.memtable_bytes_max.unwrap_or_else(|| memory_bytes() / 4);
    let share = all_bytes / 2 / u64::from(core_count);
    let memtable_bytes = match config.data.memtable_bytes_max {
        Some(_) => share.max(1 << 20),
        None => share.clamp(MEMTABLE_BYTES_MIN, MEMTABLE_BYTES_MAX),
    };
    let write_wait_ns = match config.coordinator.write_timeout_ns {
        0 => WRITE_WAIT_NS_MAX,
        ns => ns.min(WRITE_WAIT_NS_MAX),
    };
    shard::Options {
        dir: dir.to_path_buf(),
        shard_count,
        core: 0,
        core_count,
        generation,
        memtable_bytes: usize::try_from(memtable_bytes).unwrap_or(usize::MAX),
        chunk_words: CHUNK_WORDS,
        replay_bytes: usize::try_from(share.max(memtable_bytes)).unwrap_or(usize::MAX),
        wal_bytes: config.data.log_bytes.map_or(WAL_BYTES, |all| (all / u64::from(core_count)).max(1 << 20)),
        cold_flush_ns: config.data.cold_flush_ns.max(COLD_FLUSH_NS_MIN),
        pending_bytes: PENDING_BYTES,
        write_wait_ns,
        reserve_bytes: RESERVE_BYTES,
        commit_delay_ns: config.data.commit_wait_ns,
        durability: match config.data.durability {
            Durability::Always => shard::Durability::Always,
            Durability::Interval { ns } => shard::Durability::Interval(ns),
        },
        page_cache_bytes: PAGE_CACHE_BYTES,
        compact_bytes_per_second: config.data.compact_bytes_per_second / u64::from(core_count),
        compact_burst_bytes: config.data.compact_burst_bytes / u64::from(core_count),
        compact_cold_ns: config.data.compact_cold_ns,
        series_log_bytes: SERIES_LOG_BYTES,
        dormant_series: DORMANT_SERIES,
    }
}

/// The HTTP edge of one of `core_count` cores; limits of the whole server are shared out among them.
pub fn http(config: &Config, core_count: usize) -> http::Options {
    let options = &config.http;
    let share = |all: u64| usize::try_from(all).unwrap_or(usize::MAX).div_ceil(core_count);
    http::Options {
        bind: options.bind_address.clone(),
        realm: options.realm.clone(),
        ping_auth: options.ping_auth_enabled,
        debug_access: match options {
            HttpOptions { pprof_enabled: false, .. } => DebugAccess::NoProfiles,
            HttpOptions { auth_enabled: true, pprof_auth_enabled: true, .. } => DebugAccess::Administrators,
            _ => DebugAccess::Open,
        },
        head_bytes_max: usize::try_from(options.head_bytes_max).unwrap_or(usize::MAX),
        body_bytes_max: options.body_bytes_max,
        row_limit: usize::try_from(options.max_row_limit).unwrap_or(usize::MAX),
        head_deadline: Duration::from_nanos(options.head_timeout_ns),
        body_stall: Duration::from_nanos(options.body_timeout_ns),
        idle_deadline: Duration::from_nanos(options.idle_timeout_ns),
        write_deadline: Duration::from_nanos(options.answer_timeout_ns),
        write_bounds: Bounds {
            running_max: share(options.max_concurrent_write_limit),
            waiting_max: share(options.max_enqueued_write_limit),
            wait_max: Duration::from_nanos(options.enqueued_write_timeout_ns),
        },
        access_log: options.log_enabled,
        suppress_write_log: options.suppress_write_log,
        ..http::Options::default()
    }
}

/// Tells the request ids of one core and run from all others: random, in the range of no real network card.
pub fn node(core: usize) -> [u8; 6] {
    let random = RandomState::new().hash_one(core).to_le_bytes();
    [random[0] | 1, random[1], random[2], random[3], random[4], core as u8]
}

/// Memory this process may use: the machine's, or less if its control group says so.
#[allow(clippy::disallowed_methods, reason = "a file of the kernel's memory, read once at boot")]
fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    let machine = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit));
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").unwrap_or_default();
    group.trim().parse().map_or(machine, |limit: u64| limit.min(machine))
}

/// Memory of one request when nothing else is said: an eighth of the machine's.
pub fn query_bytes() -> u64 {
    memory_bytes() / 8
}

/// Memory of all requests when nothing else is said: half of the machine's.
pub fn query_total_bytes(config: &Config) -> u64 {
    config.query.total_bytes_max.unwrap_or_else(|| memory_bytes() / 2)
}

/// The limits on requests with statements.
pub fn running(config: &Config) -> running::Limits {
    let unless_zero = |ns: u64| (ns > 0).then(|| Duration::from_nanos(ns));
    running::Limits {
        running_max: config.coordinator.max_concurrent_queries,
        time_max: unless_zero(config.coordinator.query_timeout_ns),
        log_after: unless_zero(config.coordinator.log_queries_after_ns),
    }
}

/// Memory this process uses.
#[allow(clippy::disallowed_methods, reason = "a file of the kernel's memory, which never waits for a device")]
pub fn resident_bytes() -> i64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: i64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages.saturating_mul(i64::try_from(rustix::param::page_size()).unwrap_or(4096))
}
