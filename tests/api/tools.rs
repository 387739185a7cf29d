//! `verify` and `inspect`: what the server leaves is sound, what was changed since is found, whichever byte it is.

use crate::harness::Server;
use crate::process::binary;
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
    std::fs::write(dir.path().join("FORMAT"), "millrace-format = 2\nwhatever = comes\n")
        .expect("the directory is ours");
    let output = tool_at(dir.path(), &["verify"]);
    assert_eq!(code(&output), 2);
    assert!(String::from_utf8_lossy(&output.stderr).contains("has format 2"), "{output:?}");
}

fn report(dir: &Path) -> Result<Report, String> {
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
    let files = Directory::open(&dir).and_then(|directory| Ok(directory.files().expect("it can be listed")));
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
