//! The HTTP edge over a real loopback socket, on services that only remember what they were given.

mod fake;

use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;
use glommio::LocalExecutorBuilder;
use glommio::Placement;
use glommio::net::TcpListener;

use crate::http::Options;
use crate::http::edge::Edge;
use crate::http::listen;
use crate::http::listen::Door;
use crate::http::listen::Slots;
use crate::http::tests::fake::Fake;
use crate::http::throttle::Bounds;

/// What the server was left with.
struct Outcome {
    stored: Vec<(String, Vec<u8>)>,
    precision_ns: Vec<i64>,
    dropped: usize,
}

/// Runs `client` against a server with these settings; when it returns, the server stops and must come to an end.
fn serve(options: Options, needs_login: bool, client: impl FnOnce(SocketAddr)) -> Outcome {
    let (address_sender, address) = std::sync::mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = LocalExecutorBuilder::new(Placement::Unbound)
        .spawn(move || async move {
            let fake = Fake { needs_login, ..Fake::default() };
            let edge = Rc::new(Edge::new(options, fake.clone(), [7; 6], 0));
            let door = Door { listener: TcpListener::bind("127.0.0.1:0").unwrap(), is_tls: false };
            address_sender.send(door.listener.local_addr().unwrap()).unwrap();
            let slots = Slots::new(1, 3);
            let accepting = async {
                let _ = stopped.await;
            };
            listen::accept(std::slice::from_ref(&door), &slots, accepting, async |accepted| {
                accepted.serve(edge.clone());
                Ok(())
            })
            .await;
            edge.stop().set();
            edge.stop().drained().await;
            let stored = fake.stored.borrow();
            let dropped = *fake.dropped.borrow();
            Outcome {
                stored: stored.iter().map(|(params, body)| (params.database.clone(), body.clone())).collect(),
                precision_ns: stored.iter().map(|(params, _)| params.precision_ns).collect(),
                dropped,
            }
        })
        .unwrap();
    client(address.recv().unwrap());
    stop.send(()).unwrap();
    server.join().unwrap()
}

fn quiet() -> Options {
    Options { linger: Duration::from_millis(50), ..Options::default() }
}

/// Sends `request`, ends the stream, and returns everything that comes back.
fn exchange(address: SocketAddr, request: impl AsRef<[u8]>) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_ref()).unwrap();
    read_to_end(stream)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn read_to_end(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads until `count` bytes or the marker have come.
fn read_until(stream: &mut TcpStream, marker: &str) -> String {
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(marker.as_bytes()) {
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
}

fn post(target: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn chunked(data: &[u8], step: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for part in data.chunks(step) {
        crate::http::wire::response::chunk(part, &mut out);
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// Body of an answer in chunks.
fn unchunk(answer: &str) -> String {
    let (_, mut rest) = answer.split_once("\r\n\r\n").unwrap();
    let mut body = String::new();
    loop {
        let (size, behind) = rest.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return body;
        }
        body.push_str(&behind[..size]);
        rest = &behind[size + 2..];
    }
}

/// The answer has this status line and contains all these lines.
#[track_caller]
fn check(answer: &str, status: &str, lines: &[&str]) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
    for line in lines {
        assert!(answer.split("\r\n").any(|found| found == *line), "no {line:?} in\n{answer}");
    }
}

#[test]
fn ping_answers_with_stocks_headers() {
    serve(quiet(), false, |address| {
        let answer = exchange(address, get("/ping"));
        check(
            &answer,
            "204 No Content",
            &[
                "Content-Type: application/json",
                "X-Influxdb-Version: 1.8.10",
                "X-Influxdb-Build: OSS",
                "Date: Fri, 14 Jul 2017 02:40:00 GMT",
                "Connection: close",
            ],
        );
        assert!(!answer.contains("Content-Length"));
        assert!(exchange(address, get("/ping?verbose=1")).ends_with("\r\n\r\n{\"version\":\"1.8.10\"}"));
        let head = "HEAD /ping?verbose=1 HTTP/1.1\r\nHost: h\r\nX-Request-Id: abc\r\nConnection: close\r\n\r\n";
        let answer = exchange(address, head);
        check(&answer, "200 OK", &["Content-Length: 20", "Request-Id: abc", "X-Request-Id: abc"]);
        assert!(answer.ends_with("\r\n\r\n"));
        check(&exchange(address, get("/health")), "200 OK", &["Content-Type: application/json"]);
    });
}

#[test]
fn a_client_of_http_10_is_answered_in_its_version() {
    serve(quiet(), false, |address| {
        let mut stream = connect(address);
        stream.write_all(b"GET /ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
        let answer = read_until(&mut stream, "\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.0 204 No Content\r\n"), "{answer}");
        assert!(answer.contains("\r\nConnection: keep-alive\r\n"), "{answer}");
    });
}

#[test]
fn unknown_paths_and_methods_are_refused_in_plain_text() {
    serve(quiet(), false, |address| {
        let answer = exchange(address, get("/ping/"));
        check(&answer, "404 Not Found", &["X-Influxdb-Version: 1.8.10", "Content-Type: text/plain; charset=utf-8"]);
        assert!(answer.ends_with("404 page not found\n"));
        assert!(!answer.contains("Request-Id"));
        check(&exchange(address, get("/write")), "405 Method Not Allowed", &["Allow: POST, OPTIONS"]);
        let options = "OPTIONS /query HTTP/1.1\r\nHost: h\r\nOrigin: http://o\r\nConnection: close\r\n\r\n";
        check(&exchange(address, options), "200 OK", &["Content-Length: 0", "Access-Control-Allow-Origin: http://o"]);
    });
}

#[test]
fn a_write_is_stored_and_answered_204() {
    let outcome = serve(quiet(), false, |address| {
        let answer = exchange(address, post("/write?db=d&precision=s", "", "m v=1\nm v=2"));
        check(&answer, "204 No Content", &["Content-Type: application/json"]);
        check(&exchange(address, post("/write?db=d", "", "")), "204 No Content", &[]);
        check(&exchange(address, post("/api/v2/write?bucket=b/rp&precision=us", "", "m v=3")), "204 No Content", &[]);
    });
    let expected = [("d", &b"m v=1\nm v=2"[..]), ("d", b""), ("b", b"m v=3")]
        .map(|(database, body)| (database.into(), body.into()));
    assert_eq!(outcome.stored, expected);
    assert_eq!(outcome.precision_ns, [1_000_000_000, 1, 1_000]);
}

#[test]
fn refused_writes_have_stocks_texts() {
    let outcome = serve(quiet(), false, |address| {
        let error = |target: &str, body: &str, status: &str, text: &str| {
            let answer = exchange(address, post(target, "", body));
            check(&answer, status, &[&format!("X-Influxdb-Error: {text}")]);
            let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
            assert_eq!(body["error"], text);
        };
        error("/write", "", "400 Bad Request", "database is required");
        error("/write?db=nope", "m v=1", "404 Not Found", "database not found: \"nope\"");
        let text = "invalid precision \"us\" (use n, u, ms, s, m or h)";
        error("/write?db=d&precision=us", "m v=1", "400 Bad Request", text);
        error("/write?db=d&consistency=most", "m v=1", "400 Bad Request", "invalid consistency level");
        error("/write?db=d", "bad", "400 Bad Request", "unable to parse 'bad': missing fields");
        error("/write?db=d", "full", "503 Service Unavailable", "queue full");
        let text = "bucket name \"\" is missing a slash; not in \"database/retention-policy\" format";
        error("/api/v2/write", "m v=1", "404 Not Found", text);
        let answer = exchange(address, post("/api/v2/write?bucket=nope", "", "m v=1"));
        assert!(
            answer.contains("{\"code\":\"not found\",\"message\":\"database not found: \\\"nope\\\"\""),
            "{answer}"
        );
    });
    assert!(outcome.stored.is_empty());
}

#[test]
fn bodies_over_the_limit_are_refused_and_leave_nothing() {
    let options = Options { body_bytes_max: 10, unpacked_bytes_max: 40, ..quiet() };
    let outcome = serve(options, false, |address| {
        let too_large = "413 Request Entity Too Large";
        check(&exchange(address, post("/write?db=d", "", "m v=1\nm v=2")), too_large, &[]);
        check(&exchange(address, post("/write?db=d", "", "m v=1\nm v=")), "204 No Content", &[]);
        let head = "POST /write?db=d HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n";
        let body = chunked(b"m v=1\nm v=2", 4);
        check(&exchange(address, [format!("{head}\r\n").as_bytes(), &body].concat()), too_large, &[]);
        let body = chunked(&gzip(&[b'm'; 41]), 4);
        let head = format!("{head}Content-Encoding: gzip\r\n\r\n");
        check(&exchange(address, [head.as_bytes(), &body].concat()), too_large, &[]);
        let body = chunked(&gzip(&[b'm'; 40]), 4);
        check(&exchange(address, [head.as_bytes(), &body].concat()), "204 No Content", &[]);
        let huge = "POST /write?db=d HTTP/1.1\r\nHost: h\r\nContent-Length: 999999999999\r\n\r\n";
        check(&exchange(address, huge), too_large, &["Connection: close"]);
    });
    assert_eq!(outcome.stored.len(), 2);
}

#[test]
fn any_kind_of_body_is_fed_as_the_same_bytes() {
    let line = "cpu,host=a value=1.5 1500000000000000000\n";
    let text = line.repeat(40_000);
    let outcome = serve(quiet(), false, |address| {
        let head = "POST /write?db=d HTTP/1.1\r\nHost: h\r\nConnection: close\r\n";
        let packed = gzip(text.as_bytes());
        let bodies = [
            (format!("Content-Length: {}\r\n", text.len()), text.clone().into_bytes()),
            ("Transfer-Encoding: chunked\r\n".into(), chunked(text.as_bytes(), 1000)),
            (format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", packed.len()), packed.clone()),
            ("Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n".into(), chunked(&packed, 7)),
        ];
        for (headers, body) in bodies {
            let answer = exchange(address, [format!("{head}{headers}\r\n").as_bytes(), &body].concat());
            check(&answer, "204 No Content", &[]);
        }
    });
    assert_eq!(outcome.stored.len(), 4);
    assert!(outcome.stored.iter().all(|(_, body)| *body == text.as_bytes()));
}

#[test]
fn a_line_longer_than_the_read_buffer_makes_the_window_grow() {
    let line = format!("m s=\"{}\"\nm v=1", "x".repeat(1_000_000));
    let options = Options { line_bytes_max: 3 << 20, ..quiet() };
    let outcome = serve(options, false, |address| {
        check(&exchange(address, post("/write?db=d", "", &line)), "204 No Content", &[]);
        let packed = chunked(&gzip(line.as_bytes()), 5000);
        let head = "POST /write?db=d HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
                    Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(&exchange(address, [head.as_bytes(), &packed].concat()), "204 No Content", &[]);
        let endless = "x".repeat(6 << 20);
        check(&exchange(address, post("/write?db=d", "", &endless)), "413 Request Entity Too Large", &[]);
    });
    assert_eq!(outcome.stored.len(), 2);
    assert!(outcome.stored.iter().all(|(_, body)| *body == line.as_bytes()));
}

#[test]
fn broken_gzip_is_refused_with_gos_text() {
    let outcome = serve(quiet(), false, |address| {
        let error = |body: &[u8], text: &str| {
            let head = format!(
                "POST /write?db=d HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
                 Content-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let answer = exchange(address, [head.as_bytes(), body].concat());
            check(&answer, "400 Bad Request", &[&format!("X-Influxdb-Error: {text}")]);
        };
        error(b"", "EOF");
        error(b"short", "unexpected EOF");
        error(b"m v=1 1500000000", "gzip: invalid header");
        let packed = gzip(b"m v=1\n");
        error(&packed[..packed.len() - 3], "unexpected EOF");
    });
    assert!(outcome.stored.is_empty());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let outcome = serve(quiet(), false, |address| {
        let one = "POST /write?db=a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nm v=1";
        let two = "GET /nosuch HTTP/1.1\r\nHost: h\r\n\r\n\r\n";
        let three = "POST /write?db=b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nm v=2\r\n0\r\n\r\n";
        let four = "GET /query?q=ROWS+1+1 HTTP/1.1\r\nHost: h\r\n\r\n";
        let answer = exchange(address, [one, two, three, four, &get("/ping")].concat());
        let statuses: Vec<&str> = answer.match_indices("HTTP/1.1 ").map(|(at, _)| &answer[at + 9..at + 12]).collect();
        assert_eq!(statuses, ["204", "404", "204", "200", "204"]);
    });
    assert_eq!(outcome.stored.len(), 2);
}

#[test]
fn a_request_may_arrive_byte_by_byte() {
    let outcome = serve(quiet(), false, |address| {
        let mut stream = connect(address);
        stream.set_nodelay(true).unwrap();
        for byte in post("/write?db=d", "", "m v=1").bytes() {
            stream.write_all(&[byte]).unwrap();
        }
        check(&read_to_end(stream), "204 No Content", &[]);
    });
    assert_eq!(outcome.stored.len(), 1);
}

#[test]
fn malformed_requests_are_refused_and_the_connection_closed() {
    serve(quiet(), false, |address| {
        for request in [
            "GET /ping HTTP/1.1\r\n\r\n",
            "POST /write?db=d HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
            "\x16\x03\x01\x02\x00\x01\x00\x01",
            "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n",
        ] {
            check(&exchange(address, request), "400 Bad Request", &["Connection: close"]);
        }
        let answer = exchange(address, format!("GET /{} HTTP/1.1\r\n", "x".repeat(2 << 20)));
        check(&answer, "431 Request Header Fields Too Large", &[]);
        let bad_chunk = "POST /write?db=d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
        check(&exchange(address, bad_chunk), "400 Bad Request", &["Connection: close"]);
    });
}

#[test]
fn a_client_that_waits_for_100_gets_it_only_when_its_body_is_wanted() {
    let outcome = serve(quiet(), false, |address| {
        let head = |db: &str| {
            format!("POST /write?db={db} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        };
        let mut stream = connect(address);
        stream.write_all(head("d").as_bytes()).unwrap();
        assert_eq!(read_until(&mut stream, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"m v=1").unwrap();
        check(&read_until(&mut stream, "\r\n\r\n"), "204 No Content", &[]);
        stream.write_all(head("nope").as_bytes()).unwrap();
        check(&read_to_end(stream), "404 Not Found", &["Connection: close"]);
    });
    assert_eq!(outcome.stored.len(), 1);
}

#[test]
fn a_connection_survives_a_refusal_whose_body_is_small() {
    serve(quiet(), false, |address| {
        let refused = "POST /write?db=nope HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nm v=2\r\n";
        let mut stream = connect(address);
        stream.write_all(refused.as_bytes()).unwrap();
        stream.write_all(b"0\r\n\r\n").unwrap();
        stream.write_all(get("/ping").as_bytes()).unwrap();
        let answer = read_to_end(stream);
        check(&answer, "404 Not Found", &[]);
        assert!(answer.contains("HTTP/1.1 204"), "{answer}");
    });
}

#[test]
fn a_body_that_breaks_off_stores_nothing() {
    let outcome = serve(quiet(), false, |address| {
        let mut stream = connect(address);
        stream.write_all(b"POST /write?db=d HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\nm v=1\nm v=2\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        check(&read_to_end(stream), "400 Bad Request", &["X-Influxdb-Error: unexpected EOF", "Connection: close"]);
    });
    assert!(outcome.stored.is_empty());
}

#[test]
fn a_slow_head_and_a_slow_body_meet_their_deadlines() {
    let wait = Duration::from_millis(50);
    let options = Options { head_deadline: wait, body_stall: wait, idle_deadline: wait, ..quiet() };
    let outcome = serve(options, false, |address| {
        let mut stream = connect(address);
        stream.write_all(b"GET /ping HT").unwrap();
        assert_eq!(read_to_end(stream), "");
        let mut stream = connect(address);
        stream.write_all(b"POST /write?db=d HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\nm v=1").unwrap();
        check(&read_to_end(stream), "408 Request Timeout", &["Connection: close"]);
        assert_eq!(read_to_end(connect(address)), "");
    });
    assert!(outcome.stored.is_empty());
}

#[test]
fn stopping_closes_idle_connections_and_finishes_busy_ones() {
    let mut idle = None;
    let outcome = serve(quiet(), false, |address| {
        let mut stream = connect(address);
        stream.write_all(b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        read_until(&mut stream, "\r\n\r\n");
        idle = Some(stream);
    });
    assert_eq!(read_to_end(idle.unwrap()), "");
    assert!(outcome.stored.is_empty());
}

#[test]
fn connections_over_the_limit_are_closed_at_once() {
    serve(quiet(), false, |address| {
        let ping = |stream: &mut TcpStream| {
            stream.write_all(b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
            check(&read_until(stream, "\r\n\r\n"), "204 No Content", &[]);
        };
        let mut held: Vec<TcpStream> = (0..3).map(|_| connect(address)).collect();
        held.iter_mut().for_each(ping);
        assert_eq!(read_to_end(connect(address)), "");
        held.iter_mut().for_each(ping);
    });
}

#[test]
fn rows_are_streamed_in_chunks() {
    serve(quiet(), false, |address| {
        let answer = exchange(address, get("/query?q=ROWS+3+2"));
        check(&answer, "200 OK", &["Content-Type: application/json", "Transfer-Encoding: chunked"]);
        let expected = "{\"results\":[{\"statement_id\":0,\"series\":[{\"name\":\"m\",\"columns\":[\"v\"],\
                        \"values\":[[0],[1],[0],[1],[0],[1]]}]}]}\n";
        assert_eq!(unchunk(&answer), expected);
        let body = unchunk(&exchange(address, get("/query?q=ROWS+3+2&chunked=true&chunk_size=2")));
        assert_eq!(body.lines().count(), 3);
        let body = unchunk(&exchange(address, get("/query?q=ROWS+30+9000")));
        assert_eq!(body.matches("[8999]").count(), 30);
        let old = exchange(address, "GET /query?q=ROWS+3+2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert!(old.starts_with("HTTP/1.0 200 OK\r\n") && old.contains("\r\nConnection: close\r\n"), "{old}");
        assert!(old.ends_with(expected));
    });
}

#[test]
fn answers_are_packed_when_the_client_can_unpack() {
    serve(quiet(), false, |address| {
        let request = "GET /query?q=ROWS+3+9000 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
                       Accept-Encoding: deflate, gzip\r\n\r\n";
        let mut stream = connect(address);
        stream.write_all(request.as_bytes()).unwrap();
        let head = read_until(&mut stream, "\r\n\r\n");
        check(&head, "200 OK", &["Content-Encoding: gzip"]);
        let mut body = Vec::new();
        stream.read_to_end(&mut body).unwrap();
        let mut decoder = crate::http::wire::body::BodyDecoder::new(crate::http::wire::head::Framing::Chunked);
        let (mut packed, mut at) = (Vec::new(), 0);
        while !decoder.is_done() {
            let step = decoder.step(&body[at..]).unwrap();
            packed.extend_from_slice(&body[at + step.skip..at + step.skip + step.data]);
            at += step.skip + step.data;
        }
        let mut text = String::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text.matches("[8999]").count(), 3);
        let error = "GET /query?q=x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAccept-Encoding: gzip\r\n\r\n";
        assert!(!exchange(address, error).contains("Content-Encoding"));
    });
}

#[test]
fn a_query_whose_client_leaves_is_dropped() {
    let outcome = serve(quiet(), false, |address| {
        let mut stream = connect(address);
        stream.write_all(get("/query?q=HANG").as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(stream), "");
    });
    assert_eq!(outcome.dropped, 1);
}

#[test]
fn query_parameters_come_from_address_and_form() {
    serve(quiet(), false, |address| {
        let echo = |request: String, expected: &str| {
            let answer = exchange(address, request);
            check(&answer, "500 Internal Server Error", &[&format!("X-Influxdb-Error: {expected}")]);
        };
        let form = "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n";
        echo(get("/query?q=+ECHO+&db=a&rp=r&params=%7B%7D"), "db=a rp=r params={} read_only=true chunk=None");
        echo(
            post("/query?q=x&db=a&chunked=true", form, "q=ECHO&db=b&chunk_size=-1"),
            "db=b rp= params= read_only=false chunk=Some(10000)",
        );
        echo(
            post("/query?q=ECHO&db=a", "Content-Type: application/json\r\n", "q=x"),
            "db=a rp= params= read_only=false chunk=None",
        );
        let multipart = "--B\r\nContent-Disposition: form-data; name=\"q\"; filename=\"f\"\r\n\r\nECHO\r\n--B\r\n\
                         Content-Disposition: form-data; name=\"db\"\r\n\r\nx\r\n--B--\r\n";
        echo(
            post("/query?rp=r", "Content-Type: multipart/form-data; boundary=B\r\n", multipart),
            "db=x rp=r params= read_only=false chunk=None",
        );
        for request in [get("/query"), get("/query?q=+"), get("/query?q=%zz"), post("/query?db=d", form, "db=x")] {
            check(
                &exchange(address, request),
                "400 Bad Request",
                &["X-Influxdb-Error: missing required parameter \"q\""],
            );
        }
        let answer = exchange(address, get("/query?q=SELECT%0A%3C&pretty=true"));
        check(&answer, "400 Bad Request", &["X-Influxdb-Error: error parsing query: found SELECT <"]);
        assert!(answer.ends_with("{\n    \"error\": \"error parsing query: found SELECT\\n\\u003c\"\n}\n"), "{answer}");
        check(&exchange(address, get("/query?q=ROWS+1+1&async=true")), "204 No Content", &[]);
    });
}

#[test]
fn credentials_are_asked_for_and_permissions_kept() {
    let outcome = serve(quiet(), true, |address| {
        let answer = exchange(address, get("/query?q=ROWS+1+1"));
        check(&answer, "401 Unauthorized", &["Www-Authenticate: Basic realm=\"InfluxDB\""]);
        assert!(!answer.contains("X-Influxdb-Error"));
        check(&exchange(address, get("/ping")), "204 No Content", &[]);
        check(&exchange(address, get("/query?q=ROWS+1+1&u=a&p=pw")), "200 OK", &[]);
        let answer = exchange(address, post("/write?db=d", "Authorization: Basic Ym9iOnB3\r\n", "m v=1"));
        let text = "X-Influxdb-Error: \"bob\" user is not authorized to write to database \"d\"";
        check(&answer, "403 Forbidden", &[text]);
        let answer = exchange(address, post("/api/v2/write?bucket=d", "Authorization: Token x\r\n", "m v=1"));
        check(&answer, "401 Unauthorized", &["Content-Type: application/json"]);
        assert!(answer.contains("\"code\":\"unauthorized\""));
        check(
            &exchange(address, post("/api/v2/write?bucket=d", "Authorization: Token al:pw\r\n", "m v=1")),
            "204 No Content",
            &[],
        );
        check(&exchange(address, post("/api/v2/query?u=a&p=pw", "", "")), "403 Forbidden", &[]);
    });
    assert_eq!(outcome.stored.len(), 1);
}

#[test]
fn errors_have_the_media_type_asked_for() {
    serve(quiet(), false, |address| {
        let csv =
            exchange(address, "GET /query?q=x HTTP/1.1\r\nHost: h\r\nAccept: text/csv\r\nConnection: close\r\n\r\n");
        check(&csv, "400 Bad Request", &["Content-Type: text/csv"]);
        assert!(csv.ends_with("error\nerror parsing query: found x\n"));
    });
}

#[test]
fn debug_vars_is_an_object_telegraf_can_read() {
    serve(quiet(), false, |address| {
        let answer = exchange(address, get("/debug/vars"));
        check(&answer, "200 OK", &["Content-Type: application/json; charset=utf-8"]);
        let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(body["system"]["uptime"], 1_500_000_000);
        assert_eq!(body["memstats"]["Sys"], 1);
        assert_eq!(body["write"]["values"]["req"], 1);
        assert!(body["cmdline"].is_array());
    });
}

#[test]
fn a_request_in_flight_is_finished_when_the_server_stops() {
    let mut client = None;
    let outcome = serve(quiet(), false, |address| {
        let mut idle = connect(address);
        idle.write_all(b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        read_until(&mut idle, "\r\n\r\n");
        let mut busy = connect(address);
        let head = b"POST /write?db=d HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        busy.write_all(head).unwrap();
        read_until(&mut busy, "\r\n\r\n");
        client = Some(std::thread::spawn(move || {
            // The idle connection ends: the server has been told to stop.
            assert_eq!(read_to_end(idle), "");
            busy.write_all(b"m v=1").unwrap();
            check(&read_to_end(busy), "204 No Content", &["Connection: close"]);
        }));
    });
    client.unwrap().join().unwrap();
    assert_eq!(outcome.stored.len(), 1);
}

#[test]
fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let mut unread = None;
    let options = Options { write_deadline: Duration::from_millis(50), ..quiet() };
    let outcome = serve(options, false, |address| {
        let mut stream = connect(address);
        stream.write_all(get("/query?q=ROWS+10000+9000").as_bytes()).unwrap();
        read_until(&mut stream, "\r\n\r\n");
        unread = Some(stream);
    });
    assert_eq!(outcome.dropped, 1);
}

#[test]
fn arbitrary_bytes_end_in_an_answer_or_a_closed_connection() {
    use proptest::prelude::*;
    use proptest::test_runner::Config;
    use proptest::test_runner::TestRunner;

    let wait = Duration::from_millis(20);
    let options = Options { head_deadline: wait, body_stall: wait, idle_deadline: wait, linger: wait, ..quiet() };
    let fragment = prop_oneof![
        Just(&b"POST /write?db=d HTTP/1.1\r\nHost: h\r\n"[..]),
        Just(&b"GET /query?q=ROWS+2+2 HTTP/1.1\r\nHost: h\r\n"[..]),
        Just(&b"Content-Length: 7\r\n"[..]),
        Just(&b"Transfer-Encoding: chunked\r\n"[..]),
        Just(&b"Content-Encoding: gzip\r\n"[..]),
        Just(&b"Content-Type: multipart/form-data; boundary=B\r\n"[..]),
        Just(&b"\r\n"[..]),
        Just(&b"5\r\nm v=1\r\n"[..]),
        Just(&b"0\r\n\r\n"[..]),
        Just(&b"\x1f\x8b\x08\x00"[..]),
        Just(&b"\xff\x00 "[..]),
    ];
    serve(options, false, |address| {
        let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
        let property = |parts: Vec<&[u8]>| {
            let mut stream = connect(address);
            // The server may close while this is still being sent.
            let _ = stream.write_all(&parts.concat());
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            prop_assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "));
            Ok(())
        };
        TestRunner::new(config).run(&proptest::collection::vec(fragment, 0..12), property).unwrap();
    });
}

#[test]
fn writes_over_the_bound_wait_and_are_refused_when_it_takes_too_long() {
    let bounds = Bounds { running_max: 1, waiting_max: 1, wait_max: Duration::from_millis(50) };
    serve(Options { write_bounds: bounds, ..quiet() }, false, |address| {
        let mut busy = connect(address);
        let head = "POST /write?db=d HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        busy.write_all(head.as_bytes()).unwrap();
        read_until(&mut busy, "\r\n\r\n");
        let answer = exchange(address, post("/write?db=d", "", "m v=1"));
        check(&answer, "503 Service Unavailable", &["Content-Type: text/plain; charset=utf-8"]);
        assert!(answer.ends_with("request throttled, exceeds timeout\n"));
        busy.write_all(b"m v=1").unwrap();
        check(&read_until(&mut busy, "\r\n\r\n"), "204 No Content", &[]);
        check(&exchange(address, post("/write?db=d", "", "m v=1")), "204 No Content", &[]);
    });
}
