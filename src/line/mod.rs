//! Line protocol: bytes to points, borrowed from the text.
//!
//! Owns:  nothing that outlives a request but the [`Parser`]'s memory of series it has met.
//! In:    windows of a request body, as they arrive.
//! Out:   [`Point`]s and [`LineError`]s to a [`Sink`], in line order; keys in canonical form ([`canonical`]).
//!
//! ```text
//! window ──► template (the line looks as last time) ──miss──► index (SIMD) ──anything odd──► reference
//!                └───────────────── point ◄─────────────────────┴─────────── point or error ◄────┘
//! ```
//!
//! `reference` defines the truth, one byte at a time: what a line is, and the text of every error. The fast tiers take
//! only lines of the common shape and hand over everything else, so they can be slow or fast but not different.

mod errors;
mod escape;
mod key;
mod number;
mod parser;
mod reference;
mod simd;
mod template;

pub use errors::Errors;
pub use errors::LineError;
pub use errors::Reason;
pub use key::CanonicalKey;
pub use key::canonical;
pub use parser::Parser;
pub use reference::Reference;
pub use simd::CHUNK_BYTES;
pub use simd::Index;
pub use simd::Tier;

use crate::model::FieldValue;
use crate::model::Timestamp;

/// How the times of a request are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Length of the unit that times are sent in, ns; at least 1.
    pub precision_ns: i64,
    /// The clock when the request came in: the time of points without one, cut to whole units.
    pub now_ns: Timestamp,
}

impl Options {
    /// The time of a point without one.
    fn default_time(&self) -> Timestamp {
        // Stock cuts downwards, before 1970 too; nothing a clock says is near the ends of the range.
        self.now_ns.saturating_sub(self.now_ns.rem_euclid(self.precision_ns.max(1)))
    }
}

/// Number of a raw key in the [`Parser`] that reported it; small, and the same for the same bytes until
/// [`Sink::forget_slots`]. It says nothing about database or policy: a cache of series by slot is one for each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeySlot(pub u32);

/// Number of the names of a line's fields, in order, in the [`Parser`] that reported them; the same names have it until
/// [`Sink::forget_slots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamesSlot(pub u16);

/// One field of a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'a> {
    /// Name, unescaped; may be empty.
    pub name: &'a [u8],
    /// Value; strings are unescaped.
    pub value: FieldValue<'a>,
}

/// One line that could be parsed.
///
/// Duplicate tags may still hide in the key of a point: they are found by [`canonical`], which whoever keeps a cache of
/// raw keys calls on a miss, and then reports the point as `LineError { line, reason }` in its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point<'a> {
    /// The line as error texts quote it.
    pub line: &'a [u8],
    /// Measurement and tags exactly as sent.
    pub raw_key: &'a [u8],
    /// At least one, in the order sent; a name may come twice (the last counts).
    pub fields: &'a [Field<'a>],
    /// Nanoseconds, scaled and in range.
    pub time: Timestamp,
    /// Set when the parser remembers the raw key.
    pub slot: Option<KeySlot>,
    /// Set when the parser has met the names of the fields with this key before.
    pub names: Option<NamesSlot>,
}

/// Takes what a body holds, line by line.
pub trait Sink {
    /// A line that could be parsed.
    fn point(&mut self, point: &Point<'_>);

    /// A line that could not.
    fn error(&mut self, error: &LineError<'_>);

    /// Every [`KeySlot`] and [`NamesSlot`] reported so far is void; they are given out anew from here on.
    fn forget_slots(&mut self) {}
}
