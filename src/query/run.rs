//! The statements of one request, one after the other.
//!
//! In:    a [`QueryRequest`].
//! Out:   [`ResultPiece`]s, pulled by the connection; the statement at work stands still until the next is asked for.
//!
//! A statement that fails ends the run: it keeps its own error and the later ones are listed as not executed. (Stock
//! loses the error of all but the last statement; see the compatibility table.)

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use crate::influxql::Params;
use crate::influxql::ast::Select;
use crate::influxql::ast::Source;
use crate::influxql::ast::Statement;
use crate::influxql::parse;
use crate::limits::CHUNK_ROWS_DEFAULT;
use crate::model::ResultPiece;
use crate::query::compile::Compiled;
use crate::query::compile::compile;
use crate::query::fabric::Fabric;
use crate::query::request::QueryError;
use crate::query::request::QueryRequest;
use crate::query::select::Context;
use crate::query::select::Limits;
use crate::query::select::SelectRun;
use crate::query::select::explain;
use crate::query::select::into;
use crate::query::select::meter::Meter;
use crate::query::select::source;
use crate::query::select::source::Outer;
use crate::query::statement;
use crate::query::statement::ServerFacts;
use crate::query::statement::authorize::authorize;
use crate::query::statement::normalise::normalise_select;
use crate::query::statement::read_only_warning;

/// What requests of one server have in common.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Bounds of each SELECT.
    pub limits: Limits,
    /// What SHOW STATS and SHOW DIAGNOSTICS print.
    pub server: Rc<ServerFacts>,
}

/// A running request.
pub struct QueryRun<F> {
    context: Context<F>,
    server: Rc<ServerFacts>,
    request: QueryRequest,
    statements: VecDeque<Statement>,
    /// Position of the statement at work.
    statement_id: i32,
    current: Option<Current<F>>,
    /// The statement at work is not yet in `current`: only seen when the run was dropped off in the middle.
    is_starting: bool,
    /// Whether the statement at work may be left in the middle.
    is_interruptible: Rc<Cell<bool>>,
    /// What is left to say after a failure.
    failed: VecDeque<ResultPiece>,
    last_failed: bool,
}

/// The statement at work.
enum Current<F> {
    /// A SELECT.
    Select(Box<SelectRun<F>>),
    /// Another statement.
    Statement(Box<statement::Answer<F>>),
    /// A statement whose answer is there.
    Pieces(VecDeque<ResultPiece>),
}

/// Parses and authorises a request and gets ready to run it.
pub fn run<F: Fabric>(fabric: F, request: QueryRequest, options: Options) -> Result<QueryRun<F>, QueryError> {
    let params = Params::from_json(&request.params).map_err(|error| QueryError::Params(error.to_string()))?;
    let statements = parse(&request.text, &params).map_err(|error| QueryError::Parse(error.to_string()))?;
    let allowed = authorize(&statements, &request.caller, &fabric.catalog(), &request.database);
    allowed.map_err(QueryError::Forbidden)?;
    Ok(QueryRun {
        context: Context { fabric, meter: Rc::new(Meter::new(options.limits.points_max)), limits: options.limits },
        server: options.server,
        request,
        statements: statements.into(),
        statement_id: -1,
        current: None,
        is_starting: false,
        is_interruptible: Rc::new(Cell::new(true)),
        failed: VecDeque::new(),
        last_failed: false,
    })
}

impl<F: Fabric> QueryRun<F> {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Option<ResultPiece> {
        loop {
            if let Some(piece) = self.failed.pop_front() {
                return Some(piece);
            }
            if self.last_failed {
                return None;
            }
            if self.current.is_none() {
                let statement = self.statements.pop_front()?;
                self.statement_id += 1;
                self.is_starting = true;
                self.is_interruptible.set(!statement::changes(&statement));
                let started = self.start(statement).await;
                self.is_interruptible.set(true);
                self.is_starting = false;
                match started {
                    Ok(current) => self.current = Some(current),
                    Err(error) => {
                        self.fail(error);
                        continue;
                    }
                }
            }
            match self.advance().await {
                Ok(Some(mut piece)) => {
                    piece.statement_id = self.statement_id;
                    if !piece.partial {
                        self.current = None;
                    }
                    if piece.error.is_some() {
                        self.fail(piece.error.take().unwrap_or_default());
                        continue;
                    }
                    return Some(piece);
                }
                Ok(None) => self.current = None,
                Err(error) => self.fail(error),
            }
        }
    }

    async fn advance(&mut self) -> Result<Option<ResultPiece>, String> {
        let row_max = self.request.chunk_size.unwrap_or(CHUNK_ROWS_DEFAULT);
        match &mut self.current {
            None => Ok(None),
            Some(Current::Pieces(pieces)) => Ok(pieces.pop_front()),
            Some(Current::Statement(answer)) => answer.next_piece(row_max).await,
            Some(Current::Select(run)) => run.next_piece(row_max).await,
        }
    }

    async fn start(&mut self, statement: Statement) -> Result<Current<F>, String> {
        match statement {
            Statement::Select(select) => self.start_select(*select).await,
            Statement::Explain { analyze, select } => self.explain(analyze, *select).await,
            other => self.start_other(&other).await,
        }
    }

    async fn start_other(&self, statement: &Statement) -> Result<Current<F>, String> {
        let context = statement::Context {
            database: self.request.database.clone(),
            policy: self.request.policy.clone(),
            now_ns: self.request.now_ns,
            caller: self.request.caller.clone(),
            read_only: self.request.read_only,
            server: self.server.clone(),
        };
        let answer = statement::start(&self.context.fabric, statement, &context).await?;
        Ok(Current::Statement(Box::new(answer)))
    }

    /// Checks a SELECT and names its sources.
    fn compile(&self, select: &mut Select) -> Result<Compiled, String> {
        let catalog = self.context.fabric.catalog();
        normalise_select(select, &catalog, &self.request.database, &self.request.policy)?;
        refuse_system_sources(&select.sources)?;
        compile(select, self.request.now_ns).map_err(|error| error.to_string())
    }

    async fn start_select(&self, mut select: Select) -> Result<Current<F>, String> {
        let compiled = self.compile(&mut select)?;
        self.context.meter.restart();
        let Some(target) = &compiled.target else {
            let run = source::start(&self.context, &compiled, &Outer::default()).await?;
            return Ok(Current::Select(Box::new(run)));
        };
        let mut run = source::start(&self.context, &compiled, &Outer::default()).await?;
        let written = into::write(&self.context.fabric, &mut run, target).await?;
        let mut piece = into::answer(written);
        if self.request.read_only {
            piece.messages.push(read_only_warning(&Statement::Select(Box::new(select))));
        }
        Ok(Current::Pieces(VecDeque::from([piece])))
    }

    async fn explain(&self, analyze: bool, mut select: Select) -> Result<Current<F>, String> {
        select.target = None;
        let compiled = self.compile(&mut select)?;
        self.context.meter.restart();
        let started = Instant::now();
        let mut run = source::start(&self.context, &compiled, &Outer::default()).await?;
        let planning = started.elapsed();
        let piece = if analyze {
            let mut row_count = 0;
            while let Some((_, rows)) = run.next_rows(CHUNK_ROWS_DEFAULT).await? {
                row_count += rows.len() as u64;
            }
            let execution = started.elapsed() - planning;
            explain::answer("EXPLAIN ANALYZE", explain::analyze_lines(&select, planning, execution, row_count))
        } else {
            let (series_count, group_count) = source::extent(&self.context, &compiled).await?;
            explain::answer("QUERY PLAN", explain::plan_lines(run.plan(), series_count, group_count))
        };
        Ok(Current::Pieces(VecDeque::from([piece])))
    }
}

/// Names that look like tables of the server's own and are none.
fn refuse_system_sources(sources: &[Source]) -> Result<(), String> {
    for source in sources {
        let Source::Measurement(measurement) = source else { continue };
        let instead = match measurement.name.as_str() {
            "_fieldKeys" => "SHOW FIELD KEYS",
            "_measurements" => "SHOW MEASUREMENTS",
            "_series" => "SHOW SERIES",
            "_tagKeys" => "SHOW TAG KEYS",
            "_tags" => "SHOW TAG VALUES",
            "_name" | "_tagKey" => "the appropriate meta command",
            _ => continue,
        };
        let name = &measurement.name;
        return Err(format!("unable to use system source '{name}': use {instead} instead"));
    }
    Ok(())
}

impl<F> QueryRun<F> {
    /// The statements that are left, as SHOW QUERIES prints them.
    pub fn text(&self) -> String {
        self.statements.iter().map(ToString::to_string).collect::<Vec<_>>().join(";\n")
    }

    /// Tells whether the statement at work may be left in the middle: one that changes something runs to its end.
    pub fn is_interruptible(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.is_interruptible)
    }

    /// Ends the request from outside: the statement at work fails with `error`, and the later ones are not executed.
    /// Nothing happens to one that has ended.
    pub fn interrupt(&mut self, error: String) {
        if self.last_failed {
            return;
        }
        if self.current.is_none() && !self.is_starting {
            if self.statements.pop_front().is_none() {
                return;
            }
            self.statement_id += 1;
        }
        self.fail(error);
    }

    /// The error of this statement, and that the others were not executed. Chunked answers name the failed statement in
    /// all of them, as stock does.
    fn fail(&mut self, error: String) {
        self.current = None;
        self.is_starting = false;
        self.last_failed = true;
        let piece = |statement_id, error| ResultPiece { statement_id, error: Some(error), ..ResultPiece::default() };
        self.failed.push_back(piece(self.statement_id, error));
        let chunked = self.request.chunk_size.is_some();
        for (later, _) in self.statements.drain(..).enumerate() {
            let id = if chunked { self.statement_id } else { self.statement_id + 1 + later as i32 };
            self.failed.push_back(piece(id, "not executed".into()));
        }
    }
}
