//! Start, stop and start again: what an operator does.

use crate::harness::Server;
use serde_json::json;
use std::net::TcpListener;

#[test]
fn what_is_written_can_be_queried() {
    let server = Server::start();
    server.create("db");
    assert_eq!(server.write("db", "cpu,host=a v=1.5,n=2i,s=\"x\",b=true 10\ncpu,host=b v=2 20\n").status, 204);
    assert_eq!(
        server.rows("db", "SELECT v, n, s, b FROM cpu WHERE host = 'a'"),
        json!([["1970-01-01T00:00:00.00000001Z", 1.5, 2, "x", true]])
    );
    assert_eq!(server.rows("db", "SELECT sum(v) FROM cpu"), json!([["1970-01-01T00:00:00Z", 3.5]]));
}

#[test]
fn a_stopped_server_ends_with_zero_and_keeps_everything() {
    let mut server = Server::start();
    server.create("db");
    assert_eq!(server.write("db", "m f=1 1\nm f=2 2\n").status, 204);
    assert_eq!(server.stop().code(), Some(0));
    server.restart();
    assert_eq!(server.rows("db", "SELECT count(f) FROM m"), json!([["1970-01-01T00:00:00Z", 2]]));
}

#[test]
fn a_cpu_profile_and_the_process_id_are_written_where_asked() {
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).display().to_string();
    let (profile, pidfile) = (path("cpu"), path("pid"));
    let mut server = Server::start_with(&["--cores", "1", "-cpuprofile", &profile, "-pidfile", &pidfile]);
    assert!(std::fs::read_to_string(&pidfile).unwrap().parse::<u32>().is_ok());
    assert_eq!(server.stop().code(), Some(0));
    assert!(!std::fs::exists(&pidfile).unwrap());
    // A gzip file, as Go's tools read it.
    assert!(std::fs::read(&profile).unwrap().starts_with(&[0x1f, 0x8b]));
}

#[test]
fn the_core_count_may_change_between_starts() {
    let mut server = Server::start_with(&["--cores", "1"]);
    server.create("db");
    let mut lines = String::new();
    for series in 0..100 {
        lines.push_str(&format!("m,series={series} f={series} 1\n"));
    }
    assert_eq!(server.write("db", &lines).status, 204);
    for cores in ["2", "1", "2"] {
        assert_eq!(server.stop().code(), Some(0));
        server.restart_with(&["--cores", cores]);
        assert_eq!(server.rows("db", "SELECT sum(f) FROM m"), json!([["1970-01-01T00:00:00Z", 4950]]));
    }
}

#[test]
fn a_taken_port_is_named() {
    let mut server = Server::prepare(&["--cores", "1"]);
    let taken = TcpListener::bind(server.address).expect("the address was free");
    let text = server.try_restart().expect_err("the port is taken");
    assert!(text.contains(&format!("{} is already in use", server.address)), "{text}");
    drop(taken);
    server.restart();
}

#[test]
fn a_directory_serves_one_process_at_a_time() {
    let first = Server::start();
    let mut second = Server::prepare(&["--cores", "1", "--data", &first.data_path().display().to_string()]);
    let text = second.try_restart().expect_err("the directory is in use");
    assert!(text.contains("is in use by another process"), "{text}");
}

#[test]
fn a_newer_format_is_left_alone() {
    let mut server = Server::start();
    assert_eq!(server.stop().code(), Some(0));
    let path = server.data_path().join("FORMAT");
    let newer = "millrace-format = 999\nshards = 4\n";
    std::fs::write(&path, newer).expect("the directory is ours");
    let text = server.try_restart().expect_err("the format is newer");
    assert!(text.contains("999"), "{text}");
    assert_eq!(std::fs::read_to_string(&path).expect("the file is still there"), newer);
}

#[test]
fn a_stock_configuration_file_is_understood() {
    let server = Server::start_configured("[http]\n  max-row-limit = 2\n[monitor]\n  store-enabled = false\n");
    server.create("db");
    assert_eq!(server.write("db", "m f=1 1\nm f=2 2\nm f=3 3\n").status, 204);
    assert_eq!(server.rows("db", "SELECT f FROM m").as_array().map(Vec::len), Some(2));
}
