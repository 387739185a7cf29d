//! Work the clock starts.
