//! Conditions of SHOW statements: on tags and names only, decided by the index.

use roaring::RoaringBitmap;

use crate::exec::pattern::Pattern;
use crate::model::Bytes;
use crate::series::MeasurementIndex;

/// How a text is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`, `=~`.
    Is,
    /// `!=`, `!~`.
    IsNot,
}

/// What a text is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// This text.
    Equal(Bytes),
    /// The text of this regular expression.
    Match(String),
}

/// What a series must fulfil.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The same for every series.
    Always(bool),
    /// Both.
    And(Box<Condition>, Box<Condition>),
    /// One of them.
    Or(Box<Condition>, Box<Condition>),
    /// A tag, or a field of [`super::Request::fields`]; for a text alone ([`Compiled::passes`]), that text.
    Tag(Bytes, Comparison, Test),
    /// The measurement's name.
    Name(Comparison, Test),
    /// Two tags with the same value, or not; a series with neither tag fulfils neither.
    Tags(Bytes, Comparison, Bytes),
}

impl Condition {
    /// Compiles the regular expressions in it.
    pub fn compile(&self) -> Result<Compiled, String> {
        Ok(match self {
            Condition::Always(value) => Compiled::Always(*value),
            Condition::And(left, right) => Compiled::And(Box::new(left.compile()?), Box::new(right.compile()?)),
            Condition::Or(left, right) => Compiled::Or(Box::new(left.compile()?), Box::new(right.compile()?)),
            Condition::Tag(key, comparison, test) => Compiled::Tag(key.clone(), *comparison, test.compile()?),
            Condition::Name(comparison, test) => Compiled::Name(*comparison, test.compile()?),
            Condition::Tags(left, comparison, right) => Compiled::Tags(left.clone(), *comparison, right.clone()),
        })
    }
}

impl Test {
    /// Compiles the regular expression in it.
    pub fn compile(&self) -> Result<CompiledTest, String> {
        Ok(match self {
            Test::Equal(text) => CompiledTest::Equal(text.clone()),
            Test::Match(text) => CompiledTest::Match(Pattern::new(text)?),
        })
    }
}

/// A [`Test`], ready to run.
#[derive(Clone, Debug)]
pub enum CompiledTest {
    /// This text.
    Equal(Bytes),
    /// This regular expression.
    Match(Pattern),
}

impl CompiledTest {
    /// Whether `text` passes.
    pub fn passes(&self, text: &[u8]) -> bool {
        match self {
            CompiledTest::Equal(wanted) => **wanted == *text,
            CompiledTest::Match(pattern) => pattern.is_match(text),
        }
    }
}

/// A [`Condition`], ready to run.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the variants of Condition")]
pub enum Compiled {
    Always(bool),
    And(Box<Compiled>, Box<Compiled>),
    Or(Box<Compiled>, Box<Compiled>),
    Tag(Bytes, Comparison, CompiledTest),
    Name(Comparison, CompiledTest),
    Tags(Bytes, Comparison, Bytes),
}

impl Compiled {
    /// Whether a text fulfils it, whatever the tags in it are called.
    pub fn passes(&self, text: &[u8]) -> bool {
        match self {
            Compiled::Always(value) => *value,
            Compiled::And(left, right) => left.passes(text) && right.passes(text),
            Compiled::Or(left, right) => left.passes(text) || right.passes(text),
            Compiled::Tag(_, comparison, test) | Compiled::Name(comparison, test) => {
                test.passes(text) == (*comparison == Comparison::Is)
            }
            Compiled::Tags(_, comparison, _) => *comparison == Comparison::Is,
        }
    }

    /// The series of `measurement` that fulfil it. `field` says of a name that is a field there what its comparisons
    /// are.
    pub fn series(&self, measurement: &MeasurementIndex, field: &dyn Fn(&[u8]) -> Option<bool>) -> RoaringBitmap {
        let side = |side: &Compiled| side.series(measurement, field);
        let all_if = |value: bool| if value { measurement.series().clone() } else { RoaringBitmap::new() };
        let of_field = match self {
            Compiled::Tag(key, ..) => field(key),
            Compiled::Tags(left, _, right) => field(left).or_else(|| field(right)),
            _ => None,
        };
        match self {
            _ if of_field.is_some() => all_if(of_field == Some(true)),
            Compiled::Always(value) => all_if(*value),
            Compiled::And(left, right) => side(left) & side(right),
            Compiled::Or(left, right) => side(left) | side(right),
            Compiled::Tag(key, comparison, test) => by_tag(measurement, key, *comparison, test),
            Compiled::Name(comparison, test) => {
                all_if(test.passes(measurement.name()) == (*comparison == Comparison::Is))
            }
            Compiled::Tags(left, comparison, right) => by_two_tags(measurement, left, *comparison, right),
        }
    }
}

fn by_tag(measurement: &MeasurementIndex, key: &[u8], comparison: Comparison, test: &CompiledTest) -> RoaringBitmap {
    match (comparison, test) {
        (Comparison::Is, CompiledTest::Equal(value)) => measurement.equal(key, value),
        (Comparison::IsNot, CompiledTest::Equal(value)) => measurement.not_equal(key, value),
        (Comparison::Is, CompiledTest::Match(pattern)) => pattern.series(measurement, key),
        (Comparison::IsNot, CompiledTest::Match(pattern)) => measurement.series() - pattern.series(measurement, key),
    }
}

/// Either way a series lacks neither tag or just one: one without both has nothing to compare.
fn by_two_tags(measurement: &MeasurementIndex, left: &[u8], comparison: Comparison, right: &[u8]) -> RoaringBitmap {
    let same = measurement.same(left, right);
    match comparison {
        Comparison::Is => same,
        Comparison::IsNot => (measurement.having(left) | measurement.having(right)) - same,
    }
}
