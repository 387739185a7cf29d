use crate::influxql::Params;
use crate::influxql::parse;

fn printed(text: &str) -> String {
    let statements = parse(text, &Params::default()).unwrap_or_else(|error| panic!("{text}: {error}"));
    statements.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn smoke() {
    assert_eq!(printed("select  v from M"), "SELECT v FROM M");
}
