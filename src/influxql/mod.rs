//! InfluxQL: text to AST and back. Pure.

pub mod ast;
