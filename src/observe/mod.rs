//! Counters of one core.
