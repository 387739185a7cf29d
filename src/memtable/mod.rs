//! Acknowledged points in memory, in arrival order, sorted on demand.
