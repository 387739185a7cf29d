//! What reading line protocol costs, as a ratio to counting its line feeds.
//!
//! Two bodies: TSBS cpu-only (10 tags, 10 integers, 345 bytes a line, in host order as collectors send) and lines of
//! one float. For each: memchr over the same bytes, each index tier alone, the parser on each tier with keys it has met
//! and with keys it has not, and the reference. `cargo test` runs it small and only checks that all agree.
//!
//! ```text
//! cargo bench --bench line
//! ```

mod rounds;

use std::hint::black_box;
use std::time::Duration;

use millrace::line::Index;
use millrace::line::LineError;
use millrace::line::Options;
use millrace::line::Parser;
use millrace::line::Point;
use millrace::line::Reference;
use millrace::line::Sink;
use millrace::line::Tier;
use millrace::model::FieldValue;

const OPTIONS: Options = Options { precision_ns: 1, now_ns: 1_700_000_000_000_000_000 };
/// As the server reads bodies.
const WINDOW_BYTES: usize = 256 << 10;

fn main() {
    // `cargo bench` passes `--bench`; `cargo test` does not.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let (body_bytes, rounds) = if measured { (64 << 20, 5) } else { (256 << 10, 1) };
    for (name, series, body) in [
        ("tsbs 4000 hosts", 4_000, tsbs(4_000, body_bytes)),
        ("tsbs 100000 hosts", 100_000, tsbs(100_000, body_bytes)),
        ("one float", 4_000, one_float(4_000, body_bytes)),
    ] {
        Bench { name, body: &body, rounds, series }.run();
    }
}

struct Bench<'a> {
    name: &'a str,
    body: &'a [u8],
    rounds: u32,
    series: usize,
}

impl Bench<'_> {
    fn run(&self) {
        let lines = memchr::memchr_iter(b'\n', self.body).count();
        println!("{}: {lines} lines of {} bytes, {} series", self.name, self.body.len() / lines, self.series);
        let base = rounds::fastest(self.rounds, || {
            black_box(memchr::memchr_iter(b'\n', self.body).count());
        });
        self.report("memchr count", base, base, lines);
        for tier in Tier::available() {
            let mut index = Index::new(tier);
            let spent = rounds::fastest(self.rounds, || {
                for chunk in self.body.chunks(millrace::line::CHUNK_BYTES) {
                    index.fill(chunk);
                    black_box(index.offsets());
                }
            });
            self.report(&format!("index {tier:?}"), spent, base, lines);
        }
        let expected = self.reference();
        assert_eq!(expected.points, lines as u64);
        for tier in Tier::available() {
            let mut parser = Parser::with_tier(OPTIONS, tier);
            parser.set_learning(false);
            let spent = rounds::fastest(self.rounds, || assert_eq!(self.parse(&mut parser), expected));
            self.report(&format!("parser {tier:?}, not learning"), spent, base, lines);
        }
        for tier in Tier::available() {
            let mut parser = Parser::with_tier(OPTIONS, tier);
            assert_eq!(self.parse(&mut parser), expected);
            let spent = rounds::fastest(self.rounds, || assert_eq!(self.parse(&mut parser), expected));
            self.report(&format!("parser {tier:?}, keys met"), spent, base, lines);
        }
        let spent = rounds::fastest(self.rounds, || assert_eq!(self.reference(), expected));
        self.report("reference", spent, base, lines);
    }

    fn report(&self, what: &str, spent: Duration, base: Duration, lines: usize) {
        let ns = spent.as_nanos() as f64;
        println!(
            "  {what:32} {:8.1} ns/line {:7.2} GB/s  {:6.1} x memchr",
            ns / lines as f64,
            self.body.len() as f64 / ns,
            ns / base.as_nanos().max(1) as f64
        );
    }

    fn parse(&self, parser: &mut Parser) -> Sum {
        let mut sum = Sum::default();
        let mut start = 0;
        while start < self.body.len() {
            let end = self.body.len().min(start + WINDOW_BYTES);
            start += parser.parse(&self.body[start..end], end == self.body.len(), &mut sum);
        }
        sum
    }

    fn reference(&self) -> Sum {
        let mut sum = Sum::default();
        Reference::default().parse(&OPTIONS, self.body, true, &mut sum);
        sum
    }
}

/// Uses everything a point holds, as cheaply as that can be.
#[derive(Debug, Default, PartialEq)]
struct Sum {
    points: u64,
    key_bytes: u64,
    values: u64,
}

impl Sink for Sum {
    fn point(&mut self, point: &Point<'_>) {
        self.points += 1;
        self.key_bytes += point.raw_key.len() as u64;
        self.values = self.values.wrapping_add(point.time as u64);
        for field in point.fields {
            let value = match field.value {
                FieldValue::Float(value) => value.to_bits(),
                FieldValue::Integer(value) => value as u64,
                FieldValue::Unsigned(value) => value,
                FieldValue::String(value) => value.len() as u64,
                FieldValue::Boolean(value) => u64::from(value),
            };
            self.values = self.values.wrapping_add(value ^ field.name.len() as u64);
        }
    }

    fn error(&mut self, error: &LineError<'_>) {
        let mut text = Vec::new();
        error.append_to(&mut text);
        panic!("{}", text.escape_ascii());
    }
}

/// A small generator, so that the bodies are the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn tsbs(hosts: u64, bytes: usize) -> Vec<u8> {
    let regions = ["eu-west-1", "eu-central-1", "us-west-1", "us-west-2", "us-east-1", "ap-northeast-1", "sa-east-1"];
    let names = ["user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"];
    let mut random = Random(1);
    let keys: Vec<String> = (0..hosts)
        .map(|host| {
            let region = regions[random.below(7) as usize];
            format!(
                "cpu,hostname=host_{host},region={region},datacenter={region}{},rack={},os=Ubuntu16.04LTS,arch=x64,\
                 team=SF,service={},service_version={},service_environment=production",
                ['a', 'b', 'c'][random.below(3) as usize],
                random.below(100),
                random.below(20),
                random.below(2)
            )
        })
        .collect();
    repeat(&keys, bytes, |line| {
        for (index, name) in names.iter().enumerate() {
            let separator = if index == 0 { ' ' } else { ',' };
            line.push_str(&format!("{separator}usage_{name}={}i", random.below(101)));
        }
    })
}

fn one_float(hosts: u64, bytes: usize) -> Vec<u8> {
    let mut random = Random(2);
    let keys: Vec<String> =
        (0..hosts).map(|host| format!("temperature,host=host_{host},room=r{}", host % 17)).collect();
    repeat(&keys, bytes, |line| {
        line.push_str(&format!(" value={}.{:02}", random.below(100), random.below(100)));
    })
}

/// All keys in order, again and again, ten seconds apart.
fn repeat(keys: &[String], bytes: usize, mut fields: impl FnMut(&mut String)) -> Vec<u8> {
    let mut body = String::with_capacity(bytes + 1_024);
    let mut time = 1_451_606_400_000_000_000_u64;
    while body.len() < bytes {
        for key in keys {
            body.push_str(key);
            fields(&mut body);
            body.push_str(&format!(" {time}\n"));
            if body.len() >= bytes {
                break;
            }
        }
        time += 10_000_000_000;
    }
    body.into_bytes()
}
