use std::path::PathBuf;

use glommio::LocalExecutor;

use super::*;
use crate::disk::Disk;
use crate::disk::File;
use crate::disk::names;
use crate::disk::real::RealDisk;
use crate::disk::sim::prng::Prng;
use crate::limits::DISK_ALIGN;
use crate::model::Column;
use crate::model::RowBlock;
use crate::model::SeriesId;
use crate::model::TimeRange;
use crate::model::Values;
use crate::segment::codec::Effort;

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
    let mut writer = SegmentWriter::create(disk, path, ID, Effort::Hot).await.unwrap();
    for series in [3, 4, 90] {
        writer.add(SeriesId(series), &name("m"), &fields, &rows(i64::from(series), count)).await.unwrap();
    }
    writer.finish().await.unwrap()
}

const ID: SegmentId = SegmentId { shard: 2, number: 17 };

#[test]
fn what_was_written_is_read_back_block_by_block() {
    on_disk(async |disk, path| {
        let summary = write(&disk, &path, 5000).await;
        assert_eq!(summary.rows, 15_000);
        let segment = Segment::<RealDisk>::open(&disk, &path, &PageCache::new(1 << 20)).await.unwrap();
        assert_eq!((segment.rows(), segment.id(), segment.bytes()), (15_000, ID, summary.bytes));
        assert_eq!(segment.fields().len(), 2);
        let blocks = segment.blocks_of(SeriesId(4), TimeRange::ALWAYS).await.unwrap();
        assert_eq!(blocks.iter().map(|block| block.rows).collect::<Vec<_>>(), [2048, 2048, 904]);
        let expected = rows(4, 5000);
        let block = segment.read(&blocks[1], &[name("i"), name("none"), name("f")]).await.unwrap();
        let part = expected.slice(2048..4096);
        assert_eq!(block.times, part.times);
        assert_eq!(block.columns, [part.columns[0].clone(), None, part.columns[1].clone()]);
        assert!(segment.blocks_of(SeriesId(5), TimeRange::ALWAYS).await.unwrap().is_empty());
        let range = TimeRange { min: 4000 + 2048, max: 4000 + 2049 };
        let found = segment.blocks_of(SeriesId(4), range).await.unwrap();
        assert_eq!(found.iter().map(|block| **block).collect::<Vec<_>>(), [*blocks[1]]);
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
            let Ok(segment) = Segment::<RealDisk>::open(&disk, &path, &PageCache::new(1 << 20)).await else { continue };
            let mut found = 0;
            for number in 0..segment.page_count() {
                let Ok(page) = segment.page(number).await else {
                    found += 1;
                    continue;
                };
                for block in page.entries() {
                    found += usize::from(segment.read(block, &[name("i")]).await.is_err());
                }
            }
            assert!(found > 0, "bit {bit} went unnoticed");
        }
    });
}

#[test]
fn a_sound_block_in_the_place_of_another_is_noticed() {
    on_disk(async |disk, path| {
        write(&disk, &path, 2048).await;
        let cache = PageCache::new(1 << 20);
        let segment = Segment::<RealDisk>::open(&disk, &path, &cache).await.unwrap();
        let blocks = segment.page(0).await.unwrap().entries().to_vec();
        let mut bytes = std::fs::read(&path).unwrap();
        let place = |index: usize| blocks[index].offset as usize..(blocks[index].offset as usize + 300);
        bytes.copy_within(place(0), place(1).start);
        let file = disk.open(&path).await.unwrap();
        let mut buffer = disk.buffer(bytes.len());
        buffer.copy_from_slice(&bytes);
        file.write_at(buffer, 0).await.unwrap();
        file.close().await.unwrap();
        assert!(segment.read(&blocks[0], &[]).await.is_ok());
        assert!(matches!(segment.read(&blocks[1], &[]).await, Err(SegmentError::Damaged { .. })));
    });
}

/// A segment of 300 series, one of them long.
async fn write_pages(disk: &RealDisk, path: &std::path::Path) {
    let fields = [(name("i"), FieldType::Integer), (name("f"), FieldType::Float)];
    let mut writer = SegmentWriter::create(disk, path, ID, Effort::Hot).await.unwrap();
    for series in (0..600).step_by(2) {
        let count = if series == 100 { 300_000 } else { 70 };
        writer.add(SeriesId(series), &name("m"), &fields, &rows(i64::from(series), count)).await.unwrap();
    }
    writer.finish().await.unwrap();
}

#[test]
fn who_reads_page_after_page_finds_the_next_ones_in_memory() {
    on_disk(async |disk, path| {
        write_pages(&disk, &path).await;
        let cache = PageCache::new(1 << 20);
        let segment = Segment::<RealDisk>::open(&disk, &path, &cache).await.unwrap();
        let kept =
            || (0..segment.page_count()).filter(|&page| cache.page(1, page as u32).is_some()).collect::<Vec<_>>();
        segment.page(2).await.unwrap();
        segment.page(0).await.unwrap();
        assert_eq!(kept(), [0, 2]);
        segment.page(1).await.unwrap();
        assert_eq!(kept(), (0..segment.page_count().min(17)).collect::<Vec<_>>());
        assert!(segment.page_count() > 5);
    });
}

#[test]
fn series_that_fill_several_pages_are_found_whole_by_any_reader() {
    on_disk(async |disk, path| {
        write_pages(&disk, &path).await;
        for (bytes, in_stretches) in [(0, true), (1 << 20, true), (0, false), (1 << 20, false)] {
            let cache = PageCache::new(bytes);
            let segment = Segment::<RealDisk>::open(&disk, &path, &cache).await.unwrap();
            let segment = if in_stretches { segment.in_stretches() } else { segment };
            assert!(segment.page_count() > 5, "{}", segment.page_count());
            assert_eq!(segment.series().len(), 300);
            let mut count = 0;
            for series in 0..600 {
                let blocks = segment.blocks_of(SeriesId(series), TimeRange::ALWAYS).await.unwrap();
                for block in &blocks {
                    let found = segment.read(block, &[name("i")]).await.unwrap();
                    assert_eq!(found.times[0], block.range.min);
                    count += found.times.len();
                }
            }
            assert_eq!(count as u64, segment.rows());
            assert!(cache.bytes() <= bytes);
        }
    });
}

#[test]
fn a_summary_says_what_the_values_say() {
    on_disk(async |disk, path| {
        write(&disk, &path, 100).await;
        let segment = Segment::<RealDisk>::open(&disk, &path, &PageCache::new(1 << 20)).await.unwrap();
        let blocks = segment.blocks_of(SeriesId(90), TimeRange::ALWAYS).await.unwrap();
        let summaries = segment.summaries(&blocks[0]).unwrap();
        let integers = Extremes { min: 0, max: 99 * 90, first: 0, last: 99 * 90 };
        assert_eq!(summaries[0], Summary { missing: 0, values: SummaryValues::Integer(integers, 99 * 50 * 90) });
        let floats = Extremes { min: 0.0, max: 98.0 / 3.0, first: 0.0, last: 98.0 / 3.0 };
        assert_eq!(summaries[1], Summary { missing: 50, values: SummaryValues::Float(floats) });
        write(&disk, &path, 10).await;
        let segment = Segment::<RealDisk>::open(&disk, &path, &PageCache::new(1 << 20)).await.unwrap();
        let blocks = segment.blocks_of(SeriesId(90), TimeRange::ALWAYS).await.unwrap();
        assert_eq!(segment.summaries(&blocks[0]), None);
    });
}

#[test]
fn a_whole_segment_in_the_place_of_another_one_is_damage() {
    on_disk(async |disk, path| {
        write(&disk, &path, 50).await;
        let folder = path.parent().unwrap();
        for (shard, number, is_it) in [(2, 17, true), (2, 18, false), (3, 17, false)] {
            let shard = names::shard_dir(folder, shard);
            std::fs::create_dir_all(&shard).unwrap();
            let place = shard.join(names::segment_name(number));
            std::fs::copy(&path, &place).unwrap();
            let opened = Segment::<RealDisk>::open(&disk, &place, &PageCache::new(0)).await;
            assert_eq!(opened.is_ok(), is_it);
            assert_eq!(matches!(opened, Err(SegmentError::Damaged { .. })), !is_it);
        }
    });
}

/// Fields d, f, i, b and t of series 0 and 1, as the last builds that wrote these versions left them; version 3 has
/// twenty rows of b and t of series 7, too.
const STORED_FILES: [(&[u8], &[u32]); 2] =
    [(include_bytes!("version2.seg"), &[0, 1]), (include_bytes!("version3.seg"), &[0, 1, 7])];
const STORED_NAMES: [&str; 5] = ["d", "f", "i", "b", "t"];

fn stored_rows(series: u32) -> RowBlock {
    let time = |index: i64| index * 10_000_000_000 + if series == 0 { 0 } else { index * index % 7 };
    let all = |values| Some(Column { values, valid: None });
    let valid: Vec<bool> = (0..100).map(|index| index % 2 == 0).collect();
    let text = |index: usize| if valid[index] { format!("text {}", index % 4) } else { String::new() };
    let text = Values::String((0..100).map(|index| name(&text(index))).collect());
    let rows = RowBlock {
        times: (0..100).map(|index| 1_700_000_000_000_000_000 + time(index)).collect(),
        columns: vec![
            all(Values::Float((0..100).map(|index| f64::from(index * index % 101) / 100.0).collect())),
            all(Values::Float((0..100).map(|index| f64::from(index) / 3.0).collect())),
            all(Values::Integer((0..100).map(|index| index * 7 - 50).collect())),
            all(Values::Boolean((0..100).map(|index| index % 3 == 0).collect())),
            Some(Column { values: text, valid: Some(valid) }),
        ],
    };
    if series < 7 {
        return rows;
    }
    let RowBlock { times, columns } = rows.slice(0..20);
    RowBlock { times, columns: (0..).zip(columns).map(|(index, column)| column.filter(|_| index > 2)).collect() }
}

#[test]
fn a_segment_of_an_earlier_version_reads_as_it_was_written() {
    for (file, series) in STORED_FILES {
        on_disk(async |disk, path| {
            std::fs::write(&path, file).unwrap();
            let segment = Segment::<RealDisk>::open(&disk, &path, &PageCache::new(1 << 20)).await.unwrap();
            assert!(segment.series().iter().eq(series.iter().copied()));
            let names = STORED_NAMES.map(name);
            for &series in series {
                let expected = stored_rows(series);
                let blocks = segment.blocks_of(SeriesId(series), TimeRange::ALWAYS).await.unwrap();
                assert_eq!(blocks.len(), 1);
                assert_eq!(segment.read(&blocks[0], &names).await.unwrap(), expected);
                let summary = segment.summary(&blocks[0], &names).map(|summary| summary.columns);
                let summaries = expected.columns.iter().map(|column| column.as_ref().and_then(summarize)).collect();
                assert_eq!(summary, (expected.times.len() == 100).then_some(summaries));
                assert_eq!(segment.examine(&blocks[0]).await.unwrap().times, expected.times);
            }
        });
    }
}

#[test]
fn even_times_take_no_room() {
    on_disk(async |disk, path| {
        let fields = [(name("i"), FieldType::Integer)];
        let mut writer = SegmentWriter::create(&disk, &path, ID, Effort::Hot).await.unwrap();
        writer.add(SeriesId(3), &name("m"), &fields, &rows(3, 500)).await.unwrap();
        writer.finish().await.unwrap();
        let segment = Segment::<RealDisk>::open(&disk, &path, &PageCache::new(1 << 20)).await.unwrap();
        let blocks = segment.blocks_of(SeriesId(3), TimeRange::ALWAYS).await.unwrap();
        let examined = segment.examine(&blocks[0]).await.unwrap();
        assert_eq!((examined.times, examined.times_bytes, examined.times_codec), (rows(3, 500).times, 0, "even"));
    });
}

/// A walk in steps of that deviation, between 0 and 100.
fn walk(random: &mut Prng, deviation: f64) -> Values {
    let (mut level, mut unit) = (50.0, || random.below(1000) as f64 / 1000.0);
    let mut next = || {
        level = f64::clamp(level + (unit() + unit() + unit() - 1.5) * 2.0 * deviation, 0.0, 100.0);
        level as i64
    };
    Values::Integer((0..500).map(|_| next()).collect())
}

/// A level that goes up and down by as much as two hundredths.
fn small_steps(random: &mut Prng) -> Values {
    let mut level = 5000;
    let mut next = || {
        level += random.below(5) as i64 - 2;
        level as f64 / 100.0
    };
    Values::Float((0..500).map(|_| next()).collect())
}

#[test]
fn a_segment_knows_what_packing_it_would_save() {
    on_disk(async |disk, path| {
        let mut random = Prng::from_seed(1);
        let noise = Values::Integer((0..500).map(|_| random.draw() as i64).collect());
        let (calm, small) = (walk(&mut random, 0.5), small_steps(&mut random));
        let cases = [
            (Effort::Hot, vec![calm.clone()], 15..40),
            (Effort::Hot, vec![small.clone()], 15..25),
            (Effort::Hot, vec![walk(&mut random, 1.0)], 0..15),
            // What does not shrink counts as well.
            (Effort::Hot, vec![calm.clone(), noise], 0..5),
            // Once is enough, whatever it saved.
            (Effort::Cold, vec![calm], 0..1),
        ];
        for (effort, columns, expected) in cases {
            let names = [name("one"), name("other")].into_iter();
            let fields: Vec<_> = names.zip(&columns).map(|(name, values)| (name, values.field_type())).collect();
            let column = |values: &Values| Some(Column { values: values.clone(), valid: None });
            let mut writer = SegmentWriter::create(&disk, &path, ID, effort).await.unwrap();
            let block = RowBlock { times: (0..500).collect(), columns: columns.iter().map(column).collect() };
            writer.add(SeriesId(3), &name("m"), &fields, &block).await.unwrap();
            writer.finish().await.unwrap();
            let segment = Segment::<RealDisk>::open(&disk, &path, &PageCache::new(1 << 20)).await.unwrap();
            assert!(expected.contains(&segment.packing_saves()), "{} of {expected:?}", segment.packing_saves());
        }
    });
}
