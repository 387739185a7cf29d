//! Statements as stock prints them, and that the printed text means the same.

use crate::influxql::Params;
use crate::influxql::parse;

fn printed(text: &str) -> String {
    let statements = parse(text, &Params::default()).unwrap_or_else(|error| panic!("{text}: {error}"));
    statements.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// One statement a line, as written and behind ` => ` as printed.
const CASES: &str = include_str!("cases.txt");

#[test]
fn texts_are_those_of_stock() {
    for line in CASES.lines() {
        let (text, expected) = line.split_once(" => ").unwrap_or((line, line));
        assert_eq!(printed(text), expected, "{text}");
    }
}

#[test]
fn printed_text_prints_as_itself() {
    for line in CASES.lines() {
        let text = line.split_once(" => ").map_or(line, |(_, printed)| printed);
        // Passwords are gone for good, DISTINCT prints a name without the quotes it needs, and there are no exponents.
        if !["[REDACTED]", "DISTINCT a b", "DISTINCT select", "fill(1"].iter().any(|lost| text.contains(lost)) {
            assert_eq!(printed(text), text);
        }
    }
}

#[test]
fn passwords_never_show() {
    for text in ["CREATE USER u WITH PASSWORD 'secret' WITH ALL PRIVILEGES", "SET PASSWORD FOR u = 'secret'"] {
        assert!(!printed(text).contains("secret"));
    }
}
