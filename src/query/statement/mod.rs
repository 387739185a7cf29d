//! Every statement but SELECT: definitions, users, and SHOW.
//!
//! In:    a parsed statement, who asks, and the database and policy that the request names.
//! Out:   an [`Answer`], pulled piece by piece; or the text of the statement's error.
//!
//! Definitions become [`crate::meta::Command`]s. SHOW statements over series become lookups on every core; their
//! pages are merged here and never held whole ([`pages`]).

pub mod authorize;
mod condition;
mod define;
mod delete;
mod list;
pub mod normalise;
mod pages;
mod running;
mod server;
mod show;

#[cfg(test)]
mod tests;

use std::rc::Rc;

use crate::influxql::ast::Statement;
use crate::model::Bytes;
use crate::model::Message;
use crate::model::ResultPiece;
use crate::model::RowSet;
use crate::query::fabric::Fabric;
use crate::query::request::Caller;

pub use server::ServerFacts;

/// What a statement's execution depends on beside the cores.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The request's database; may be empty.
    pub database: String,
    /// The request's retention policy; may be empty.
    pub policy: String,
    /// What `now()` is, ns.
    pub now_ns: i64,
    /// Who asks: some answers are filtered.
    pub caller: Caller,
    /// Asked with GET: statements that change something carry a warning.
    pub read_only: bool,
    /// What SHOW STATS and SHOW DIAGNOSTICS print.
    pub server: Rc<ServerFacts>,
}

/// A statement's answer.
pub struct Answer<F> {
    source: Source<F>,
    messages: Vec<Message>,
}

enum Source<F> {
    /// All of it is here.
    Ready(Option<Vec<RowSet>>),
    /// It comes from the cores.
    Show(Box<show::Show<F>>),
}

impl<F: Fabric> Answer<F> {
    /// An answer that is complete.
    fn ready(series: Vec<RowSet>) -> Answer<F> {
        Answer { source: Source::Ready(Some(series)), messages: Vec::new() }
    }

    fn show(show: show::Show<F>) -> Answer<F> {
        Answer { source: Source::Show(Box::new(show)), messages: Vec::new() }
    }

    /// The next piece, of at most `row_max` rows where rows are many; `None` after the last. There is always one.
    pub async fn next_piece(&mut self, row_max: usize) -> Result<Option<ResultPiece>, String> {
        let piece = match &mut self.source {
            Source::Ready(series) => series.take().map(|series| ResultPiece { series, ..ResultPiece::default() }),
            Source::Show(show) => show.next_piece(row_max).await?,
        };
        Ok(piece.map(|piece| ResultPiece { messages: std::mem::take(&mut self.messages), ..piece }))
    }
}

/// Runs `statement`, which is no SELECT or EXPLAIN.
pub async fn start<F: Fabric>(fabric: &F, statement: &Statement, context: &Context) -> Result<Answer<F>, String> {
    let catalog = fabric.catalog();
    let statement = normalise::normalised(statement, &catalog, &context.database, &context.policy)?;
    let mut answer = run(fabric, &statement, context).await?;
    if context.read_only && is_warned_about(&statement) {
        answer.messages.push(read_only_warning(&statement));
    }
    Ok(answer)
}

async fn run<F: Fabric>(fabric: &F, statement: &Statement, context: &Context) -> Result<Answer<F>, String> {
    use Statement::*;
    match statement {
        Select(_) | Explain { .. } => Err("SELECT is not executed here".to_owned()),
        Delete(delete) => delete::delete(fabric, delete, context).await.map(|()| Answer::ready(Vec::new())),
        DropSeries(delete) => delete::drop_series(fabric, delete, context).await.map(|()| Answer::ready(Vec::new())),
        DropMeasurement { name } => {
            delete::drop_measurement(fabric, name, context).await.map(|()| Answer::ready(Vec::new()))
        }
        ShowContinuousQueries
        | ShowDatabases
        | ShowGrants { .. }
        | ShowRetentionPolicies { .. }
        | ShowShardGroups
        | ShowShards
        | ShowSubscriptions
        | ShowUsers => list::list(&fabric.catalog(), statement, context).map(Answer::ready),
        ShowDiagnostics { module } => Ok(Answer::ready(context.server.diagnostics(module.as_deref(), context.now_ns))),
        ShowStats { module } => Ok(Answer::ready(context.server.statistics(module.as_deref()))),
        ShowQueries => running::list(fabric).await.map(Answer::ready),
        KillQuery { id, .. } => running::kill(fabric, *id).await.map(|()| Answer::ready(Vec::new())),
        ShowMeasurements(_)
        | ShowSeries(_)
        | ShowTagKeys { .. }
        | ShowTagValues { .. }
        | ShowFieldKeys(_)
        | ShowCardinality(_) => show::start(fabric, statement, context).await.map(Answer::show),
        _ => define::define(fabric, statement).await.map(|()| Answer::ready(Vec::new())),
    }
}

/// Whether a statement changes something, and so must not be left in the middle. A SELECT INTO may: its batches are
/// whole writes.
pub fn changes(statement: &Statement) -> bool {
    is_warned_about(statement) || matches!(statement, Statement::Delete(_))
}

/// Whether stock warns when the statement is asked with GET.
fn is_warned_about(statement: &Statement) -> bool {
    use Statement::*;
    matches!(
        statement,
        AlterRetentionPolicy { .. }
            | CreateContinuousQuery(_)
            | CreateDatabase { .. }
            | CreateRetentionPolicy(_)
            | CreateSubscription { .. }
            | CreateUser { .. }
            | DropContinuousQuery { .. }
            | DropDatabase { .. }
            | DropMeasurement { .. }
            | DropSeries(_)
            | DropRetentionPolicy { .. }
            | DropShard { .. }
            | DropSubscription { .. }
            | DropUser { .. }
            | Grant { .. }
            | GrantAdmin { .. }
            | KillQuery { .. }
            | Revoke { .. }
            | RevokeAdmin { .. }
            | SetPassword { .. }
    )
}

/// The warning beside what a statement asked with GET has changed.
pub fn read_only_warning(statement: &Statement) -> Message {
    let text = format!("deprecated use of '{statement}' in a read only context, please use a POST request instead");
    Message { level: "warning", text }
}

/// A name or text as stored.
fn bytes(text: &str) -> Bytes {
    text.as_bytes().into()
}

/// A row set with these columns and no rows.
fn row_set(name: Option<&str>, columns: &[&str]) -> RowSet {
    RowSet { name: name.map(bytes), columns: columns.iter().map(|column| bytes(column)).collect(), ..RowSet::default() }
}
