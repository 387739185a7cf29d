//! Checksummed record log: append, shared sync, replay.
