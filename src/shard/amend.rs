//! Changes of a shard's manifest, through which flushes and compactions take effect: one at a time, each durable before
//! it counts, the file kept short.

use std::io;
use std::path::Path;

use crate::disk::Clock;
use crate::disk::Disk;
use crate::disk::names;
use crate::shard::Engine;
use crate::shard::manifest::Change;
use crate::shard::manifest::Manifest;
use crate::shard::record;
use crate::shard::record::Age;
use crate::wal::Log;

/// A manifest longer than this, and than so many times what it says, is written anew.
const MANIFEST_BYTES: u64 = 256 << 10;
const MANIFEST_FACTOR: u64 = 4;

impl<P: Disk + Clock> Engine<P> {
    /// Makes a change durable in a shard's manifest, after whoever is at it.
    pub(super) async fn change_manifest(&self, shard: u16, change: Change) -> io::Result<()> {
        let mut log = loop {
            let returned = self.manifest_returned.notified();
            if let Some(log) = self.take_manifest(shard) {
                break log;
            }
            returned.await;
        };
        let result = self.append_change(shard, &mut log, change).await;
        {
            let mut state = self.state.borrow_mut();
            let own = state.shards.get_mut(&shard).expect("own shard");
            own.manifest = log;
            own.manifest_is_taken = false;
        }
        self.manifest_returned.notify_all();
        result
    }

    /// The manifest's log, `Some(None)` when it must be opened; `None` when somebody has it.
    fn take_manifest(&self, shard: u16) -> Option<Option<Log<P>>> {
        let mut state = self.state.borrow_mut();
        let own = state.shards.get_mut(&shard).expect("own shard");
        if own.manifest_is_taken {
            return None;
        }
        own.manifest_is_taken = true;
        Some(own.manifest.take())
    }

    /// Leaves no log behind when it failed.
    async fn append_change(&self, shard: u16, log: &mut Option<Log<P>>, change: Change) -> io::Result<()> {
        let dir = names::shard_dir(&self.options.dir, shard);
        let mut records = Vec::with_capacity(2);
        let mut open = match log.take() {
            Some(open) => open,
            None => {
                // What failed may be there or not; from now on it counts what this process knows. Also a new file may
                // not be the one of this name yet, should the power fail.
                self.platform.sync_dir(&dir).await?;
                records.push(Change::Whole(self.whole_manifest(shard)).encode());
                Log::open(&self.platform, &dir.join(names::MANIFEST), record::manifest_id(shard), |_| ()).await?.0
            }
        };
        records.push(change.encode());
        open.append(&records).await?;
        self.state.borrow_mut().shards.get_mut(&shard).expect("own shard").listed.apply(change);
        let is_long = open.bytes() > MANIFEST_BYTES;
        *log = Some(open);
        if is_long {
            self.shorten_manifest(shard, log).await;
        }
        Ok(())
    }

    /// What the manifest should say, without what was dropped.
    fn whole_manifest(&self, shard: u16) -> Manifest {
        let state = self.state.borrow();
        let own = &state.shards[&shard];
        let mut manifest = own.listed.clone();
        manifest.partitions.retain(|key, segments| state.live.groups.contains_key(key) && !segments.is_empty());
        let is_needed = |(age, deletion): &(Age, _)| {
            own.tombstones.iter().any(|tombstone| tombstone.age == *age && tombstone.deletion == *deletion)
        };
        manifest.tombstones.retain(is_needed);
        manifest
    }

    /// Replaces a manifest by one of a single record, if that is much shorter. On a failure the log is gone, and opened
    /// again at the next change.
    async fn shorten_manifest(&self, shard: u16, log: &mut Option<Log<P>>) {
        let manifest = self.whole_manifest(shard);
        let record = Change::Whole(manifest.clone()).encode();
        if log.as_ref().is_none_or(|log| log.bytes() <= record.len() as u64 * MANIFEST_FACTOR) {
            return;
        }
        let dir = names::shard_dir(&self.options.dir, shard);
        match self.replace_manifest(shard, &dir, record).await {
            Ok(new) => {
                *log = Some(new);
                self.state.borrow_mut().shards.get_mut(&shard).expect("own shard").listed = manifest;
            }
            Err(error) => {
                tracing::warn!("a manifest could not be shortened: {error}");
                *log = None;
            }
        }
    }

    async fn replace_manifest(&self, shard: u16, dir: &Path, record: Vec<u8>) -> io::Result<Log<P>> {
        let path = dir.join(names::NEW_MANIFEST);
        let mut log = Log::create(&self.platform, &path, record::manifest_id(shard)).await?;
        log.append(&[record]).await?;
        self.platform.rename(&path, &dir.join(names::MANIFEST)).await?;
        self.platform.sync_dir(dir).await?;
        Ok(log)
    }
}
