//! Statements back to text, as stock prints them: keywords in capitals, single spaces, names quoted only where needed,
//! passwords hidden. The text parses to an equal statement, except for what stock drops (`fill(null)`).

use std::fmt;
use std::fmt::Display;
use std::fmt::Formatter;
use std::fmt::Write;

use jiff::Timestamp;

use crate::influxql::ast;
use crate::influxql::ast::CardinalityOf;
use crate::influxql::ast::CreateContinuousQuery;
use crate::influxql::ast::CreatePolicy;
use crate::influxql::ast::DataType;
use crate::influxql::ast::Delete;
use crate::influxql::ast::Expr;
use crate::influxql::ast::Field;
use crate::influxql::ast::Fill;
use crate::influxql::ast::Measurement;
use crate::influxql::ast::Operator;
use crate::influxql::ast::PolicyOptions;
use crate::influxql::ast::Privilege;
use crate::influxql::ast::Regex;
use crate::influxql::ast::Select;
use crate::influxql::ast::Show;
use crate::influxql::ast::ShowCardinality;
use crate::influxql::ast::ShowMeasurements;
use crate::influxql::ast::SortField;
use crate::influxql::ast::Source;
use crate::influxql::ast::Statement;
use crate::influxql::ast::TagKeyFilter;
use crate::influxql::ast::WildcardKind;
use crate::influxql::duration;
use crate::influxql::token::Token;

/// Shown instead of a password.
const REDACTED: &str = "[REDACTED]";

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        use Statement::*;
        match self {
            Select(select) => write!(f, "{select}"),
            Explain { analyze: true, select } => write!(f, "EXPLAIN ANALYZE {select}"),
            Explain { analyze: false, select } => write!(f, "EXPLAIN {select}"),
            Delete(delete) => write!(f, "DELETE{delete}"),
            DropSeries(delete) => write!(f, "DROP SERIES{delete}"),
            DropMeasurement { name } => write!(f, "DROP MEASUREMENT {}", Ident(name)),
            DropDatabase { name } => write!(f, "DROP DATABASE {}", Ident(name)),
            DropShard { id } => write!(f, "DROP SHARD {id}"),
            DropUser { name } => write!(f, "DROP USER {}", Ident(name)),
            DropRetentionPolicy { name, database } => {
                write!(f, "DROP RETENTION POLICY {} ON {}", Ident(name), Ident(database))
            }
            DropContinuousQuery { name, database } => {
                write!(f, "DROP CONTINUOUS QUERY {} ON {}", Ident(name), Ident(database))
            }
            DropSubscription { name, database, policy } => {
                write!(f, "DROP SUBSCRIPTION {} ON {}.{}", Ident(name), Ident(database), Ident(policy))
            }
            CreateDatabase { name, policy } => create_database(f, name, policy.as_ref()),
            CreateRetentionPolicy(policy) => write!(f, "{policy}"),
            AlterRetentionPolicy { name, database, options, default } => {
                write!(f, "ALTER RETENTION POLICY {} ON {}", Ident(name), Ident(database))?;
                policy_options(f, options, duration::format)?;
                word_if(f, *default, " DEFAULT")
            }
            CreateUser { name, admin, .. } => {
                write!(f, "CREATE USER {} WITH PASSWORD {REDACTED}", Ident(name))?;
                word_if(f, *admin, " WITH ALL PRIVILEGES")
            }
            SetPassword { name, .. } => write!(f, "SET PASSWORD FOR {} = {REDACTED}", Ident(name)),
            Grant { privilege, database, user } => {
                write!(f, "GRANT {privilege} ON {} TO {}", Ident(database), Ident(user))
            }
            GrantAdmin { user } => write!(f, "GRANT ALL PRIVILEGES TO {}", Ident(user)),
            Revoke { privilege, database, user } => {
                write!(f, "REVOKE {privilege} ON {} FROM {}", Ident(database), Ident(user))
            }
            RevokeAdmin { user } => write!(f, "REVOKE ALL PRIVILEGES FROM {}", Ident(user)),
            CreateContinuousQuery(query) => write!(f, "{query}"),
            CreateSubscription { name, database, policy, any, destinations } => {
                write!(f, "CREATE SUBSCRIPTION {} ON {}.{}", Ident(name), Ident(database), Ident(policy))?;
                write!(f, " DESTINATIONS {} ", if *any { "ANY" } else { "ALL" })?;
                joined(f, destinations.iter().map(|url| Text(url)))
            }
            KillQuery { id, host } => {
                write!(f, "KILL QUERY {id}")?;
                on(f, host.as_deref())
            }
            ShowContinuousQueries => f.write_str("SHOW CONTINUOUS QUERIES"),
            ShowDatabases => f.write_str("SHOW DATABASES"),
            ShowDiagnostics { module } => module_of(f, "SHOW DIAGNOSTICS", module.as_deref()),
            ShowStats { module } => module_of(f, "SHOW STATS", module.as_deref()),
            ShowGrants { user } => write!(f, "SHOW GRANTS FOR {}", Ident(user)),
            ShowQueries => f.write_str("SHOW QUERIES"),
            ShowRetentionPolicies { database } => {
                f.write_str("SHOW RETENTION POLICIES")?;
                on(f, database.as_deref())
            }
            ShowShardGroups => f.write_str("SHOW SHARD GROUPS"),
            ShowShards => f.write_str("SHOW SHARDS"),
            ShowSubscriptions => f.write_str("SHOW SUBSCRIPTIONS"),
            ShowUsers => f.write_str("SHOW USERS"),
            ShowMeasurements(show) => write!(f, "{show}"),
            ShowSeries(show) => write!(f, "SHOW SERIES{show}"),
            ShowTagKeys { show, slimit, soffset } => {
                write!(f, "SHOW TAG KEYS{show}")?;
                counts(f, &[(" SLIMIT", *slimit), (" SOFFSET", *soffset)])
            }
            ShowTagValues { show, key } => show_tag_values(f, show, key),
            ShowFieldKeys(show) => write!(f, "SHOW FIELD KEYS{show}"),
            ShowCardinality(show) => write!(f, "{show}"),
        }
    }
}

/// A name, quoted where it must be.
struct Ident<'a>(&'a str);

impl Display for Ident<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if needs_quotes(self.0) { quoted(f, self.0, '"') } else { f.write_str(self.0) }
    }
}

/// A string in single quotes.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        quoted(f, self.0, '\'')
    }
}

fn needs_quotes(name: &str) -> bool {
    let mut chars = name.chars();
    let bare = chars.next().is_some_and(|c| c == '_' || c.is_ascii_alphabetic())
        && chars.all(|c| c == '_' || c.is_ascii_alphanumeric());
    !bare || Token::keyword(name).is_some()
}

fn quoted(f: &mut Formatter<'_>, text: &str, quote: char) -> fmt::Result {
    f.write_char(quote)?;
    for c in text.chars() {
        match c {
            '\n' => f.write_str("\\n")?,
            '\\' => f.write_str("\\\\")?,
            c if c == quote => write!(f, "\\{c}")?,
            c => f.write_char(c)?,
        }
    }
    f.write_char(quote)
}

/// Segments of a dotted name; all but the last are quoted in any case.
pub(super) fn quote_idents(segments: &[String]) -> String {
    let mut text = String::new();
    for (index, segment) in segments.iter().enumerate() {
        let last = index + 1 == segments.len();
        let bare = Ident(segment).to_string();
        match segment.is_empty() {
            true => {}
            false if last || bare.starts_with('"') => text.push_str(&bare),
            false => text.push_str(&format!("\"{bare}\"")),
        }
        text.push_str(if last { "" } else { "." });
    }
    text
}

/// Items with `, ` between them.
fn joined<T: Display>(f: &mut Formatter<'_>, items: impl IntoIterator<Item = T>) -> fmt::Result {
    for (index, item) in items.into_iter().enumerate() {
        write!(f, "{}{item}", if index > 0 { ", " } else { "" })?;
    }
    Ok(())
}

/// Items behind `word`; nothing when there are none.
fn listed<T: Display>(f: &mut Formatter<'_>, word: &str, items: &[T]) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    write!(f, " {word} ")?;
    joined(f, items)
}

fn counts(f: &mut Formatter<'_>, counts: &[(&str, u64)]) -> fmt::Result {
    counts.iter().filter(|(_, count)| *count > 0).try_for_each(|(word, count)| write!(f, "{word} {count}"))
}

fn word_if(f: &mut Formatter<'_>, condition: bool, word: &str) -> fmt::Result {
    f.write_str(if condition { word } else { "" })
}

fn on(f: &mut Formatter<'_>, name: Option<&str>) -> fmt::Result {
    name.map_or(Ok(()), |name| write!(f, " ON {}", Ident(name)))
}

fn module_of(f: &mut Formatter<'_>, words: &str, module: Option<&str>) -> fmt::Result {
    f.write_str(words)?;
    module.map_or(Ok(()), |module| write!(f, " FOR {}", Text(module)))
}

fn condition(f: &mut Formatter<'_>, condition: Option<&Expr>) -> fmt::Result {
    condition.map_or(Ok(()), |condition| write!(f, " WHERE {condition}"))
}

fn policy_options(f: &mut Formatter<'_>, options: &PolicyOptions, shown: fn(ast::Duration) -> String) -> fmt::Result {
    if let Some(span) = options.duration {
        write!(f, " DURATION {}", shown(span))?;
    }
    if let Some(count) = options.replication {
        write!(f, " REPLICATION {count}")?;
    }
    if let Some(span) = options.shard_duration {
        write!(f, " SHARD DURATION {}", shown(span))?;
    }
    Ok(())
}

fn create_database(f: &mut Formatter<'_>, name: &str, policy: Option<&PolicyOptions>) -> fmt::Result {
    write!(f, "CREATE DATABASE {}", Ident(name))?;
    let Some(options) = policy else { return Ok(()) };
    f.write_str(" WITH")?;
    // A shard duration of 0 asks for the default and is not printed here.
    let shard_duration = options.shard_duration.filter(|span| *span > 0);
    policy_options(f, &PolicyOptions { shard_duration, ..options.clone() }, duration::format_go)?;
    options.name.as_ref().map_or(Ok(()), |name| write!(f, " NAME {}", Ident(name)))
}

impl Display for CreatePolicy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "CREATE RETENTION POLICY {} ON {}", Ident(&self.name), Ident(&self.database))?;
        write!(f, " DURATION {} REPLICATION {}", duration::format(self.duration), self.replication)?;
        if let Some(span) = self.shard_duration.filter(|span| *span > 0) {
            write!(f, " SHARD DURATION {}", duration::format(span))?;
        }
        word_if(f, self.default, " DEFAULT")
    }
}

impl Display for CreateContinuousQuery {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "CREATE CONTINUOUS QUERY {} ON {} ", Ident(&self.name), Ident(&self.database))?;
        if self.every > 0 || self.span > 0 {
            f.write_str("RESAMPLE ")?;
            if self.every > 0 {
                write!(f, "EVERY {} ", duration::format(self.every))?;
            }
            if self.span > 0 {
                write!(f, "FOR {} ", duration::format(self.span))?;
            }
        }
        write!(f, "BEGIN {} END", self.select)
    }
}

impl Display for Privilege {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Privilege::Read => "READ",
            Privilege::Write => "WRITE",
            Privilege::All => "ALL PRIVILEGES",
        })
    }
}

impl Display for Delete {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        listed(f, "FROM", &self.sources)?;
        condition(f, self.condition.as_ref())
    }
}

impl Display for Show {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        on(f, self.database.as_deref())?;
        listed(f, "FROM", &self.sources)?;
        self.tail(f)
    }
}

impl Show {
    fn tail(&self, f: &mut Formatter<'_>) -> fmt::Result {
        condition(f, self.condition.as_ref())?;
        listed(f, "ORDER BY", &self.sort)?;
        counts(f, &[(" LIMIT", self.limit), (" OFFSET", self.offset)])
    }
}

impl Display for ShowMeasurements {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("SHOW MEASUREMENTS")?;
        on(f, self.show.database.as_deref())?;
        if let Some(with) = &self.with {
            write!(f, " WITH MEASUREMENT {} {with}", if with.regex.is_some() { "=~" } else { "=" })?;
        }
        self.show.tail(f)
    }
}

fn show_tag_values(f: &mut Formatter<'_>, show: &Show, key: &TagKeyFilter) -> fmt::Result {
    f.write_str("SHOW TAG VALUES")?;
    on(f, show.database.as_deref())?;
    listed(f, "FROM", &show.sources)?;
    write!(f, " WITH KEY {key}")?;
    show.tail(f)
}

impl Display for TagKeyFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            TagKeyFilter::Equal(key) => write!(f, "= {}", Ident(key)),
            TagKeyFilter::NotEqual(key) => write!(f, "!= {}", Ident(key)),
            TagKeyFilter::Match(regex) => write!(f, "=~ {regex}"),
            TagKeyFilter::NotMatch(regex) => write!(f, "!~ {regex}"),
            TagKeyFilter::In(keys) => {
                f.write_str("IN (")?;
                joined(f, keys.iter().map(|key| Ident(key)))?;
                f.write_str(")")
            }
        }
    }
}

impl Display for ShowCardinality {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (what, key) = match &self.of {
            CardinalityOf::Series => ("SERIES", None),
            CardinalityOf::Measurement => ("MEASUREMENT", None),
            CardinalityOf::FieldKey => ("FIELD KEY", None),
            CardinalityOf::TagKey => ("TAG KEY", None),
            CardinalityOf::TagValues(key) => ("TAG VALUES", Some(key)),
        };
        write!(f, "SHOW {what} {}CARDINALITY", if self.exact { "EXACT " } else { "" })?;
        on(f, self.show.database.as_deref())?;
        listed(f, "FROM", &self.show.sources)?;
        key.map_or(Ok(()), |key| write!(f, " WITH KEY {key}"))?;
        condition(f, self.show.condition.as_ref())?;
        listed(f, "GROUP BY", &self.dimensions)?;
        counts(f, &[(" LIMIT", self.show.limit), (" OFFSET", self.show.offset)])
    }
}

impl Display for Select {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("SELECT ")?;
        joined(f, &self.fields)?;
        if let Some(target) = &self.target {
            write!(f, " INTO {target}")?;
        }
        listed(f, "FROM", &self.sources)?;
        condition(f, self.condition.as_ref())?;
        listed(f, "GROUP BY", &self.dimensions)?;
        match self.fill {
            Fill::Null => Ok(()),
            Fill::None => f.write_str(" fill(none)"),
            Fill::Previous => f.write_str(" fill(previous)"),
            Fill::Linear => f.write_str(" fill(linear)"),
            Fill::Integer(value) => write!(f, " fill({value})"),
            Fill::Number(value) => write!(f, " fill({})", go_float(value)),
        }?;
        listed(f, "ORDER BY", &self.sort)?;
        counts(
            f,
            &[(" LIMIT", self.limit), (" OFFSET", self.offset), (" SLIMIT", self.slimit), (" SOFFSET", self.soffset)],
        )?;
        self.zone.as_ref().map_or(Ok(()), |zone| write!(f, " TZ('{zone}')"))
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.expr)?;
        self.alias.as_ref().map_or(Ok(()), |alias| write!(f, " AS {}", Ident(alias)))
    }
}

impl Display for SortField {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.name.is_empty() {
            write!(f, "{} ", self.name)?;
        }
        f.write_str(if self.ascending { "ASC" } else { "DESC" })
    }
}

impl Display for Source {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Source::Measurement(measurement) => write!(f, "{measurement}"),
            Source::Subquery(select) => write!(f, "({select})"),
        }
    }
}

impl Display for Measurement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.database.is_empty() {
            write!(f, "{}.", Ident(&self.database))?;
        }
        if !self.policy.is_empty() {
            write!(f, "{}", Ident(&self.policy))?;
        }
        if !self.database.is_empty() || !self.policy.is_empty() {
            f.write_str(".")?;
        }
        match &self.regex {
            _ if !self.name.is_empty() => write!(f, "{}", Ident(&self.name)),
            Some(regex) => write!(f, "{regex}"),
            None => word_if(f, self.is_target, ":MEASUREMENT"),
        }
    }
}

impl Display for Regex {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.text.replace('/', "\\/"))
    }
}

impl Display for DataType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DataType::Float => "float",
            DataType::Integer => "integer",
            DataType::Unsigned => "unsigned",
            DataType::String => "string",
            DataType::Boolean => "boolean",
            DataType::Time => "time",
            DataType::Duration => "duration",
            DataType::Tag => "tag",
            DataType::AnyField => "field",
        })
    }
}

/// The sign or word of an operator.
pub fn operator(op: Operator) -> &'static str {
    match op {
        Operator::Add => "+",
        Operator::Sub => "-",
        Operator::Mul => "*",
        Operator::Div => "/",
        Operator::Mod => "%",
        Operator::BitwiseAnd => "&",
        Operator::BitwiseOr => "|",
        Operator::BitwiseXor => "^",
        Operator::And => "AND",
        Operator::Or => "OR",
        Operator::Equal => "=",
        Operator::NotEqual => "!=",
        Operator::Match => "=~",
        Operator::NotMatch => "!~",
        Operator::Less => "<",
        Operator::LessEqual => "<=",
        Operator::Greater => ">",
        Operator::GreaterEqual => ">=",
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Expr::VarRef { name, data_type } => {
                write!(f, "{}", Ident(name))?;
                data_type.map_or(Ok(()), |data_type| write!(f, "::{data_type}"))
            }
            Expr::Call { name, args } => {
                write!(f, "{name}(")?;
                joined(f, args)?;
                f.write_str(")")
            }
            Expr::Distinct(name) => write!(f, "DISTINCT {name}"),
            Expr::Binary { op, left, right } => write!(f, "{left} {} {right}", operator(*op)),
            Expr::Paren(inner) => write!(f, "({inner})"),
            Expr::Wildcard(None) => f.write_str("*"),
            Expr::Wildcard(Some(WildcardKind::Field)) => f.write_str("*::field"),
            Expr::Wildcard(Some(WildcardKind::Tag)) => f.write_str("*::tag"),
            Expr::Regex(regex) => write!(f, "{regex}"),
            Expr::Number(value) => write!(f, "{value:.3}"),
            Expr::Integer(value) => write!(f, "{value}"),
            Expr::Unsigned(value) => write!(f, "{value}"),
            Expr::String(text) => write!(f, "{}", Text(text)),
            Expr::Boolean(value) => write!(f, "{value}"),
            Expr::Duration(span) => f.write_str(&duration::format(*span)),
            Expr::Time(ns) => write!(f, "'{}'", time(*ns)),
            Expr::Nil => f.write_str("nil"),
        }
    }
}

/// As Go prints a float: the shortest digits, with an exponent below 1e-4 and from 1e21.
fn go_float(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-4..1e21).contains(&size) || !value.is_finite() {
        return value.to_string();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// A time in UTC with as many digits as it needs.
fn time(ns: i64) -> String {
    Timestamp::from_nanosecond(i128::from(ns)).map_or_else(|_| ns.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests;
