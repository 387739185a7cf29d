use std::path::PathBuf;

use glommio::LocalExecutor;

use super::*;
use crate::disk::read_only::ReadOnlyDisk;
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
    let file = disk.open(path).await.unwrap();
    let replayed = scan(&file, id, |frame| records.extend(frame.records().map(<[u8]>::to_vec))).await.unwrap();
    file.close().await.unwrap();
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
fn frames_of_an_earlier_version_are_read_and_those_of_another_file_are_not() {
    on_disk(async |disk, path| {
        let mut log = Log::create(&disk, &path, 5).await.unwrap();
        log.append(&[b"one"]).await.unwrap();
        log.close().await.unwrap();
        let id = LogId { id: 7, earlier: Some(5) };
        let (mut log, replayed) = Log::open(&disk, &path, id, |_| ()).await.unwrap();
        assert_eq!(replayed.records, 1);
        log.append(&[b"two"]).await.unwrap();
        log.close().await.unwrap();
        let of = async |id| Log::open(&disk, &path, id, |_| ()).await.unwrap().1.records;
        assert_eq!((of(id).await, of(LogId::from(7)).await, of(LogId::from(6)).await), (2, 1, 0));
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

/// The bytes of a log with a frame of one block and one of three, the second cut off or changed by `change`; whether
/// what stands behind the whole frames counts as torn.
fn tail_of(clean: &[u8], path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> (u64, bool) {
    let mut bytes = clean.to_vec();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
    futures_lite::future::block_on(async {
        let file = ReadOnlyDisk.open(path).await.unwrap();
        let replayed = scan(&file, 5, |_| ()).await.unwrap();
        let is_torn = is_torn(&file, 5.into(), &replayed).await.unwrap();
        (replayed.end, is_torn)
    })
}

fn two_frames() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let written = path.clone();
    LocalExecutor::default().run(async move {
        let disk = RealDisk::new();
        disk.probe(written.parent().unwrap()).await.unwrap();
        let mut log = Log::create(&disk, &written, 5).await.unwrap();
        log.append(&[b"first"]).await.unwrap();
        log.append(&[vec![1; 2 * DISK_ALIGN], vec![2; 300], vec![]]).await.unwrap();
        log.close().await.unwrap();
    });
    let clean = std::fs::read(&path).unwrap();
    assert_eq!(clean.len(), 4 * DISK_ALIGN);
    (folder, path, clean)
}

const CONTENT_END: usize = DISK_ALIGN + FRAME_HEADER_BYTES + 2 * DISK_ALIGN + 300 + 3 * 4;

#[test]
fn an_append_of_which_sectors_are_missing_is_torn() {
    let (_folder, path, clean) = two_frames();
    let sectors: Vec<usize> = (DISK_ALIGN..CONTENT_END).step_by(512).collect();
    for length in DISK_ALIGN..CONTENT_END {
        assert_eq!(tail_of(&clean, &path, |bytes| bytes.truncate(length)), (DISK_ALIGN as u64, true), "{length}");
    }
    for (index, &lost) in sectors.iter().enumerate() {
        for &other in &sectors[index..] {
            let outcome = tail_of(&clean, &path, |bytes| {
                bytes[lost..lost + 512].fill(0);
                bytes[other..other + 512].fill(0);
            });
            assert_eq!(outcome, (DISK_ALIGN as u64, true), "{lost} {other}");
        }
    }
}

#[test]
fn an_append_that_was_whole_once_is_not_torn() {
    let (_folder, path, clean) = two_frames();
    for position in DISK_ALIGN..CONTENT_END {
        for mask in [1, 0x80, 0xff] {
            let outcome = tail_of(&clean, &path, |bytes| bytes[position] ^= mask);
            assert_eq!(outcome, (DISK_ALIGN as u64, false), "{position} {mask}");
        }
    }
}

#[test]
fn a_scan_tells_the_frames_with_their_padding_and_changes_nothing() {
    let (_folder, path, clean) = two_frames();
    let mut frames = Vec::new();
    futures_lite::future::block_on(async {
        let file = ReadOnlyDisk.open(&path).await.unwrap();
        let on_frame = |frame: &Frame<'_>| {
            let lengths: Vec<usize> = frame.records().map(<[u8]>::len).collect();
            frames.push((frame.start, frame.sequence, frame.bytes() + frame.padding.len() as u64, lengths));
        };
        let replayed = scan(&file, 5, on_frame).await.unwrap();
        assert_eq!((replayed.records, replayed.cut_bytes, replayed.damage.len()), (4, 0, 0));
    });
    let block = DISK_ALIGN as u64;
    assert_eq!(frames, [(0, 0, block, vec![5]), (block, 1, 3 * block, vec![2 * DISK_ALIGN, 300, 0])]);
    assert_eq!(std::fs::read(&path).unwrap(), clean);
}
