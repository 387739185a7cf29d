//! A flipped bit on disk is found and named, and never takes the rest of the data away.

use crate::harness::Server;

#[test]
fn a_damaged_block_is_named_once_and_left_out_of_every_answer() {
    let mut server = Server::start();
    server.create("d");
    let lines: Vec<String> = (0..200).map(|point| format!("m,h={} v={point}i {}", point % 40, point + 1)).collect();
    assert_eq!(server.write("d", &lines.join("\n")).status, 204);
    assert!(server.stop().success());
    let path = server.segment_paths().pop().expect("the points are in segments");
    let mut bytes = std::fs::read(&path).expect("the file is ours");
    // The first block begins the file: its checksum, then its body.
    bytes[6] ^= 0x10;
    std::fs::write(&path, bytes).expect("the file is ours");
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
