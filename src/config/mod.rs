//! Configuration: what file, environment and flags say, checked, in units.
