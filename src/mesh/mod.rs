//! The closed list of requests between cores, over a bounded queue for each pair.

mod peer;
mod transport;

pub use peer::Room;
pub use transport::Handler;
pub use transport::Mesh;
pub use transport::MeshError;
pub use transport::Seat;
pub use transport::Weigh;
pub use transport::seats;

#[cfg(test)]
mod tests;
