//! HTTP edge: connections, routes, handlers, credentials, errors to status codes.
//!
//! In:   sockets accepted by [`listen`], one [`conn::serve`] for each.
//! Out:  calls to [`services::Services`], answers.
//!
//! ```text
//! listen -> conn (head) -> route -> handlers -> services
//!             ^                        |
//!             '------- exchange (body windows in, response out)
//! ```

pub mod accept;
pub mod access_log;
pub mod auth;
pub mod conn;
pub mod edge;
pub mod error;
pub mod exchange;
pub mod handlers;
pub mod input;
pub mod listen;
pub mod options;
pub mod route;
pub mod services;
pub mod throttle;
pub mod tls;
pub mod wire;

pub use options::Options;

#[cfg(test)]
mod tests;
