//! What the server tells about itself: stored in `_internal`, shown by statements and under `/debug`.

use crate::harness::Server;
use crate::harness::wait_until;
use serde_json::Value;
use serde_json::json;
use std::io::Read;
use std::thread;

/// Names of the series of a statement's answer.
fn names(answer: &Value) -> Vec<&str> {
    let series = answer["results"][0]["series"].as_array().unwrap();
    series.iter().map(|series| series["name"].as_str().unwrap()).collect()
}

fn columns<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let series = answer["results"][0]["series"].as_array().unwrap();
    &series.iter().find(|series| series["name"] == name).unwrap()["columns"]
}

#[test]
fn own_statistics_are_stored_in_stocks_form_at_whole_intervals() {
    let mut server = Server::start_configured("[monitor]\nstore-interval = \"1s\"\n");
    server.create("d");
    assert_eq!(server.write("d", "m,t=a v=1\nm,t=b v=2\nn v=3").status, 204);
    let counts = "SELECT last(numSeries), numMeasurements FROM \"database\" WHERE \"database\" = 'd'";
    wait_until("the series of d are counted", || {
        let row = server.rows("_internal", counts)[0].clone();
        (&row[1], &row[2]) == (&json!(3), &json!(2))
    });
    let policies = json!([["monitor", "168h0m0s", "24h0m0s", 1, true]]);
    assert_eq!(server.rows("", "SHOW RETENTION POLICIES ON _internal"), policies);
    let measurements: Vec<Value> =
        ["cq", "database", "engine", "httpd", "queryExecutor", "runtime", "subscriber", "write"]
            .map(|name| json!([name]))
            .to_vec();
    assert_eq!(server.rows("_internal", "SHOW MEASUREMENTS"), json!(measurements));
    assert_eq!(server.rows("_internal", "SHOW TAG KEYS FROM \"database\""), json!([["database"], ["hostname"]]));
    assert_eq!(server.rows("_internal", "SHOW TAG KEYS FROM httpd"), json!([["bind"], ["hostname"]]));
    let bind = json!([["bind", server.address.to_string()]]);
    assert_eq!(server.rows("_internal", "SHOW TAG VALUES FROM httpd WITH KEY = bind"), bind);
    let types = server.rows("_internal", "SHOW FIELD KEYS FROM httpd");
    assert_eq!(types.as_array().unwrap().len(), 24);
    assert!(types.as_array().unwrap().iter().all(|field| field[1] == "integer"));
    let rows = server.rows("_internal", "SELECT req, writeReq FROM httpd");
    for row in rows.as_array().unwrap() {
        assert!(row[0].as_str().unwrap().ends_with("Z") && !row[0].as_str().unwrap().contains('.'), "{row}");
    }
    assert_eq!(server.stop().code(), Some(0));
    assert!(!server.said().contains("failed to store statistics"), "{}", server.said());
    server.restart();
    let before = server.rows("_internal", "SELECT count(req) FROM httpd")[0][1].as_i64();
    wait_until("it goes on after a restart", || {
        server.rows("_internal", "SELECT count(req) FROM httpd")[0][1].as_i64() > before
    });
}

#[test]
fn statistics_go_where_the_settings_say_or_nowhere() {
    let server = Server::start_configured("[monitor]\nstore-interval = \"1s\"\nstore-database = \"own\"\n");
    wait_until("the database is made", || server.rows("own", "SELECT count(req) FROM httpd") != Value::Null);
    assert_eq!(server.rows("", "SHOW DATABASES"), json!([["own"]]));
}

#[test]
fn show_diagnostics_and_show_stats_have_stocks_series_and_columns() {
    let text = "[monitor]\nstore-enabled = false\n[data]\nmax-series-per-database = 7\n[[udp]]\nenabled = true\n\
                bind-address = \"127.0.0.1:0\"\n[[udp]]\n";
    let server = Server::start_configured(text);
    let answer = server.query("", "SHOW DIAGNOSTICS");
    assert_eq!(
        names(&answer),
        [
            "build",
            "config",
            "config-coordinator",
            "config-cqs",
            "config-data",
            "config-httpd",
            "config-meta",
            "config-millrace",
            "config-monitor",
            "config-precreator",
            "config-retention",
            "config-subscriber",
            "config-udp",
            "network",
            "runtime",
            "system"
        ]
    );
    let http =
        json!(["access-log-path", "bind-address", "enabled", "https-enabled", "max-connection-limit", "max-row-limit"]);
    assert_eq!(*columns(&answer, "config-httpd"), http);
    assert_eq!(server.rows("", "SHOW DIAGNOSTICS FOR 'config-monitor'"), json!([[false]]));
    assert_eq!(server.rows("", "SHOW DIAGNOSTICS FOR 'config-cqs'"), json!([[true, false, "1s"]]));
    let udp = json!([[true, "127.0.0.1:0", "udp", "", 5000, 10, "1s", ""], [false]]);
    assert_eq!(server.rows("", "SHOW DIAGNOSTICS FOR 'config-udp'"), udp);
    assert_eq!(server.rows("", "SHOW DIAGNOSTICS FOR 'config-data'")[0][7], 7);
    server.create("d");
    let answer = server.query("", "SHOW STATS");
    assert_eq!(
        names(&answer),
        ["cq", "database", "engine", "httpd", "queryExecutor", "runtime", "subscriber", "udp", "write"]
    );
    let executed = json!(["queriesActive", "queriesExecuted", "queriesFinished", "queryDurationNs", "recoveredPanics"]);
    assert_eq!(*columns(&answer, "queryExecutor"), executed);
    assert_eq!(server.rows("", "SHOW STATS FOR 'cq'"), json!([[0, 0]]));
    let vars = server.request("GET", "/debug/vars", &[], None);
    let vars: Value = serde_json::from_slice(&vars.body).unwrap();
    for key in ["cq", "database:d", "queryExecutor", "runtime", "subscriber", "udp:127.0.0.1:0", "write"] {
        assert_eq!(vars[key]["name"], key.split(':').next().unwrap());
    }
    assert_eq!(vars[format!("httpd:{}", server.address)]["tags"], json!({"bind": server.address.to_string()}));
}

#[test]
fn writes_are_counted_whatever_their_outcome() {
    let server = Server::start();
    server.create("d");
    server.write("d", "m v=1 1\nm v=2 2");
    server.write("d", "m v=3 3\nm v=4i 4");
    server.write("d", "m v=5i 5");
    let answer = server.query("", "SHOW STATS FOR 'write'");
    let row = server.rows("", "SHOW STATS FOR 'write'")[0].clone();
    let value = |name: &str| {
        let columns = columns(&answer, "write").as_array().unwrap();
        row[columns.iter().position(|column| column == name).unwrap()].clone()
    };
    assert_eq!([value("req"), value("pointReq"), value("pointReqLocal")], [3, 5, 5]);
    assert_eq!([value("writeOk"), value("writeError"), value("writeDrop")], [1, 2, 2]);
}

#[test]
fn a_cpu_profile_is_recorded_one_at_a_time() {
    let server = Server::start();
    thread::scope(|scope| {
        let profile = || server.request("GET", "/debug/pprof/profile?seconds=1", &[], None);
        let both = [scope.spawn(profile), scope.spawn(profile)];
        let mut answers = both.map(|answer| answer.join().unwrap());
        answers.sort_by_key(|answer| answer.status);
        let [recorded, refused] = answers;
        assert_eq!((recorded.status, recorded.header("content-type")), (200, Some("application/octet-stream")));
        let mut profile = Vec::new();
        flate2::read::GzDecoder::new(&recorded.body[..]).read_to_end(&mut profile).unwrap();
        assert!(memchr::memmem::find(&profile, b"nanoseconds").is_some(), "{profile:?}");
        assert_eq!(refused.status, 500);
        let text = String::from_utf8_lossy(&refused.body).into_owned();
        assert!(text.contains("Could not enable CPU profiling: cpu profiling already in use"), "{text}");
    });
}

#[test]
fn the_other_pages_for_gos_tools_answer_what_they_can() {
    let server = Server::start();
    let get = |path: &str| server.request("GET", path, &[], None);
    for path in ["/debug/pprof", "/debug/pprof/"] {
        let index = get(path);
        assert_eq!((index.status, index.header("content-type")), (200, Some("text/html; charset=utf-8")));
    }
    assert!(get("/debug/pprof/cmdline").body.split(|byte| *byte == 0).any(|argument| argument == b"--bind"));
    assert_eq!(get("/debug/pprof/symbol").body, b"num_symbols: 1\n");
    for (name, text) in [("heap", &b"Not served: a profile of Go's runtime\n"[..]), ("nosuch", b"Unknown profile\n")] {
        let answer = get(&format!("/debug/pprof/{name}"));
        assert_eq!((answer.status, answer.header("x-go-pprof"), &answer.body[..]), (404, Some("1"), text));
    }
    let metrics = get("/metrics");
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(String::from_utf8(metrics.body).unwrap().contains("\n# TYPE process_open_fds gauge\nprocess_open_fds "));
    assert_eq!(server.request("POST", "/metrics", &[], None).status, 405);
    assert_eq!(get("/debug/").status, 404);
    assert_eq!(get("/debug/varsity").status, 200, "as stock, whose routes for debugging are prefixes");
}

#[test]
fn requests_are_counted_by_sender_while_somebody_asks() {
    let server = Server::start();
    server.create("d");
    let answer = thread::scope(|scope| {
        let asked = scope.spawn(|| server.request("GET", "/debug/requests?seconds=1", &[], None));
        while !asked.is_finished() {
            server.write("d", "m v=1 1");
            server.rows("d", "SELECT v FROM m");
        }
        asked.join().unwrap()
    });
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    let counts: Value = serde_json::from_slice(&answer.body).unwrap();
    let counts = &counts["127.0.0.1"];
    assert!(counts["writes"].as_i64() > Some(0) && counts["queries"].as_i64() > Some(0), "{counts}");
    let now = server.request("GET", "/debug/requests?seconds=0", &[], None);
    assert_eq!(now.body, b"{\n\n}\n");
    assert_eq!(server.request("GET", "/debug/requests?seconds=x", &[], None).status, 400);
}

#[test]
fn profiles_can_be_switched_off_and_everything_kept_for_administrators() {
    let off = Server::start_configured("[monitor]\nstore-enabled = false\n[http]\npprof-enabled = false\n");
    let status = |path: &str| off.request("GET", path, &[], None).status;
    assert_eq!([status("/debug/pprof/cmdline"), status("/debug/vars")], [404, 200]);

    let text = "[monitor]\nstore-enabled = false\n[http]\nauth-enabled = true\npprof-auth-enabled = true\n\
                ping-auth-enabled = true\n";
    let server = Server::start_configured(text);
    server.query("", "CREATE USER root WITH PASSWORD 'p' WITH ALL PRIVILEGES");
    server.request("POST", "/query?u=root&p=p&q=CREATE+USER+bob+WITH+PASSWORD+'p'", &[], None);
    let get = |target: &str| server.request("GET", target, &[], None);
    for path in ["/debug/vars", "/debug/requests", "/debug/pprof/cmdline"] {
        assert_eq!(get(path).status, 401, "{path}");
        let refused = get(&format!("{path}?u=bob&p=p"));
        assert_eq!(
            (refused.status, &refused.body[..]),
            (403, &b"{\"error\":\"error authorizing admin access\"}\n"[..])
        );
        assert_eq!(get(&format!("{path}?u=root&p=p&seconds=0")).status, 200, "{path}");
    }
    assert_eq!(get("/debug/pprof/?u=root&p=p").status, 404);
    for path in ["/ping", "/metrics", "/health"] {
        assert_eq!(get(path).status, 401, "{path}");
        assert!(get(&format!("{path}?u=bob&p=p")).status < 300, "{path}");
    }
}
