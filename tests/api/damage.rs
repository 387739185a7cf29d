//! A flipped bit on disk is found and named, and never takes the rest of the data away.

use crate::harness::Server;
use serde_json::json;
use std::path::Path;

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("the file is ours");
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).expect("the file is ours");
}

#[test]
fn a_damaged_block_is_named_once_and_left_out_of_every_answer() {
    let mut server = Server::start();
    server.create("d");
    let lines: Vec<String> = (0..200).map(|point| format!("m,h={} v={point}i {}", point % 40, point + 1)).collect();
    assert_eq!(server.write("d", &lines.join("\n")).status, 204);
    assert!(server.stop().success());
    let path = server.segment_paths().pop().expect("the points are in segments");
    // The first block begins the file: its checksum, then its body.
    flip(&path, 6);
    server.restart();
    for _ in 0..2 {
        let rows = server.rows("d", "SELECT v FROM m");
        let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
        // One series of five points is gone, and nothing that is left is wrong.
        assert_eq!(rows.len(), 195);
        let values: Vec<i64> = rows.iter().filter_map(|row| row[1].as_i64()).collect();
        assert!(values.len() == 195 && values.is_sorted_by(|left, right| left < right), "{values:?}");
    }
    let said = server.said();
    assert_eq!(said.matches("a block is left out of all answers").count(), 1, "{said}");
    assert!(said.contains(&*path.file_name().expect("a file").to_string_lossy()), "{said}");
}

/// Found by flipping bytes of every file: damage met by a start was told among what is normal.
#[test]
fn damage_that_a_start_meets_is_an_error_in_the_log_once() {
    let mut server = Server::start();
    server.create("d");
    assert_eq!(server.write("d", "m v=1 1").status, 204);
    assert!(server.stop().success());
    let path = server.segment_paths().pop().expect("the point is in a segment");
    // The footer ends the file: without it the segment is of no use.
    flip(&path, std::fs::metadata(&path).expect("the file is ours").len() as usize - 20);
    server.restart();
    assert_eq!(server.query("d", "SELECT v FROM m"), json!({"results": [{"statement_id": 0}]}));
    let said = server.said();
    let named = format!("lvl=error msg=\"damaged: {}", path.display());
    assert_eq!([said.matches(&named).count(), said.matches("footer checksum").count()], [1, 1], "{said}");
}

/// Found by flipping bytes of every file: the snapshot before the newest did not know the last shard group, and the
/// start removed its points.
#[test]
fn a_damaged_catalog_takes_no_points_with_it() {
    let mut server = Server::start();
    server.create("d");
    assert_eq!(server.write("d", "m v=1 1").status, 204);
    server.kill();
    let files = std::fs::read_dir(server.data_path()).expect("the server made it").flatten().map(|file| file.path());
    let mut catalogs: Vec<_> = files.filter(|path| path.to_string_lossy().contains("catalog-")).collect();
    catalogs.sort();
    flip(&catalogs[catalogs.len() - 1], 30);
    server.restart();
    assert_eq!(server.rows("d", "SELECT v FROM m"), json!([["1970-01-01T00:00:00.000000001Z", 1]]));
    assert!(server.said().contains("catalog snapshot damaged, set aside"), "{}", server.said());
}
