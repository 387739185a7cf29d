//! Points encoded for one owner: mesh message, log record and memtable input in one layout.
