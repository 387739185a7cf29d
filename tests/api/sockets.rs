//! The other ways in: HTTP on a socket in the file system, and line protocol in datagrams.

use crate::harness::Server;
use crate::process::free_address;
use crate::process::pause;
use crate::wire::read_answer;
use serde_json::Value;
use serde_json::json;
use std::io::BufReader;
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use std::time::Instant;

/// Longest wait for something that takes no time worth mentioning.
const WAIT_MAX: Duration = Duration::from_secs(30);

#[test]
fn a_unix_socket_serves_http_with_its_permissions_and_goes_at_the_stop() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/influxdb.sock");
    let text = format!(
        "[monitor]\nstore-enabled = false\n[http]\nunix-socket-enabled = true\nbind-socket = \"{}\"\n\
         unix-socket-permissions = \"0600\"\n",
        path.display()
    );
    let mut server = Server::start_configured(&text);
    server.create("d");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut stream = BufReader::new(UnixStream::connect(&path).unwrap());
    for round in 0..3 {
        let line = format!("m f={round} {round}");
        let head = format!("POST /write?db=d HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{line}", line.len());
        stream.get_mut().write_all(head.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut stream, "POST").unwrap().status, 204);
    }
    assert_eq!(server.rows("d", "SELECT count(f) FROM m"), json!([["1970-01-01T00:00:00Z", 3]]));
    drop(stream);
    // A socket that a killed server has left is replaced.
    server.kill();
    assert!(path.exists());
    server.restart();
    UnixStream::connect(&path).unwrap();
    server.stop();
    assert!(!path.exists());
}

/// A server that takes datagrams in seconds, and who sends them.
fn receiving(lines: &str) -> (Server, UdpSocket) {
    let address = free_address();
    let text = format!(
        "[monitor]\nstore-enabled = false\n[[udp]]\nenabled = true\nbind-address = \"{address}\"\n\
         database = \"packets\"\nprecision = \"s\"\n{lines}"
    );
    let server = Server::start_configured(&text);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.connect(address).unwrap();
    (server, sender)
}

/// Asks until the answer is this.
fn wait_for(ask: impl Fn() -> Value, expected: &Value) {
    let until = Instant::now() + WAIT_MAX;
    let mut answer = ask();
    while answer != *expected {
        assert!(Instant::now() < until, "{answer} instead of {expected}");
        pause();
        answer = ask();
    }
}

/// One of the listener's counters.
fn counter(server: &Server, name: &str) -> Value {
    let statistics = server.query("", "SHOW STATS FOR 'udp'");
    let series = &statistics["results"][0]["series"][0];
    let place = series["columns"].as_array().unwrap().iter().position(|column| column == name).unwrap();
    series["values"][0][place].clone()
}

#[test]
fn datagrams_are_written_when_their_time_has_come_and_a_bad_line_costs_its_datagram_only() {
    let (server, sender) = receiving("batch-timeout = \"50ms\"\n");
    sender.send(b"m f=1 1\nm f=2 2").unwrap();
    sender.send(b"m f=3 3\nbad\nm f=4 4").unwrap();
    sender.send(b"m f=5 5\n").unwrap();
    let rows = json!([["1970-01-01T00:00:01Z", 1], ["1970-01-01T00:00:02Z", 2], ["1970-01-01T00:00:05Z", 5]]);
    wait_for(|| server.rows("packets", "SELECT f FROM m"), &rows);
    for (name, count) in [("batchesTxFail", 0), ("pointsParseFail", 1), ("pointsRx", 3), ("pointsTx", 3)] {
        wait_for(|| counter(&server, name), &json!(count));
    }
}

#[test]
fn datagrams_are_written_when_a_batch_is_full_and_at_the_stop() {
    let (mut server, sender) = receiving("batch-size = 2\nbatch-timeout = \"1h\"\n");
    for second in 1..4 {
        sender.send(format!("m f={second} {second}").as_bytes()).unwrap();
    }
    let rows = json!([["1970-01-01T00:00:01Z", 1], ["1970-01-01T00:00:02Z", 2]]);
    wait_for(|| server.rows("packets", "SELECT f FROM m"), &rows);
    wait_for(|| counter(&server, "pointsRx"), &json!(3));
    server.stop();
    server.restart();
    assert_eq!(server.rows("packets", "SELECT count(f) FROM m"), json!([["1970-01-01T00:00:00Z", 3]]));
}
