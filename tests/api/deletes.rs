//! Points, series and measurements are deleted for good; what is written afterwards is there. Each fact is looked at
//! from the memtable, after kill -9 (from the log), and after a clean stop (from segments and manifest).

use crate::harness::Server;
use crate::harness::wait_until;
use millrace::disk::sim::prng::Prng;
use serde_json::Value;
use serde_json::json;

/// Runs `check` now, after kill -9, and after two clean stops.
fn now_and_after_restarts(server: &mut Server, check: impl Fn(&Server)) {
    check(server);
    server.kill();
    server.restart();
    check(server);
    for _ in 0..2 {
        assert!(server.stop().success());
        server.restart();
        check(server);
    }
}

fn done(server: &Server, text: &str) {
    assert_eq!(server.query("d", text), json!({"results": [{"statement_id": 0}]}), "{text}");
}

fn count(server: &Server, measurement: &str) -> Value {
    server.rows("d", &format!("SELECT count(v) FROM {measurement} GROUP BY h"))
}

#[test]
fn deleted_points_stay_away_and_later_ones_stay() {
    // In the second round the points lie in segments when they are deleted.
    for is_flushed in [false, true] {
        let mut server = Server::start();
        server.create("d");
        let lines: Vec<String> = (0..40).map(|point| format!("m,h={} v={point}i {}", point % 4, point + 1)).collect();
        assert_eq!(server.write("d", &lines.join("\n")).status, 204);
        if is_flushed {
            assert!(server.stop().success());
            server.restart();
        }
        done(&server, "DELETE FROM m WHERE time >= 11 AND time <= 30");
        done(&server, "DELETE FROM m WHERE h = '3'");
        assert_eq!(server.write("d", "m,h=1 v=100i 12").status, 204);
        now_and_after_restarts(&mut server, |server| {
            let rows = server.rows("d", "SELECT v FROM m WHERE h = '1'");
            let kept: Vec<i64> = rows.as_array().unwrap().iter().map(|row| row[1].as_i64().unwrap()).collect();
            assert_eq!(kept, [1, 5, 9, 100, 33, 37]);
            let series = server.rows("d", "SHOW SERIES");
            assert_eq!(series, json!([["m,h=0"], ["m,h=1"], ["m,h=2"]]));
            assert_eq!(server.rows("d", "SELECT count(v) FROM m")[0][1], json!(16));
        });
    }
}

#[test]
fn a_dropped_measurement_takes_another_type() {
    for is_flushed in [false, true] {
        let mut server = Server::start();
        server.create("d");
        assert_eq!(server.write("d", "m,h=a v=1,w=2 1\nm,h=b v=1 1\nother v=1 1").status, 204);
        if is_flushed {
            assert!(server.stop().success());
            server.restart();
        }
        done(&server, "DROP MEASUREMENT m");
        assert_eq!(server.query("d", "SHOW FIELD KEYS FROM m"), json!({"results": [{"statement_id": 0}]}));
        assert_eq!(server.write("d", "m,h=a v=\"text\" 2").status, 204);
        now_and_after_restarts(&mut server, |server| {
            assert_eq!(server.rows("d", "SHOW FIELD KEYS FROM m"), json!([["v", "string"]]));
            assert_eq!(server.rows("d", "SHOW TAG VALUES FROM m WITH KEY = h"), json!([["h", "a"]]));
            assert_eq!(server.rows("d", "SELECT * FROM m")[0][2], json!("text"));
            assert_eq!(count(server, "other")[0][1], json!(1));
        });
    }
}

/// Found by comparing with stock: a field was listed or not by which shards its series had been in.
#[test]
fn fields_stay_listed_while_their_measurement_has_a_series_in_any_shard() {
    for is_flushed in [false, true] {
        let mut server = Server::start();
        server.create("d");
        let lines: Vec<String> = (10..50).map(|number| format!("m,h=h{number} v=1i,f{number}=1 1")).collect();
        assert_eq!(server.write("d", &lines.join("\n")).status, 204);
        if is_flushed {
            assert!(server.stop().success());
            server.restart();
        }
        done(&server, "DELETE FROM m WHERE h != 'h10'");
        now_and_after_restarts(&mut server, |server| {
            assert_eq!(server.rows("d", "SHOW SERIES"), json!([["m,h=h10"]]));
            assert_eq!(server.rows("d", "SHOW FIELD KEYS").as_array().unwrap().len(), 41);
            assert_eq!(server.rows("d", "SHOW FIELD KEY CARDINALITY"), json!([[41]]));
            let columns = |text: &str| server.rows("d", text)[0].as_array().unwrap().len();
            assert_eq!([columns("SELECT * FROM m"), columns("SELECT * FROM /m/")], [43, 43]);
        });
    }
}

#[test]
fn fields_without_a_series_in_any_shard_group_are_not_listed() {
    let mut server = Server::start();
    server.create("d");
    assert_eq!(server.write("d", "m v=1 1\nm w=1 700000000000000000").status, 204);
    done(&server, "DELETE FROM m WHERE time > 1");
    assert!(server.stop().success());
    server.restart();
    assert_eq!(server.rows("d", "SHOW FIELD KEYS"), json!([["v", "float"], ["w", "float"]]));
    done(&server, "DROP SHARD 1");
    wait_until("the series leaves the index", || server.rows("d", "SHOW SERIES").is_null());
    assert!(server.rows("d", "SHOW FIELD KEYS").is_null());
}

#[test]
fn a_dropped_series_is_written_again_under_its_old_name() {
    let mut server = Server::start();
    server.create("d");
    assert_eq!(server.write("d", "m,h=a v=1 1\nm,h=b v=1 1").status, 204);
    for round in 2..6 {
        done(&server, "DROP SERIES FROM m WHERE h = 'a'");
        assert_eq!(server.rows("d", "SHOW SERIES"), json!([["m,h=b"]]));
        assert_eq!(server.write("d", &format!("m,h=a v={round} {round}")).status, 204);
        if round % 2 == 0 {
            server.kill();
            server.restart();
        }
    }
    now_and_after_restarts(&mut server, |server| {
        assert_eq!(server.rows("d", "SHOW SERIES"), json!([["m,h=a"], ["m,h=b"]]));
        assert_eq!(server.rows("d", "SELECT count(v) FROM m WHERE h = 'a'")[0][1], json!(1));
    });
}

#[test]
fn the_space_of_deleted_points_comes_back_and_the_rest_is_unchanged() {
    let mut server = Server::start();
    server.create("d");
    // Values that do not compress: space is theirs.
    let mut prng = Prng::from_seed(1);
    let mut value = || prng.draw() >> 1;
    let lines: Vec<String> = (0..40_000).map(|point| format!("m,h={} v={}i {point}", point % 4, value())).collect();
    assert_eq!(server.write("d", &lines.join("\n")).status, 204);
    assert!(server.stop().success());
    server.restart();
    let bytes = |server: &Server| -> u64 {
        let lengths = server.segment_paths().into_iter().filter_map(|path| std::fs::metadata(path).ok());
        lengths.map(|file| file.len()).sum()
    };
    let (before, kept) = (bytes(&server), server.rows("d", "SELECT count(v), sum(v) FROM m WHERE h = '1'"));
    done(&server, "DROP SERIES FROM m WHERE h = '0'");
    done(&server, "DELETE FROM m WHERE h =~ /[23]/");
    // The stop writes the deletions to the manifests; compactions begin with the start.
    assert!(server.stop().success());
    server.restart();
    wait_until("three of four series take no space", || bytes(&server) * 3 < before);
    assert_eq!(server.rows("d", "SELECT count(v), sum(v) FROM m"), kept);
    server.kill();
    server.restart();
    assert_eq!(server.rows("d", "SELECT count(v), sum(v) FROM m"), kept);
    assert_eq!(server.rows("d", "SHOW FIELD KEYS"), json!([["v", "integer"]]));
}
