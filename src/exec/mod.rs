//! Runs a fragment of a plan over the series of one core.
//!
//! Owns:  the open cursors of this core's [`Executor`].
//! In:    a [`Request`] from the asking core: open a fragment, next chunk, close, look at the schema.
//! Out:   a [`Response`], always bounded: the asker pulls the next chunk, which is all the back-pressure there is.
//!
//! ```text
//! Fragment ──► select (series by tags, residual filter, groups) ──► rows    (k-way merge by time)
//!                                                              └──► windows (partial aggregates)
//! ```
//!
//! Nothing here knows InfluxQL: the asking core translates a statement into names, ranges and [`Expr`].

pub mod aggregate;
pub mod column;
pub mod executor;
pub mod expr;
pub mod fragment;
pub mod lookup;
pub mod order;
pub mod pass;
pub mod pattern;
pub mod reader;
pub mod rows;
pub mod schema;
pub mod select;
pub mod states;
pub mod summary;
pub mod view;
pub mod window;
pub mod windows;

pub use executor::Executor;
pub use executor::memory_error;
pub use expr::Expr;
pub use expr::Function;
pub use expr::Op;
pub use fragment::CallSpec;
pub use fragment::Chunk;
pub use fragment::FieldRef;
pub use fragment::Fragment;
pub use fragment::Part;
pub use fragment::PartData;
pub use fragment::QueryId;
pub use fragment::Request;
pub use fragment::Response;
pub use fragment::Rows;
pub use fragment::TieColumn;
pub use fragment::Windows;
pub use fragment::Work;
pub use window::Window;
