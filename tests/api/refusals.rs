//! Requests that are wrong, odd or hostile: each gets its answer and the server goes on.

use crate::harness::Server;
use serde_json::json;

/// Status and text that `bytes` get.
fn check(server: &Server, bytes: &str, starts: &str) {
    let answer = server.raw(bytes.as_bytes());
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with(starts), "{bytes:?} got {answer:?}");
}

#[test]
fn the_minimal_curl_checks_hold() {
    let server = Server::start();
    server.create("x");
    let status = |method: &str, target: &str| server.request(method, target, &[], None).status;
    assert_eq!(status("POST", "/write?db=x"), 204);
    let refused = server.request("GET", "/write", &[], None);
    assert_eq!((refused.status, refused.header("allow").is_some()), (405, true));
    let options = server.request("OPTIONS", "/write", &[], None);
    assert_eq!((options.status, options.body.len()), (200, 0));
    let wrong = server.request("GET", "/query?q=SELECT+*", &[], None);
    assert_eq!(wrong.status, 400);
    assert!(String::from_utf8_lossy(&wrong.body).contains("found EOF, expected FROM at line 1, char 9"));
    assert_eq!(status("HEAD", "/query"), 405);
    let failing = server.request("GET", "/query?db=nope&q=SELECT+v+FROM+m", &[("Accept", "text/csv")], None);
    assert_eq!((failing.status, failing.body.len()), (200, 0));
    assert_eq!(status("GET", "/nowhere"), 404);
    assert_eq!(status("GET", "/ping"), 204);
}

#[test]
fn good_lines_beside_bad_ones_are_stored() {
    let server = Server::start();
    server.create("x");
    let answer = server.write("x", "m f=1 1\nm f=\nm f=3 3\n");
    assert_eq!(answer.status, 400);
    assert!(String::from_utf8_lossy(&answer.body).contains("partial write"), "{answer:?}");
    assert_eq!(server.rows("x", "SELECT count(f) FROM m"), json!([["1970-01-01T00:00:00Z", 2]]));
}

#[test]
fn bytes_that_are_not_http_get_400_or_a_close() {
    let server = Server::start();
    check(&server, "\r\n\r\n\r\n", "");
    check(&server, "NONSENSE\r\n\r\n", "HTTP/1.1 400");
    check(&server, "GET / HTTP/9.9\r\n\r\n", "HTTP/1.1 ");
    check(&server, "GET /ping HTTP/1.1\r\nno colon here\r\n\r\n", "HTTP/1.1 400");
    check(&server, "POST /write?db=x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400");
    check(
        &server,
        "POST /write?db=x HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "HTTP/1.1 400",
    );
    check(&server, "POST /write?db=x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 ");
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(4 << 20));
    let _ = std::panic::catch_unwind(|| server.raw(long.as_bytes()));
    assert_eq!(server.request("GET", "/ping", &[], None).status, 204);
}

#[test]
fn a_cut_off_gzip_body_is_refused() {
    let server = Server::start();
    server.create("x");
    let answer =
        server.request("POST", "/write?db=x", &[("Content-Encoding", "gzip")], Some(b"\x1f\x8b\x08\x00 not gzip"));
    assert_eq!(answer.status, 400);
    assert_eq!(server.request("GET", "/ping", &[], None).status, 204);
}

#[test]
fn deep_and_long_statements_are_answered() {
    let server = Server::start();
    server.create("x");
    for text in [
        format!("SELECT {}f{} FROM m", "(".repeat(100_000), ")".repeat(100_000)),
        format!("SELECT f FROM {}m{}", "(SELECT f FROM ".repeat(10_000), ")".repeat(10_000)),
        format!("SELECT f FROM m WHERE {} f > 1", "f > 1 AND ".repeat(50_000)),
        format!("SELECT f FROM m WHERE f =~ /{}/", "(a*)*".repeat(10_000)),
    ] {
        let form: String = form_urlencoded::Serializer::new(String::new()).append_pair("q", &text).finish();
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        let answer = server.request("POST", "/query?db=x", &headers, Some(form.as_bytes()));
        assert!([200, 400, 413].contains(&answer.status), "{}", answer.status);
        assert_eq!(server.request("GET", "/ping", &[], None).status, 204);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start();
    let bytes = "GET /ping HTTP/1.1\r\nHost: a\r\n\r\n\
                 GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n\
                 GET /ping HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = String::from_utf8_lossy(&server.raw(bytes.as_bytes())).into_owned();
    let statuses: Vec<&str> = answer.match_indices("HTTP/1.1 ").map(|(at, _)| &answer[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["204", "404", "204"]);
}

#[test]
fn a_refused_line_is_quoted_byte_for_byte_and_cannot_end_the_header() {
    let server = Server::start();
    server.create("x");
    let body = b"m\xff\xc3,t=\xe9 v=\r1\xe2\x82";
    let head = format!("POST /write?db=x HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
    let answer = server.raw(&[head.as_bytes(), body].concat());
    let holds = |text: &[u8]| answer.windows(text.len()).any(|window| window == text);
    let shown = String::from_utf8_lossy(&answer);
    assert!(
        holds(b"X-Influxdb-Error: unable to parse 'm\xff\xc3,t=\xe9 v= 1\xe2\x82': invalid boolean\r\n"),
        "{shown}"
    );
    let document = br#"{"error":"unable to parse 'm\ufffd\ufffd,t=\ufffd v=\r1\ufffd\ufffd': invalid boolean"}"#;
    assert!(holds(document), "{shown}");
}

#[test]
fn a_new_field_with_two_types_is_refused_with_its_whole_shard_group() {
    let server = Server::start();
    server.create("x");
    let answer = server.write("x", "m,t=a v=1 1\nother v=1 1\nbad\nm,t=b v=2i 2\n");
    assert_eq!((answer.status, answer.header("x-influxdb-error")), (400, Some("field type conflict")));
    assert_eq!(server.query("x", "SELECT * FROM m, other"), json!({"results": [{"statement_id": 0}]}));
    assert_eq!(server.write("x", "m v=3 1\n").status, 204);
    assert_eq!(server.rows("x", "SELECT v FROM m"), json!([["1970-01-01T00:00:00.000000001Z", 3]]));
}
