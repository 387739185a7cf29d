//! Complaints of stock, and the form the executor gets.

use crate::influxql::Params;
use crate::influxql::ast::Expr;
use crate::influxql::ast::Fill;
use crate::influxql::ast::Statement;
use crate::influxql::parse;
use crate::limits::TIME_MAX;
use crate::limits::TIME_MIN;
use crate::model::TimeRange;
use crate::query::compile::Compiled;
use crate::query::compile::CompiledSource;
use crate::query::compile::Dimension;
use crate::query::compile::Interval;
use crate::query::compile::column_names;
use crate::query::compile::compile;
use crate::query::compile::outer_calls;

/// Three kinds of lines: a SELECT, `  ! complaint`, `  = ok`.
const CASES: &str = include_str!("cases.txt");

const NOW: i64 = 1_600_000_000_123_456_789;
const SECOND: i64 = 1_000_000_000;

fn compiled(text: &str) -> Result<Compiled, String> {
    match parse(text, &Params::default()).unwrap_or_else(|error| panic!("{text}: {error}")).remove(0) {
        Statement::Select(select) => compile(&select, NOW).map_err(|error| error.to_string()),
        other => panic!("{other} is no SELECT"),
    }
}

fn good(text: &str) -> Compiled {
    compiled(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn complaints_are_those_of_stock() {
    let mut lines = CASES.lines();
    let mut wrong = String::new();
    while let (Some(query), Some(expected)) = (lines.next(), lines.next()) {
        let found = compiled(query).map_or_else(|error| format!("  ! {error}"), |_| "  = ok".into());
        if found != expected {
            wrong.push_str(&format!("{query}\n{expected}\n{found}\n"));
        }
    }
    assert!(wrong.is_empty(), "query, expected, found:\n{wrong}");
}

fn inner(query: &Compiled) -> &Compiled {
    match &query.sources[0] {
        CompiledSource::Subquery(inner) => inner,
        CompiledSource::Measurement(measurement) => panic!("{measurement} is no subquery"),
    }
}

#[test]
fn time_bounds_get_their_defaults() {
    let time = |text: &str| good(text).time;
    assert_eq!(time("SELECT v FROM m"), TimeRange { min: TIME_MIN, max: TIME_MAX });
    assert_eq!(time("SELECT mean(v) FROM m"), TimeRange { min: TIME_MIN, max: TIME_MAX });
    assert_eq!(time("SELECT mean(v) FROM m GROUP BY time(1m)"), TimeRange { min: TIME_MIN, max: NOW });
    let text = "SELECT mean(v) FROM m WHERE time > 5s AND time < now() + 1s GROUP BY time(1m)";
    assert_eq!(time(text), TimeRange { min: 5 * SECOND + 1, max: NOW + SECOND - 1 });
}

#[test]
fn subqueries_take_over_time_interval_and_direction() {
    let outer = good(
        "SELECT mean(x) FROM (SELECT max(v) AS x FROM m WHERE time < 9s) WHERE time >= 3s GROUP BY time(2s) ORDER BY time DESC",
    );
    let inner_query = inner(&outer);
    assert_eq!(inner_query.time, TimeRange { min: 3 * SECOND, max: 9 * SECOND - 1 });
    assert_eq!(inner_query.interval, Some(Interval { every: 2 * SECOND, offset: 0 }));
    assert!(inner_query.interval_is_inherited && !inner_query.ascending);
    assert_eq!(inner_query.fill, Fill::Null);

    let outer = good("SELECT mean(x) FROM (SELECT max(v) AS x FROM m GROUP BY time(1s))");
    assert_eq!((inner(&outer).fill, outer.fill), (Fill::None, Fill::Null));
    assert!(!inner(&outer).interval_is_inherited);
}

#[test]
fn grouping_is_taken_apart() {
    let query = good("SELECT mean(v) FROM m GROUP BY time(10s, -13s), host, *, /x/");
    assert_eq!(query.interval, Some(Interval { every: 10 * SECOND, offset: -3 * SECOND }));
    assert!(
        matches!(query.dimensions.as_slice(), [Dimension::Tag(tag), Dimension::Wildcard, Dimension::Regex(_)] if tag == "host")
    );
    let query = good("SELECT mean(v) FROM m GROUP BY time(1m, now())");
    assert_eq!(query.interval.map(|interval| interval.offset), Some(NOW % (60 * SECOND)));
    assert_eq!(good("SELECT mean(v) FROM m GROUP BY time(0s, 3s)").interval, None);
    assert_eq!(good("SELECT mean(v) FROM m GROUP BY time(-1m)").interval, None);
}

/// Items, column names and traits, as one line.
fn shape(text: &str) -> String {
    let query = good(text);
    let fields: Vec<String> = query.fields.iter().map(ToString::to_string).collect();
    let traits = [
        (query.is_raw, "raw"),
        (query.only_selectors && !query.is_raw, "selectors"),
        (query.single_selector, "single"),
        (query.has_plain_fields, "fields"),
        (query.lookback_windows > 0, "lookback"),
        (query.top_bottom.is_some(), "top"),
    ];
    let traits: Vec<&str> = traits.into_iter().filter(|(holds, _)| *holds).map(|(_, name)| name).collect();
    let names = column_names(&query.fields).join(",");
    format!("{} | {},{names} | {}", fields.join(", "), query.time_column, traits.join(" "))
}

#[test]
fn items_columns_and_traits() {
    for (text, expected) in [
        ("SELECT v, time, v FROM m", "v, v | time,v,v_1 | raw fields"),
        ("SELECT time AS t, v + 2 * 3 FROM m", "v + 6 | t,v | raw fields"),
        ("SELECT DISTINCT v FROM m", "distinct(v) | time,distinct | "),
        ("SELECT count(DISTINCT v) FROM m", "count(distinct(v)) | time,count | "),
        ("SELECT max(v), host FROM m", "max(v), host | time,max,host | selectors single fields"),
        ("SELECT abs(max(v)) FROM m", "abs(max(v)) | time,abs | selectors single"),
        ("SELECT max(v), min(v) FROM m", "max(v), min(v) | time,max,min | selectors"),
        ("SELECT max(*) FROM m", "max(*) | time,max | "),
        ("SELECT top(v, host, 2) FROM m", "top(v, host, 2), host | time,top,host | selectors single top"),
        ("SELECT top(v, host, 2) INTO o FROM m", "top(v, host, 2) | time,top | selectors single top"),
        ("SELECT difference(mean(v)) FROM m GROUP BY time(1m)", "difference(mean(v)) | time,difference | lookback"),
        ("SELECT cumulative_sum(mean(v)) FROM m GROUP BY time(1m)", "cumulative_sum(mean(v)) | time,cumulative_sum | "),
        ("SELECT f, f, f AS x, f AS f_1, f FROM m", "f, f, f AS x, f AS f_1, f | time,f,f_2,x,f_1,f_3 | raw fields"),
        ("SELECT f AS x, i AS x FROM m", "f AS x, i AS x | time,x,x | raw fields"),
        ("SELECT mean(f) + mean(i), MAX(f) FROM m", "mean(f) + mean(i), max(f) | time,mean_mean,max | "),
        ("SELECT f + i, (f), -f, t.f FROM m", "f + i, f, -1 * f, \"t.f\" | time,f_i,f,f_1,t.f | raw fields"),
    ] {
        assert_eq!(shape(text), expected, "{text}");
    }
}

#[test]
fn null_fill_into_a_measurement_is_none() {
    assert_eq!(good("SELECT mean(v) INTO o FROM m GROUP BY time(1m) fill(null)").fill, Fill::None);
    assert_eq!(good("SELECT mean(v) INTO o FROM m GROUP BY time(1m) fill(0)").fill, Fill::Integer(0));
    assert_eq!(good("SELECT v INTO o FROM m").fill, Fill::None);
}

#[test]
fn outer_calls_look_through_math() {
    let query = good("SELECT pow(max(v), 2) - abs(derivative(mean(v))) FROM m GROUP BY time(1m)");
    let mut calls = Vec::new();
    outer_calls(&query.fields[0].expr, &mut calls);
    let calls: Vec<String> = calls.into_iter().map(Expr::to_string).collect();
    assert_eq!(calls, ["max(v)", "derivative(mean(v))"]);
}
