use super::*;
use crate::line::Errors;

/// Writes down what it is told, one line of text each.
#[derive(Default)]
struct Transcript {
    points: Vec<String>,
    errors: Errors,
}

impl Sink for Transcript {
    fn point(&mut self, point: &Point<'_>) {
        let mut text = format!("{}", point.raw_key.escape_ascii());
        for field in point.fields {
            let value = match field.value {
                FieldValue::String(bytes) => format!("\"{}\"", bytes.escape_ascii()),
                value => format!("{value:?}"),
            };
            text.push_str(&format!(" {}={value}", field.name.escape_ascii()));
        }
        self.points.push(format!("{text} @{}", point.time));
    }

    fn error(&mut self, error: &LineError<'_>) {
        self.errors.push(error);
    }
}

const OPTIONS: Options = Options { precision_ns: 1, now_ns: 1_500_000_000_123_456_789 };

fn transcript(options: &Options, body: &[u8]) -> (Vec<String>, String) {
    let mut sink = Transcript::default();
    assert_eq!(Reference::default().parse(options, body, true, &mut sink), body.len());
    (sink.points, String::from_utf8_lossy(&sink.errors.into_text()).into_owned())
}

fn check(body: &str, points: &[&str]) {
    assert_eq!(
        transcript(&OPTIONS, body.as_bytes()),
        (points.iter().map(|text| text.to_string()).collect(), String::new())
    );
}

fn check_error(line: &str, reason: &str) {
    let expected = format!("unable to parse '{line}': {reason}");
    assert_eq!(transcript(&OPTIONS, line.as_bytes()), (Vec::new(), expected));
}

#[test]
fn values_of_every_type_are_read() {
    check(
        "m,t=1 f=5.,g=.5,h=-1e-7,i=00012i,j=-0i,b=t,c=FALSE,s=\"a,b= c\" 7\n",
        &["m,t=1 f=Float(5.0) g=Float(0.5) h=Float(-1e-7) i=Integer(12) j=Integer(0) b=Boolean(true) \
           c=Boolean(false) s=\"a,b= c\" @7"],
    );
}

#[test]
fn blank_lines_and_comments_are_skipped() {
    check("\n \t\0\n# m v=1\n  m v=1 1\n \t#\nm v=2 2", &["m v=Float(1.0) @1", "m v=Float(2.0) @2"]);
}

#[test]
fn line_feed_in_a_string_or_behind_a_backslash_ends_no_line() {
    check("m s=\"a\nb\" 1\nm\\\nx v=1 2", &["m s=\"a\\nb\" @1", "m\\\\\\nx v=Float(1.0) @2"]);
}

#[test]
fn quotes_count_only_where_a_value_is_due() {
    check("m,t=\"a v=1 1\nm a\"b=1 2\n", &["m,t=\\\"a v=Float(1.0) @1", "m a\\\"b=Float(1.0) @2"]);
}

#[test]
fn strings_and_names_are_unescaped() {
    check(r#"m\ x k\,\"\=\x="a\"\\\n" 1"#, &[r#"m\\ x k,\"=\\x="a\"\\\\n" @1"#]);
}

#[test]
fn junk_behind_a_string_is_part_of_it_but_for_the_last_byte() {
    check(r#"m a="x"y,b="x"y"z" 1"#, &[r#"m a="x\"" b="x\"y\"z" @1"#]);
}

#[test]
fn field_name_may_be_empty_behind_a_tab() {
    check("m \t=1 1", &["m =Float(1.0) @1"]);
}

#[test]
fn time_may_be_missing_or_end_in_spaces() {
    check("m v=1", &["m v=Float(1.0) @1500000000123456789"]);
    check("m v=1  \t-0007  ", &["m v=Float(1.0) @-7"]);
}

#[test]
fn missing_time_is_cut_down_to_the_precision() {
    for (now_ns, precision_ns, expected) in [
        (1_500_000_000_123_456_789, 1_000_000, 1_500_000_000_123_000_000_i64),
        (1_500_000_000_123_456_789, 3_600_000_000_000, 1_499_997_600_000_000_000),
        (-1, 1_000_000_000, -1_000_000_000),
    ] {
        let (points, _) = transcript(&Options { precision_ns, now_ns }, b"m v=1");
        assert_eq!(points, [format!("m v=Float(1.0) @{expected}")]);
    }
}

#[test]
fn time_is_scaled_and_must_be_storable() {
    let seconds = Options { precision_ns: 1_000_000_000, now_ns: 0 };
    assert_eq!(transcript(&seconds, b"m v=1 9223372036").0, ["m v=Float(1.0) @9223372036000000000"]);
    let (points, errors) = transcript(&seconds, b"m v=1 9223372037");
    assert!(points.is_empty());
    assert!(errors.ends_with("': time outside range -9223372036854775806 - 9223372036854775806"));
    check(
        "m v=1 9223372036854775806\nm v=1 -9223372036854775806",
        &["m v=Float(1.0) @9223372036854775806", "m v=Float(1.0) @-9223372036854775806"],
    );
}

#[test]
fn every_reason_has_its_text() {
    let range = "time outside range -9223372036854775806 - 9223372036854775806";
    let too_long = "9".repeat(20);
    let overflow = format!("strconv.ParseInt: parsing \"{too_long}\": value out of range");
    for (line, reason) in [
        (",t=1 a=1", "missing measurement"),
        ("m", "missing fields"),
        ("m,t=1", "missing fields"),
        ("m,a=1,a=2", "missing fields"),
        ("\r", "missing fields"),
        ("m,=1 a=1", "missing tag key"),
        ("c,a=1,  v=1", "missing tag key"),
        ("m,t a=1", "missing tag value"),
        ("m,t= a=1", "missing tag value"),
        ("m,t=a=b a=1", "invalid tag format"),
        (r"m,t=a\ a=1 1", "invalid tag format"),
        ("m,t=1,t=2 a=1", "duplicate tags"),
        ("m,t=1,t=2 a=", "duplicate tags"),
        ("m value", "invalid field format"),
        ("m ", "invalid field format"),
        ("m a=1,b", "invalid field format"),
        ("m a=1,", "invalid field format"),
        ("m v = 1", "invalid field format"),
        ("m =1", "missing field key"),
        ("m a=1,=2", "missing field key"),
        ("m a=", "missing field value"),
        ("m a=,b=1", "missing field value"),
        ("m v= 1 1", "missing field value"),
        ("m a=\"x", "unbalanced quotes"),
        ("m a=NaN", "invalid number"),
        ("m a=nil", "invalid number"),
        ("m a=-", "invalid number"),
        ("m a=-i", "invalid number"),
        ("m a=.", "invalid number"),
        ("m a=--1", "invalid number"),
        ("m a=1.1.1", "invalid number"),
        ("m a=1i2", "invalid number"),
        ("m a=1.5i", "invalid number"),
        ("m a=1u", "invalid number"),
        ("m a=0x5", "invalid number"),
        ("m a=1\r", "invalid number"),
        ("m a=1e400", "invalid float"),
        ("m a=1e", "invalid float"),
        ("m a=yes", "invalid boolean"),
        ("m a=TrUE", "invalid boolean"),
        ("m a=+5", "invalid boolean"),
        ("m v=1 1.0", "bad timestamp"),
        ("m v=1 1\r", "bad timestamp"),
        ("m v=1 1\t", "bad timestamp"),
        ("m v=\"a\" b=1", "bad timestamp"),
        ("m a=1 5 5", "point is invalid"),
        ("m a=1 -", "strconv.ParseInt: parsing \"-\": invalid syntax"),
        ("m a=1 99999999999999999999", &overflow),
        ("m a=1 9223372036854775807", range),
        (r"m a\\=1 1", r"invalid value: field-key=a\\=1"),
        (
            "m a=9223372036854775808i",
            "unable to parse integer 9223372036854775808: strconv.ParseInt: parsing \"9223372036854775808\": value out of range",
        ),
        // Values that only one of the readings sees; stock panics or answers 500 for the whole body.
        (r#"m a="x"\,b"=,c=""#, "invalid field format"),
        (r#"m a="x"\,b"=zzz""#, "invalid field format"),
        (r#"m a="x"\,b"=12i""#, "invalid field format"),
    ] {
        check_error(line, reason);
    }
}

#[test]
fn key_length_is_limited_with_and_without_the_field() {
    let key = "k".repeat(65_535);
    check_error(&format!("{key}k v=1 1"), "max key length exceeded: 65536 > 65535");
    check_error(&format!("{key} v=1 1"), "max key length exceeded: 65540 > 65535");
    check(&format!("{} v=1 1", &key[5..]), &[&format!("{} v=Float(1.0) @1", &key[5..])]);
}

#[test]
fn errors_of_several_lines_are_joined_and_good_lines_count() {
    let (points, errors) = transcript(&OPTIONS, b"bad\nm v=1 1\n  m v=\"\\\xff\n");
    assert_eq!(points, ["m v=Float(1.0) @1"]);
    assert_eq!(errors, "unable to parse 'bad': missing fields\nunable to parse 'm v=\"\\\u{fffd}': unbalanced quotes");
}

#[test]
fn unfinished_line_waits_for_the_next_window() {
    let options = OPTIONS;
    let mut sink = Transcript::default();
    let consumed = Reference::default().parse(&options, b"m v=1 1\nm v=2", false, &mut sink);
    assert_eq!((consumed, sink.points.len()), (8, 1));
    assert_eq!(line_end(b"a\\\n", 0, false), None);
    assert_eq!(line_end(b"a\\\n", 0, true), Some(2));
}
