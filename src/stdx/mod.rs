//! What std lacks: no domain words.
