use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;

const CALM: Faults = Faults::calm(1000);
const SEEDS: std::ops::Range<u64> = 0..200;

fn path() -> PathBuf {
    PathBuf::from("/data/file")
}

/// A machine with a folder whose name is durable.
fn machine(seed: u64, faults: Faults) -> Simulation {
    let mut simulation = Simulation::new(seed, CALM);
    let disk = simulation.disk().clone();
    simulation.block_on(async move {
        disk.create_dir(Path::new("/data")).await.unwrap();
        disk.sync_dir(Path::new("/")).await.unwrap();
    });
    simulation.disk().set_faults(faults);
    simulation
}

async fn write(file: &SimFile, block: u64, blocks: usize, byte: u8) -> io::Result<()> {
    let mut buffer = file.disk.buffer(blocks * DISK_ALIGN);
    buffer.fill(byte);
    file.write_at(buffer, block * DISK_ALIGN as u64).await
}

/// A file of one durable block of ones.
async fn create(disk: &SimDisk) -> SimFile {
    let file = disk.create(&path()).await.unwrap();
    write(&file, 0, 1, 1).await.unwrap();
    file.sync().await.unwrap();
    disk.sync_dir(Path::new("/data")).await.unwrap();
    file
}

fn read_all(simulation: &mut Simulation) -> Option<Vec<u8>> {
    let disk = simulation.disk().clone();
    simulation.block_on(async move {
        let file = disk.open(&path()).await.ok()?;
        Some(file.read_at(0, 1 << 20).await.unwrap())
    })
}

/// Runs `work` to its end and crashes, once for each seed; what the file then held.
fn after_crash<F: Future<Output = ()> + 'static>(work: impl Fn(SimDisk) -> F) -> Vec<Option<Vec<u8>>> {
    let run = |seed| {
        let mut simulation = machine(seed, CALM);
        let disk = simulation.disk().clone();
        simulation.block_on(work(disk));
        simulation.crash();
        read_all(&mut simulation)
    };
    SEEDS.map(run).collect()
}

#[test]
fn what_was_synced_survives_every_crash() {
    let found = after_crash(async |disk: SimDisk| drop(create(&disk).await));
    assert!(found.iter().all(|bytes| bytes.as_deref() == Some(&[1; DISK_ALIGN][..])));
}

#[test]
fn a_name_without_a_sync_of_its_folder_is_sometimes_lost() {
    let found = after_crash(async |disk: SimDisk| {
        let file = disk.create(&path()).await.unwrap();
        write(&file, 0, 1, 1).await.unwrap();
        file.sync().await.unwrap();
    });
    let kept = found.iter().flatten().count();
    assert!(kept > 0 && kept < found.len());
    assert!(found.iter().flatten().all(|bytes| bytes[..] == [1; DISK_ALIGN]));
}

#[test]
fn an_unsynced_write_is_kept_lost_or_torn_at_sectors() {
    let found = after_crash(async |disk: SimDisk| {
        let file = create(&disk).await;
        write(&file, 0, 1, 2).await.unwrap();
    });
    let mut torn = 0;
    for bytes in found.iter().flatten() {
        let sectors: BTreeSet<&[u8]> = bytes.chunks(SECTOR_BYTES).collect();
        assert!(sectors.iter().all(|sector| **sector == [1; SECTOR_BYTES] || **sector == [2; SECTOR_BYTES]));
        torn += usize::from(sectors.len() > 1);
    }
    let whole = |byte: u8| found.iter().flatten().filter(|bytes| bytes[..] == [byte; DISK_ALIGN]).count();
    assert!(torn > 0 && whole(1) > 0 && whole(2) > 0);
}

#[test]
fn a_later_unsynced_write_may_survive_an_earlier_one() {
    let found = after_crash(async |disk: SimDisk| {
        let file = create(&disk).await;
        write(&file, 1, 1, 0).await.unwrap();
        file.sync().await.unwrap();
        write(&file, 0, 1, 2).await.unwrap();
        write(&file, 1, 1, 3).await.unwrap();
    });
    let reordered = |bytes: &&Vec<u8>| bytes[0] == 1 && bytes[DISK_ALIGN] == 3;
    assert!(found.iter().flatten().filter(reordered).count() > 0);
}

#[test]
fn the_length_of_a_file_may_lag_behind_its_writes() {
    let found = after_crash(async |disk: SimDisk| {
        let file = create(&disk).await;
        write(&file, 1, 2, 2).await.unwrap();
    });
    let lengths: BTreeSet<usize> = found.iter().flatten().map(Vec::len).collect();
    assert_eq!(lengths, BTreeSet::from([DISK_ALIGN, 3 * DISK_ALIGN]));
}

#[test]
fn a_sync_under_way_promises_nothing() {
    let lost = SEEDS.filter(|&seed| {
        let mut simulation = machine(seed, CALM);
        let disk = simulation.disk().clone();
        let file = simulation.block_on(async move { create(&disk).await });
        simulation.block_on(async move {
            write(&file, 0, 1, 2).await.unwrap();
            assert!(futures_lite::future::poll_once(Box::pin(file.sync())).await.is_none());
        });
        simulation.crash();
        read_all(&mut simulation).unwrap() != [2; DISK_ALIGN]
    });
    assert!(lost.count() > 0);
}

#[test]
fn after_a_failed_sync_a_later_one_may_succeed_over_lost_data() {
    let mut lost_at_once = 0;
    let mut lost_with_the_power = 0;
    for seed in SEEDS {
        let mut simulation = machine(seed, CALM);
        let disk = simulation.disk().clone();
        simulation.block_on(async move {
            let file = create(&disk).await;
            write(&file, 0, 1, 2).await.unwrap();
            disk.set_faults(Faults { sync: 1_000_000, ..CALM });
            file.sync().await.unwrap_err();
            disk.set_faults(CALM);
            file.sync().await.unwrap();
        });
        let before = read_all(&mut simulation).unwrap()[0];
        simulation.crash();
        let after = read_all(&mut simulation).unwrap()[0];
        lost_at_once += u32::from(before == 1);
        lost_with_the_power += u32::from(before == 2 && after == 1);
    }
    assert!(lost_at_once > 0 && lost_with_the_power > 0);
}

#[test]
fn a_failed_write_may_be_written_in_part_but_not_behind_a_synced_truncation() {
    let mut partly = 0;
    for seed in SEEDS {
        let mut simulation = machine(seed, CALM);
        let disk = simulation.disk().clone();
        simulation.block_on(async move {
            let file = create(&disk).await;
            disk.set_faults(Faults { short_write: 1_000_000, ..CALM });
            write(&file, 0, 2, 2).await.unwrap_err();
            disk.set_faults(CALM);
            file.truncate(DISK_ALIGN as u64).await.unwrap();
            file.sync().await.unwrap();
        });
        simulation.crash();
        let bytes = read_all(&mut simulation).unwrap();
        assert_eq!(bytes.len(), DISK_ALIGN);
        partly += u32::from(bytes[0] == 2);
    }
    assert!(partly > 0);
}

#[test]
fn a_full_disk_refuses_growth_and_allows_the_rest() {
    let mut simulation = machine(1, Faults { capacity: Some(2 * DISK_ALIGN as u64), ..CALM });
    let disk = simulation.disk().clone();
    simulation.block_on(async move {
        let file = create(&disk).await;
        write(&file, 1, 1, 2).await.unwrap();
        assert_eq!(write(&file, 2, 1, 2).await.unwrap_err().kind(), io::ErrorKind::StorageFull);
        write(&file, 0, 1, 3).await.unwrap();
        disk.remove(&path()).await.unwrap();
        assert_eq!(disk.bytes(), 0);
    });
}

#[test]
fn a_killed_process_loses_nothing_that_was_written() {
    for seed in SEEDS {
        let mut simulation = machine(seed, CALM);
        let disk = simulation.disk().clone();
        simulation.block_on(async move {
            let file = create(&disk).await;
            write(&file, 0, 1, 2).await.unwrap();
        });
        simulation.kill();
        assert_eq!(read_all(&mut simulation).unwrap(), [2; DISK_ALIGN], "seed {seed}");
    }
}

#[test]
fn the_order_of_tasks_and_the_trace_come_from_the_seed() {
    let run = |seed| {
        let mut simulation = machine(seed, Faults { write: 200_000, latency_ns: 5, ..CALM });
        let order = Rc::new(RefCell::new(Vec::new()));
        for task in 0..4u8 {
            let (disk, order) = (simulation.disk().clone(), order.clone());
            simulation.spawn(async move {
                let file = disk.create(Path::new(&format!("/data/{task}"))).await.unwrap();
                for block in 0..4 {
                    let result = write(&file, block, 1, task).await;
                    order.borrow_mut().push((task, block, result.is_ok()));
                }
            });
        }
        while simulation.step() {}
        (simulation.disk().trace(), order.take())
    };
    let runs: Vec<_> = (0..20).map(run).collect();
    let again: Vec<_> = (0..20).map(run).collect();
    assert_eq!(runs, again);
    let traces: BTreeSet<u64> = runs.iter().map(|(trace, _)| *trace).collect();
    let orders: BTreeSet<_> = runs.iter().map(|(_, order)| order).collect();
    assert!(traces.len() == 20 && orders.len() > 10);
}

#[test]
fn time_jumps_to_the_next_timer() {
    let mut simulation = machine(1, CALM);
    let disk = simulation.disk().clone();
    let hour = 3_600_000_000_000;
    let waited = simulation.block_on(async move {
        let before = (disk.now_ns(), disk.monotonic_ns());
        disk.sleep_ns(hour).await;
        (disk.now_ns() - before.0, disk.monotonic_ns() - before.1)
    });
    assert_eq!(waited, (hour as i64, hour));
}

/// Two blocks of ones and two of twos in another file; then what `work` says both hold.
fn two_files<F: Future<Output = ()> + 'static>(
    seed: u64,
    faults: Faults,
    work: impl FnOnce(SimDisk, SimFile, SimFile) -> F + 'static,
) -> Vec<Vec<u8>> {
    let mut simulation = machine(seed, CALM);
    let disk = simulation.disk().clone();
    simulation.block_on(async move {
        let one = create(&disk).await;
        let two = disk.create(Path::new("/data/other")).await.unwrap();
        for (file, byte) in [(&one, 1), (&two, 2)] {
            write(file, 0, 2, byte).await.unwrap();
            file.sync().await.unwrap();
        }
        disk.set_faults(faults);
        work(disk, one, two).await;
    });
    simulation.disk().files().into_iter().map(|(_, bytes)| bytes).collect()
}

#[test]
fn a_misdirected_write_says_that_all_is_well_and_is_elsewhere_for_good() {
    let mut in_other_file = 0;
    for seed in SEEDS {
        let faults = Faults { miswrite: 1_000_000, ..CALM };
        let files = two_files(seed, faults, async |_, one, _| write(&one, 2, 1, 3).await.unwrap());
        let threes: Vec<usize> =
            files.iter().map(|bytes| bytes.iter().filter(|byte| **byte == 3).count() / DISK_ALIGN).collect();
        assert_eq!(files[0].len(), 3 * DISK_ALIGN, "the file is as long as if it had been written");
        assert_eq!(threes.iter().sum::<usize>(), 1);
        in_other_file += threes[1];
    }
    assert!(in_other_file > 10 && in_other_file < 190);
}

#[test]
fn a_misdirected_read_brings_another_place_and_changes_nothing() {
    let mut wrong = 0;
    for seed in SEEDS {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let kept = seen.clone();
        let faults = Faults { misread: 1_000_000, ..CALM };
        let files = two_files(seed, faults, async move |_, one, _| {
            let bytes = one.read_at(0, DISK_ALIGN).await.unwrap();
            *kept.borrow_mut() = bytes;
        });
        wrong += u32::from(seen.borrow()[..] == [2; DISK_ALIGN]);
        assert!(files[0] == [1; 2 * DISK_ALIGN] && files[1] == [2; 2 * DISK_ALIGN]);
    }
    assert!(wrong > 10);
}
