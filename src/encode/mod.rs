//! Result rows to JSON, CSV and MessagePack.
