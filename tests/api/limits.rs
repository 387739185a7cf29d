//! Limits on queries and series, and who ends a query: texts as recorded from InfluxDB 1.8.10.

use crate::harness::Server;
use crate::harness::query_target;
use crate::process::pause;
use crate::wire::Answer;
use crate::wire::connect;
use crate::wire::read_answer;
use serde_json::Value;
use serde_json::json;
use std::io::BufReader;
use std::io::Write;
use std::net::TcpStream;

/// Looks at what another connection is about to cause.
const ATTEMPTS_MAX: usize = 1000;

/// A server with these lines in its configuration.
fn configured(lines: &str) -> Server {
    let server = Server::start_configured(&format!("[monitor]\nstore-enabled = false\n{lines}"));
    server.create("d");
    server
}

fn refused(answer: &Answer, text: &str) {
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status, body), (400, json!({ "error": text })));
}

/// A query whose rows nobody takes yet: it runs until they are read.
fn hanging(server: &Server, text: &str) -> BufReader<TcpStream> {
    let mut stream = connect(server.address).unwrap();
    let target = query_target("d", text);
    let request = format!("GET {target}&chunked=true HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.get_mut().write_all(request.as_bytes()).unwrap();
    stream
}

/// The number of the query with this text, once it is listed.
fn listed(server: &Server, text: &str) -> Value {
    for _ in 0..ATTEMPTS_MAX {
        let rows = server.rows("", "SHOW QUERIES");
        let found = rows.as_array().unwrap().iter().find(|row| row[1] == text).cloned();
        if let Some(row) = found {
            assert_eq!((&row[2], &row[4]), (&json!("d"), &json!("running")));
            return row[0].clone();
        }
        pause();
    }
    panic!("{text} is not listed");
}

/// More rows than sockets hold.
fn many_rows(server: &Server) {
    for part in 0..20 {
        let lines: String =
            (0..10_000).map(|row| format!("m text=\"{row:0>100}\" {}\n", part * 10_000 + row)).collect();
        assert_eq!(server.write("d", &lines).status, 204);
    }
}

#[test]
fn a_query_is_listed_killed_and_told_why_it_ended() {
    let server = configured("");
    many_rows(&server);
    let mut stream = hanging(&server, "select text from m; SHOW databases");
    let id = listed(&server, "SELECT text FROM m;\nSHOW DATABASES");
    let kill = format!("KILL QUERY {id}");
    assert_eq!(server.query("", &kill), json!({ "results": [{ "statement_id": 0 }] }));
    let answer = read_answer(&mut stream, "GET").unwrap();
    let body = String::from_utf8(answer.body).unwrap();
    let last: Vec<&str> = body.lines().rev().take(2).collect();
    assert_eq!(last[1], r#"{"results":[{"statement_id":0,"error":"query interrupted"}]}"#);
    assert_eq!(last[0], r#"{"results":[{"statement_id":0,"error":"not executed"}]}"#);
    let gone = server.query("", &kill);
    assert_eq!(gone.pointer("/results/0/error"), Some(&json!(format!("no such query id: {id}"))));
}

#[test]
fn a_fit_that_would_take_minutes_lets_others_run_and_can_be_killed() {
    let mut server = configured("");
    server.restart_with(&["--cores", "1"]);
    let lines: String =
        (0..100_000).map(|row| format!("m v={} {}\n", row * 7919 % 1000, row * 1_000_000_000_i64)).collect();
    assert_eq!(server.write("d", &lines).status, 204);
    let text =
        "SELECT holt_winters(mean(v), 10, 4) FROM d.autogen.m WHERE time >= 0s AND time < 100000s GROUP BY time(1s)";
    let mut stream = hanging(&server, text);
    let id = listed(&server, text);
    server.query("", &format!("KILL QUERY {id}"));
    let answer = read_answer(&mut stream, "GET").unwrap();
    let body = String::from_utf8(answer.body).unwrap();
    assert_eq!(body.trim_end(), r#"{"results":[{"statement_id":0,"error":"query interrupted"}]}"#);
}

#[test]
fn windows_without_end_that_a_function_collects_are_stopped_by_the_budget() {
    let server = configured("[millrace]\nquery-size = 10000000\n");
    assert_eq!(server.write("d", "m v=1 1\nm v=2 2").status, 204);
    let text =
        "SELECT holt_winters(max(v), 3, 2) FROM m WHERE time >= 0 AND time < '2200-01-01' GROUP BY time(1ms) fill(0)";
    let answer = server.query("d", text);
    let error = answer.pointer("/results/0/error").and_then(Value::as_str).unwrap_or_default();
    assert!(error.starts_with("query needs more than its 10000000 bytes of memory"), "{answer}");
}

#[test]
fn too_many_queries_are_refused_and_their_end_makes_room() {
    let server = configured("[coordinator]\nmax-concurrent-queries = 1\n");
    many_rows(&server);
    let mut stream = hanging(&server, "SELECT text FROM m");
    let text = "max-concurrent-queries limit exceeded(1, 1)";
    let refused = json!({ "results": [{ "statement_id": 0, "error": text }] });
    let is_refused = || {
        pause();
        server.query("", "SHOW DATABASES") == refused
    };
    assert!((0..ATTEMPTS_MAX).any(|_| is_refused()));
    read_answer(&mut stream, "GET").unwrap();
    assert!((0..ATTEMPTS_MAX).any(|_| !is_refused()));
}

#[test]
fn a_query_out_of_time_is_told_so_and_a_slow_one_is_logged() {
    let mut server = configured("[coordinator]\nquery-timeout = \"1ms\"\nlog-queries-after = \"1ns\"\n");
    server.write("d", "m f=1 1");
    let mut stream = hanging(&server, "SELECT count(f) FROM m WHERE time > 0 AND time < 1000000000 GROUP BY time(1ns)");
    let answer = read_answer(&mut stream, "GET").unwrap();
    let body = String::from_utf8(answer.body).unwrap();
    assert!(body.ends_with("\"error\":\"query-timeout limit exceeded\"}]}\n"), "{body:.300}");
    let said = server.said();
    assert!(said.contains("Detected slow query: SELECT count(f) FROM m"), "{said}");
}

#[test]
fn queries_share_a_budget_of_memory() {
    let server = configured("[millrace]\nquery-total-size = 1000000\n");
    many_rows(&server);
    let answer = server.query("d", "SELECT text FROM (SELECT text FROM m)");
    let text = "queries need more than their 1000000 bytes of memory together; try again when fewer run";
    assert_eq!(answer.pointer("/results/0/error"), Some(&json!(text)));
    // What it had taken is back.
    assert_eq!(server.rows("d", "SELECT count(text) FROM m"), json!([["1970-01-01T00:00:00Z", 200_000]]));
}

#[test]
fn new_series_over_the_limit_are_refused_until_others_are_deleted_also_after_a_restart() {
    let mut server = configured("[data]\nmax-series-per-database = 12\n");
    let text = |dropped: u64| format!("partial write: max-series-per-database limit exceeded: (12) dropped={dropped}");
    let series = |from: usize, to: usize| (from..to).map(|i| format!("m,h={i} v=1 1\n")).collect::<String>();
    refused(&server.write("d", &series(0, 13)), &text(13));
    assert_eq!(server.query("d", "SHOW SERIES"), json!({ "results": [{ "statement_id": 0 }] }));
    assert_eq!(server.write("d", &series(0, 12)).status, 204);
    refused(&server.write("d", "m,h=12 v=1 1\nm,h=3 v=2 2\n"), &text(1));
    server.kill();
    server.restart();
    refused(&server.write("d", "m,h=12 v=1 1\nm,h=3 v=3 3\n"), &text(1));
    let rows = json!([
        ["1970-01-01T00:00:00.000000001Z", 1],
        ["1970-01-01T00:00:00.000000002Z", 2],
        ["1970-01-01T00:00:00.000000003Z", 3]
    ]);
    assert_eq!(server.rows("d", "SELECT v FROM m WHERE h = '3'"), rows);
    server.query("d", "DROP SERIES FROM m WHERE h = '5'");
    assert_eq!(server.write("d", "m,h=12 v=1 1").status, 204);
    // Cores that knew its id ask again.
    refused(&server.write("d", "m,h=5 v=1 1"), &text(1));
    server.query("d", "DELETE FROM m WHERE h = '6'");
    assert_eq!(server.write("d", "m,h=5 v=1 1").status, 204);
    assert_eq!(server.rows("d", "SHOW SERIES CARDINALITY"), json!([[12]]));
}

#[test]
fn tag_values_over_the_limit_are_refused_as_stock_refuses_them() {
    let server = configured("[data]\nmax-values-per-tag = 5\n");
    assert_eq!(server.write("d", "m,t=a v=1 1\nm,t=b v=1 1\nm,t=c v=1 1\nm,t=d v=1 1").status, 204);
    assert_eq!(server.write("d", "m,t=e v=1 1\nm,t=f v=1 1").status, 204);
    let text =
        "partial write: max-values-per-tag limit exceeded (6/5): measurement=\"m\" tag=\"t\" value=\"g\" dropped=3";
    refused(&server.write("d", "m,t=g v=1 1\nm,t=h v=1 2\nm,t=h v=1 3\nm,t=a v=7 7"), text);
    assert_eq!(server.rows("d", "SELECT v FROM m WHERE time = 7"), json!([["1970-01-01T00:00:00.000000007Z", 7]]));
    assert_eq!(server.write("d", "m,t=a,x=1 v=1 1").status, 204);
    server.query("d", "DELETE FROM m WHERE t = 'b' OR t = 'c'");
    assert_eq!(server.write("d", "m,t=g v=1 1").status, 204);
}
