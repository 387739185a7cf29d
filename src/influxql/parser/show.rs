//! SHOW.

use crate::influxql::ast::CardinalityOf;
use crate::influxql::ast::Measurement;
use crate::influxql::ast::Show;
use crate::influxql::ast::ShowCardinality;
use crate::influxql::ast::ShowMeasurements;
use crate::influxql::ast::Source;
use crate::influxql::ast::Statement;
use crate::influxql::ast::TagKeyFilter;
use crate::influxql::parser::Parsed;
use crate::influxql::parser::Parser;
use crate::influxql::token::Token;

const SHOWN: [&str; 16] = [
    "CONTINUOUS",
    "DATABASES",
    "DIAGNOSTICS",
    "FIELD",
    "GRANTS",
    "MEASUREMENT",
    "MEASUREMENTS",
    "QUERIES",
    "RETENTION",
    "SERIES",
    "SHARD",
    "SHARDS",
    "STATS",
    "SUBSCRIPTIONS",
    "TAG",
    "USERS",
];

impl Parser<'_> {
    /// What follows SHOW.
    pub(super) fn show(&mut self) -> Parsed<Statement> {
        let found = self.scan_word();
        match found.token {
            Token::Continuous => self.require(Token::Queries).map(|_| Statement::ShowContinuousQueries),
            Token::Databases => Ok(Statement::ShowDatabases),
            Token::Diagnostics => Ok(Statement::ShowDiagnostics { module: self.module()? }),
            Token::Field => self.show_field(),
            Token::Grants => {
                self.require(Token::For)?;
                Ok(Statement::ShowGrants { user: self.ident()? })
            }
            Token::Measurement => self.exact_cardinality(CardinalityOf::Measurement),
            Token::Measurements => self.show_measurements(),
            Token::Queries => Ok(Statement::ShowQueries),
            Token::Retention => {
                self.require(Token::Policies)?;
                Ok(Statement::ShowRetentionPolicies { database: self.optional_on()? })
            }
            Token::Series => self.show_series(),
            Token::Shard => self.require(Token::Groups).map(|_| Statement::ShowShardGroups),
            Token::Shards => Ok(Statement::ShowShards),
            Token::Stats => Ok(Statement::ShowStats { module: self.module()? }),
            Token::Subscriptions => Ok(Statement::ShowSubscriptions),
            Token::Tag => self.show_tag(),
            Token::Users => Ok(Statement::ShowUsers),
            _ => Err(self.expected(&found, &SHOWN)),
        }
    }

    /// `FOR 'module'`.
    fn module(&mut self) -> Parsed<Option<String>> {
        if self.take(Token::For) { self.string().map(Some) } else { Ok(None) }
    }

    fn show_field(&mut self) -> Parsed<Statement> {
        let found = self.scan_word();
        match found.token {
            Token::Key => self.exact_cardinality(CardinalityOf::FieldKey),
            Token::Keys => Ok(Statement::ShowFieldKeys(Show {
                database: self.optional_on()?,
                sources: self.optional_sources()?,
                condition: None,
                sort: self.sort()?,
                limit: self.optional_count(Token::Limit)?,
                offset: self.optional_count(Token::Offset)?,
            })),
            _ => Err(self.expected(&found, &["KEY", "KEYS"])),
        }
    }

    fn show_measurements(&mut self) -> Parsed<Statement> {
        let database = self.optional_on()?;
        let with = if self.take(Token::With) { Some(self.with_measurement()?) } else { None };
        let show = Show { database, ..self.conditions(Vec::new())? };
        Ok(Statement::ShowMeasurements(ShowMeasurements { with, show }))
    }

    fn with_measurement(&mut self) -> Parsed<Measurement> {
        self.require(Token::Measurement)?;
        let found = self.scan_word();
        if !matches!(found.token, Token::Equal | Token::Match) {
            return Err(self.expected(&found, &["=", "=~"]));
        }
        match self.source(false)? {
            Source::Measurement(measurement) => Ok(measurement),
            Source::Subquery(_) => Ok(Measurement::default()),
        }
    }

    fn show_series(&mut self) -> Parsed<Statement> {
        let exact = self.take(Token::Exact);
        if self.take(Token::Cardinality) {
            return self.cardinality(CardinalityOf::Series, exact);
        }
        self.show_clauses().map(Statement::ShowSeries)
    }

    fn show_tag(&mut self) -> Parsed<Statement> {
        let found = self.scan_word();
        match found.token {
            Token::Key => self.exact_cardinality(CardinalityOf::TagKey),
            Token::Keys => Ok(Statement::ShowTagKeys {
                show: self.show_clauses()?,
                slimit: self.optional_count(Token::Slimit)?,
                soffset: self.optional_count(Token::Soffset)?,
            }),
            Token::Values => self.show_tag_values(),
            _ => Err(self.expected(&found, &["KEY", "KEYS", "VALUES"])),
        }
    }

    fn show_tag_values(&mut self) -> Parsed<Statement> {
        let exact = self.take(Token::Exact);
        if exact {
            self.require(Token::Cardinality)?;
        }
        let counted = exact || self.take(Token::Cardinality);
        let database = self.optional_on()?;
        let sources = self.optional_sources()?;
        let key = self.with_key()?;
        if counted {
            return self.cardinality_tail(CardinalityOf::TagValues(key), exact, database, sources);
        }
        let show = Show { database, ..self.conditions(sources)? };
        Ok(Statement::ShowTagValues { show, key })
    }

    fn with_key(&mut self) -> Parsed<TagKeyFilter> {
        self.require_all(&[Token::With, Token::Key])?;
        let found = self.scan_word();
        Ok(match found.token {
            Token::Equal => TagKeyFilter::Equal(self.ident()?),
            Token::NotEqual => TagKeyFilter::NotEqual(self.ident()?),
            Token::Match => TagKeyFilter::Match(self.required_regex()?),
            Token::NotMatch => TagKeyFilter::NotMatch(self.required_regex()?),
            Token::In => {
                self.require(Token::LeftParen)?;
                let keys = self.idents()?;
                self.require(Token::RightParen)?;
                TagKeyFilter::In(keys)
            }
            _ => return Err(self.expected(&found, &["IN", "=", "=~"])),
        })
    }

    /// ON, FROM, WHERE, ORDER BY, LIMIT, OFFSET.
    fn show_clauses(&mut self) -> Parsed<Show> {
        let database = self.optional_on()?;
        let sources = self.optional_sources()?;
        Ok(Show { database, ..self.conditions(sources)? })
    }

    /// WHERE, ORDER BY, LIMIT, OFFSET.
    fn conditions(&mut self, sources: Vec<Source>) -> Parsed<Show> {
        Ok(Show {
            database: None,
            sources,
            condition: self.condition()?,
            sort: self.sort()?,
            limit: self.optional_count(Token::Limit)?,
            offset: self.optional_count(Token::Offset)?,
        })
    }

    /// `[EXACT] CARDINALITY ...`, where nothing else can follow.
    fn exact_cardinality(&mut self, of: CardinalityOf) -> Parsed<Statement> {
        let found = self.scan_word();
        match found.token {
            Token::Exact => {
                self.require(Token::Cardinality)?;
                self.cardinality(of, true)
            }
            Token::Cardinality => self.cardinality(of, false),
            _ => Err(self.expected(&found, &["EXACT", "CARDINALITY"])),
        }
    }

    fn cardinality(&mut self, of: CardinalityOf, exact: bool) -> Parsed<Statement> {
        let database = self.optional_on()?;
        let sources = self.optional_sources()?;
        self.cardinality_tail(of, exact, database, sources)
    }

    fn cardinality_tail(
        &mut self,
        of: CardinalityOf,
        exact: bool,
        database: Option<String>,
        sources: Vec<Source>,
    ) -> Parsed<Statement> {
        let condition = self.condition()?;
        let dimensions = self.dimensions()?;
        let limit = self.optional_count(Token::Limit)?;
        let offset = self.optional_count(Token::Offset)?;
        let show = Show { database, sources, condition, sort: Vec::new(), limit, offset };
        Ok(Statement::ShowCardinality(ShowCardinality { of, exact, show, dimensions }))
    }
}
