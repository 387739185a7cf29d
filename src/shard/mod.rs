//! The owner of series: write, read, flush, recover.
