//! Boot and stop: pins cores, joins the mesh, opens shards, listens; the stop order.

pub mod checks;
pub mod layout;
pub mod snapshots;
