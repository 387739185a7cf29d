use futures_lite::future::block_on;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use super::*;
use crate::model::Cell;

fn bytes(text: &str) -> Bytes {
    text.as_bytes().into()
}

fn time(ns: i64) -> Cell {
    Cell::Time { ns, utc_offset_s: 0 }
}

fn series(name: &str, columns: &[&str], rows: Vec<Vec<Cell>>) -> RowSet {
    RowSet {
        name: Some(bytes(name)),
        tags: Vec::new(),
        columns: columns.iter().map(|column| bytes(column)).collect(),
        rows,
        partial: false,
    }
}

fn piece(statement_id: i32, series: Vec<RowSet>) -> ResultPiece {
    ResultPiece { statement_id, series, ..ResultPiece::default() }
}

fn encode(layout: Layout, pieces: &[ResultPiece]) -> Vec<u8> {
    let mut encoder = Encoder::new(layout);
    pieces.iter().for_each(|piece| block_on(encoder.push(piece)));
    encoder.finish();
    encoder.sendable().to_vec()
}

fn check(layout: Layout, pieces: &[ResultPiece], expected: &str) {
    assert_eq!(String::from_utf8_lossy(&encode(layout, pieces)), expected);
}

const JSON: Layout = Layout { format: Format::Json, pretty: false, epoch: None, chunked: false, row_limit: 0 };
const CHUNKED: Layout = Layout { chunked: true, ..JSON };
const CSV: Layout = Layout { format: Format::Csv, ..JSON };

#[test]
fn no_statement_is_an_empty_object() {
    check(JSON, &[], "{}\n");
    check(Layout { pretty: true, ..JSON }, &[], "{}\n");
    check(CHUNKED, &[], "");
    check(CSV, &[], "");
}

#[test]
fn a_statement_without_rows_is_its_id() {
    check(JSON, &[piece(0, vec![])], "{\"results\":[{\"statement_id\":0}]}\n");
}

#[test]
fn keys_stand_in_stocks_order() {
    let mut one = series("cpu", &["time", "v"], vec![vec![time(1), Cell::Float(1.0)]]);
    one.tags = vec![(bytes("a"), bytes("<")), (bytes("b"), bytes(""))];
    let mut answer = piece(3, vec![one]);
    answer.messages = vec![Message { level: "warning", text: "w".into() }];
    check(
        JSON,
        &[answer],
        concat!(
            r#"{"results":[{"statement_id":3,"series":[{"name":"cpu","tags":{"a":"\u003c","b":""},"#,
            r#""columns":["time","v"],"values":[["1970-01-01T00:00:00.000000001Z",1]]}],"#,
            r#""messages":[{"level":"warning","text":"w"}]}]}"#,
            "\n"
        ),
    );
}

#[test]
fn pretty_is_indented_by_four() {
    let one = series("m", &["time"], vec![vec![Cell::Null], vec![Cell::List(vec![bytes("x")])]]);
    let expected = r#"{
    "results": [
        {
            "statement_id": 0,
            "series": [
                {
                    "name": "m",
                    "columns": [
                        "time"
                    ],
                    "values": [
                        [
                            null
                        ],
                        [
                            [
                                "x"
                            ]
                        ]
                    ]
                }
            ]
        }
    ]
}
"#;
    check(Layout { pretty: true, ..JSON }, &[piece(0, vec![one])], expected);
}

#[test]
fn strings_are_escaped_as_go_does() {
    let mut out = Vec::new();
    json_string(b"a\"\\\n\x01\x1f\x7f\xff\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa\xc3\xa9<&>", &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "\"a\\\"\\\\\\n\\u0001\\u001f\u{7f}\\ufffd\\u2028\\u2029\u{202a}\u{e9}\\u003c\\u0026\\u003e\""
    );
}

#[test]
fn epoch_touches_the_first_column_only_and_cuts_toward_zero() {
    let rows = vec![vec![time(-1_500_000_000), time(0)], vec![Cell::Integer(7), Cell::Null]];
    let layout = Layout { epoch: Epoch::from_parameter("s"), ..JSON };
    let text = String::from_utf8(encode(layout, &[piece(0, vec![series("m", &["a", "b"], rows)])])).unwrap();
    assert!(text.contains("[[-1,\"1970-01-01T00:00:00Z\"],[7,null]]"), "{text}");
    assert_eq!(Epoch::from_parameter(""), None);
    assert_eq!(Epoch::from_parameter("zz"), Epoch::from_parameter("ns"));
}

#[test]
fn pieces_of_one_series_are_joined_and_lose_their_partial() {
    let mut first = series("m", &["v"], vec![vec![Cell::Integer(1)]]);
    first.partial = true;
    let second = series("m", &["v"], vec![vec![Cell::Integer(2)]]);
    let mut open = piece(0, vec![first]);
    open.partial = true;
    check(
        JSON,
        &[open.clone(), piece(0, vec![second.clone(), second.clone()])],
        concat!(
            r#"{"results":[{"statement_id":0,"series":[{"name":"m","columns":["v"],"values":[[1],[2]]},"#,
            r#"{"name":"m","columns":["v"],"values":[[2]]}]}]}"#,
            "\n"
        ),
    );
    check(
        CHUNKED,
        &[open, piece(0, vec![second])],
        concat!(
            r#"{"results":[{"statement_id":0,"series":[{"name":"m","columns":["v"],"values":[[1]],"#,
            r#""partial":true}],"partial":true}]}"#,
            "\n",
            r#"{"results":[{"statement_id":0,"series":[{"name":"m","columns":["v"],"values":[[2]]}]}]}"#,
            "\n"
        ),
    );
}

#[test]
fn an_error_takes_back_the_rows_that_were_not_sent() {
    let one = series("m", &["v"], vec![vec![Cell::Integer(1)]]);
    let mut open = piece(1, vec![one.clone()]);
    open.partial = true;
    let mut failed = piece(1, vec![]);
    failed.error = Some("boom".into());
    check(
        JSON,
        &[piece(0, vec![]), open.clone(), failed.clone(), piece(2, vec![])],
        "{\"results\":[{\"statement_id\":0},{\"statement_id\":1,\"error\":\"boom\"},{\"statement_id\":2}]}\n",
    );
    check(CSV, &[open.clone(), failed.clone(), piece(2, vec![one])], "name,tags,v\nm,,1\n");

    let mut encoder = Encoder::new(JSON);
    block_on(encoder.push(&open));
    let mut sent = encoder.sendable().to_vec();
    encoder.sent();
    block_on(encoder.push(&failed));
    encoder.finish();
    sent.extend_from_slice(encoder.sendable());
    assert_eq!(
        String::from_utf8(sent).unwrap(),
        concat!(
            r#"{"results":[{"statement_id":1,"series":[{"name":"m","columns":["v"],"values":[[1]]}],"#,
            r#""error":"boom"}]}"#,
            "\n"
        )
    );
}

#[test]
fn an_infinity_replaces_the_document_until_it_was_sent() {
    let fine = piece(0, vec![series("m", &["v"], vec![vec![Cell::Float(1.0)]])]);
    let bad = piece(1, vec![series("m", &["v"], vec![vec![Cell::Float(f64::NEG_INFINITY)]])]);
    check(JSON, &[fine.clone(), bad.clone(), fine.clone()], "{\"error\":\"json: unsupported value: -Inf\"}\n");
    let chunked = String::from_utf8(encode(CHUNKED, &[fine.clone(), bad.clone(), fine.clone()])).unwrap();
    assert_eq!(chunked.lines().nth(1).unwrap(), "{\"error\":\"json: unsupported value: -Inf\"}");
    assert_eq!(chunked.lines().count(), 3);
    check(CSV, std::slice::from_ref(&bad), "name,tags,v\nm,,-Inf\n");

    let mut encoder = Encoder::new(JSON);
    block_on(encoder.push(&fine));
    encoder.sent();
    block_on(encoder.push(&bad));
    encoder.finish();
    assert!(String::from_utf8_lossy(encoder.sendable()).contains("[[null]]"));
}

#[test]
fn nan_is_null() {
    let text = encode(JSON, &[piece(0, vec![series("m", &["v"], vec![vec![Cell::Float(f64::NAN)]])])]);
    assert!(String::from_utf8(text).unwrap().contains("[[null]]"));
}

#[test]
fn the_row_limit_counts_all_statements_and_marks_only_a_cut_series() {
    let rows = |count: i64| (0..count).map(|value| vec![Cell::Integer(value)]).collect::<Vec<_>>();
    let limited = Layout { row_limit: 3, ..JSON };
    let answer = |pieces: &[ResultPiece]| serde_json::from_slice::<Value>(&encode(limited, pieces)).unwrap();
    let one = |count| piece(0, vec![series("m", &["v"], rows(count))]);

    assert_eq!(answer(&[one(3)])["results"][0]["series"][0].get("partial"), None);
    let cut = answer(&[one(2), piece(1, vec![series("m", &["v"], rows(2)), series("n", &["v"], rows(1))]), one(1)]);
    assert_eq!(cut["results"][1]["series"], json!([{"name":"m","columns":["v"],"values":[[0]],"partial":true}]));
    assert_eq!(cut["results"].as_array().unwrap().len(), 2);
    let mut more = one(3);
    more.partial = true;
    more.series[0].partial = true;
    assert_eq!(answer(&[more])["results"][0]["series"][0]["partial"], true);
}

#[test]
fn csv_has_a_header_for_each_statement_and_each_change_of_columns() {
    let row = |value: &str| vec![Cell::String(bytes(value))];
    let mut tagged = series("a b", &["v"], vec![row("x,y"), row("q\"q"), row(" z"), row("")]);
    tagged.tags = vec![(bytes("k"), bytes("1 2")), (bytes("l"), bytes("="))];
    let pieces = [
        piece(0, vec![]),
        piece(1, vec![tagged, series("m", &["w"], vec![vec![Cell::Float(1e21)]])]),
        piece(2, vec![series("m", &["time"], vec![vec![time(5)], vec![Cell::Null]])]),
    ];
    let expected = concat!(
        "name,tags,v\n",
        "a b,\"k=1\\ 2,l=\\=\",\"x,y\"\n",
        "a b,\"k=1\\ 2,l=\\=\",\"q\"\"q\"\n",
        "a b,\"k=1\\ 2,l=\\=\",\" z\"\n",
        "a b,\"k=1\\ 2,l=\\=\",\n",
        "\nname,tags,w\nm,,1000000000000000000000\n",
        "\nname,tags,time\nm,,5\nm,,\n"
    );
    check(CSV, &pieces, expected);
    check(Layout { chunked: true, ..CSV }, &pieces, expected);
}

#[test]
fn csv_leaves_out_tags_without_value() {
    let mut tagged = series("m", &["v"], vec![vec![Cell::Integer(1)]]);
    tagged.tags = vec![(bytes("a"), bytes("")), (bytes("b"), bytes("x")), (bytes("c"), bytes(""))];
    check(CSV, &[piece(0, vec![tagged])], "name,tags,v\nm,b=x,1\n");
}

#[test]
fn error_documents_have_stocks_shapes() {
    let body = |format, pretty| {
        let mut out = Vec::new();
        error_document(format, pretty, b"a <b", &mut out);
        out
    };
    assert_eq!(body(Format::Json, false), b"{\"error\":\"a \\u003cb\"}\n");
    assert_eq!(body(Format::Json, true), b"{\n    \"error\": \"a \\u003cb\"\n}\n");
    assert_eq!(body(Format::Csv, false), b"error\na <b\n");
    assert_eq!(body(Format::MessagePack, false), b"\x81\xa5error\xa4a <b");
}

#[test]
fn msgpack_counts_take_their_shortest_form() {
    let body = |count| {
        let rows = vec![vec![Cell::Null]; count];
        let pieces = [piece(0, vec![series("m", &["v"], rows)]), piece(1, vec![])];
        encode(Layout { format: Format::MessagePack, ..JSON }, &pieces)
    };
    // Seen from stock.
    let expected = |header: &[u8], count: usize| {
        let start = b"\x81\xa7results\x92\x82\xacstatement_id\x00\xa6series\x91\x83\xa4name\xa1m\xa7columns\x91\xa1v";
        let rows = [&b"\xa6values"[..], header, &b"\x91\xc0".repeat(count)].concat();
        [&start[..], &rows, b"\x82\xacstatement_id\x01\xa6series\x90"].concat()
    };
    assert_eq!(body(15), expected(b"\x9f", 15));
    assert_eq!(body(16), expected(b"\xdc\x00\x10", 16));
    assert_eq!(body(65_535), expected(b"\xdc\xff\xff", 65_535));
    assert_eq!(body(65_536), expected(b"\xdd\x00\x01\x00\x00", 65_536));
}

/// Reads MessagePack back as JSON; only what the writer writes.
fn unpack(input: &mut &[u8]) -> Value {
    use rmp::Marker;
    let text = |length: usize, input: &mut &[u8]| {
        let (head, rest) = input.split_at(length);
        *input = rest;
        Value::String(String::from_utf8_lossy(head).into_owned())
    };
    let list = |length: usize, input: &mut &[u8]| Value::Array((0..length).map(|_| unpack(input)).collect());
    let map = |length: usize, input: &mut &[u8]| {
        let pair = |_| {
            let key = unpack(input);
            (key.as_str().unwrap().to_owned(), unpack(input))
        };
        Value::Object((0..length).map(pair).collect())
    };
    let before = *input;
    match rmp::decode::read_marker(input).unwrap() {
        Marker::Null => Value::Null,
        Marker::True => json!(true),
        Marker::False => json!(false),
        Marker::F64 => {
            *input = before;
            json!(rmp::decode::read_f64(input).unwrap())
        }
        Marker::FixStr(length) => text(length.into(), input),
        Marker::Str8 => {
            *input = before;
            let length = rmp::decode::read_str_len(input).unwrap();
            text(length as usize, input)
        }
        Marker::FixArray(length) => list(length.into(), input),
        Marker::Array16 => {
            *input = before;
            let length = rmp::decode::read_array_len(input).unwrap();
            list(length as usize, input)
        }
        Marker::FixMap(length) => map(length.into(), input),
        Marker::Ext8 => {
            assert_eq!(&input[..2], [12, 5]);
            let seconds = i64::from_be_bytes(input[2..10].try_into().unwrap());
            let nanos = i32::from_be_bytes(input[10..14].try_into().unwrap());
            *input = &input[14..];
            let mut out = Vec::new();
            number::rfc3339(seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos.into()), 0, &mut out);
            Value::String(String::from_utf8(out).unwrap())
        }
        Marker::U64 => {
            *input = before;
            json!(rmp::decode::read_u64(input).unwrap())
        }
        _ => {
            *input = before;
            json!(rmp::decode::read_int::<i64, _>(input).unwrap())
        }
    }
}

fn any_cell() -> impl Strategy<Value = Cell> {
    prop_oneof![
        Just(Cell::Null),
        any::<i64>().prop_map(time),
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(Cell::Float),
        any::<i64>().prop_map(Cell::Integer),
        any::<u64>().prop_map(Cell::Unsigned),
        any::<bool>().prop_map(Cell::Boolean),
        ".{0,40}".prop_map(|text| Cell::String(bytes(&text))),
        proptest::collection::vec(".{0,3}".prop_map(|text| bytes(&text)), 0..3).prop_map(Cell::List),
    ]
}

/// Statements of series of two-column rows.
fn any_answer() -> impl Strategy<Value = Vec<Vec<RowSet>>> {
    let row = proptest::collection::vec(any_cell(), 2);
    let one = ("[a-z]{0,3}", proptest::collection::vec(row, 0..6)).prop_map(|(name, rows)| {
        let mut one = series(&name, &["x", "y"], rows);
        one.tags = vec![(bytes("t"), bytes(&name))];
        one
    });
    proptest::collection::vec(proptest::collection::vec(one, 0..4), 0..4)
}

fn cell_value(cell: &Cell) -> Value {
    let text = |bytes: &Bytes| Value::String(String::from_utf8_lossy(bytes).into_owned());
    match cell {
        Cell::Null => Value::Null,
        Cell::Time { ns, utc_offset_s } => {
            let mut out = Vec::new();
            number::rfc3339(*ns, *utc_offset_s, &mut out);
            Value::String(String::from_utf8(out).unwrap())
        }
        Cell::Float(value) => json!(value),
        Cell::Integer(value) => json!(value),
        Cell::Unsigned(value) => json!(value),
        Cell::Boolean(value) => json!(value),
        Cell::String(value) => text(value),
        Cell::List(values) => values.iter().map(text).collect(),
    }
}

/// The answer as serde_json would build it.
fn model(answer: &[Vec<RowSet>], empty_lists: bool) -> Value {
    let series_value = |series: &RowSet| {
        let mut value = json!({});
        if series.name.as_ref().is_some_and(|name| !name.is_empty()) {
            value["name"] = json!(String::from_utf8_lossy(series.name.as_ref().unwrap()));
        }
        value["tags"] = json!({"t": String::from_utf8_lossy(&series.tags[0].1)});
        value["columns"] = json!(["x", "y"]);
        if empty_lists || !series.rows.is_empty() {
            value["values"] = series.rows.iter().map(|row| row.iter().map(cell_value).collect::<Value>()).collect();
        }
        value
    };
    let results = answer.iter().enumerate().map(|(id, all)| {
        let mut value = json!({"statement_id": id});
        if empty_lists || !all.is_empty() {
            value["series"] = all.iter().map(series_value).collect();
        }
        value
    });
    let results: Vec<Value> = results.collect();
    if results.is_empty() && !empty_lists { json!({}) } else { json!({ "results": results }) }
}

/// Numbers compare by value: the two writers print floats differently.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((k, a), (l, b))| k == l && same(a, b))
        }
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => left == right,
    }
}

/// Cuts every series after `cuts[..]` rows into pieces, as a query would send them.
fn pieces(answer: &[Vec<RowSet>], rows_max: usize) -> Vec<ResultPiece> {
    let mut all = Vec::new();
    for (id, statement) in answer.iter().enumerate() {
        let first = all.len();
        for series in statement {
            let mut parts: Vec<&[Vec<Cell>]> = series.rows.chunks(rows_max).collect();
            if parts.is_empty() {
                parts.push(&[]);
            }
            let last = parts.len() - 1;
            for (index, rows) in parts.iter().enumerate() {
                let part = RowSet { rows: rows.to_vec(), partial: index < last, ..series.clone() };
                all.push(ResultPiece { partial: true, ..piece(id as i32, vec![part]) });
            }
        }
        if all.len() == first {
            all.push(piece(id as i32, vec![]));
        }
        all.last_mut().unwrap().partial = false;
    }
    all
}

/// Encodes, sending after each piece or at the end only.
fn stream(layout: Layout, pieces: &[ResultPiece], send_often: bool) -> Vec<u8> {
    let mut encoder = Encoder::new(layout);
    let mut sent = Vec::new();
    for piece in pieces {
        block_on(encoder.push(piece));
        if send_often {
            sent.extend_from_slice(encoder.sendable());
            encoder.sent();
        }
    }
    encoder.finish();
    sent.extend_from_slice(encoder.sendable());
    sent
}

proptest! {
    #[test]
    fn any_answer_cut_anywhere_reads_back_as_one_document(
        answer in any_answer(), rows_max in 1_usize..5, send_often: bool, pretty: bool,
    ) {
        let pieces = pieces(&answer, rows_max);
        let text = stream(Layout { pretty, ..JSON }, &pieces, send_often);
        let read: Value = serde_json::from_slice(&text).unwrap();
        let expected = model(&answer, false);
        prop_assert!(same(&read, &expected), "{}\n{}", read, expected);

        let packed = stream(Layout { format: Format::MessagePack, ..JSON }, &pieces, send_often);
        let mut rest = &packed[..];
        let read = unpack(&mut rest);
        let expected = model(&answer, true);
        prop_assert!(rest.is_empty());
        prop_assert!(same(&read, &expected), "{}\n{}", read, expected);
    }

    #[test]
    fn chunked_is_one_document_for_each_piece(answer in any_answer(), rows_max in 1_usize..5) {
        let pieces = pieces(&answer, rows_max);
        let text = stream(CHUNKED, &pieces, true);
        let documents: Vec<Value> =
            serde_json::Deserializer::from_slice(&text).into_iter().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(documents.len(), pieces.len());
        prop_assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), pieces.len());
    }

    #[test]
    fn any_bytes_are_a_json_string(text in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut out = Vec::new();
        json_string(&text, &mut out);
        let read: String = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(read.replace('\u{fffd}', ""), String::from_utf8_lossy(&text).replace('\u{fffd}', ""));
    }
}
