//! One call of the select list: what it reads, what it computes, which inputs it refuses.
//!
//! Arguments were checked by compile; what fails here fails as a statement error and never by a panic.

use crate::exec::FieldRef;
use crate::exec::aggregate::Aggregate;
use crate::influxql::ast::Expr;
use crate::model::FieldType;
use crate::query::compile::Compiled;
use crate::query::select::indicator::Indicator;
use crate::query::select::indicator::Kind;
use crate::query::select::indicator::Warmup;
use crate::query::select::names::Meaning;
use crate::query::select::names::Names;
use crate::query::select::reduce::Reducer;
use crate::query::select::transform::Transformation;

/// What a call argument names.
#[derive(Clone, Debug, PartialEq)]
pub struct Argument {
    /// The field; `None` for a tag or a name that is nothing.
    field: Option<FieldRef>,
}

/// Why a call cannot be computed.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// Its function does not take what it reads: an error where there is anything to read.
    Input {
        /// What it reads.
        field: FieldRef,
        /// The error.
        text: String,
    },
    /// An error in any case.
    Always(String),
}

impl From<String> for Refusal {
    fn from(text: String) -> Refusal {
        Refusal::Always(text)
    }
}

/// A call.
#[derive(Clone, Debug)]
pub enum Call {
    /// A function of the points of a window.
    Reduce {
        /// The function.
        reducer: Reducer,
        /// Its input.
        argument: Argument,
        /// Type of its input.
        field_type: FieldType,
        /// It is named count: fill(null) gives 0.
        is_count: bool,
        /// Tag and field arguments of top and bottom.
        listed: Vec<Expr>,
    },
    /// integral(x, unit).
    Integral {
        /// ns.
        unit: i64,
        /// Its input.
        argument: Argument,
    },
    /// A transformation of raw points.
    TransformField {
        /// The function.
        transformation: Transformation,
        /// Its input.
        argument: Argument,
        /// Result type; `None`: the input's.
        fixed: Option<FieldType>,
    },
    /// A transformation of the windows of another call.
    TransformCall {
        /// The function.
        transformation: Transformation,
        /// The other call.
        inner: Box<Call>,
        /// It reads a window before the range.
        lookback: bool,
    },
    /// holt_winters(f(x), n, s).
    HoltWinters {
        /// f(x).
        inner: Box<Call>,
        /// Points to predict.
        forecast: usize,
        /// Length of a season; 0 or 1: none.
        seasons: usize,
        /// Also the fitted past.
        with_fit: bool,
    },
}

impl Call {
    /// The field it reads in the end.
    pub fn field(&self) -> Option<FieldRef> {
        match self {
            Call::Reduce { argument, .. } | Call::Integral { argument, .. } | Call::TransformField { argument, .. } => {
                argument.field.clone()
            }
            Call::TransformCall { inner, .. } | Call::HoltWinters { inner, .. } => inner.field(),
        }
    }

    /// Type of its results; `None` when its input is nothing.
    pub fn result_type(&self) -> Option<FieldType> {
        match self {
            Call::Reduce { reducer, argument, .. } => match reducer {
                Reducer::Merge(Aggregate::Count) | Reducer::CountDistinct => Some(FieldType::Integer),
                Reducer::Merge(Aggregate::Mean) | Reducer::Median | Reducer::Stddev => Some(FieldType::Float),
                _ => argument.field.as_ref().map(|field| field.as_type),
            },
            Call::Integral { .. } | Call::HoltWinters { .. } => Some(FieldType::Float),
            Call::TransformField { argument, fixed, .. } => {
                fixed.or_else(|| argument.field.as_ref().map(|field| field.as_type))
            }
            Call::TransformCall { transformation, inner, .. } => {
                fixed_type(transformation).or_else(|| inner.result_type())
            }
        }
    }

    /// Whether its rows keep the times of points without being a single selector.
    pub fn keeps_times(&self) -> bool {
        match self {
            Call::Reduce { reducer, .. } => reducer.keeps_times(),
            Call::TransformField { .. } | Call::HoltWinters { .. } => true,
            Call::TransformCall { inner, .. } => inner.keeps_times(),
            Call::Integral { .. } => false,
        }
    }

    /// Whether it is top or bottom.
    pub fn is_best(&self) -> bool {
        matches!(self, Call::Reduce { reducer: Reducer::Best { .. }, .. })
    }

    /// Whether it chooses points.
    pub fn is_selector(&self) -> bool {
        matches!(self, Call::Reduce { reducer, .. } if reducer.is_selector())
    }

    /// Whether fill() makes its empty windows.
    pub fn is_filled(&self) -> bool {
        match self {
            Call::Reduce { reducer, .. } => !matches!(reducer, Reducer::Distinct) && !reducer.keeps_times(),
            _ => false,
        }
    }

    /// Windows it reads before the range.
    pub fn lookback_count(&self) -> usize {
        match self {
            Call::TransformCall { inner, lookback, .. } => usize::from(*lookback) + inner.lookback_count(),
            Call::HoltWinters { inner, .. } => inner.lookback_count(),
            _ => 0,
        }
    }

    /// Tags and fields listed in top and bottom.
    pub fn extra_references(&self, names: &Names) -> Vec<(String, Meaning)> {
        let Call::Reduce { listed, .. } = self else { return Vec::new() };
        let reference = |expr: &Expr| match expr {
            Expr::VarRef { name, data_type } => Some((name.clone(), names.meaning(name, *data_type))),
            _ => None,
        };
        listed.iter().filter_map(reference).collect()
    }
}

fn fixed_type(transformation: &Transformation) -> Option<FieldType> {
    match transformation {
        Transformation::Elapsed { .. } => Some(FieldType::Integer),
        Transformation::Difference { .. } | Transformation::CumulativeSum => None,
        Transformation::Derivative { .. } | Transformation::MovingAverage(_) | Transformation::Indicator(_) => {
            Some(FieldType::Float)
        }
    }
}

/// Understands a call.
pub fn parse(expr: &Expr, names: &Names, compiled: &Compiled) -> Result<Call, Refusal> {
    let Expr::Call { name, args } = expr else { return Err(format!("unsupported call: {expr}").into()) };
    let first = args.first().ok_or_else(|| format!("unsupported call: {name}"))?;
    if let Some(transformation) = transformation(name, args, compiled)? {
        return transform(name, transformation, first, names, compiled);
    }
    if let "holt_winters" | "holt_winters_with_fit" = name.as_str() {
        let inner = parse(first, names, compiled)?;
        check_inner("elapsed", &inner)?;
        let count = |index| integer(args, index).and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
        let with_fit = name == "holt_winters_with_fit";
        return Ok(Call::HoltWinters { inner: Box::new(inner), forecast: count(1), seasons: count(2), with_fit });
    }
    reduce(name, args, first, names)
}

/// The transformation of that name.
fn transformation(name: &str, args: &[Expr], compiled: &Compiled) -> Result<Option<Transformation>, String> {
    let derivative_unit = || {
        let over_call = !matches!(args.first(), Some(Expr::VarRef { .. }));
        let interval = compiled.interval.filter(|_| over_call).map_or(1_000_000_000, |interval| interval.every);
        duration(args, 1).unwrap_or(interval)
    };
    Ok(Some(match name {
        "derivative" => Transformation::Derivative { unit: derivative_unit(), non_negative: false },
        "non_negative_derivative" => Transformation::Derivative { unit: derivative_unit(), non_negative: true },
        "difference" => Transformation::Difference { non_negative: false },
        "non_negative_difference" => Transformation::Difference { non_negative: true },
        "elapsed" => Transformation::Elapsed { unit: duration(args, 1).unwrap_or(1) },
        "moving_average" => {
            let count = integer(args, 1).and_then(|count| usize::try_from(count).ok()).unwrap_or(2);
            Transformation::MovingAverage(count.max(1))
        }
        "cumulative_sum" => Transformation::CumulativeSum,
        _ => match indicator(name) {
            Some(kind) => Transformation::Indicator(indicator_of(name, kind, args)?),
            None => return Ok(None),
        },
    }))
}

fn indicator(name: &str) -> Option<Kind> {
    Some(match name {
        "exponential_moving_average" => Kind::ExponentialMovingAverage,
        "double_exponential_moving_average" => Kind::DoubleExponentialMovingAverage,
        "triple_exponential_moving_average" => Kind::TripleExponentialMovingAverage,
        "relative_strength_index" => Kind::RelativeStrengthIndex,
        "triple_exponential_derivative" => Kind::TripleExponentialDerivative,
        "kaufmans_efficiency_ratio" => Kind::KaufmansEfficiencyRatio,
        "kaufmans_adaptive_moving_average" => Kind::KaufmansAdaptiveMovingAverage,
        "chande_momentum_oscillator" => Kind::ChandeMomentumOscillator,
        _ => return None,
    })
}

/// Most points an indicator looks back on: its state is one series' and lives in memory.
const PERIOD_MAX: i64 = 1 << 20;

fn indicator_of(name: &str, kind: Kind, args: &[Expr]) -> Result<Indicator, String> {
    let period = integer(args, 1).unwrap_or(1);
    if period > PERIOD_MAX {
        return Err(format!("{name} period must be at most {PERIOD_MAX}"));
    }
    let hold = integer(args, 2).filter(|hold| *hold >= 0).map(|hold| usize::try_from(hold).unwrap_or(usize::MAX));
    let warmup = match args.get(3) {
        Some(Expr::String(text)) if text == "simple" => Warmup::Simple,
        Some(Expr::String(text)) if text == "exponential" => Warmup::Exponential,
        _ if kind == Kind::ChandeMomentumOscillator => Warmup::None,
        _ => Warmup::Exponential,
    };
    Ok(Indicator::new(kind, usize::try_from(period).unwrap_or(1).max(1), hold, warmup))
}

fn transform(
    name: &str,
    transformation: Transformation,
    first: &Expr,
    names: &Names,
    compiled: &Compiled,
) -> Result<Call, Refusal> {
    let word = name.replace('_', " ");
    let word = match name {
        "non_negative_derivative" => "derivative",
        "non_negative_difference" => "difference",
        "derivative" | "difference" | "elapsed" => name,
        _ => &word,
    };
    let any_type = matches!(transformation, Transformation::Elapsed { .. });
    if let Expr::VarRef { .. } = first {
        let argument = argument(first, names);
        if let Some(field) = argument.field.as_ref().filter(|field| !any_type && !is_number(field.as_type)) {
            return Err(unsupported(word, field.as_type, "Interrupt", field));
        }
        let fixed = fixed_type(&transformation);
        return Ok(Call::TransformField { transformation, argument, fixed });
    }
    let inner = parse(first, names, compiled)?;
    if !any_type {
        check_inner(word, &inner)?;
    }
    let lookback = transformation != Transformation::CumulativeSum;
    Ok(Call::TransformCall { transformation, inner: Box::new(inner), lookback })
}

/// Refuses a call as input of the function `word` unless it gives numbers.
fn check_inner(word: &str, inner: &Call) -> Result<(), Refusal> {
    let (Some(field), Some(kind)) = (inner.field(), inner.result_type()) else { return Ok(()) };
    let iterator = match inner {
        Call::Reduce { reducer: Reducer::Distinct, .. } => "Interval",
        _ => "Interrupt",
    };
    if is_number(kind) { Ok(()) } else { Err(unsupported(word, kind, iterator, &field)) }
}

fn reduce(name: &str, args: &[Expr], first: &Expr, names: &Names) -> Result<Call, Refusal> {
    if name == "integral" {
        let argument = argument(first, names);
        if let Some(field) = argument.field.as_ref().filter(|field| !is_number(field.as_type)) {
            return Err(unsupported("integral", field.as_type, "Interrupt", field));
        }
        return Ok(Call::Integral { unit: duration(args, 1).unwrap_or(1_000_000_000), argument });
    }
    let mut input = first;
    let reducer = match name {
        "count" => match first {
            Expr::Call { name, args } if name == "distinct" => {
                input = args.first().unwrap_or(first);
                Reducer::CountDistinct
            }
            _ => Reducer::Merge(Aggregate::Count),
        },
        "sum" => Reducer::Merge(Aggregate::Sum),
        "mean" => Reducer::Merge(Aggregate::Mean),
        "min" => Reducer::Merge(Aggregate::Min),
        "max" => Reducer::Merge(Aggregate::Max),
        "first" => Reducer::Merge(Aggregate::First),
        "last" => Reducer::Merge(Aggregate::Last),
        "spread" => Reducer::Merge(Aggregate::Spread),
        "median" => Reducer::Median,
        "mode" => Reducer::Mode,
        "stddev" => Reducer::Stddev,
        "distinct" => Reducer::Distinct,
        "percentile" => Reducer::Percentile(number(args, 1).unwrap_or(0.0)),
        "sample" => Reducer::Sample(integer(args, 1).and_then(|count| usize::try_from(count).ok()).unwrap_or(1)),
        "top" | "bottom" => {
            let count = integer(args, args.len() - 1).and_then(|count| usize::try_from(count).ok()).unwrap_or(1);
            Reducer::Best { by: None, count, largest: name == "top" }
        }
        _ => return Err(format!("unsupported call: {name}").into()),
    };
    let argument = argument(input, names);
    let field_type = argument.field.as_ref().map_or(FieldType::Float, |field| field.as_type);
    if let Some(field) = argument.field.as_ref().filter(|_| !accepts(&reducer, field_type)) {
        // With tags or fields top is a max of each of their values first, which takes booleans.
        let (word, iterator) = match (name, field_type) {
            ("top" | "bottom", FieldType::Boolean) if args.len() > 2 => (name, "ReduceBoolean"),
            ("top", _) if args.len() > 2 => ("max", "Interrupt"),
            ("bottom", _) if args.len() > 2 => ("min", "Interrupt"),
            _ => (name, "Interrupt"),
        };
        return Err(unsupported(word, field_type, iterator, field));
    }
    let listed = match &reducer {
        Reducer::Best { .. } => args.get(1..args.len() - 1).unwrap_or_default().to_vec(),
        _ => Vec::new(),
    };
    Ok(Call::Reduce { reducer, argument, field_type, is_count: name == "count", listed })
}

fn accepts(reducer: &Reducer, field_type: FieldType) -> bool {
    let any_type = matches!(
        reducer,
        Reducer::Merge(Aggregate::Count | Aggregate::First | Aggregate::Last)
            | Reducer::Mode
            | Reducer::Distinct
            | Reducer::CountDistinct
            | Reducer::Sample(_)
    );
    let boolean = matches!(reducer, Reducer::Merge(Aggregate::Min | Aggregate::Max));
    any_type || is_number(field_type) || (boolean && field_type == FieldType::Boolean)
}

fn is_number(kind: FieldType) -> bool {
    matches!(kind, FieldType::Float | FieldType::Integer | FieldType::Unsigned)
}

/// `iterator`: what stock puts between the function and what it reads, without type.
fn unsupported(word: &str, field_type: FieldType, iterator: &str, field: &FieldRef) -> Refusal {
    let text = format!("unsupported {word} iterator type: *query.{field_type}{iterator}Iterator");
    Refusal::Input { field: field.clone(), text }
}

fn argument(expr: &Expr, names: &Names) -> Argument {
    let field = match expr {
        Expr::VarRef { name, data_type } => match names.meaning(name, *data_type) {
            Meaning::Field(as_type) => Some(FieldRef { name: name.as_bytes().into(), as_type }),
            Meaning::Tag if names.row_tags.contains(name.as_bytes()) => {
                Some(FieldRef { name: name.as_bytes().into(), as_type: FieldType::String })
            }
            Meaning::Tag | Meaning::Nothing => None,
        },
        _ => None,
    };
    Argument { field }
}

fn integer(args: &[Expr], index: usize) -> Option<i64> {
    match args.get(index)? {
        Expr::Integer(value) => Some(*value),
        _ => None,
    }
}

fn number(args: &[Expr], index: usize) -> Option<f64> {
    match args.get(index)? {
        Expr::Integer(value) => Some(*value as f64),
        Expr::Number(value) => Some(*value),
        _ => None,
    }
}

fn duration(args: &[Expr], index: usize) -> Option<i64> {
    match args.get(index)? {
        Expr::Duration(value) => Some(*value),
        _ => None,
    }
}
