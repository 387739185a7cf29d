//! Black box: the real binary on loopback, asked as a client asks and treated as an operator treats it.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test may block")]

mod harness;
mod process;
mod wire;

mod damage;
mod deletes;
mod durability;
mod https;
mod lifecycle;
mod limits;
mod monitor;
mod queries;
mod refusals;
mod retention;
mod sockets;
mod tools;
