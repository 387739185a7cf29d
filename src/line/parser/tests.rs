use super::*;
use crate::line::LineError;
use crate::line::canonical;
use crate::stdx::seeded::cases;
use proptest::prelude::*;

const OPTIONS: Options = Options { precision_ns: 1_000, now_ns: 1_500_000_000_123_456_789 };

/// What a sink was told, as text, in order; duplicate tags reported as a sink must.
#[derive(Debug, Default, PartialEq)]
struct Told(Vec<String>);

impl Sink for Told {
    fn point(&mut self, point: &Point<'_>) {
        if let Err(reason) = canonical(point.raw_key) {
            return self.error(&LineError { line: point.line, reason: &reason });
        }
        // `-0` and NaN have no business being equal here.
        let fields: Vec<_> = point
            .fields
            .iter()
            .map(|field| match field.value {
                FieldValue::Float(value) => format!("{}={:x}f", field.name.escape_ascii(), value.to_bits()),
                value => format!("{}={value:?}", field.name.escape_ascii()),
            })
            .collect();
        let (line, key) = (point.line.escape_ascii(), point.raw_key.escape_ascii());
        self.0.push(format!("{line} | {key} | {} | {}", fields.join(" "), point.time));
    }

    fn error(&mut self, error: &LineError<'_>) {
        let mut text = Vec::new();
        error.append_to(&mut text);
        self.0.push(text.escape_ascii().to_string());
    }
}

fn expected(body: &[u8]) -> Told {
    let mut told = Told::default();
    assert_eq!(Reference::default().parse(&OPTIONS, body, true, &mut told), body.len());
    told
}

/// Feeds `body` through windows of `window` fresh bytes each, carrying over what was not consumed.
fn windowed(parser: &mut Parser, body: &[u8], window: usize) -> Told {
    let mut told = Told::default();
    let (mut start, mut end) = (0, 0);
    while start < body.len() {
        end = (end + window).min(body.len());
        start += parser.parse(&body[start..end], end == body.len(), &mut told);
    }
    told
}

fn check(body: &[u8]) {
    let expected = expected(body);
    for tier in Tier::available() {
        let mut parser = Parser::with_tier(OPTIONS, tier);
        // Twice, as the second time it knows the series.
        for round in 0..2 {
            let told = windowed(&mut parser, body, body.len().max(1));
            assert_eq!(told, expected, "{tier:?}, round {round}, body {}", body.escape_ascii());
        }
    }
}

#[test]
fn plain_lines_of_all_types_equal_the_reference() {
    check(b"cpu,host=a,region=b usage=58i,idle=2.25,on=t,name=\"x, y=z\n\" 1500000000000\ncpu value=-1\nm v=1 2\n");
    check(b"m,t=1 a=9223372036854775807i,b=-9223372036854775808i,c=-0,d=.5,e=5. -12\n");
}

#[test]
fn odd_lines_equal_the_reference() {
    for line in [
        "",
        "\n\n",
        " m v=1",
        "\tm v=1",
        "m  v=1",
        "m \tv=1",
        "m v=1 ",
        "m v=1 1 ",
        "m v=1\r\n",
        "#c v=1\n",
        "m,a==x v=1",
        "m,a=1,a=2 v=1 1",
        "m v=\"a\\\"b\" 1",
        "m\\ x v=1",
        "m v=\"a\"b 1",
        "m,\"t\"=1 v=1",
        "=m v=1",
        "m =1",
        "m v=",
        "m v=1i,w=9999999999999999999i",
        "m v=1 9223372036854775807",
        "m v=1 9999999999999999999",
        "m v=i",
        "m v=-i",
        "m v=t,v=f 1",
        "m v=1,",
        "m,t= v=1",
        "m,=t v=1",
        ",t=1 v=1",
        "m v=1=2 1",
        "m v=\"\"",
        "m v=\"\n",
        "\0m v=1",
    ] {
        check(line.as_bytes());
        check(format!("m v=1 1\n{line}\nm v=2 2\n").as_bytes());
    }
}

#[test]
fn bodies_of_many_chunks_equal_the_reference() {
    let mut body = Vec::new();
    for row in 0..6_000 {
        let odd = if row % 97 == 0 { "\\ " } else { "" };
        body.extend_from_slice(
            format!("cpu{odd},host=h{},region=r{} a={row}i,b={}.5,s=\"x\" {row}\n", row % 7, row % 3, row * 3)
                .as_bytes(),
        );
        if row == 3_000 {
            body.extend_from_slice(format!("long s=\"{}\" 1\n", "x, y=\n".repeat(CHUNK_BYTES)).as_bytes());
        }
    }
    check(&body);
    let expected = expected(&body);
    for window in [1_000, 4_096, 65_536, 100_001] {
        assert_eq!(windowed(&mut Parser::new(OPTIONS), &body, window), expected, "window {window}");
    }
}

#[test]
fn every_split_of_a_body_gives_the_same() {
    let body: &[u8] =
        b"a,t=1 v=1i,w=\"x\ny\" 5\n\nb\\\n v=\"\\\"\" 6\nbad\n#c\nc,t=2 v=t\na,t=1 v=2i,w=\"z\" 7\nd v=1 \\\n";
    let expected = expected(body);
    let mut parser = Parser::new(OPTIONS);
    for window in 1..body.len() {
        assert_eq!(windowed(&mut parser, body, window), expected, "window {window}");
    }
    for cut in 0..body.len() {
        let mut told = Told::default();
        let start = parser.parse(&body[..cut], false, &mut told);
        assert!(start <= cut);
        parser.parse(&body[start..], true, &mut told);
        assert_eq!(told, expected, "cut {cut}");
    }
}

/// Checks that slots and raw keys stand for each other until they are forgotten.
#[derive(Default)]
struct Slots {
    keys: Vec<Option<Vec<u8>>>,
    points: usize,
    forgotten: u64,
}

impl Sink for Slots {
    fn point(&mut self, point: &Point<'_>) {
        self.points += 1;
        let slot = point.slot.unwrap().0 as usize;
        self.keys.resize(self.keys.len().max(slot + 1), None);
        let known = self.keys[slot].get_or_insert_with(|| point.raw_key.to_vec());
        assert_eq!(known, point.raw_key);
        assert_eq!(self.keys.iter().flatten().filter(|key| *key == point.raw_key).count(), 1);
    }

    fn error(&mut self, _: &LineError<'_>) {}

    fn forget_slots(&mut self) {
        self.keys.clear();
        self.forgotten += 1;
    }
}

#[test]
fn slot_stands_for_one_key_until_it_is_forgotten() {
    let body: String = (0..500).map(|row| format!("m,t={} v={row}i {row}\n", row * row % 23)).collect();
    for (keys_max, forgets) in [(1 << 20, false), (5, true)] {
        let mut parser = Parser::with_keys_max(OPTIONS, keys_max);
        let mut slots = Slots::default();
        for _ in 0..3 {
            assert_eq!(parser.parse(body.as_bytes(), true, &mut slots), body.len());
        }
        assert_eq!(slots.points, 1_500);
        assert_eq!(slots.forgotten > 0, forgets);
        assert_eq!(slots.forgotten, parser.slot_resets());
    }
}

#[test]
fn forgetting_changes_no_point() {
    let body: String = (0..300).map(|row| format!("m{} v={row}i,w{}=2 {row}\n", row % 7, row % 3)).collect();
    let mut parser = Parser::with_keys_max(OPTIONS, 3);
    assert_eq!(windowed(&mut parser, body.as_bytes(), 512), expected(body.as_bytes()));
}

fn token() -> impl Strategy<Value = Vec<u8>> {
    let common =
        ["m", "a", "1", "=", ",", " ", "\"", "\\", "\n", "a=1", " v=1i", "=\"x\"", ",t=b", "=t", " 12\n", "#", "\t"];
    prop_oneof![
        12 => prop::sample::select(common.map(|text| text.as_bytes().to_vec()).to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ]
}

fn valid_line() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        any::<i64>().prop_map(|value| format!("{value}i")),
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(|value| format!("{value:?}")),
        (-100_000_i32..100_000).prop_map(|value| format!("{}", f64::from(value) / 100.0)),
        prop::sample::select(vec!["t", "False", "\"text, with = all\"", "\"\"", "\"a\\\"b\""]).prop_map(String::from),
    ];
    let tags = prop::collection::vec("[a-c]{1,2}=[a-z0-9.]{1,6}", 0..4);
    let fields = prop::collection::vec(("[a-d]{1,9}", value), 1..5);
    ("[mn]{1,2}", tags, fields, prop::option::of(-9_999_999_i64..9_999_999_999)).prop_map(
        |(name, tags, fields, time)| {
            let tags: String = tags.iter().map(|tag| format!(",{tag}")).collect();
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let time = time.map(|time| format!(" {time}")).unwrap_or_default();
            format!("{name}{tags} {}{time}\n", fields.join(",")).into_bytes()
        },
    )
}

/// Bodies in which lines come again, as collectors send them.
fn valid_body() -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(valid_line(), 1..5), prop::collection::vec(any::<prop::sample::Index>(), 1..12))
        .prop_map(|(lines, order)| order.iter().flat_map(|index| index.get(&lines).clone()).collect())
}

#[derive(Clone, Debug)]
enum Edit {
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Replace(prop::sample::Index, u8),
}

fn edit() -> impl Strategy<Value = Edit> {
    let byte = || prop_oneof![6 => prop::sample::select(b"\\\", =\n\t1ait.-".to_vec()), 1 => any::<u8>()];
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), byte()).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        at().prop_map(Edit::Remove),
        (at(), byte()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
    ]
}

fn apply(body: &mut Vec<u8>, edits: &[Edit]) {
    for edit in edits {
        match edit {
            Edit::Insert(at, byte) => body.insert(at.index(body.len() + 1), *byte),
            Edit::Remove(at) if !body.is_empty() => drop(body.remove(at.index(body.len()))),
            Edit::Replace(at, byte) if !body.is_empty() => {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn arbitrary_bytes_equal_the_reference(tokens in prop::collection::vec(token(), 0..40)) {
        check(&tokens.concat());
    }

    #[test]
    fn mutated_valid_lines_equal_the_reference(
        mut body in valid_body(),
        edits in prop::collection::vec(edit(), 0..4),
        window in 1_usize..64,
    ) {
        apply(&mut body, &edits);
        check(&body);
        prop_assert_eq!(windowed(&mut Parser::new(OPTIONS), &body, window), expected(&body));
    }
}
