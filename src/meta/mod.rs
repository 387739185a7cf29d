//! Databases, retention policies, shard groups, users: the catalog.
