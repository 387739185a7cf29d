//! CREATE and ALTER.

use crate::influxql::ast::CreateContinuousQuery;
use crate::influxql::ast::CreatePolicy;
use crate::influxql::ast::Duration;
use crate::influxql::ast::Expr;
use crate::influxql::ast::PolicyOptions;
use crate::influxql::ast::Select;
use crate::influxql::ast::Statement;
use crate::influxql::duration;
use crate::influxql::parser::ParseError;
use crate::influxql::parser::Parsed;
use crate::influxql::parser::Parser;
use crate::influxql::token::Token;

impl Parser<'_> {
    /// What follows CREATE.
    pub(super) fn create(&mut self) -> Parsed<Statement> {
        let found = self.scan_word();
        match found.token {
            Token::Continuous => {
                self.require(Token::Query)?;
                self.create_continuous_query()
            }
            Token::Database => self.create_database(),
            Token::User => self.create_user(),
            Token::Retention => {
                self.require(Token::Policy)?;
                self.create_policy()
            }
            Token::Subscription => self.create_subscription(),
            _ => Err(self.expected(&found, &["CONTINUOUS", "DATABASE", "USER", "RETENTION", "SUBSCRIPTION"])),
        }
    }

    fn create_database(&mut self) -> Parsed<Statement> {
        let name = self.ident()?;
        let policy = if self.take(Token::With) { Some(self.database_policy()?) } else { None };
        Ok(Statement::CreateDatabase { name, policy })
    }

    /// What follows CREATE DATABASE ... WITH: at least one option, in this order.
    fn database_policy(&mut self) -> Parsed<PolicyOptions> {
        let found = self.scan_word();
        if !matches!(found.token, Token::DurationWord | Token::Name | Token::Replication | Token::Shard) {
            return Err(self.expected(&found, &["DURATION", "NAME", "REPLICATION", "SHARD"]));
        }
        self.unscan();
        let mut options = PolicyOptions::default();
        if self.take(Token::DurationWord) {
            options.duration = Some(self.retention()?);
        }
        if self.take(Token::Replication) {
            options.replication = Some(self.replication()?);
        }
        if self.take(Token::Shard) {
            self.require(Token::DurationWord)?;
            options.shard_duration = Some(self.retention()?);
        }
        if self.take(Token::Name) {
            options.name = Some(self.ident()?);
        }
        Ok(options)
    }

    fn create_policy(&mut self) -> Parsed<Statement> {
        let name = self.ident()?;
        let database = self.on()?;
        self.require(Token::DurationWord)?;
        let duration = self.retention()?;
        self.require(Token::Replication)?;
        let replication = self.replication()?;
        let shard_duration = if self.take(Token::Shard) { Some(self.shard_duration()?) } else { None };
        let default = self.take(Token::Default);
        let policy = CreatePolicy { name, database, duration, replication, shard_duration, default };
        Ok(Statement::CreateRetentionPolicy(policy))
    }

    /// What follows SHARD where INF is refused.
    fn shard_duration(&mut self) -> Parsed<Duration> {
        self.require(Token::DurationWord)?;
        let found = self.scan_word();
        if found.token == Token::Inf {
            return Err(self.error_at(&found, "invalid duration INF for shard duration"));
        }
        self.unscan();
        self.duration()
    }

    /// What follows ALTER.
    pub(super) fn alter(&mut self) -> Parsed<Statement> {
        self.require_all(&[Token::Retention, Token::Policy])?;
        let name = if self.take(Token::Default) { "default".into() } else { self.ident()? };
        let database = self.on()?;
        let mut options = PolicyOptions::default();
        let mut seen = Vec::new();
        loop {
            let found = self.scan_word();
            if seen.contains(&found.token) {
                let text = format!("found duplicate {} option", found.token.name());
                return Err(self.error_at(&found, &text));
            }
            match found.token {
                Token::DurationWord => options.duration = Some(self.retention()?),
                Token::Replication => options.replication = Some(self.replication()?),
                Token::Shard => options.shard_duration = Some(self.shard_duration()?),
                Token::Default => {}
                _ if seen.is_empty() => {
                    return Err(self.expected(&found, &["DURATION", "REPLICATION", "SHARD", "DEFAULT"]));
                }
                _ => {
                    self.unscan();
                    let default = seen.contains(&Token::Default);
                    return Ok(Statement::AlterRetentionPolicy { name, database, options, default });
                }
            }
            seen.push(found.token);
        }
    }

    fn create_user(&mut self) -> Parsed<Statement> {
        let name = self.ident()?;
        self.require_all(&[Token::With, Token::Password])?;
        let password = self.string()?;
        let admin = self.take(Token::With);
        if admin {
            self.require_all(&[Token::All, Token::Privileges])?;
        }
        Ok(Statement::CreateUser { name, password, admin })
    }

    fn create_subscription(&mut self) -> Parsed<Statement> {
        let name = self.ident()?;
        let (database, policy) = self.on_policy()?;
        self.require(Token::Destinations)?;
        let found = self.scan_word();
        if !matches!(found.token, Token::All | Token::Any) {
            return Err(self.expected(&found, &["ALL", "ANY"]));
        }
        let destinations = self.list(Parser::string)?;
        Ok(Statement::CreateSubscription { name, database, policy, any: found.token == Token::Any, destinations })
    }

    fn create_continuous_query(&mut self) -> Parsed<Statement> {
        let name = self.ident()?;
        let database = self.on()?;
        let (every, span) = if self.take(Token::Resample) { self.resample()? } else { (0, 0) };
        self.require_all(&[Token::Begin, Token::Select])?;
        let select = self.select(true)?;
        let interval = self.continuous_interval(&select)?;
        self.require(Token::End)?;
        let interval = interval.map_err(|text| ParseError(text.into()))?;
        let least = interval.max(every);
        if span != 0 && least != 0 && span < least {
            return Err(ParseError(format!(
                "FOR duration must be >= GROUP BY time duration: must be a minimum of {}, got {}",
                duration::format(least),
                duration::format(span)
            )));
        }
        Ok(Statement::CreateContinuousQuery(Box::new(CreateContinuousQuery { name, database, select, every, span })))
    }

    /// EVERY and FOR, at least one of them.
    fn resample(&mut self) -> Parsed<(Duration, Duration)> {
        let every = if self.take(Token::Every) { self.duration()? } else { 0 };
        let span = if self.take(Token::For) { self.duration()? } else { 0 };
        if every == 0 && span == 0 {
            let found = self.scan_word();
            return Err(self.expected(&found, &["EVERY", "FOR"]));
        }
        Ok((every, span))
    }

    /// The interval of a continuous query; one that aggregates must have it. What is wrong with the interval of another
    /// one is told only when its end has been read.
    fn continuous_interval(&mut self, select: &Select) -> Parsed<Result<Duration, &'static str>> {
        let interval = group_by_interval(select);
        let aggregates = select.fields.iter().any(|field| has_call(&field.expr));
        if !aggregates || interval.as_ref().is_ok_and(|interval| *interval != 0) {
            return Ok(interval);
        }
        // The word that ended the statement is handed back; what is reported is the one before it.
        self.unscan();
        self.unscan();
        let found = self.scan_word();
        let mut expected = vec!["GROUP BY time(...)"];
        expected.extend(interval.err());
        Err(self.expected(&found, &expected))
    }
}

/// The first argument of the first `time()` in GROUP BY; 0 without one.
fn group_by_interval(select: &Select) -> Result<Duration, &'static str> {
    for dimension in &select.dimensions {
        match dimension {
            Expr::Call { name, args } if name == "time" => {
                return match args.as_slice() {
                    [Expr::Duration(interval)] | [Expr::Duration(interval), _] => Ok(*interval),
                    [_] | [_, _] => Err("time dimension must have duration argument"),
                    _ => Err("time dimension expected 1 or 2 arguments"),
                };
            }
            _ => {}
        }
    }
    Ok(0)
}

fn has_call(expr: &Expr) -> bool {
    match expr {
        Expr::Call { .. } => true,
        Expr::Binary { left, right, .. } => has_call(left) || has_call(right),
        Expr::Paren(inner) => has_call(inner),
        _ => false,
    }
}
