//! Line protocol: bytes to points, borrowed from the text.
