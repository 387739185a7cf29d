//! Black box: the real binary on loopback, asked as a client asks and treated as an operator treats it.

mod harness;
mod process;
mod wire;

mod durability;
mod lifecycle;
mod refusals;
