//! InfluxQL: text to AST and back, and what can be said about an expression without any data. Pure.
//!
//! In:    query text and the bound parameters of its request.
//! Out:   statements ([`ast`]), complaints in stock's words with stock's positions, statements as text again.
//!
//! | file | holds |
//! |---|---|
//! | `token`, `lexer` | characters to tokens |
//! | `params`, `json` | `$name` values of a request |
//! | `parser` | tokens to statements |
//! | `regex`, `duration` | the two literals with a grammar of their own |
//! | `display` | statements to text |

pub mod ast;
pub mod display;
pub mod duration;
mod json;
mod lexer;
mod params;
mod parser;
pub mod reduce;
pub mod regex;
mod token;
pub mod zone;

pub use params::Params;
pub use params::ParamsError;
pub use parser::ParseError;
pub use parser::parse;
