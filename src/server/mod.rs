//! Boot and stop: pins cores, joins the mesh, opens shards, listens; the stop order.
//!
//! Owns:  what each core consists of, and who may start when. Every part below is handed what it needs.
//! In:    the checked settings and the data directory, from `cli`. Out: a served address until a signal.

pub mod boot;
pub mod checks;
pub mod core;
pub mod diagnostics;
pub mod fabric;
pub mod layout;
pub mod options;
pub mod owner;
pub mod owners;
pub mod running;
pub mod services;
pub mod snapshots;
pub mod sockets;
pub mod statistics;
pub mod stop;
pub mod tls;
pub mod udp;
