//! `verify` and `inspect`: what the server leaves is sound, what was changed since is found, whichever byte it is.

use crate::harness::Server;
use crate::harness::wait_until;
use crate::process::binary;
use millrace::disk::sim::prng::Prng;
use millrace::tools::directory::Directory;
use millrace::tools::progress::Progress;
use millrace::tools::report::Damage;
use millrace::tools::report::Report;
use millrace::tools::verify::verify;
use serde_json::Value;
use serde_json::json;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::process::Output;

/// One of the tools on the server's directory.
fn tool(server: &Server, arguments: &[&str]) -> Output {
    tool_at(&server.data_path(), arguments)
}

fn tool_at(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).arg("--config").arg("/dev/null").arg("--data").arg(dir);
    command.output().expect("the binary can be started")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ends by itself")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// 40 points of 4 series in `d`, and 10 of one series in `e`, of every type.
fn fill(server: &Server, start: usize) {
    let mut lines = String::new();
    for point in start..start + 40 {
        let (series, time) = (point % 4, point + 1);
        lines.push_str(&format!("m,h={series} f={point}.5,i={point}i,s=\"text {series}\",b=true {time}\n"));
    }
    assert_eq!(server.write("d", &lines).status, 204);
    let lines: Vec<String> = (start..start + 10).map(|point| format!("n v={point} {}", point + 1)).collect();
    assert_eq!(server.write("e", &lines.join("\n")).status, 204);
}

/// A directory with segments, a deletion in a manifest, and logs that are not in segments.
fn full() -> Server {
    let mut server = Server::start_configured("[millrace]\nshards = 2\n");
    server.create("d");
    server.create("e");
    fill(&server, 0);
    server.query("d", "DELETE FROM m WHERE h = '1'");
    assert!(server.stop().success());
    server.restart();
    fill(&server, 100);
    server.kill();
    server
}

#[test]
fn what_a_server_leaves_is_sound_after_a_stop_and_after_a_kill() {
    let mut server = full();
    let output = tool(&server, &["verify"]);
    assert_eq!((code(&output), stdout(&output).ends_with("\nsound\n")), (0, true), "{output:?}");
    let checked = &document(&tool(&server, &["verify", "--json"]))["checked"];
    // Ten of the fifty before the stop were deleted.
    assert_eq!((&checked["log_points"], &checked["rows"], &checked["series"]), (&json!(50), &json!(40), &json!(5)));
    server.restart();
    assert!(server.stop().success());
    let report = document(&tool(&server, &["verify", "--json"]));
    assert_eq!((&report["sound"], &report["damage"], &report["notes"]), (&json!(true), &json!([]), &json!([])));
    let checked = &report["checked"];
    assert_eq!((&checked["log_points"], &checked["rows"]), (&json!(0), &json!(90)));
    // Of four fields, and twice ten of one.
    assert_eq!((&checked["values"], &checked["catalogs"]), (&json!(70 * 4 + 20), &json!(2)));
}

#[test]
fn a_directory_in_use_is_left_alone_and_so_is_what_is_none() {
    let server = Server::start();
    for arguments in [["verify"], ["inspect"]] {
        let output = tool(&server, &arguments);
        assert_eq!(code(&output), 2);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("is in use by another process"), "{said}");
        assert_eq!(stdout(&output), "");
    }
    let dir = tempfile::tempdir().expect("a directory for the test");
    assert_eq!(code(&tool_at(dir.path(), &["verify"])), 2);
    assert_eq!(std::fs::read_dir(dir.path()).expect("the directory is ours").count(), 0);
    std::fs::write(dir.path().join("FORMAT"), "millrace-format = 4\nwhatever = comes\n")
        .expect("the directory is ours");
    let output = tool_at(dir.path(), &["verify"]);
    assert_eq!(code(&output), 2);
    assert!(String::from_utf8_lossy(&output.stderr).contains("has format 4"), "{output:?}");
}

/// What `verify` says, without a process for it.
pub fn report(dir: &Path) -> Result<Report, String> {
    let directory = Directory::open(dir).map_err(|error| error.to_string())?;
    verify(&directory, &Progress::hidden()).map_err(|error| error.to_string())
}

/// Changes one byte for as long as `look` takes.
fn with_flipped(path: &Path, position: u64, look: impl FnOnce()) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("the file is ours");
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).expect("the file is so long");
    // Another bit for each byte, so that no test depends on which.
    file.write_all_at(&[byte[0] ^ 1 << (position % 8)], position).expect("the file is ours");
    look();
    file.write_all_at(&byte, position).expect("the file is ours");
}

#[test]
fn one_changed_byte_is_found_wherever_it_is() {
    let server = full();
    let dir = server.data_path();
    assert_eq!(report(&dir).map(|report| report.sound), Ok(true));
    let files = Directory::open(&dir).map(|directory| directory.files().expect("it can be listed"));
    let mut missed = Vec::new();
    for (name, bytes) in files.expect("it can be opened") {
        // Who holds the lock is said there for people, and means nothing.
        if name == "LOCK" {
            continue;
        }
        for position in 0..bytes {
            with_flipped(&dir.join(&name), position, || {
                let outcome = report(&dir);
                let is_there = |damage: &Damage| {
                    damage.file == name && (damage.offset..damage.offset + damage.bytes).contains(&position)
                };
                match outcome {
                    Ok(report) if report.damage.iter().any(is_there) => {}
                    // Another count of shards or a newer format is just as well said there.
                    Ok(report) if name == "FORMAT" && !report.sound => {}
                    Err(_) if name == "FORMAT" => {}
                    outcome => missed.push((name.clone(), position, format!("{outcome:?}"))),
                }
            });
        }
    }
    assert!(missed.is_empty(), "{} bytes: {:#?}", missed.len(), &missed[..missed.len().min(5)]);
    assert_eq!(report(&dir).map(|report| report.sound), Ok(true));
}

fn dir_of(server: &Server, name: &str) -> std::path::PathBuf {
    server.data_path().join(name)
}

/// The first file below `folder` whose name ends so.
fn file_in(server: &Server, folder: &str, end: &str) -> String {
    let entries = std::fs::read_dir(dir_of(server, folder)).expect("the server made it").flatten();
    let is_it = |entry: &std::fs::DirEntry| entry.metadata().is_ok_and(|metadata| metadata.len() > 0);
    let names = entries.filter(is_it).map(|entry| entry.file_name().to_string_lossy().into_owned());
    let name = names.filter(|name| name.ends_with(end)).min().expect("there is one");
    if folder.is_empty() { name } else { format!("{folder}/{name}") }
}

#[test]
fn each_kind_of_file_is_named_with_the_place_and_the_exit_code_says_so() {
    let server = full();
    let catalog = file_in(&server, "", "8");
    assert!(catalog.starts_with("catalog-"), "{catalog}");
    let (log, segment) = (file_in(&server, "wal", ".wal"), file_in(&server, "shard-0001", ".seg"));
    let (series, manifest) = ("shard-0001/series.log".to_owned(), "shard-0001/manifest.log".to_owned());
    let length = |name: &str| std::fs::metadata(dir_of(&server, name)).expect("it is there").len();
    let footer = length(&segment) - 80;
    let cases = [
        ("FORMAT", 29, "at byte 0 (31 bytes): does not say how many shards"),
        (&*catalog, 30, "at byte 0 (4096 bytes): the checksum is wrong"),
        (&catalog, 4095, "at byte 4095 (1 bytes): the padding is not zero"),
        (&log, 40, "at byte 0 "),
        (&log, 4095, "at byte 4095 (1 bytes): the padding of a frame is not zero"),
        (&series, 50, "at byte 0 (4096 bytes): bytes behind the last whole frame that no cut-off append leaves"),
        (&manifest, 50, "at byte 0 (4096 bytes): no whole frame, and whole ones follow"),
        (&segment, 10, "at byte 0 "),
        (&segment, footer - 1, &format!("at byte {} (1 bytes): the padding before the footer is not zero", footer - 1)),
        (&segment, footer + 20, &format!("at byte {footer} (80 bytes): footer checksum")),
    ];
    for (name, position, expected) in cases {
        with_flipped(&dir_of(&server, name), position, || {
            let output = tool(&server, &["verify"]);
            let text = stdout(&output);
            let is_named = |line: &str| line.starts_with(&format!("damaged: {name}")) && line.contains(expected);
            assert!(text.lines().any(is_named), "{name} {position}: {text}");
            assert_eq!(code(&output), 1, "{name} {position}: {text}");
            let report = document(&tool(&server, &["verify", "--json"]));
            assert_eq!((&report["sound"], &report["damage"][0]["file"]), (&json!(false), &json!(name)), "{report}");
        });
    }
    assert_eq!(code(&tool(&server, &["verify"])), 0);
}

/// Damage and notes of `verify`, each as `FILE: WHAT`.
fn findings(server: &Server) -> (Vec<String>, Vec<String>) {
    let report = report(&server.data_path()).expect("it can be checked");
    let damage = report.damage.iter().map(|damage| format!("{}: {}", damage.file, damage.what));
    let notes = report.notes.iter().map(|note| format!("{}: {}", note.file, note.what));
    (damage.collect(), notes.collect())
}

#[test]
fn what_a_crash_leaves_is_a_note_and_no_damage() {
    let server = full();
    let log = file_in(&server, "wal", ".wal");
    let path = dir_of(&server, &log);
    let length = std::fs::metadata(&path).expect("it is there").len();
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("the file is ours");
    file.set_len(length - 4096 + 60).expect("the file is ours");
    for leftover in ["catalog-00000099.new", "FORMAT.tmp", "shard-0000/00000099.seg", "foreign"] {
        std::fs::write(dir_of(&server, leftover), "half").expect("the directory is ours");
    }
    let (damage, notes) = findings(&server);
    assert_eq!(damage, Vec::<String>::new());
    let cut = format!("{log}: 60 bytes from byte {} on are a torn tail, never acknowledged", length - 4096);
    let expected = [
        "FORMAT.tmp: left behind by a start or change that was cut off",
        "catalog-00000099.new: left behind by a start or change that was cut off",
        "foreign: not a file of Millrace",
        &cut,
        "shard-0000/00000099.seg: an orphan: no manifest names it, the next start removes it",
    ];
    assert_eq!(notes, expected);
}

/// What `verify` says of a copy that was changed.
fn check_changed(server: &Server, change: impl FnOnce(&Path), expected: &str) {
    let copy = tempfile::tempdir().expect("a directory for the test");
    let dir = copy.path().join("data");
    let status = Command::new("cp").arg("-r").arg(server.data_path()).arg(&dir).status();
    assert!(status.is_ok_and(|status| status.success()));
    change(&dir);
    let report = report(&dir).expect("it can be checked");
    let found: Vec<String> = report.damage.iter().map(|damage| format!("{}: {}", damage.file, damage.what)).collect();
    assert!(found.iter().any(|line| line.contains(expected)), "{expected}: {found:#?}");
}

fn remove(path: &Path) {
    std::fs::remove_file(path).expect("the file is ours");
}

#[test]
fn files_that_are_missing_or_in_the_wrong_place_are_damage() {
    let server = full();
    let segment = file_in(&server, "shard-0001", ".seg");
    let other = file_in(&server, "shard-0000", ".seg");
    let missing = format!("{segment}: the manifest names it, but it is missing");
    check_changed(&server, |dir| remove(&dir.join(&segment)), &missing);
    let copy = |dir: &Path| {
        std::fs::copy(dir.join(&other), dir.join(&segment)).expect("the file is ours");
    };
    check_changed(&server, copy, &format!("{segment}: the content of another segment"));
    let manifest = "shard-0001/manifest.log";
    check_changed(&server, |dir| remove(&dir.join(manifest)), &format!("{manifest}: it is missing"));
    // An empty log is what a start makes: only what names its series shows that it is not the one that was there.
    let empty = |dir: &Path| std::fs::write(dir.join("shard-0001/series.log"), "").expect("the file is ours");
    check_changed(&server, empty, "is not in the series log");
    let gone = |dir: &Path| std::fs::remove_dir_all(dir.join("shard-0001")).expect("the folder is ours");
    check_changed(&server, gone, "shard-0001: the folder of a shard is missing");
    let moved = |dir: &Path| std::fs::rename(dir.join("shard-0001"), dir.join("shard-0002")).expect("they are ours");
    check_changed(&server, moved, "shard-0002: a folder beyond the 2 shards of FORMAT");
    let no_catalog = |dir: &Path| {
        let entries = std::fs::read_dir(dir).expect("it is there").flatten();
        let is_catalog = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("catalog-");
        entries.filter(is_catalog).for_each(|entry| remove(&entry.path()));
    };
    check_changed(&server, no_catalog, "catalog-*: there is data but no catalog");
}

#[test]
fn inspect_adds_up_what_was_written() {
    let mut server = full();
    let inventory = document(&tool(&server, &["inspect", "--json"]));
    let logs = inventory["logs"].as_array().cloned().unwrap_or_default();
    assert_eq!(logs.iter().filter_map(|log| log["points"].as_u64()).sum::<u64>(), 50);
    server.restart();
    assert!(server.stop().success());
    let output = tool(&server, &["inspect", "--json"]);
    assert_eq!(code(&output), 0);
    let inventory = document(&output);
    assert_eq!((&inventory["shards"], &inventory["unreadable"]), (&json!(2), &json!([])));
    let (d, e) = (&inventory["databases"][0], &inventory["databases"][1]);
    assert_eq!((&d["name"], &d["series"], &d["measurements"]), (&json!("d"), &json!(4), &json!(1)));
    assert_eq!((&e["name"], &e["series"], &e["measurements"]), (&json!("e"), &json!(1), &json!(1)));
    let policy = &d["policies"][0];
    assert_eq!((&policy["name"], &policy["groups"][0]["id"]), (&json!("autogen"), &json!(1)));
    assert_eq!(policy["groups"][0]["segments"], d["segments"]);
    let usage = &d["segments"];
    assert_eq!((&usage["rows"], &usage["series"]), (&json!(70), &json!(4)));
    assert_eq!((&usage["first_time"], &usage["last_time"]), (&json!(1), &json!(140)));
    let sum = |usage: &Value, of: &str, name: &str| {
        let columns = usage["columns"].as_array().cloned().unwrap_or_default();
        let columns = columns.iter().filter(|column| of.is_empty() || column["type"] == of);
        columns.filter_map(|column| column[name].as_u64()).sum::<u64>()
    };
    for field_type in ["time", "float", "integer", "string", "boolean"] {
        assert_eq!(sum(usage, field_type, "values"), 70, "{field_type}: {usage}");
    }
    for usage in [usage, &e["segments"], &inventory["segments"]] {
        let parts = ["presence_bytes", "block_overhead_bytes", "index_bytes", "padding_bytes", "unreadable_bytes"];
        let beside: u64 = parts.iter().filter_map(|part| usage[*part].as_u64()).sum();
        assert_eq!(usage["bytes"].as_u64(), Some(sum(usage, "", "bytes") + beside), "{usage}");
    }
    assert_eq!(inventory["segments"]["rows"], json!(90));
    let files: u64 = server.segment_paths().iter().map(|path| path.metadata().map_or(0, |file| file.len())).sum();
    assert_eq!(inventory["segments"]["bytes"].as_u64(), Some(files));
    assert_eq!(inventory["manifests"]["tombstones"], json!(1));
    assert_eq!(inventory["series_logs"]["records"], json!(4));
    let text = stdout(&tool(&server, &["inspect"]));
    for words in [" d          autogen   all ", " integer ", "Series logs: 4 records"] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn what_was_packed_when_cold_is_sound_and_named() {
    let mut server = Server::start_configured("[data]\ncompact-full-write-cold-duration = \"0s\"\n");
    server.create("d");
    // Five kinds of steps, for which packed bits have room for seven.
    let (mut prng, mut level) = (Prng::from_seed(1), 5000);
    let mut line = |point: u64| {
        level += prng.below(5) as i64 - 2;
        format!("m v={} {}", level as f64 / 100.0, point * 1000)
    };
    let lines: Vec<String> = (0..2000).map(&mut line).collect();
    assert_eq!(server.write("d", &lines.join("\n")).status, 204);
    let written = server.rows("d", "SELECT count(v), sum(v), last(v) FROM m");
    assert!(server.stop().success());
    let before = server.segment_paths();
    server.restart();
    wait_until("the segment is written anew", || {
        let now = server.segment_paths();
        now.len() == 1 && now != before
    });
    assert_eq!(server.rows("d", "SELECT count(v), sum(v), last(v) FROM m"), written);
    assert!(server.stop().success());
    let output = tool(&server, &["verify"]);
    assert_eq!(code(&output), 0, "{output:?}");
    let inventory = document(&tool(&server, &["inspect", "--json"]));
    let columns = inventory["segments"]["columns"].as_array().cloned().unwrap_or_default();
    let codecs: Vec<&str> = columns.iter().filter_map(|column| column["codec"].as_str()).collect();
    assert_eq!(codecs, ["decimal-dense", "even"]);
}

#[test]
fn inspect_lists_the_blocks_of_a_segment_and_goes_on_behind_a_damaged_one() {
    let server = full();
    let segment = file_in(&server, "shard-0001", ".seg");
    let list = |json: bool| {
        let arguments = if json {
            &["inspect", "--json", "--segment", &*segment][..]
        } else {
            &["inspect", "--segment", &*segment]
        };
        tool(&server, arguments)
    };
    let blocks = document(&list(true)).as_array().cloned().unwrap_or_default();
    assert!(blocks.len() > 1, "{blocks:?}");
    assert_eq!((&blocks[0]["offset"], &blocks[1]["offset"]), (&json!(0), &blocks[0]["bytes"]));
    assert_eq!(blocks[0]["columns"][0]["measurement"], json!("m"));
    assert_eq!(stdout(&list(false)).lines().count(), 1 + blocks.len());
    with_flipped(&dir_of(&server, &segment), 10, || {
        let output = list(true);
        assert_eq!((code(&output), &document(&output)[0]["problem"]), (1, &json!("block checksum")));
        assert_eq!(document(&output)[1], blocks[1]);
        let inventory = document(&tool(&server, &["inspect", "--json"]));
        assert_eq!(inventory["unreadable"][0]["what"], json!("block checksum"));
    });
    assert_eq!(code(&tool(&server, &["inspect", "--segment", "nowhere.seg"])), 2);
}
