//! Seeded data sets: the same seed gives the same bytes on every machine.
//!
//! Owns:  the shapes of lines, their random walks, and the order in which they are sent.
//! In:    a [`Workload`].
//! Out:   its points in sending order ([`points`]), and as ready-made requests ([`bodies`]). The spot checks replay the
//!        points, so what a server must answer is computed from the generator and never read back from a server.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BinaryHeap;
use std::io::Write;

use millrace::disk::sim::prng::Prng;

/// Database every request writes to.
pub const DATABASE: &str = "load";
/// 2016-01-01T00:00:00Z, where the TSBS data sets begin; a multiple of every window the spot checks use.
pub const START_NS: i64 = 1_451_606_400_000_000_000;
/// Time between two points of a series, as TSBS has it.
pub const STEP_NS: i64 = 10_000_000_000;
/// Most fields a point has.
pub const FIELDS_MAX: usize = 10;

/// Values walk between 0 and this.
const LEVEL_MAX: f64 = 100.0;
/// A float steps by -2, -1, 0, 1 or 2 hundredths, each as likely: 2.3 bits, so no codec takes less than 0.29 bytes a
/// value.
const FLOAT_STEPS: u64 = 5;

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// TSBS cpu-only: ten tags, ten integers between 0 and 100; about 345 bytes.
    Tsbs,
    /// Two tags, one float with two decimals that walks in hundredths; about 73 bytes.
    Floats,
}

/// One data set.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What a line looks like.
    pub shape: Shape,
    /// Series alive at one time.
    pub series: u64,
    /// Lines in all.
    pub lines: u64,
    /// Lines in one request.
    pub body_lines: usize,
    /// Timestamps are moved by up to this much either way; below half a step, so they stay unique in a series.
    pub jitter_ns: i64,
    /// Share of the points that is sent late, 0 to 1.
    pub late_share: f64,
    /// A late point is sent up to this many points after its turn.
    pub late_points: u64,
    /// Chance that a point begins a new series in the place of an old one, 0 to 1.
    pub churn: f64,
    /// Everything random comes from here.
    pub seed: u64,
}

impl Workload {
    /// Field values in all.
    pub fn values(&self) -> f64 {
        self.lines as f64 * self.shape.fields().len() as f64
    }

    /// Series in all, about: those that begin in the place of others among them.
    pub fn series_met(&self) -> f64 {
        self.series.min(self.lines) as f64 + self.lines as f64 * self.churn
    }
}

/// One point; its values are whole numbers, in hundredths for [`Shape::Floats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// Timestamp.
    pub time: i64,
    /// Number of the series, from 0.
    pub series: u64,
    /// One for each field.
    pub values: [i16; FIELDS_MAX],
}

/// One request, head and body in one piece.
pub struct Body {
    /// The bytes to send.
    pub request: Vec<u8>,
    /// Lines in it.
    pub lines: u64,
}

/// A number from 0 up to 1.
fn unit(prng: &mut Prng) -> f64 {
    (prng.draw() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Roughly normal with deviation 1: the sum of three uniform numbers.
fn bell(prng: &mut Prng) -> f64 {
    (unit(prng) + unit(prng) + unit(prng) - 1.5) * 2.0
}

impl Shape {
    /// The measurement's name.
    pub fn measurement(self) -> &'static str {
        match self {
            Shape::Tsbs => "cpu",
            Shape::Floats => "sensor",
        }
    }

    /// Field names, in the order of [`Point::values`].
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Shape::Tsbs => &[
                "usage_user",
                "usage_system",
                "usage_idle",
                "usage_nice",
                "usage_iowait",
                "usage_irq",
                "usage_softirq",
                "usage_steal",
                "usage_guest",
                "usage_guest_nice",
            ],
            Shape::Floats => &["value"],
        }
    }

    /// The tag that names a series.
    pub fn name_tag(self) -> &'static str {
        match self {
            Shape::Tsbs => "hostname",
            Shape::Floats => "device",
        }
    }

    /// Tags with few values, to group by.
    pub fn group_tags(self) -> &'static [&'static str] {
        match self {
            Shape::Tsbs => &["os", "region"],
            Shape::Floats => &["site"],
        }
    }

    /// Bytes of a line, about.
    pub fn line_bytes(self) -> u64 {
        match self {
            Shape::Tsbs => 345,
            Shape::Floats => 73,
        }
    }

    /// A stored value as the query language sees it.
    pub fn value(self, stored: i16) -> f64 {
        match self {
            Shape::Tsbs => f64::from(stored),
            Shape::Floats => f64::from(stored) / 100.0,
        }
    }
}

const REGIONS: [(&str, u64); 9] = [
    ("us-east-1", 5),
    ("us-west-1", 2),
    ("us-west-2", 3),
    ("eu-west-1", 3),
    ("eu-central-1", 2),
    ("ap-southeast-1", 2),
    ("ap-southeast-2", 2),
    ("ap-northeast-1", 2),
    ("sa-east-1", 3),
];
const SYSTEMS: [&str; 3] = ["Ubuntu15.10", "Ubuntu16.04LTS", "Ubuntu16.10"];
const TEAMS: [&str; 4] = ["CHI", "LON", "NYC", "SF"];
const ENVIRONMENTS: [&str; 3] = ["production", "staging", "test"];

/// The tags of a series, in the order they are sent.
pub fn tags(workload: &Workload, series: u64) -> Vec<(&'static str, String)> {
    let mut prng = Prng::from_seed(workload.seed ^ series.wrapping_mul(0xd6e8_feb8_6659_fd93));
    let mut pick = |names: &[&str]| names[prng.below(names.len() as u64) as usize].to_owned();
    match workload.shape {
        Shape::Tsbs => {
            let team = pick(&TEAMS);
            let system = pick(&SYSTEMS);
            let arch = pick(&["x64", "x86"]);
            let environment = pick(&ENVIRONMENTS);
            let (region, zones) = REGIONS[prng.below(REGIONS.len() as u64) as usize];
            let zone = char::from(b'a' + prng.below(zones) as u8);
            vec![
                ("hostname", format!("host_{series}")),
                ("region", region.to_owned()),
                ("datacenter", format!("{region}{zone}")),
                ("rack", prng.below(100).to_string()),
                ("os", system),
                ("arch", arch),
                ("team", team),
                ("service", prng.below(20).to_string()),
                ("service_version", prng.below(2).to_string()),
                ("service_environment", environment),
            ]
        }
        Shape::Floats => {
            vec![("device", format!("device_{series:06}")), ("site", format!("site_{:02}", prng.below(40)))]
        }
    }
}

/// All points of a workload, in sending order.
pub fn points(workload: &Workload) -> impl Iterator<Item = Point> + use<> {
    Late {
        inner: Walks::new(workload),
        prng: Prng::from_seed(workload.seed ^ 0x1a7e),
        share: workload.late_share,
        distance: workload.late_points.max(1),
        position: 0,
        waiting: BinaryHeap::new(),
    }
}

/// Points in order of time: every live series in turn, then the next step.
struct Walks {
    workload: Workload,
    prng: Prng,
    slots: Vec<Slot>,
    series_count: u64,
    sent: u64,
}

struct Slot {
    series: u64,
    levels: [f64; FIELDS_MAX],
}

impl Walks {
    fn new(workload: &Workload) -> Walks {
        let mut prng = Prng::from_seed(workload.seed);
        let slots = (0..workload.series).map(|series| Slot::new(series, &mut prng)).collect();
        Walks { workload: workload.clone(), prng, slots, series_count: workload.series, sent: 0 }
    }
}

impl Slot {
    fn new(series: u64, prng: &mut Prng) -> Slot {
        Slot { series, levels: std::array::from_fn(|_| unit(prng) * LEVEL_MAX) }
    }
}

impl Iterator for Walks {
    type Item = Point;

    fn next(&mut self) -> Option<Point> {
        if self.sent == self.workload.lines {
            return None;
        }
        let slot_index = (self.sent % self.workload.series) as usize;
        let step = (self.sent / self.workload.series) as i64;
        self.sent += 1;
        let slot = &mut self.slots[slot_index];
        if self.workload.churn > 0.0 && unit(&mut self.prng) < self.workload.churn {
            *slot = Slot::new(self.series_count, &mut self.prng);
            self.series_count += 1;
        }
        let mut values = [0; FIELDS_MAX];
        for (value, level) in values.iter_mut().zip(&mut slot.levels).take(self.workload.shape.fields().len()) {
            *value = walk(self.workload.shape, level, &mut self.prng);
        }
        let mut time = START_NS + step * STEP_NS;
        if self.workload.jitter_ns > 0 {
            time += self.prng.below(2 * self.workload.jitter_ns as u64 + 1) as i64 - self.workload.jitter_ns;
        }
        Some(Point { time, series: slot.series, values })
    }
}

/// One step of a walk; the value that is stored.
fn walk(shape: Shape, level: &mut f64, prng: &mut Prng) -> i16 {
    match shape {
        Shape::Tsbs => {
            *level = (*level + bell(prng)).clamp(0.0, LEVEL_MAX);
            *level as i16
        }
        Shape::Floats => {
            let step = prng.below(FLOAT_STEPS) as i16 - 2;
            let hundredths = ((*level * 100.0).round() as i16 + step).clamp(0, LEVEL_MAX as i16 * 100);
            *level = f64::from(hundredths) / 100.0;
            hundredths
        }
    }
}

/// Holds a share of the points back and sends them later.
struct Late {
    inner: Walks,
    prng: Prng,
    share: f64,
    distance: u64,
    position: u64,
    waiting: BinaryHeap<Reverse<(u64, Point)>>,
}

impl Iterator for Late {
    type Item = Point;

    fn next(&mut self) -> Option<Point> {
        self.position += 1;
        if self.waiting.peek().is_some_and(|Reverse((due, _))| *due <= self.position) {
            return self.waiting.pop().map(|Reverse((_, point))| point);
        }
        for point in self.inner.by_ref() {
            if self.share == 0.0 || unit(&mut self.prng) >= self.share {
                return Some(point);
            }
            let due = self.position + 1 + self.prng.below(self.distance);
            self.waiting.push(Reverse((due, point)));
        }
        self.waiting.pop().map(|Reverse((_, point))| point)
    }
}

/// Every request of a workload, in memory, so that sending costs the client as little as it can.
pub fn bodies(workload: &Workload, progress: impl FnMut(u64)) -> Vec<Body> {
    Bodies::new(workload).next(u64::MAX, progress)
}

/// The requests of a workload, some at a time, for one that does not fit into memory.
pub struct Bodies<'a> {
    points: Box<dyn Iterator<Item = Point>>,
    writer: LineWriter<'a>,
}

impl<'a> Bodies<'a> {
    /// From the first point on.
    pub fn new(workload: &'a Workload) -> Bodies<'a> {
        Bodies { points: Box::new(points(workload)), writer: LineWriter::new(workload) }
    }

    /// The next requests, of at most so many lines together; none after the last point.
    pub fn next(&mut self, lines_max: u64, mut progress: impl FnMut(u64)) -> Vec<Body> {
        let body_lines = self.writer.workload.body_lines as u64;
        let mut bodies = Vec::new();
        let mut lines = Vec::new();
        let mut count = 0;
        let limited = self.points.by_ref().take(usize::try_from(lines_max).unwrap_or(usize::MAX));
        for point in limited {
            self.writer.line(&point, &mut lines);
            count += 1;
            if count == body_lines {
                bodies.push(request(&lines, count));
                progress(count);
                lines.clear();
                count = 0;
            }
        }
        if count > 0 {
            bodies.push(request(&lines, count));
            progress(count);
        }
        bodies
    }
}

/// One request with these lines.
pub fn request(lines: &[u8], count: u64) -> Body {
    let mut request = format!(
        "POST /write?db={DATABASE} HTTP/1.1\r\nHost: loadtest\r\nUser-Agent: loadtest\r\nContent-Length: {}\r\n\r\n",
        lines.len()
    )
    .into_bytes();
    request.extend_from_slice(lines);
    Body { request, lines: count }
}

/// Formats points; the first part of the lines of series that come again is kept.
struct LineWriter<'a> {
    workload: &'a Workload,
    heads: BTreeMap<u64, Vec<u8>>,
    number: itoa::Buffer,
}

impl<'a> LineWriter<'a> {
    fn new(workload: &'a Workload) -> LineWriter<'a> {
        LineWriter { workload, heads: BTreeMap::new(), number: itoa::Buffer::new() }
    }

    fn line(&mut self, point: &Point, target: &mut Vec<u8>) {
        let workload = self.workload;
        if point.series < workload.series && workload.series < workload.lines {
            target.extend_from_slice(self.heads.entry(point.series).or_insert_with(|| head(workload, point.series)));
        } else {
            target.extend_from_slice(&head(workload, point.series));
        }
        for (index, field) in workload.shape.fields().iter().enumerate() {
            target.push(if index == 0 { b' ' } else { b',' });
            target.extend_from_slice(field.as_bytes());
            target.push(b'=');
            let value = point.values[index];
            match workload.shape {
                Shape::Tsbs => {
                    target.extend_from_slice(self.number.format(value).as_bytes());
                    target.push(b'i');
                }
                Shape::Floats => {
                    target.extend_from_slice(self.number.format(value / 100).as_bytes());
                    let hundredths = (value % 100) as u8;
                    target.extend_from_slice(&[b'.', b'0' + hundredths / 10, b'0' + hundredths % 10]);
                }
            }
        }
        target.push(b' ');
        target.extend_from_slice(self.number.format(point.time).as_bytes());
        target.push(b'\n');
    }
}

fn head(workload: &Workload, series: u64) -> Vec<u8> {
    let mut head = workload.shape.measurement().as_bytes().to_vec();
    for (key, value) in tags(workload, series) {
        write!(head, ",{key}={value}").expect("writing to memory does not fail");
    }
    head
}
