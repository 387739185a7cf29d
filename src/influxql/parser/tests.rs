//! Texts with the words and positions stock refuses them with, or the text it prints them back as.

use crate::influxql::Params;
use crate::influxql::parse;

/// Three kinds of lines: a query (`↵` is a line end), `  ! complaint`, `  = printed`.
const CASES: &str = include_str!("cases.txt");

fn outcome(text: &str) -> String {
    match parse(text, &Params::default()) {
        Ok(statements) => {
            let printed: Vec<String> = statements.iter().map(ToString::to_string).collect();
            format!("  = {}", printed.join("; "))
        }
        Err(error) => format!("  ! {error}"),
    }
}

#[test]
fn complaints_and_printed_texts_are_those_of_stock() {
    let mut lines = CASES.lines();
    let mut wrong = String::new();
    while let (Some(query), Some(expected)) = (lines.next(), lines.next()) {
        let found = outcome(&query.replace('↵', "\n"));
        if found.trim_end() != expected.replace('↵', "\n").trim_end() {
            wrong.push_str(&format!("{query}\n{expected}\n{found}\n"));
        }
    }
    assert!(wrong.is_empty(), "query, expected, found:\n{wrong}");
}

#[test]
fn parameters_stand_for_any_token() {
    let json =
        r#"{"n":2,"f":{"identifier":"a b"},"r":{"regex":"x/y"},"d":{"duration":"90s"},"s":"it's","neg":-5,"e":[1]}"#;
    let params = Params::from_json(json).expect("good JSON");
    for (text, expected) in [
        ("SELECT $f FROM $f LIMIT $n", Ok(r#"SELECT "a b" FROM "a b" LIMIT 2"#)),
        ("SELECT mean(v) FROM $r GROUP BY time($d), $r", Ok(r"SELECT mean(v) FROM /x\/y/ GROUP BY time(90s), /x\/y/")),
        (
            "SELECT v FROM m WHERE a =~ $r AND b = $s AND c > $neg",
            Ok(r"SELECT v FROM m WHERE a =~ /x\/y/ AND b = 'it\'s' AND c > -5"),
        ),
        ("SELECT v FROM m LIMIT $neg", Err("LIMIT must be >= 0 at line 1, char 23")),
        ("SELECT v FROM m LIMIT $s", Err("found it's, expected integer at line 1, char 23")),
        ("SELECT v FROM m WHERE a = $e", Err("missing parameter: unable to bind parameter with type []interface {}")),
        ("SELECT v FROM m WHERE a = $x", Err("missing parameter: x")),
        ("SELECT v FROM m WHERE a = $", Err("empty bound parameter")),
    ] {
        let found = parse(text, &params).map(|statements| statements[0].to_string()).map_err(|error| error.to_string());
        assert_eq!(found, expected.map(String::from).map_err(String::from), "{text}");
    }
}

#[test]
fn long_chains_are_shallow_and_print_as_written() {
    let condition = vec!["host = 'a'"; 20_000].join(" OR ");
    let text = format!("SELECT v FROM m WHERE {condition} AND x = 1");
    assert_eq!(outcome(&text), format!("  = {text}"));
}

#[test]
fn depth_without_end_is_refused() {
    let many = 200_000;
    for text in [
        format!("SELECT {}v", "(".repeat(many)),
        format!("SELECT {}", "f(".repeat(many)),
        format!("SELECT {}v FROM m", "v + ".repeat(many)),
        format!("SELECT {}v FROM m", "-(".repeat(many)),
        format!("SELECT v FROM {}", "(SELECT v FROM ".repeat(many)),
        format!("SELECT v FROM m WHERE {}", "a AND (b OR ".repeat(many)),
    ] {
        assert!(outcome(&text).contains("nested deeper than"), "{}", &text[..40]);
    }
}
