//! Folding and the cutting of WHERE.
