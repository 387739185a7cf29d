//! Immutable files of sorted, compressed, checksummed blocks.
