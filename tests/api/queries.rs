//! Answers that depend on shard groups: as recorded from InfluxDB 1.8.10.

use crate::harness::Server;
use crate::harness::query_target;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeSet;

const DAY: i64 = 86_400 * 1_000_000_000;

fn error(server: &Server, text: &str) -> Value {
    server.query("d", text).pointer("/results/0/error").cloned().unwrap_or(Value::Null)
}

#[test]
fn a_function_is_refused_where_a_shard_group_has_the_field_and_a_chosen_series() {
    let server = Server::start();
    server.create("d");
    let lines = format!("m,h=a s=\"x\" 1\nm,h=b s=\"a\" 2\nm,h=c g=3 {}", 30 * DAY);
    assert_eq!(server.write("d", &lines).status, 204);
    let refused = |query: &str| error(&server, query).to_string().contains("unsupported mean iterator type");
    assert!(refused("SELECT mean(s) FROM m"));
    assert!(refused("SELECT mean(s) FROM m WHERE h = 'a'"));
    assert!(refused("SELECT mean(s) FROM m GROUP BY h SLIMIT 1 SOFFSET 1"));
    for query in [
        "SELECT mean(s) FROM m WHERE h = 'c'",
        "SELECT mean(s) FROM m WHERE 'x' = nosuch",
        "SELECT mean(s) FROM m WHERE time > 20d",
        "SELECT mean(s) FROM m GROUP BY h SLIMIT 1 SOFFSET 2",
        "SELECT mean(s) FROM m GROUP BY h SLIMIT 1 SOFFSET 5",
    ] {
        assert_eq!(server.query("d", query), json!({ "results": [{ "statement_id": 0 }] }), "{query}");
    }
}

#[test]
fn a_policy_that_is_not_there_is_an_error_once_there_is_something_to_write() {
    let server = Server::start();
    server.create("d");
    assert_eq!(server.write("d", "m v=1 1").status, 204);
    let nothing = "SELECT v INTO d.nope.t FROM m WHERE v > 1";
    assert_eq!(server.rows("d", nothing), json!([["1970-01-01T00:00:00Z", 0]]));
    assert_eq!(error(&server, "SELECT v INTO d.nope.t FROM m"), json!("retention policy not found: nope"));
}

#[test]
fn many_series_at_one_instant_are_all_shown() {
    let server = Server::start();
    server.create("d");
    let lines: String = (0..40_000).map(|host| format!("m,h={host:05} v={host} 1\n")).collect();
    assert_eq!(server.write("d", &lines).status, 204);
    let rows = server.rows("d", "SELECT v, h FROM m");
    let rows = rows.as_array().expect("rows");
    let hosts: BTreeSet<&str> = rows.iter().filter_map(|row| row[2].as_str()).collect();
    assert_eq!((rows.len(), hosts.len()), (40_000, 40_000));
}

#[test]
fn a_seasonal_forecast_is_that_of_stock_to_the_last_digit() {
    let server = Server::start();
    server.create("d");
    let values = [53.04, 58.37, 57.43, 53.61, 60.51, 62.42, 57.5, 55.61, 53.35];
    let line = |(minute, value): (i64, f64)| format!("m v={value} {}\n", minute * 60_000_000_000);
    assert_eq!(server.write("d", &(0..).zip(values).map(line).collect::<String>()).status, 204);
    // As text: digits count.
    let forecast = |seasons: u32| {
        let of = format!("holt_winters(first(v), 3, {seasons})");
        let text = format!("SELECT {of} FROM m WHERE time >= 0 AND time < 9m GROUP BY time(1m)");
        String::from_utf8(server.request("POST", &query_target("d", &text), &[], None).body).expect("JSON is text")
    };
    let expected = [
        (3, ["57.98253182939125", "57.984861674774145", "57.98338028046708"]),
        (6, ["57.84035729510288", "57.94478069010695", "57.872944987159244"]),
    ];
    for (seasons, expected) in expected {
        let found = forecast(seasons);
        assert!(expected.iter().all(|value| found.contains(value)), "{found}");
    }
}
