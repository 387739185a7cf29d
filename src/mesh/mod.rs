//! The closed list of requests between cores, over a bounded queue for each pair.
//!
//! Owns:  nothing of any shard. [`message`] says what can be asked; `transport` carries it and knows none of it.
//! In:    a [`Request`] for a core. Out: its [`Response`], or a [`MeshError`]; never neither.

mod heartbeat;
pub mod message;
mod peer;
mod transport;

pub use heartbeat::Heartbeat;
pub use heartbeat::Pulse;
pub use heartbeat::Watch;
pub use message::DeleteOrder;
pub use message::FieldClaim;
pub use message::Opened;
pub use message::Opening;
pub use message::Parcel;
pub use message::Request;
pub use message::Response;
pub use peer::Room;
pub use transport::Handler;
pub use transport::MeshError;
pub use transport::Weigh;
pub use transport::seats;

/// One core's place among the cores; see [`transport::Mesh`].
pub type Mesh = transport::Mesh<Request, Response>;
/// A place not yet taken.
pub type Seat = transport::Seat<Request, Response>;

#[cfg(test)]
mod tests;
