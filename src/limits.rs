//! Every bound that two modules must agree on, with where its number comes from.

/// Largest batch for one owner: one mesh message, one log record. A body of 25 MB of one-float lines for a single
/// shard packs to about 4 MB, so a request rarely needs two.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

/// Longest measurement plus tags of a point, and longest field key with its separator (stock's limit and text).
pub const KEY_BYTES_MAX: usize = 65_535;

/// Smallest and largest storable timestamp, ns (stock reserves the outermost values).
pub const TIME_MIN: i64 = -9_223_372_036_854_775_806;
/// See [`TIME_MIN`].
pub const TIME_MAX: i64 = 9_223_372_036_854_775_806;

/// Alignment of every position, length and buffer that reaches the disk (direct I/O).
pub const DISK_ALIGN: usize = 4096;

/// Rows in one piece of a query answer when the client names no `chunk_size` (stock's default).
pub const CHUNK_ROWS_DEFAULT: usize = 10_000;
