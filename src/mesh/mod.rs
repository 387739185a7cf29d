//! The closed list of requests between cores, over a bounded queue for each pair.
