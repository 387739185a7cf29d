//! Many segments become few: overwritten and deleted points go, small blocks become large ones.
//!
//! Owns:  nothing. A shard asks what to merge ([`pick`]), has it written ([`rewrite`]) and puts the result in place
//!        by one change of its manifest.
//! In:    segments of one partition that follow each other, oldest first, and what is deleted in each.
//! Out:   one segment with what is left of them.
//!
//! ```text
//! sizes    [64] [8 8 8] [1 1 1 1 1 1 1 1]        eight of a size: merged when the eighth is there
//!          [64] [8 8 8 8]                        so each point is written once for each factor of eight
//! cold     [64 8 8 8 8]  ->  [96]                no flush for long: one large segment, unless little is new
//! packed   [96]  ->  [75]                        cold, and its footer promises so much of stronger codes; once
//! deleted  [64: half of it hidden]  ->  [32]     space comes back without waiting for company
//! ```
//!
//! A merge of segments that follow each other keeps the order "later wins", so nothing else needs to be locked or
//! looked at; flushes go on behind it. Nothing is held back: until the manifest changes, readers use the old segments,
//! and a crash leaves only a file that the manifest does not name.

mod pick;
mod rewrite;

pub use pick::Candidate;
pub use pick::pick;
pub use rewrite::PAGE_CACHE_BYTES;
pub use rewrite::RewriteError;
pub use rewrite::Rules;
pub use rewrite::Throttle;
pub use rewrite::rewrite;
