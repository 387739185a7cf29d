//! Disk and clock as traits, with the real and the simulated kind.
