use std::path::PathBuf;

use glommio::LocalExecutor;

use super::*;
use crate::disk::Disk;
use crate::disk::File;
use crate::disk::real::RealDisk;
use crate::limits::DISK_ALIGN;
use crate::model::Column;
use crate::model::RowBlock;
use crate::model::SeriesId;
use crate::model::TimeRange;
use crate::model::Values;

fn on_disk<F: Future<Output = ()>>(test: impl FnOnce(RealDisk, PathBuf) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("1.seg");
    LocalExecutor::default().run(async move {
        let disk = RealDisk::new();
        disk.probe(path.parent().unwrap()).await.unwrap();
        test(disk, path).await;
    });
}

fn name(text: &str) -> Bytes {
    text.as_bytes().into()
}

fn rows(series: i64, count: usize) -> RowBlock {
    RowBlock {
        times: (0..count as i64).map(|index| series * 1000 + index).collect(),
        columns: vec![
            Some(Column {
                values: Values::Integer((0..count as i64).map(|index| index * series).collect()),
                valid: None,
            }),
            Some(Column {
                values: Values::Float((0..count).map(|index| index as f64 / 3.0).collect()),
                valid: Some((0..count).map(|index| index % 2 == 0).collect()),
            }),
        ],
    }
}

async fn write(disk: &RealDisk, path: &std::path::Path, count: usize) -> SegmentSummary {
    let fields = [(name("i"), FieldType::Integer), (name("f"), FieldType::Float)];
    let mut writer = SegmentWriter::create(disk, path).await.unwrap();
    for series in [3, 4, 90] {
        writer.add(SeriesId(series), &name("m"), &fields, &rows(i64::from(series), count)).await.unwrap();
    }
    writer.finish(2, 17).await.unwrap()
}

const EVERYTHING: TimeRange = TimeRange { min: i64::MIN, max: i64::MAX };

#[test]
fn what_was_written_is_read_back_block_by_block() {
    on_disk(async |disk, path| {
        let summary = write(&disk, &path, 5000).await;
        assert_eq!(summary.rows, 15_000);
        let segment = Segment::<RealDisk>::open(&disk, &path).await.unwrap();
        assert_eq!((segment.rows(), segment.number(), segment.bytes()), (15_000, 17, summary.bytes));
        assert_eq!(segment.fields().len(), 2);
        let blocks = segment.blocks_of(SeriesId(4), EVERYTHING).to_vec();
        assert_eq!(blocks.iter().map(|block| block.rows).collect::<Vec<_>>(), [2048, 2048, 904]);
        let expected = rows(4, 5000);
        let block = segment.read(&blocks[1], &[name("i"), name("none"), name("f")]).await.unwrap();
        let part = expected.slice(2048..4096);
        assert_eq!(block.times, part.times);
        assert_eq!(block.columns, [part.columns[0].clone(), None, part.columns[1].clone()]);
        assert!(segment.blocks_of(SeriesId(5), EVERYTHING).is_empty());
        let range = TimeRange { min: 4000 + 2048, max: 4000 + 2049 };
        assert_eq!(segment.blocks_of(SeriesId(4), range), &blocks[1..2]);
    });
}

#[test]
fn a_flipped_bit_anywhere_is_found_and_never_returned() {
    on_disk(async |disk, path| {
        let summary = write(&disk, &path, 30).await;
        let clean = std::fs::read(&path).unwrap();
        assert_eq!(summary.bytes, clean.len() as u64);
        let body = &clean[..clean.len() - FOOTER_BYTES];
        let padding = body.len() - body.iter().rev().take_while(|&&byte| byte == 0).count()..body.len();
        for bit in (0..clean.len() * 8).filter(|bit| !padding.contains(&(bit / 8))) {
            let mut bytes = clean.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let file = disk.open(&path).await.unwrap();
            let mut buffer = disk.buffer(DISK_ALIGN);
            buffer.copy_from_slice(&bytes);
            file.write_at(buffer, 0).await.unwrap();
            file.close().await.unwrap();
            let Ok(segment) = Segment::<RealDisk>::open(&disk, &path).await else { continue };
            let mut found = 0;
            for block in segment.blocks().to_vec() {
                found += usize::from(segment.read(&block, &[name("i")]).await.is_err());
            }
            assert!(found > 0, "bit {bit} went unnoticed");
        }
    });
}
