//! Which statement a text is, and the short ones: DROP, DELETE, GRANT, REVOKE, SET PASSWORD, KILL, EXPLAIN.

use crate::influxql::ast::Delete;
use crate::influxql::ast::Privilege;
use crate::influxql::ast::Source;
use crate::influxql::ast::Statement;
use crate::influxql::parser::Parsed;
use crate::influxql::parser::Parser;
use crate::influxql::token::Scanned;
use crate::influxql::token::Token;

const STATEMENTS: [&str; 11] =
    ["SELECT", "DELETE", "SHOW", "CREATE", "DROP", "EXPLAIN", "GRANT", "REVOKE", "ALTER", "SET", "KILL"];

impl Parser<'_> {
    /// One statement.
    pub(super) fn statement(&mut self) -> Parsed<Statement> {
        let found = self.scan_word();
        match found.token {
            Token::Select => Ok(Statement::Select(Box::new(self.select(false)?))),
            Token::Delete => self.delete().map(Statement::Delete),
            Token::Show => self.show(),
            Token::Create => self.create(),
            Token::Drop => self.drop(),
            Token::Explain => self.explain(),
            Token::Grant => self.grant(),
            Token::Revoke => self.revoke(),
            Token::Alter => self.alter(),
            Token::Set => self.set_password(),
            Token::Kill => self.kill(),
            _ => Err(self.expected(&found, &STATEMENTS)),
        }
    }

    fn explain(&mut self) -> Parsed<Statement> {
        let analyze = self.take(Token::Analyze);
        self.require(Token::Select)?;
        Ok(Statement::Explain { analyze, select: Box::new(self.select(false)?) })
    }

    /// DELETE and DROP SERIES: FROM, WHERE or both.
    fn delete(&mut self) -> Parsed<Delete> {
        let found = self.scan_word();
        self.unscan();
        let sources = self.optional_sources()?;
        for source in &sources {
            let Source::Measurement(measurement) = source else { continue };
            if !measurement.database.is_empty() && measurement.policy.is_empty() {
                return Err(self.error_at_index(0, "database not supported"));
            }
            if !measurement.policy.is_empty() {
                return Err(self.error_at_index(0, "retention policy not supported"));
            }
        }
        let condition = self.condition()?;
        if sources.is_empty() && condition.is_none() {
            return Err(self.expected(&found, &["FROM", "WHERE"]));
        }
        Ok(Delete { sources, condition })
    }

    fn drop(&mut self) -> Parsed<Statement> {
        let found = self.scan_word();
        match found.token {
            Token::Continuous => {
                self.require(Token::Query)?;
                Ok(Statement::DropContinuousQuery { name: self.ident()?, database: self.on()? })
            }
            Token::Database => Ok(Statement::DropDatabase { name: self.ident()? }),
            Token::Measurement => Ok(Statement::DropMeasurement { name: self.ident()? }),
            Token::Retention => {
                self.require(Token::Policy)?;
                Ok(Statement::DropRetentionPolicy { name: self.ident()?, database: self.on()? })
            }
            Token::Series => self.delete().map(Statement::DropSeries),
            Token::Shard => Ok(Statement::DropShard { id: self.id()? }),
            Token::Subscription => {
                let name = self.ident()?;
                let (database, policy) = self.on_policy()?;
                Ok(Statement::DropSubscription { name, database, policy })
            }
            Token::User => Ok(Statement::DropUser { name: self.ident()? }),
            _ => {
                let kinds =
                    ["CONTINUOUS", "DATABASE", "MEASUREMENT", "RETENTION", "SERIES", "SHARD", "SUBSCRIPTION", "USER"];
                Err(self.expected(&found, &kinds))
            }
        }
    }

    /// `ON database.policy`, without space before the dot.
    pub(super) fn on_policy(&mut self) -> Parsed<(String, String)> {
        let database = self.on()?;
        let found = self.scan();
        if found.token != Token::Dot {
            return Err(self.expected(&found, &["."]));
        }
        Ok((database, self.ident()?))
    }

    fn privilege(&mut self) -> Parsed<Privilege> {
        let found = self.scan_word();
        match found.token {
            Token::Read => Ok(Privilege::Read),
            Token::Write => Ok(Privilege::Write),
            Token::All => {
                self.take(Token::Privileges);
                Ok(Privilege::All)
            }
            _ => Err(self.expected(&found, &["READ", "WRITE", "ALL [PRIVILEGES]"])),
        }
    }

    fn grant(&mut self) -> Parsed<Statement> {
        let privilege = self.privilege()?;
        let found = self.scan_word();
        match found.token {
            Token::On => {
                let database = self.ident()?;
                self.require(Token::To)?;
                Ok(Statement::Grant { privilege, database, user: self.ident()? })
            }
            Token::To if privilege == Privilege::All => Ok(Statement::GrantAdmin { user: self.ident()? }),
            _ => Err(self.expected_after_privilege(&found, privilege, "TO")),
        }
    }

    fn revoke(&mut self) -> Parsed<Statement> {
        let privilege = self.privilege()?;
        let found = self.scan_word();
        match found.token {
            Token::On => {
                let database = self.ident()?;
                self.require(Token::From)?;
                Ok(Statement::Revoke { privilege, database, user: self.ident()? })
            }
            Token::From if privilege == Privilege::All => Ok(Statement::RevokeAdmin { user: self.ident()? }),
            _ => Err(self.expected_after_privilege(&found, privilege, "FROM")),
        }
    }

    fn expected_after_privilege(&self, found: &Scanned, privilege: Privilege, word: &str) -> super::ParseError {
        if privilege == Privilege::All { self.expected(found, &["ON", word]) } else { self.expected(found, &["ON"]) }
    }

    fn set_password(&mut self) -> Parsed<Statement> {
        self.require_all(&[Token::Password, Token::For])?;
        let name = self.ident()?;
        self.require(Token::Equal)?;
        Ok(Statement::SetPassword { name, password: self.string()? })
    }

    fn kill(&mut self) -> Parsed<Statement> {
        self.require(Token::Query)?;
        Ok(Statement::KillQuery { id: self.id()?, host: self.optional_on()? })
    }
}
