//! What is past its retention goes away, files included, and what is not stays.

use crate::harness::Server;
use crate::harness::wait_until;
use serde_json::json;

#[test]
fn shard_groups_past_retention_are_dropped_with_their_files() {
    let mut server = Server::start_configured(
        "[monitor]\nstore-enabled = false\n[retention]\ncheck-interval = '100ms'\n\
         [shard-precreation]\nenabled = false\n",
    );
    server.create("d");
    assert_eq!(server.write("d", "m v=1 1\nm v=2 2000000000000000000\nother v=1 5").status, 204);
    assert!(server.stop().success());
    server.restart();
    let before = server.segment_paths().len();
    assert!(before >= 2, "{before}");
    let altered = server.query("d", "ALTER RETENTION POLICY autogen ON d DURATION 1000w");
    assert_eq!(altered, json!({"results": [{"statement_id": 0}]}));
    wait_until("the group of 1970 is gone", || server.rows("d", "SHOW SHARDS").as_array().map(Vec::len) == Some(1));
    wait_until("its segments are removed", || server.segment_paths().len() == 1);
    assert_eq!(server.rows("d", "SELECT v FROM m").as_array().map(Vec::len), Some(1));
    wait_until("the series of the group alone is forgotten", || server.rows("d", "SHOW SERIES") == json!([["m"]]));
    assert!(server.stop().success());
    server.restart();
    assert_eq!(server.rows("d", "SHOW MEASUREMENTS"), json!([["m"]]));
    assert_eq!(server.rows("d", "SELECT v FROM m").as_array().map(Vec::len), Some(1));
    assert_eq!(server.segment_paths().len(), 1);
}

#[test]
fn the_next_shard_group_is_made_in_advance() {
    let server = Server::start_configured(
        "[monitor]\nstore-enabled = false\n[shard-precreation]\ncheck-interval = '100ms'\nadvance-period = '200h'\n",
    );
    server.create("d");
    assert_eq!(server.write("d", "m v=1").status, 204);
    wait_until("a second group", || server.rows("d", "SHOW SHARDS").as_array().map(Vec::len) >= Some(2));
}
