//! What was acknowledged is there after kill -9, whatever was going on.

use crate::harness::Server;
use crate::harness::write;
use crate::tools;
use crate::wire::Client;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

/// Writers at the same time, each with series of its own.
const WRITER_COUNT: usize = 4;
/// Points in each request: several, so that a request reaches several shards.
const BATCH_POINTS: u64 = 20;

/// Writes to the series of `writer` until the server is gone, from point `first` on; returns how many points were
/// acknowledged, counted from 0.
fn write_until_killed(address: SocketAddr, writer: usize, first: u64) -> u64 {
    let mut client = Client::new(address);
    let mut acknowledged = first;
    loop {
        let mut lines = String::new();
        for point in acknowledged..acknowledged + BATCH_POINTS {
            let series = point % 7;
            lines.push_str(&format!("m,writer={writer},series={series} f={point}i {}\n", point + 1));
        }
        match write(&mut client, "db", &lines) {
            Ok(answer) if answer.status == 204 => acknowledged += BATCH_POINTS,
            // Overload is allowed to refuse; what is refused is sent again.
            Ok(answer) if answer.status == 503 => (),
            Ok(answer) => panic!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)),
            Err(_) => return acknowledged,
        }
    }
}

/// The points of one writer must be all from 0 to at least `acknowledged`, each with its own value, in order.
fn verify(server: &Server, writer: usize, acknowledged: u64) {
    let rows = server.rows("db", &format!("SELECT f FROM m WHERE writer = '{writer}'"));
    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    let present: Vec<u64> = rows.iter().filter_map(|row| row.get(1).and_then(Value::as_u64)).collect();
    assert!(present.is_sorted(), "writer {writer}: rows in the order of time carry their own values");
    let lost: Vec<u64> = (0..acknowledged).filter(|point| present.binary_search(point).is_err()).collect();
    assert!(lost.is_empty(), "writer {writer} lost {lost:?} of {acknowledged}");
}

#[test]
fn ten_kills_under_writers_lose_nothing_acknowledged() {
    let mut server = Server::start();
    server.create("db");
    let mut acknowledged = [0; WRITER_COUNT];
    for cycle in 0..10_u64 {
        let address = server.address;
        acknowledged = std::thread::scope(|scope| {
            let writers: Vec<_> = acknowledged
                .iter()
                .enumerate()
                .map(|(writer, &first)| scope.spawn(move || write_until_killed(address, writer, first)))
                .collect();
            watch(address, Duration::from_millis(100 + 37 * cycle));
            server.kill();
            let report = tools::report(&server.data_path()).expect("a server that was killed holds no lock");
            assert!(report.sound, "{report:#?}");
            let ended: Vec<u64> = writers.into_iter().map(|writer| writer.join().expect("the writer ends")).collect();
            ended.try_into().expect("as many as were started")
        });
        server.restart();
        for (writer, &count) in acknowledged.iter().enumerate() {
            verify(&server, writer, count);
        }
    }
    assert!(acknowledged.iter().all(|&count| count > 0), "every writer got something acknowledged: {acknowledged:?}");
}

/// Keeps a reader on the server for that long, so that queries too are cut off by the kill.
fn watch(address: SocketAddr, length: Duration) {
    let end = Instant::now() + length;
    let mut client = Client::new(address);
    while Instant::now() < end {
        let target = crate::harness::query_target("db", "SELECT count(f) FROM m GROUP BY writer");
        let answer = client.request("GET", &target, &[], None).expect("the server is up");
        assert_eq!(answer.status, 200);
    }
}

#[test]
fn drops_and_definitions_survive_a_kill_too() {
    let mut server = Server::start();
    server.create("db");
    server.create("gone");
    server.query("", "CREATE RETENTION POLICY two ON db DURATION 2d REPLICATION 1");
    assert_eq!(server.write("db", "m,h=b f=2 2\n").status, 204);
    assert_eq!(server.write("gone", "m,h=a f=1 1\n").status, 204);
    server.query("", "DROP DATABASE gone");
    server.kill();
    server.restart();
    server.create("gone");
    assert_eq!(server.rows("gone", "SELECT f FROM m"), serde_json::Value::Null);
    assert_eq!(server.rows("db", "SELECT f FROM m"), serde_json::json!([["1970-01-01T00:00:00.000000002Z", 2]]));
    let policies = server.rows("db", "SHOW RETENTION POLICIES");
    assert_eq!(policies.as_array().map(Vec::len), Some(2), "{policies}");
}
