//! HTTP edge: connections, routes, handlers, credentials, errors to status codes.

pub mod services;
pub mod wire;
