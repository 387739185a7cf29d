//! Folding and the cutting of WHERE. The recorded instant `now()` is 2020-09-13T12:26:40.123456789Z.

use crate::influxql::Params;
use crate::influxql::ast::Expr;
use crate::influxql::ast::Select;
use crate::influxql::ast::Statement;
use crate::influxql::parse;
use crate::influxql::reduce::Known;
use crate::influxql::reduce::fold;
use crate::influxql::reduce::split_condition;

const NOW: i64 = 1_600_000_000_123_456_789;

fn select(text: &str) -> Select {
    match parse(text, &Params::default()).unwrap_or_else(|error| panic!("{text}: {error}")).remove(0) {
        Statement::Select(select) => *select,
        other => panic!("{other} is no SELECT"),
    }
}

/// What is left of a condition and its bounds, or the complaint.
fn split(condition: &str) -> String {
    let select = select(&format!("SELECT v FROM m WHERE {condition}"));
    let shown = |time: Option<i64>| time.map_or("-".into(), |time| time.to_string());
    match split_condition(&select.condition.unwrap_or(Expr::Nil), NOW, select.zone.as_deref()) {
        Err(error) => format!("! {error}"),
        Ok((rest, bounds)) => {
            let rest = rest.map_or("-".into(), |rest| rest.to_string());
            format!("{rest} | {} {}", shown(bounds.min), shown(bounds.max))
        }
    }
}

#[test]
fn every_time_bound_counts_for_the_whole() {
    for (condition, expected) in [
        ("time > 5 AND v = 1", "v = 1 | 6 -"),
        ("time >= 5 OR v = 1", "v = 1 | 5 -"),
        ("time = 1s OR time = 10s", "- | 10000000000 1000000000"),
        ("(time >= 4s AND h = 'a') OR h = 'b'", "(h = 'a') OR h = 'b' | 4000000000 -"),
        ("2s <= TIME AND \"time\" < 4s", "- | 2000000000 3999999999"),
        ("time > now() - 1h", "- | 1599996400123456790 -"),
        ("time + 1 > 0", "time + 1 > 0 | - -"),
        ("true", "- | - -"),
        ("false AND v = 1", "false | - -"),
        ("v > now()", "v > '2020-09-13T12:26:40.123456789Z' | - -"),
        ("a = 1 AND (b = 2 OR c = 3)", "a = 1 AND (b = 2 OR c = 3) | - -"),
        ("(a = 1)", "a = 1 | - -"),
    ] {
        assert_eq!(split(condition), expected, "{condition}");
    }
}

#[test]
fn whatever_folds_to_an_instant_bounds_time() {
    for (value, expected) in [
        ("'1970-01-01' + 4s - 1u", "3999999000"),
        ("4.9", "4"),
        ("1s * 4", "4000000000"),
        ("'1970-01-01T00:09:00Z' - '1970-01-01T00:00:01Z'", "539000000000"),
        ("540000000000 + 1s", "541000000000"),
        ("'1970-01-01T00:00:07.5+00:00'", "7500000000"),
        ("'1970-01-01 00:00:00.1234567899'", "123456789"),
        ("'1970-01-01T5:00:00Z'", "18000000000000"),
        ("'1970-01-01 00:00:00,5'", "500000000"),
        ("'2262-04-11T23:47:16.854775806Z'", "9223372036854775806"),
    ] {
        assert_eq!(split(&format!("time = {value}")), format!("- | {expected} {expected}"), "{value}");
    }
}

#[test]
fn date_strings_are_local_to_the_zone() {
    for (condition, expected) in [
        ("time = '2019-03-10 01:30:00' tz('America/New_York')", 1_552_199_400_i64),
        // Skipped by the clocks: read with the later offset.
        ("time = '2019-03-10 02:30:00' tz('America/New_York')", 1_552_199_400),
        ("time = '2019-03-10 03:30:00' tz('America/New_York')", 1_552_203_000),
        // Shown twice by the clocks: the first one.
        ("time = '2019-11-03 01:30:00' tz('America/New_York')", 1_572_759_000),
        ("time = '2019-11-03 02:30:00' tz('America/New_York')", 1_572_766_200),
        ("time = '2020-01-01' tz('Asia/Kathmandu')", 1_577_816_100),
        ("time = '2020-01-01T00:00:00Z' tz('Asia/Kathmandu')", 1_577_836_800),
    ] {
        let ns = expected * 1_000_000_000;
        assert_eq!(split(condition), format!("- | {ns} {ns}"), "{condition}");
    }
}

#[test]
fn complaints_are_those_of_stock() {
    for (condition, expected) in [
        ("v", "invalid condition expression: v"),
        ("v = 1 AND 'a'", "invalid condition expression: 'a'"),
        ("time != 0", "invalid time comparison operator: !="),
        ("time =~ /a/", "invalid operation: time and *influxql.RegexLiteral are not compatible"),
        ("time > 'foo'", "invalid operation: time and *influxql.StringLiteral are not compatible"),
        ("time > '1970-1-1'", "invalid operation: time and *influxql.StringLiteral are not compatible"),
        ("time > '2020-13-01'", "invalid timestamp string"),
        ("time > '1970-01-01T00:00:04'", "invalid timestamp string"),
        ("time > '1970-01-01 00:10'", "invalid timestamp string"),
        ("time > 9223372036854775808", "invalid operation: time and *influxql.UnsignedLiteral are not compatible"),
        ("time > 2 * 2s", "invalid operation: time and *influxql.BinaryExpr are not compatible"),
        ("time > '1500-01-01'", "time 1500-01-01T00:00:00Z underflows time literal"),
        ("time > '2300-01-01' tz('America/New_York')", "time 2300-01-01T00:00:00-05:00 overflows time literal"),
    ] {
        assert_eq!(split(condition), format!("! {expected}"), "{condition}");
    }
}

#[test]
fn times_out_of_reach_stay_out_of_reach() {
    for condition in
        ["time > '1500-01-01' + 1h", "time < 9223372036854775807 + '2020-01-01'", "time < '2300-01-01' - 1h"]
    {
        assert!(split(condition).ends_with("flows time literal"), "{condition}");
    }
    assert_eq!(split("time > 9223372036854775807"), "- | 9223372036854775807 -");
}

#[test]
fn constants_fold_as_in_stock() {
    for (item, expected) in [
        ("10 / 4 * n", "2.500 * n"),
        ("5 / 0 + n", "0.000 + n"),
        ("7 % 0 + n", "0 + n"),
        ("2 ^ n & 3", "2 ^ n & 3"),
        ("9223372036854775807 + 1 - n", "-9223372036854775808 - n"),
        ("'a' + 'b'", "'ab'"),
        ("(1 + 2) * (v)", "3 * v"),
        ("v * (1 + w)", "v * (1 + w)"),
        ("pow(2, 3) + v", "8.000 + v"),
        ("abs(-3) + v", "3 + v"),
        ("v + abs('a')", "v + nil"),
        ("5 - abs('a')", "false"),
        ("1h * 2 + 30m", "150m"),
        ("18446744073709551615 - 1", "18446744073709551614"),
        ("v + now()", "v + now()"),
    ] {
        let select = select(&format!("SELECT {item} FROM m"));
        assert_eq!(fold(&select.fields[0].expr, &Known::math()).to_string(), expected, "{item}");
    }
}
