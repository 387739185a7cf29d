//! Statements over a server made of maps: several cores and shards, real executors, a catalog that is applied in place.
//! Expected answers were recorded from InfluxDB 1.8.10.

mod world;

use serde_json::Value;
use serde_json::json;

use super::*;
use crate::influxql;
use crate::meta;
use crate::meta::Command;
use crate::query::statement::tests::world::CORES;
use crate::query::statement::tests::world::NOW;
use crate::query::statement::tests::world::World;
use crate::query::statement::tests::world::wait;

/// The data of the SHOW examples, with one series of another policy in a shared measurement.
fn show_world() -> World {
    let world = World::new();
    world.run("CREATE DATABASE sh; CREATE RETENTION POLICY rp2 ON sh DURATION INF REPLICATION 1");
    world.run("CREATE DATABASE empty; CREATE DATABASE other");
    world.write(
        "sh",
        "",
        r#"cpu,host=a,region=eu usage=1,idle=5i 1577836800
        cpu,host=b,region=us usage=2 1577836800
        cpu,host=c usage=3 1577836800
        disk,host=a,path=/ used=3,label="x",rw=true 1577836800
        net rx=1i 1577836800
        cpu,host=d usage=1 1609459200"#,
    );
    world.write("sh", "rp2", "newm,host=y v=1 1577836800\n cpu,host=zz,only=rp2 v=1 1577836800");
    world.write("other", "", "cpu v=1 1\n cpu,a=1 v=1 1");
    world
}

fn single(name: Option<&str>, column: &str, values: &[&str]) -> String {
    if values.is_empty() {
        return "[{}]".to_owned();
    }
    let rows: Vec<[&str; 1]> = values.iter().map(|value| [*value]).collect();
    let mut set = json!({"columns": [column], "values": rows});
    if let Some(name) = name {
        set["name"] = json!(name);
    }
    json!([{"series": [set]}]).to_string()
}

#[track_caller]
fn check_series(world: &World, text: &str, keys: &[&str]) {
    world.check("sh", text, &single(None, "key", keys));
}

#[track_caller]
fn check_error(world: &World, database: &str, text: &str, error: &str) {
    world.check(database, text, &json!([{"error": error}]).to_string());
}

const ALL: [&str; 8] = [
    "cpu,host=a,region=eu",
    "cpu,host=b,region=us",
    "cpu,host=c",
    "cpu,host=d",
    "cpu,host=zz,only=rp2",
    "disk,host=a,path=/",
    "net",
    "newm,host=y",
];

#[test]
fn show_series_lists_the_whole_database_in_key_order() {
    let world = show_world();
    check_series(&world, "SHOW SERIES", &ALL);
    check_series(&world, "SHOW SERIES FROM rp2.cpu", &ALL[..5]);
    check_series(&world, "SHOW SERIES FROM cpu, /n/", &[&ALL[..5], &ALL[6..]].concat());
    check_series(&world, "SHOW SERIES LIMIT 2 OFFSET 1", &ALL[1..3]);
    check_series(&world, "SHOW SERIES OFFSET 10", &[]);
    check_series(&world, "SHOW SERIES ON sh FROM other..cpu", &["cpu", "cpu,a=1"]);
    check_series(&world, "SHOW SERIES FROM nosuch", &[]);
    world.check("empty", "SHOW SERIES", "[{}]");
    check_error(&world, "", "SHOW SERIES", "database name required");
    check_error(&world, "sh", "SHOW SERIES ON nope", "database not found: nope");
    check_error(&world, "sh", "SHOW SERIES FROM nope..cpu", "database not found: nope");
    check_error(&world, "sh", "SHOW SERIES FROM nope.cpu", "retention policy not found: nope");
}

#[test]
fn show_series_filters_by_tags() {
    let world = show_world();
    check_series(&world, "SHOW SERIES FROM cpu WHERE region != 'eu'", &ALL[1..5]);
    check_series(&world, "SHOW SERIES WHERE host = ''", &["net"]);
    check_series(&world, "SHOW SERIES WHERE host =~ /[ab]/", &[ALL[0], ALL[1], ALL[5]]);
    check_series(&world, "SHOW SERIES WHERE host !~ /[abc]/ AND _name = 'cpu'", &ALL[3..5]);
    check_series(&world, "SHOW SERIES WHERE 'a' = host", &[ALL[0], ALL[5]]);
    check_series(&world, "SHOW SERIES WHERE host = 1", &ALL);
    // Stock asks one of its shards, left to chance, whether it is a field; here it is one.
    check_series(&world, "SHOW SERIES WHERE rw = 'x'", &["disk,host=a,path=/"]);
    check_series(&world, "SHOW SERIES FROM cpu WHERE host = region", &[]);
    check_series(&world, "SHOW SERIES WHERE region = only", &[]);
    check_series(&world, "SHOW SERIES WHERE region != only", &[ALL[0], ALL[1], ALL[4]]);
    check_series(&world, "SHOW SERIES WHERE false", &[]);
    check_series(&world, "SHOW SERIES WHERE true", &ALL);
    check_error(&world, "sh", "SHOW SERIES WHERE usage > 1", "invalid tag comparison operator");
    check_error(&world, "sh", "SHOW SERIES WHERE host = 'a' OR usage > 1", "invalid tag comparison operator");
    check_error(&world, "sh", "SHOW SERIES WHERE host", "invalid condition expression: host");
}

#[test]
fn show_series_with_time_looks_at_shard_groups_of_one_policy() {
    let world = show_world();
    check_series(&world, "SHOW SERIES WHERE time > '2020-06-01'", &["cpu,host=d"]);
    let in_2020 = "SHOW SERIES WHERE time > '2019-12-31' AND time < '2020-06-01'";
    check_series(&world, in_2020, &[&ALL[..3], &ALL[5..7]].concat());
    let behind_their_points = "SHOW SERIES WHERE time > '2020-01-02' AND time < '2020-01-04'";
    check_series(&world, behind_their_points, &[&ALL[..3], &ALL[5..7]].concat());
    check_series(&world, "SHOW SERIES WHERE time > '2020-01-06' AND time < '2020-01-08'", &[]);
    check_series(&world, "SHOW SERIES WHERE time > now() - 1h AND host = 'a'", &[]);
    check_series(&world, "SHOW SERIES WHERE time > '2020-06-01' AND usage > 1", &[]);
}

#[test]
fn a_time_on_the_right_is_seen_only_as_a_bound() {
    let world = show_world();
    check_series(&world, "SHOW SERIES FROM net WHERE 5 < time AND usage = 1", &["net"]);
    check_series(&world, "SHOW SERIES FROM net WHERE 9000000000000000000 < time", &[]);
    let seen = "SHOW SERIES EXACT CARDINALITY doesn't support time in WHERE clause";
    check_error(&world, "sh", "SHOW SERIES CARDINALITY WHERE host = 'a' OR (time > 5)", seen);
    for text in ["SHOW SERIES CARDINALITY WHERE host = 'a' OR 5 < time", "SHOW FIELD KEY CARDINALITY WHERE 5 < time"] {
        world.check("sh", text, "[{}]");
    }
    let count = r#"[{"series":[{"name":"net","columns":["count"],"values":[[1]]}]}]"#;
    world.check("sh", "SHOW SERIES CARDINALITY FROM net WHERE host = '' OR time + 1 > 5", count);
    for text in ["SHOW TAG KEY CARDINALITY WHERE host = time", "DROP SERIES WHERE host = time"] {
        check_error(&world, "sh", text, "invalid operation: time and *influxql.VarRef are not compatible");
    }
    check_error(&world, "sh", "SHOW MEASUREMENTS WHERE 5 < time", "invalid tag comparison operator");
    world.check("sh", "DROP SERIES FROM cpu WHERE host = 'a' AND 1600000000000000000 < time", "[{}]");
    check_series(&world, "SHOW SERIES", &ALL);
}

#[test]
fn show_measurements_decides_for_each_measurement() {
    let world = show_world();
    let check = |text: &str, names: &[&str]| world.check("sh", text, &single(Some("measurements"), "name", names));
    check("SHOW MEASUREMENTS", &["cpu", "disk", "net", "newm"]);
    check("SHOW MEASUREMENTS WITH MEASUREMENT =~ /c|d/", &["cpu", "disk"]);
    check("SHOW MEASUREMENTS WITH MEASUREMENT = rp2.newm", &["newm"]);
    check("SHOW MEASUREMENTS WHERE region != 'eu'", &[]);
    check("SHOW MEASUREMENTS WHERE region != 'zz'", &["cpu"]);
    check("SHOW MEASUREMENTS WHERE host = 'a' AND path = '/'", &["disk"]);
    check("SHOW MEASUREMENTS WHERE host = 'a' OR region = 'us'", &["cpu", "disk"]);
    check("SHOW MEASUREMENTS WHERE host !~ /a/", &["newm"]);
    check("SHOW MEASUREMENTS WHERE host = ''", &[]);
    check("SHOW MEASUREMENTS WHERE host != ''", &["cpu", "disk", "newm"]);
    check("SHOW MEASUREMENTS WHERE nosuch != 'x'", &[]);
    check("SHOW MEASUREMENTS WHERE _name = 'cpu'", &["cpu"]);
    check("SHOW MEASUREMENTS WHERE _name =~ /c/ AND host = 'a'", &["cpu"]);
    check("SHOW MEASUREMENTS LIMIT 1 OFFSET 1", &["disk"]);
    check("SHOW MEASUREMENTS OFFSET 10", &[]);
    check("SHOW MEASUREMENTS ON nosuch", &[]);
    for (condition, error) in [
        ("usage > 1", "invalid tag comparison operator"),
        ("host = 1", "right side of '=' must be a tag value string"),
        ("host = region", "right side of '=' must be a tag value string"),
        ("'a' = host", "left side of '=' must be a tag key"),
        ("time > 0", "SHOW MEASUREMENTS doesn't support time in WHERE clause"),
    ] {
        check_error(&world, "sh", &format!("SHOW MEASUREMENTS WHERE {condition}"), error);
    }
}

#[track_caller]
fn check_keys(world: &World, text: &str, expected: &[(&str, &[&str])]) {
    let sets: Vec<Value> = expected
        .iter()
        .map(|(name, keys)| {
            let rows: Vec<[&str; 1]> = keys.iter().map(|key| [*key]).collect();
            json!({"name": name, "columns": ["tagKey"], "values": rows})
        })
        .collect();
    let expected = if sets.is_empty() { json!([{}]) } else { json!([{"series": sets}]) };
    world.check("sh", text, &expected.to_string());
}

#[test]
fn show_tag_keys_ignores_policies_and_cuts_each_measurement() {
    let world = show_world();
    let cpu: (&str, &[&str]) = ("cpu", &["host", "only", "region"]);
    check_keys(&world, "SHOW TAG KEYS", &[cpu, ("disk", &["host", "path"]), ("newm", &["host"])]);
    check_keys(&world, "SHOW TAG KEYS WHERE region = 'us'", &[("cpu", &["host", "region"])]);
    check_keys(&world, "SHOW TAG KEYS LIMIT 1 OFFSET 1", &[("cpu", &["only"]), ("disk", &["path"])]);
    check_keys(&world, "SHOW TAG KEYS FROM nosuch.cpu", &[cpu]);
    check_keys(&world, "SHOW TAG KEYS FROM other..cpu", &[cpu]);
    check_keys(&world, "SHOW TAG KEYS FROM cpu WHERE _tagKey = 'host'", &[cpu]);
    check_keys(&world, "SHOW TAG KEYS FROM cpu WHERE time > '2020-06-01'", &[cpu]);
    check_keys(&world, "SHOW TAG KEYS WHERE time > now() - 1h", &[]);
    check_error(&world, "sh", "SHOW TAG KEYS WHERE usage > 1", "invalid tag comparison operator");
    check_error(&world, "sh", "SHOW TAG KEYS ON nope", "database not found: nope");
}

#[track_caller]
fn check_values(world: &World, database: &str, text: &str, expected: &[(&str, &[[&str; 2]])]) {
    let set = |(name, rows): &(&str, &[[&str; 2]])| json!({"name": name, "columns": ["key", "value"], "values": rows});
    let sets: Vec<Value> = expected.iter().map(set).collect();
    let expected = if sets.is_empty() { json!([{}]) } else { json!([{"series": sets}]) };
    world.check(database, text, &expected.to_string());
}

#[test]
fn show_tag_values_by_key_condition_and_value() {
    let world = show_world();
    let check = |text: &str, expected: &[(&str, &[[&str; 2]])]| check_values(&world, "sh", text, expected);
    let (a, b, c, d, zz) = (["host", "a"], ["host", "b"], ["host", "c"], ["host", "d"], ["host", "zz"]);
    let newm: (&str, &[[&str; 2]]) = ("newm", &[["host", "y"]]);
    check("SHOW TAG VALUES WITH KEY = host", &[("cpu", &[a, b, c, d, zz]), ("disk", &[a]), newm]);
    let regions = [["region", "eu"], ["region", "us"]];
    check("SHOW TAG VALUES FROM cpu WITH KEY IN (host, region) LIMIT 2 OFFSET 4", &[("cpu", &[zz, regions[0]])]);
    check(
        "SHOW TAG VALUES WITH KEY != host",
        &[("cpu", &[["only", "rp2"], regions[0], regions[1]]), ("disk", &[["path", "/"]])],
    );
    check("SHOW TAG VALUES WITH KEY !~ /o/", &[("disk", &[["path", "/"]])]);
    check("SHOW TAG VALUES FROM cpu WITH KEY = host WHERE region = ''", &[("cpu", &[c, d, zz])]);
    check("SHOW TAG VALUES FROM cpu WITH KEY = host WHERE time > '2020-06-01'", &[("cpu", &[a, b, c, d, zz])]);
    check("SHOW TAG VALUES WITH KEY = host WHERE time > now() - 1h", &[]);
    check("SHOW TAG VALUES WITH KEY = nosuch", &[]);
    check("SHOW TAG VALUES WITH KEY = host WHERE _name = 'cpu' AND host != 'a'", &[("cpu", &[b, c, d, zz])]);
    check("SHOW TAG VALUES WITH KEY = host WHERE _tagKey = 'region'", &[]);
    check("SHOW TAG VALUES WITH KEY IN (host, region) WHERE _tagKey = 'region'", &[("cpu", &regions)]);
    check("SHOW TAG VALUES WITH KEY = host WHERE value = 'a'", &[]);
    check("SHOW TAG VALUES WITH KEY = host WHERE value != 'a'", &[("cpu", &[b, c, d, zz]), newm]);
}

#[test]
fn show_tag_values_compares_the_value_where_value_is_a_field() {
    let world = show_world();
    world.write("empty", "", "cpu,host=a value=1 1\n cpu,host=b value=1 1\n mem,host=a free=1 1");
    let check = |text: &str, expected: &[(&str, &[[&str; 2]])]| check_values(&world, "empty", text, expected);
    check("SHOW TAG VALUES WITH KEY = host WHERE value = 'a'", &[("cpu", &[["host", "a"]])]);
    check("SHOW TAG VALUES WITH KEY = host WHERE value =~ /a|b/", &[("cpu", &[["host", "a"], ["host", "b"]])]);
    check("SHOW TAG VALUES WITH KEY = host WHERE _value = 'a'", &[]);
}

/// Measurements of one shard group; `s` and `v` are fields.
fn fields_world() -> World {
    let world = show_world();
    let lines = r#"m,h=a,r=x f=1,s="x" 1577836800
        m,h=b f=1.5,s="a" 1577836810
        m,h=c,r=x g=3 1577836810
        n,h=a v=1i,s="q" 1577836800
        n,k=z v=2i 1577836830
        o,k=y v=2i 1577836830"#;
    world.write("empty", "", lines);
    world
}

#[test]
fn a_field_in_where_of_show_filters_nothing_where_it_is_one() {
    let world = fields_world();
    let check = |text: &str, keys: &[&str]| world.check("empty", text, &single(None, "key", keys));
    let with_s = ["m,h=a,r=x", "m,h=b", "m,h=c,r=x", "n,h=a", "n,k=z"];
    let all = [&with_s[..], &["o,k=y"]].concat();
    check("SHOW SERIES WHERE s = 'nosuch'", &with_s);
    check("SHOW SERIES WHERE 'x' = s", &with_s);
    check("SHOW SERIES WHERE s::field =~ /nosuch/", &with_s);
    check("SHOW SERIES WHERE s != h", &with_s);
    check("SHOW SERIES WHERE s::tag = 'x'", &[]);
    check("SHOW SERIES WHERE s = 'x' AND h = 'a'", &["m,h=a,r=x", "n,h=a"]);
    check("SHOW SERIES WHERE h::integer = 'a'", &all);
    check("SHOW SERIES WHERE s = 'x' AND time > 0", &[]);
    check("SHOW SERIES WHERE s != 'x' AND time > 0", &["o,k=y"]);
    let one = r#"[{"series":[{"name":"o","columns":["count"],"values":[[1]]}]}]"#;
    world.check("empty", "SHOW SERIES EXACT CARDINALITY WHERE s != 'a'", one);
    check_error(&world, "empty", "SHOW SERIES WHERE h + 1 = 2", "invalid tag comparison operator");
    check_error(&world, "empty", "SHOW SERIES WHERE f > 1", "invalid tag comparison operator");
    let value = |value| ["h", value];
    let values = [("m", &[value("a"), value("b"), value("c")][..]), ("n", &[value("a")][..])];
    check_values(&world, "empty", "SHOW TAG VALUES WITH KEY = h WHERE s = 'nosuch'", &values);
    check_values(&world, "empty", "SHOW TAG VALUES WITH KEY = h WHERE s = 'x' AND _name = 'm'", &values[..1]);
    check_values(&world, "empty", "SHOW TAG VALUES WITH KEY = h WHERE s = 'x' AND r = 'y'", &[]);
}

#[test]
fn a_literal_on_the_left_is_passed_over_by_tag_keys_and_refused_by_tag_values() {
    let world = fields_world();
    let keys = |name: &str, keys: &[&str]| json!({"name": name, "columns": ["tagKey"], "values": keys.iter().map(|key| [key]).collect::<Vec<_>>()});
    let check = |text: &str, sets: &[Value]| {
        let answer = if sets.is_empty() { json!([{}]) } else { json!([{ "series": sets }]) };
        world.check("empty", text, &answer.to_string());
    };
    let (m, n, o) = (keys("m", &["h", "r"]), keys("n", &["h", "k"]), keys("o", &["k"]));
    check("SHOW TAG KEYS WHERE 'a' = h", &[m.clone(), n.clone(), o.clone()]);
    check("SHOW TAG KEYS WHERE 'n' = _name", &[m.clone(), n, o.clone()]);
    check("SHOW TAG KEYS WHERE 'a' = h OR r = 'x'", &[m]);
    check("SHOW TAG KEYS WHERE s = 'x' OR _name = 'o'", &[]);
    let refused = "left side of '=' must be a tag key";
    check_error(&world, "empty", "SHOW TAG VALUES WITH KEY = h WHERE 'a' = h", refused);
    check_error(&world, "empty", "SHOW TAG VALUES WITH KEY = h WHERE h = 'a' OR 'm' = _name", refused);
    check_error(&world, "empty", "SHOW TAG VALUES WITH KEY = h WHERE h + 1 = 2", refused);
    check_values(&world, "empty", "SHOW TAG VALUES FROM nosuch WITH KEY = h WHERE 'a' = h", &[]);
    check_values(&world, "empty", "SHOW TAG VALUES FROM n WITH KEY = h WHERE 1 = 1", &[("n", &[["h", "a"]])]);
}

#[test]
fn show_field_keys_of_one_policy() {
    let world = show_world();
    let set = |name: &str, rows: Value| json!({"name": name, "columns": ["fieldKey", "fieldType"], "values": rows});
    let check = |text: &str, sets: &[Value]| world.check("sh", text, &json!([{"series": sets}]).to_string());
    let cpu = set("cpu", json!([["idle", "integer"], ["usage", "float"]]));
    let disk = set("disk", json!([["label", "string"], ["rw", "boolean"], ["used", "float"]]));
    let net = set("net", json!([["rx", "integer"]]));
    check("SHOW FIELD KEYS", &[cpu.clone(), disk.clone(), net.clone()]);
    check("SHOW FIELD KEYS FROM cpu, /d/", &[cpu, disk]);
    check("SHOW FIELD KEYS FROM /c|n/ LIMIT 1", &[set("cpu", json!([["idle", "integer"]])), net]);
    let v = || json!([["v", "float"]]);
    check("SHOW FIELD KEYS FROM rp2././", &[set("cpu", v()), set("newm", v())]);
    check_error(&world, "sh", "SHOW FIELD KEYS FROM nosuch.cpu", "retention policy not found: nosuch");
    world.write("empty", "", "m f=1 1\n m f=1i 700000\n m f=\"x\" 1400000");
    let rows = json!([["f", "float"], ["f", "integer"], ["f", "string"]]);
    world.check("empty", "SHOW FIELD KEYS", &json!([{"series": [set("m", rows)]}]).to_string());
}

/// Counts by measurement, or by measurement and one tag.
#[track_caller]
fn check_counts(world: &World, text: &str, expected: &[(&str, &str, i64)]) {
    let set = |(name, tag, count): &(&str, &str, i64)| {
        let mut set = json!({"columns": ["count"], "values": [[count]]});
        if !name.is_empty() {
            set["name"] = json!(name);
        }
        if let Some((key, value)) = tag.split_once('=') {
            set["tags"] = json!({key: value});
        }
        set
    };
    let sets: Vec<Value> = expected.iter().map(set).collect();
    let expected = if sets.is_empty() { json!([{}]) } else { json!([{"series": sets}]) };
    world.check("sh", text, &expected.to_string());
}

#[test]
fn cardinalities_of_more_groups_than_a_page_holds() {
    let world = show_world();
    let lines: Vec<String> = (0..9000).map(|host| format!("many,host={host:05},x={} v=1 1", host % 3)).collect();
    world.write("empty", "", &lines.join("\n"));
    let set =
        |host: usize| json!({"name":"many","tags":{"host":format!("{host:05}")},"columns":["count"],"values":[[1]]});
    let expected: Vec<Value> = (0..9000).map(set).collect();
    let text = "SHOW SERIES EXACT CARDINALITY GROUP BY host";
    world.check("empty", text, &json!([{"series": expected}]).to_string());
    let few =
        [0, 1, 2].map(|x| json!({"name":"many","tags":{"x":format!("{x}")},"columns":["count"],"values":[[3000]]}));
    world.check("empty", "SHOW SERIES EXACT CARDINALITY GROUP BY x", &json!([{"series": few}]).to_string());
}

#[test]
fn cardinalities_of_one_policy() {
    let world = show_world();
    let check = |text: &str, expected: &[(&str, &str, i64)]| check_counts(&world, text, expected);
    check("SHOW SERIES EXACT CARDINALITY", &[("cpu", "", 4), ("disk", "", 1), ("net", "", 1)]);
    check("SHOW SERIES CARDINALITY LIMIT 1", &[("cpu", "", 4), ("disk", "", 1), ("net", "", 1)]);
    check("SHOW SERIES CARDINALITY OFFSET 1", &[]);
    check("SHOW SERIES CARDINALITY WHERE host = 'a'", &[("cpu", "", 1), ("disk", "", 1)]);
    check("SHOW SERIES EXACT CARDINALITY WHERE usage > 1", &[]);
    check("SHOW SERIES EXACT CARDINALITY WHERE host = 1", &[]);
    check("SHOW SERIES EXACT CARDINALITY FROM rp2././", &[("cpu", "", 1), ("newm", "", 1)]);
    let by_region = [("cpu", "region=", 2), ("cpu", "region=eu", 1), ("cpu", "region=us", 1)];
    check("SHOW SERIES EXACT CARDINALITY FROM cpu GROUP BY region", &by_region);
    check("SHOW MEASUREMENT EXACT CARDINALITY", &[("", "", 3)]);
    check("SHOW MEASUREMENT CARDINALITY WHERE host = 'a'", &[("", "", 2)]);
    check("SHOW MEASUREMENT EXACT CARDINALITY FROM nosuch", &[]);
    let by_host = [("", "host=", 1), ("", "host=a", 2), ("", "host=b", 1), ("", "host=c", 1), ("", "host=d", 1)];
    check("SHOW MEASUREMENT EXACT CARDINALITY GROUP BY host", &by_host);
    check("SHOW TAG KEY CARDINALITY", &[("cpu", "", 2), ("disk", "", 2)]);
    check(
        "SHOW TAG KEY CARDINALITY FROM cpu GROUP BY region",
        &[("cpu", "region=", 1), by_region[1], by_region[2]]
            .map(|(name, tag, _)| (name, tag, if tag == "region=" { 1 } else { 2 })),
    );
    check("SHOW SERIES EXACT CARDINALITY FROM cpu GROUP BY /reg/", &by_region);
    check("SHOW MEASUREMENT EXACT CARDINALITY GROUP BY /hos/", &by_host);
    let by_path = [("disk", "path=/", 1)];
    check("SHOW TAG VALUES EXACT CARDINALITY FROM disk WITH KEY = host GROUP BY /pa/", &by_path);
    check("SHOW FIELD KEY EXACT CARDINALITY FROM disk GROUP BY /pa/", &[("disk", "path=/", 3)]);
    let all = r#"[{"series":[{"name":"disk","tags":{"host":"a","path":"/"},"columns":["count"],"values":[[1]]}]}]"#;
    world.check("sh", "SHOW SERIES EXACT CARDINALITY FROM disk GROUP BY *", all);
    let refused = "time() is a function and expects at least one argument";
    check_error(&world, "sh", "SHOW SERIES EXACT CARDINALITY GROUP BY time", refused);
    let refused = "only time and tag dimensions allowed";
    check_error(&world, "sh", "SHOW SERIES EXACT CARDINALITY GROUP BY host + 1", refused);
    check_error(&world, "sh", "SHOW SERIES ON nodb WHERE h > 1", "database not found: nodb");
    check_error(&world, "sh", "SHOW SERIES EXACT CARDINALITY ON nodb GROUP BY h + 1", "database not found: nodb");
    let refused = "GROUP BY time(1m) is not supported for cardinalities";
    check_error(&world, "sh", "SHOW SERIES EXACT CARDINALITY GROUP BY time(1m)", refused);
    check("SHOW TAG VALUES CARDINALITY WITH KEY IN (host, region)", &[("cpu", "", 6), ("disk", "", 1)]);
    check("SHOW TAG VALUES CARDINALITY WITH KEY = host WHERE time > 0", &[]);
    check("SHOW TAG VALUES CARDINALITY WITH KEY = nosuch", &[]);
    check("SHOW TAG VALUES CARDINALITY WITH KEY = host WHERE region !~ /us/", &[("cpu", "", 1)]);
    check("SHOW TAG VALUES CARDINALITY WITH KEY = host WHERE region = ''", &[]);
    check("SHOW TAG VALUES CARDINALITY WITH KEY = host WHERE _name != 'disk'", &[]);
    check("SHOW FIELD KEY CARDINALITY", &[("cpu", "", 2), ("disk", "", 3), ("net", "", 1)]);
    check("SHOW FIELD KEY CARDINALITY WHERE host = 'd'", &[("cpu", "", 1)]);
    let fields = [("cpu", "host=a", 2), ("cpu", "host=b", 2), ("cpu", "host=c", 2), ("cpu", "host=d", 1)];
    check("SHOW FIELD KEY CARDINALITY FROM cpu GROUP BY host", &fields);
    for (statement, title) in [
        ("SHOW SERIES CARDINALITY", "SHOW SERIES EXACT CARDINALITY"),
        ("SHOW MEASUREMENT CARDINALITY", "SHOW MEASUREMENT EXACT CARDINALITY"),
        ("SHOW TAG KEY CARDINALITY", "SHOW TAG KEY EXACT CARDINALITY"),
        ("SHOW FIELD KEY CARDINALITY", "SHOW FIELD KEY CARDINALITY"),
    ] {
        let error = format!("{title} doesn't support time in WHERE clause");
        check_error(&world, "sh", &format!("{statement} WHERE time > 0"), &error);
    }
}

#[test]
fn distinct_tag_values_count_once_whatever_their_key() {
    let world = show_world();
    world.write("sh", "", "tv,a=1,b=1 v=1 1577836800\n tv,a=1,b=2 v=1 1577836800");
    check_counts(&world, "SHOW TAG VALUES CARDINALITY FROM tv WITH KEY IN (a, b)", &[("tv", "", 2)]);
}

#[test]
fn estimates_count_the_whole_database() {
    let world = show_world();
    let check = |text: &str, count: i64| {
        let set = json!({"columns": ["cardinality estimation"], "values": [[count]]});
        world.check("sh", text, &json!([{"series": [set]}]).to_string());
    };
    check("SHOW SERIES CARDINALITY", 8);
    check("SHOW MEASUREMENT CARDINALITY", 4);
    check("SHOW SERIES CARDINALITY ON nope", 0);
    check_error(&world, "", "SHOW SERIES CARDINALITY", "database name required");
    check_error(&world, "", "SHOW SERIES FROM sh..net", "database name required");
    let counted = json!([{"series": [{"name": "net", "columns": ["count"], "values": [[1]]}]}]);
    world.check("", "SHOW SERIES CARDINALITY FROM sh..net", &counted.to_string());
}

#[test]
fn few_series_of_many_are_found_as_all_are() {
    let world = World::new();
    world.run("CREATE DATABASE sh");
    for number in 0..2000 {
        world.write_point("sh", "", format!("m,a={number},b={}", number % 10).as_bytes(), "v=1", 0);
    }
    let keys = |numbers: &[u32]| -> Vec<String> { numbers.iter().map(|n| format!("m,a={n},b={}", n % 10)).collect() };
    let check = |text: &str, numbers: &[u32]| {
        let keys = keys(numbers);
        check_series(&world, text, &keys.iter().map(String::as_str).collect::<Vec<_>>());
    };
    check("SHOW SERIES WHERE a = '77' OR a = '1002' OR a =~ /^(5|9|none)$/", &[1002, 5, 77, 9]);
    check("SHOW SERIES WHERE a =~ /^(5|9|11)$/ AND b !~ /^(9|x)$/", &[11, 5]);
    check("SHOW SERIES WHERE a =~ /^(5|9|11)$/ LIMIT 1 OFFSET 1", &[5]);
    let values = |values: &[&str]| {
        let rows: Vec<Value> = values.iter().map(|value| json!(["a", value])).collect();
        json!([{"series": [{"name": "m", "columns": ["key", "value"], "values": rows}]}]).to_string()
    };
    world.check("sh", "SHOW TAG VALUES WITH KEY = a WHERE a =~ /^(5|9|11)$/", &values(&["11", "5", "9"]));
    world.check("sh", "SHOW TAG VALUES WITH KEY = a WHERE a =~ /^(5|9|11)$/ AND value != '5'", &values(&["11", "9"]));
    let both = json!([{"series": [{"name": "m", "columns": ["tagKey"], "values": [["a"], ["b"]]}]}]);
    world.check("sh", "SHOW TAG KEYS WHERE a = '1999'", &both.to_string());
}

#[test]
fn many_series_come_in_pages_and_in_order() {
    let world = World::new();
    world.run("CREATE DATABASE sh");
    let mut keys: Vec<String> = Vec::new();
    for number in 0..30_000 {
        let key = format!("m{},host=h{:05}{}", number % 3, number, "x".repeat(number % 7));
        world.write_point("sh", "", key.as_bytes(), "v=1", 0);
        keys.push(key);
    }
    keys.sort();
    let context = Context { database: "sh".to_owned(), now_ns: NOW, ..Context::default() };
    *world.0.lookups.borrow_mut() = 0;
    let expected: Vec<[&str; 1]> = keys.iter().map(|key| [key.as_str()]).collect();
    let results = world.results(&context, "SHOW SERIES", 10_000);
    assert_eq!(results, [json!({"series": [{"columns": ["key"], "values": expected}]})]);
    let pages = *world.0.lookups.borrow();
    assert!((8..=12).contains(&pages), "{pages} pages");
    *world.0.lookups.borrow_mut() = 0;
    world.results(&context, "SHOW SERIES LIMIT 5", 10_000);
    assert_eq!(*world.0.lookups.borrow(), CORES, "LIMIT stops early");
}

#[test]
fn databases_and_policies_as_recorded() {
    let world = World::new();
    world.run("CREATE DATABASE tgt");
    check_error(&world, "tgt", r#"CREATE DATABASE "a/b""#, "invalid name");
    world.check(
        "tgt",
        "SHOW RETENTION POLICIES",
        r#"[{"series":[{"columns":["name","duration","shardGroupDuration","replicaN","default"],
            "values":[["autogen","0s","168h0m0s",1,true]]}]}]"#,
    );
    world.run("CREATE DATABASE w1 WITH DURATION 2d REPLICATION 1 SHARD DURATION 1h NAME p");
    let conflict = "retention policy conflicts with an existing policy";
    check_error(&world, "tgt", "CREATE DATABASE w1 WITH DURATION 3d NAME p", conflict);
    let short = "retention policy duration must be at least 1h0m0s";
    check_error(&world, "tgt", "CREATE DATABASE w2 WITH DURATION 30m", short);
    world.run("CREATE RETENTION POLICY r5 ON tgt DURATION INF REPLICATION 3 SHARD DURATION 30m");
    world.run("CREATE RETENTION POLICY r6 ON tgt DURATION 52w REPLICATION 1");
    world.run("CREATE RETENTION POLICY r7 ON tgt DURATION 1d REPLICATION 1 SHARD DURATION 0s");
    world.run("CREATE RETENTION POLICY r8 ON tgt DURATION 2d REPLICATION 1");
    world.check(
        "tgt",
        "SHOW RETENTION POLICIES ON tgt",
        r#"[{"series":[{"columns":["name","duration","shardGroupDuration","replicaN","default"],
            "values":[["autogen","0s","168h0m0s",1,true],["r5","0s","1h0m0s",3,false],
            ["r6","8736h0m0s","168h0m0s",1,false],["r7","24h0m0s","1h0m0s",1,false],
            ["r8","48h0m0s","24h0m0s",1,false]]}]}]"#,
    );
    let longer = "retention policy duration must be greater than the shard duration";
    let create = "CREATE RETENTION POLICY r2 ON tgt DURATION 1h REPLICATION 1 SHARD DURATION 2h";
    check_error(&world, "tgt", create, longer);
    let alter = "ALTER RETENTION POLICY nosuch ON tgt DURATION 3d";
    check_error(&world, "tgt", alter, "retention policy not found: nosuch");
    check_error(&world, "", "SHOW RETENTION POLICIES", "database name required");
    check_error(&world, "", "SHOW RETENTION POLICIES ON x", "database not found: x");
    world.check("", "SHOW DATABASES", &single(Some("databases"), "name", &["tgt", "w1"]));
    world.run("DROP DATABASE w1; DROP DATABASE nosuch; DROP RETENTION POLICY r5 ON tgt; DROP SHARD 99");
    world.check("", "SHOW DATABASES", &single(Some("databases"), "name", &["tgt"]));
}

#[test]
fn users_and_grants_as_recorded() {
    let world = World::new();
    world.run("CREATE DATABASE tgt");
    world.run("CREATE USER u WITH PASSWORD 'x'; CREATE USER u WITH PASSWORD 'x'");
    let check = |text: &str, columns: [&str; 2], rows: Value| {
        let expected = json!([{"series": [{"columns": columns, "values": rows}]}]);
        let context = Context { now_ns: NOW, ..Context::default() };
        assert_eq!(json!(world.results(&context, text, 10)), expected);
    };
    let error = |text: &str, error: &str| {
        let context = Context { now_ns: NOW, ..Context::default() };
        assert_eq!(world.results(&context, text, 10), [json!({"error": error})]);
    };
    error("CREATE USER u WITH PASSWORD 'y'", "user already exists");
    error("CREATE USER u WITH PASSWORD 'x' WITH ALL PRIVILEGES", "user already exists");
    error(r#"CREATE USER "" WITH PASSWORD 'x'"#, "username required");
    error("SET PASSWORD FOR nosuch = 'x'", "user not found");
    world.run("GRANT READ ON tgt TO u; GRANT WRITE ON tgt TO u");
    check("SHOW GRANTS FOR u", ["database", "privilege"], json!([["tgt", "WRITE"]]));
    world.run("REVOKE WRITE ON tgt FROM u");
    check("SHOW GRANTS FOR u", ["database", "privilege"], json!([["tgt", "NO PRIVILEGES"]]));
    check("SHOW USERS", ["user", "admin"], json!([["u", false]]));
    error("GRANT READ ON nope TO u", "database not found: nope");
    error("GRANT READ ON nope TO nobody", "user not found");
    world.run("GRANT ALL TO u; SET PASSWORD FOR u = 'new'");
    check("SHOW USERS", ["user", "admin"], json!([["u", true]]));
    let hash = world.catalog().user("u").map(|user| user.hash.clone()).expect("made");
    assert!(meta::auth::verify_password("new", &hash));
    world.run("DROP USER u");
    error("DROP USER u", "user not found");
    error("SHOW GRANTS FOR u", "user not found");
    let none = world.results(&Context::default(), "SHOW USERS", 10);
    assert_eq!(none, [json!({"series": [{"columns": ["user", "admin"]}]})]);
}

#[test]
fn continuous_queries_and_subscriptions_as_recorded() {
    let world = World::new();
    world.run("CREATE DATABASE ref; CREATE DATABASE tgt");
    let create = "CREATE CONTINUOUS QUERY cq4 ON tgt RESAMPLE EVERY 10s FOR 2m BEGIN SELECT mean(v) INTO x FROM y \
                  GROUP BY time(1m), * END";
    world.check("tgt", create, "[{}]");
    world.run(create);
    world.check(
        "tgt",
        "SHOW CONTINUOUS QUERIES",
        r#"[{"series":[{"name":"ref","columns":["name","query"]},{"name":"tgt","columns":["name","query"],"values":
            [["cq4","CREATE CONTINUOUS QUERY cq4 ON tgt RESAMPLE EVERY 10s FOR 2m BEGIN SELECT mean(v) INTO tgt.autogen.x FROM tgt.autogen.y GROUP BY time(1m), * END"]]}]}]"#,
    );
    for (text, error) in [
        (
            "CREATE CONTINUOUS QUERY cq4 ON tgt BEGIN SELECT mean(v) INTO x FROM y GROUP BY time(1m) END",
            "continuous query already exists",
        ),
        (
            r#"CREATE CONTINUOUS QUERY c ON tgt BEGIN SELECT mean(v) INTO "norp".x FROM y GROUP BY time(1m) END"#,
            "retention policy not found: tgt.norp",
        ),
        (
            "CREATE CONTINUOUS QUERY c ON nope BEGIN SELECT mean(v) INTO x FROM y GROUP BY time(5m) END",
            "database not found: nope",
        ),
        ("CREATE SUBSCRIPTION s2 ON tgt.autogen DESTINATIONS ANY 'http://a'", "invalid subscription URL: http://a"),
        ("DROP SUBSCRIPTION s2 ON tgt.autogen", "subscription not found"),
        ("KILL QUERY 99999", "no such query id: 99999"),
    ] {
        check_error(&world, "tgt", text, error);
    }
    world.run("DROP CONTINUOUS QUERY cq4 ON tgt; DROP CONTINUOUS QUERY nosuch ON tgt");
    world.check("tgt", "SHOW SUBSCRIPTIONS", "[{}]");
    world.run("CREATE SUBSCRIPTION s ON tgt.autogen DESTINATIONS ANY 'http://a:1', 'udp://b:2'");
    world.check(
        "tgt",
        "SHOW SUBSCRIPTIONS",
        r#"[{"series":[{"name":"tgt","columns":["retention_policy","name","mode","destinations"],
            "values":[["autogen","s","ANY",["http://a:1","udp://b:2"]]]}]}]"#,
    );
}

#[test]
fn shards_print_their_times() {
    let world = World::new();
    world.run("CREATE DATABASE a; CREATE DATABASE b WITH DURATION 1d NAME p");
    world.write("a", "", "m v=1 0\n m v=1 -600000");
    world.write("b", "", "m v=1 3600");
    world.check(
        "",
        "SHOW SHARDS",
        r#"[{"series":[{"name":"a","columns":["id","database","retention_policy","shard_group","start_time","end_time","expiry_time","owners"],
            "values":[[2,"a","autogen",2,"1969-12-22T00:00:00Z","1969-12-29T00:00:00Z","1969-12-29T00:00:00Z",""],
            [1,"a","autogen",1,"1969-12-29T00:00:00Z","1970-01-05T00:00:00Z","1970-01-05T00:00:00Z",""]]},
            {"name":"b","columns":["id","database","retention_policy","shard_group","start_time","end_time","expiry_time","owners"],
            "values":[[3,"b","p",3,"1970-01-01T01:00:00Z","1970-01-01T02:00:00Z","1970-01-02T02:00:00Z",""]]}]}]"#,
    );
    world.run("DROP SHARD 2");
    world.check(
        "",
        "SHOW SHARD GROUPS",
        r#"[{"series":[{"name":"shard groups","columns":["id","database","retention_policy","start_time","end_time","expiry_time"],
            "values":[[1,"a","autogen","1969-12-29T00:00:00Z","1970-01-05T00:00:00Z","1970-01-05T00:00:00Z"],
            [3,"b","p","1970-01-01T01:00:00Z","1970-01-01T02:00:00Z","1970-01-02T02:00:00Z"]]}]}]"#,
    );
}

#[test]
fn deletes_are_checked_and_forget_a_measurement_without_series() {
    let world = show_world();
    for text in ["DELETE FROM x", "DROP SERIES FROM x", "DROP MEASUREMENT x"] {
        check_error(&world, "", text, "database not found: ");
    }
    world.check("sh", "DELETE FROM nosuch; DROP SERIES FROM nosuch; DROP MEASUREMENT nosuch", "[{},{},{}]");
    world.check("sh", "DELETE FROM cpu WHERE host = 'nosuch' AND time > 0", "[{}]");
    let time = "DROP SERIES doesn't support time in WHERE clause";
    check_error(&world, "sh", "DROP SERIES WHERE time > 0", time);
    let field = "shard 1: fields not supported in WHERE clause during deletion";
    for condition in ["usage > 1", "host = 5", "host = 'a' AND host = 5", "host::field = 'a'", "host + 1 = 2"] {
        check_error(&world, "sh", &format!("DELETE FROM cpu WHERE {condition}"), field);
        check_error(&world, "sh", &format!("DROP SERIES WHERE {condition}"), field);
    }
    world.check("sh", "DELETE FROM cpu WHERE host = only; DELETE FROM cpu WHERE nosuch = another", "[{},{}]");
    world.check("sh", "DELETE WHERE _tagKey = 'host'; DROP SERIES WHERE _tagKey =~ /host/", "[{},{}]");
    world.check("sh", "DELETE FROM nosuch WHERE host = 5", "[{}]");
    assert!(world.0.forgotten.borrow().is_empty());
    world.check("sh", "DELETE FROM cpu", "[{}]");
    assert_eq!(*world.0.forgotten.borrow(), [Bytes::from(&b"cpu"[..])]);
    world.check("sh", "SHOW TAG KEYS FROM cpu", "[{}]");
}

#[test]
fn deletes_refuse_only_where_a_series_is_left_undecided() {
    let world = show_world();
    for from in ["", "FROM cpu ", "FROM nosuch ", "FROM /nosuch/ ", "FROM cpu, nosuch "] {
        for condition in ["usage > 1", "host > 'a'", "host = 5 OR usage > 1", "abs(usage) > 1"] {
            world.check("empty", &format!("DELETE {from}WHERE {condition}"), "[{}]");
        }
        for decided in [
            "host = 'nosuch' AND usage > 1",
            "region > 'a' AND nosuch = 'x'",
            "_name > 'a'",
            "host = 'x' AND 5 = usage",
        ] {
            world.check("sh", &format!("DELETE {from}WHERE {decided}; DROP SERIES {from}WHERE {decided}"), "[{},{}]");
        }
    }
    world.check("sh", "DELETE FROM nosuch WHERE usage > 1; DELETE FROM /nosuch/ WHERE time > 'garbage'", "[{},{}]");
    world.check("sh", "DELETE FROM net WHERE _name = 'cpu' AND usage > 1", "[{}]");
    check_error(&world, "empty", "DELETE WHERE host", "invalid condition expression: host");
    let field = "shard 1: fields not supported in WHERE clause during deletion";
    for condition in ["usage > 1 OR host = 'nosuch'", "host = 'nosuch' OR usage = 'x'", "nosuch = 1", "usage = host"] {
        check_error(&world, "sh", &format!("DELETE FROM cpu WHERE {condition}"), field);
    }
    check_error(&world, "sh", "DELETE FROM cpu WHERE host > 'a'", "invalid tag comparison operator");
    check_series(&world, "SHOW SERIES", &ALL);
    world.check("sh", "DELETE FROM cpu WHERE host = 'a' AND (region = 'eu' OR usage > 1)", "[{}]");
    check_series(&world, "SHOW SERIES", &ALL[1..]);
}

#[test]
fn warnings_come_with_what_get_changed() {
    let world = World::new();
    let context = Context { read_only: true, ..Context::default() };
    let message = |text: &str| {
        let statements = influxql::parse(text, &influxql::Params::default()).expect(text);
        let mut answer = wait(start(&world, &statements[0], &context)).expect("allowed");
        let piece = wait(answer.next_piece(10)).expect("works").expect("one piece");
        piece.messages.into_iter().map(|message| message.text).next()
    };
    let expected = "deprecated use of 'CREATE USER admin WITH PASSWORD [REDACTED] WITH ALL PRIVILEGES' in a read only \
                    context, please use a POST request instead";
    let create = "CREATE USER admin WITH PASSWORD 'Adm1n pw' WITH ALL PRIVILEGES";
    assert_eq!(message(create).as_deref(), Some(expected));
    assert_eq!(message("SHOW DATABASES"), None);
}

#[test]
fn privileges_are_checked_before_anything_runs() {
    let world = World::new();
    world.run("CREATE DATABASE d; CREATE DATABASE e");
    let check = |caller: &Caller, text: &str, expected: Result<(), &str>| {
        let statements = influxql::parse(text, &influxql::Params::default()).expect(text);
        let outcome = authorize::authorize(&statements, caller, &world.catalog(), "d");
        assert_eq!(outcome, expected.map_err(str::to_owned), "{text}");
    };
    let first = "create admin user first or disable authentication";
    check(&Caller::Trusted, "DROP DATABASE d", Ok(()));
    check(&Caller::NoAdminYet, "SHOW DATABASES", Err(first));
    check(&Caller::NoAdminYet, "CREATE USER a WITH PASSWORD 'x' WITH ALL PRIVILEGES; SHOW USERS", Ok(()));
    check(&Caller::NoAdminYet, "CREATE USER a WITH PASSWORD 'x'", Err(first));
    let new = |name: &str| Command::CreateUser { name: name.to_owned(), hash: "h".to_owned(), admin: false };
    wait(world.change(new("joe"))).expect("allowed");
    check(&Caller::NoAdminYet, "SHOW DATABASES", Err("no user provided"));
    let joe = Caller::User("joe".to_owned());
    let denied =
        |statement: &str, need: &str| format!("joe not authorized to execute statement '{statement}', requires {need}");
    check(&joe, "SHOW DATABASES", Ok(()));
    check(&joe, "SHOW USERS", Err(&denied("SHOW USERS", "admin privilege")));
    check(&joe, "SELECT * FROM cpu", Err(&denied("SELECT * FROM cpu", "READ on d")));
    check(&joe, "SELECT value INTO q FROM cpu", Err(&denied("SELECT value INTO q FROM cpu", "READ on d")));
    world.run("GRANT READ ON d TO joe");
    check(&joe, "SELECT * FROM cpu; SHOW SERIES; SHOW TAG KEYS ON d", Ok(()));
    check(&joe, "SELECT * FROM e..cpu", Err(&denied("SELECT * FROM e..cpu", "READ on e")));
    check(&joe, "SELECT v INTO q FROM cpu", Err(&denied("SELECT v INTO q FROM cpu", "WRITE on d")));
    check(&joe, "DELETE FROM cpu", Err(&denied("DELETE FROM cpu", "WRITE on d")));
    check(&joe, "SHOW SERIES EXACT CARDINALITY ON e", Ok(()));
    check(&joe, "SHOW SERIES CARDINALITY ON e", Err(&denied("SHOW SERIES CARDINALITY ON e", "READ on e")));
    let context = Context { caller: joe, ..Context::default() };
    let visible = world.results(&context, "SHOW DATABASES", 10);
    assert_eq!(visible, [json!({"series": [{"name": "databases", "columns": ["name"], "values": [["d"]]}]})]);
    world.run("GRANT ALL TO joe");
    check(&context.caller, "DROP DATABASE d; SELECT * FROM e..cpu", Ok(()));
}

#[test]
fn diagnostics_and_statistics_filter_by_module() {
    let world = World::new();
    let context = Context { now_ns: NOW, ..Context::default() };
    let names = |text: &str| -> Vec<String> {
        let result = &world.results(&context, text, 10)[0];
        let sets = result["series"].as_array().cloned().unwrap_or_default();
        sets.iter().map(|set| set["name"].as_str().unwrap_or("").to_owned()).collect()
    };
    assert_eq!(names("SHOW DIAGNOSTICS"), ["build", "network", "runtime", "system"]);
    assert_eq!(names("SHOW DIAGNOSTICS FOR 'network'"), ["network"]);
    assert!(names("SHOW DIAGNOSTICS FOR 'nosuch'").is_empty());
    assert!(names("SHOW STATS FOR 'nosuch'").is_empty());
}
