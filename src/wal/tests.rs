use std::path::PathBuf;

use glommio::LocalExecutor;

use super::*;
use crate::disk::real::RealDisk;

/// Runs a test on a real disk in a folder of its own.
fn on_disk<F: Future<Output = ()>>(test: impl FnOnce(RealDisk, PathBuf) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    LocalExecutor::default().run(async move {
        let disk = RealDisk::new();
        disk.probe(path.parent().unwrap()).await.unwrap();
        test(disk, path).await;
    });
}

async fn records(disk: &RealDisk, path: &Path, id: u64) -> (Vec<Vec<u8>>, Replayed) {
    let mut records = Vec::new();
    let replayed = replay(disk, path, id, |record| records.push(record.to_vec())).await.unwrap();
    (records, replayed)
}

/// Overwrites one block.
async fn overwrite(disk: &RealDisk, path: &Path, position: u64, byte: u8) {
    let file = disk.open(path).await.unwrap();
    let mut buffer = disk.buffer(DISK_ALIGN);
    buffer.fill(byte);
    file.write_at(buffer, position).await.unwrap();
    file.close().await.unwrap();
}

#[test]
fn appended_records_come_back_in_order_and_appending_goes_on() {
    on_disk(async |disk, path| {
        let mut log = Log::create(&disk, &path, 5).await.unwrap();
        log.append(&[b"one".to_vec(), vec![], vec![7; 3 << 20]]).await.unwrap();
        log.append(&[b"two"]).await.unwrap();
        log.close().await.unwrap();
        let mut seen = 0;
        let (mut log, replayed) = Log::open(&disk, &path, 5, |_| seen += 1).await.unwrap();
        assert_eq!((seen, replayed.records, replayed.cut_bytes), (4, 4, 0));
        log.append(&[b"three"]).await.unwrap();
        log.close().await.unwrap();
        let (records, replayed) = records(&disk, &path, 5).await;
        assert_eq!(records.len(), 5);
        assert_eq!(records[2], vec![7; 3 << 20]);
        assert_eq!(records[4], b"three");
        assert_eq!(replayed.next_sequence, 3);
    });
}

#[test]
fn torn_tail_is_cut_off() {
    on_disk(async |disk, path| {
        let mut log = Log::create(&disk, &path, 5).await.unwrap();
        log.append(&[b"kept"]).await.unwrap();
        log.append(&[vec![1; 3 * DISK_ALIGN]]).await.unwrap();
        log.close().await.unwrap();
        overwrite(&disk, &path, 2 * DISK_ALIGN as u64, 0).await;
        let (log, replayed) = Log::open(&disk, &path, 5, |_| ()).await.unwrap();
        assert_eq!((replayed.records, replayed.end, replayed.cut_bytes), (1, BLOCK, 4 * BLOCK));
        assert_eq!(replayed.damage, []);
        log.close().await.unwrap();
        assert_eq!(records(&disk, &path, 5).await.1.cut_bytes, 0);
    });
}

const BLOCK: u64 = DISK_ALIGN as u64;

#[test]
fn damage_before_the_tail_is_reported_and_the_rest_is_read() {
    on_disk(async |disk, path| {
        let mut log = Log::create(&disk, &path, 5).await.unwrap();
        for text in ["a", "b", "c"] {
            log.append(&[text]).await.unwrap();
        }
        log.close().await.unwrap();
        overwrite(&disk, &path, BLOCK, 0xff).await;
        let (records, replayed) = records(&disk, &path, 5).await;
        assert_eq!(records, [b"a", b"c"]);
        assert_eq!(replayed.damage, [Damage { start: BLOCK, end: 2 * BLOCK }]);
    });
}

#[test]
fn frames_of_another_file_are_not_read() {
    on_disk(async |disk, path| {
        let mut log = Log::create(&disk, &path, 5).await.unwrap();
        log.append(&[b"old"]).await.unwrap();
        log.close().await.unwrap();
        let (records, replayed) = records(&disk, &path, 6).await;
        assert_eq!((records.len(), replayed.cut_bytes), (0, BLOCK));
    });
}
