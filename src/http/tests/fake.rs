//! Services that only remember what they were given.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::http::services::AuthError;
use crate::http::services::Credentials;
use crate::http::services::Health;
use crate::http::services::QueryRun;
use crate::http::services::Services;
use crate::http::services::WriteSession;
use crate::ingest::WriteError;
use crate::ingest::WriteParams;
use crate::ingest::Written;
use crate::model::Cell;
use crate::model::ResultPiece;
use crate::model::RowSet;
use crate::observe::Statistic;
use crate::observe::Value;
use crate::observe::requests::RequestCount;
use crate::query::request::Caller;
use crate::query::request::QueryError;
use crate::query::request::QueryRequest;

/// Remembers lines; a query returns what its text asks for.
#[derive(Clone, Default)]
pub struct Fake {
    /// Finished writes: parameters and body.
    pub stored: Rc<RefCell<Stored>>,
    /// Queries that were dropped before their end.
    pub dropped: Rc<RefCell<usize>>,
    pub needs_login: bool,
}

pub type Stored = Vec<(WriteParams, Vec<u8>)>;

pub struct FakeWrite {
    pub fake: Fake,
    pub params: WriteParams,
    pub body: Vec<u8>,
}

impl WriteSession for FakeWrite {
    async fn feed(&mut self, window: &[u8], last: bool) -> Result<usize, WriteError> {
        let whole = if last { window.len() } else { memchr::memrchr(b'\n', window).map_or(0, |at| at + 1) };
        self.body.extend_from_slice(&window[..whole]);
        Ok(whole)
    }

    async fn finish(self) -> Result<Written, WriteError> {
        if self.body.starts_with(b"bad") {
            return Err(WriteError::Parse(b"unable to parse 'bad': missing fields"[..].into()));
        }
        if self.body.starts_with(b"full") {
            return Err(WriteError::Overloaded("queue full".into()));
        }
        let points = self.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() as u64;
        self.fake.stored.borrow_mut().push((self.params, self.body));
        Ok(Written { points, values: points })
    }
}

pub struct FakeRun {
    pub fake: Fake,
    pub left: usize,
    pub rows: usize,
    /// Never returns: `HANG`.
    pub hang: bool,
}

impl QueryRun for FakeRun {
    async fn next(&mut self) -> Option<ResultPiece> {
        if self.hang {
            return std::future::pending().await;
        }
        self.left = self.left.checked_sub(1)?;
        let more = self.left > 0;
        let rows = (0..self.rows).map(|row| vec![Cell::Integer(row as i64)]).collect();
        let series = RowSet {
            name: Some(b"m"[..].into()),
            columns: vec![b"v"[..].into()],
            rows,
            partial: more,
            ..RowSet::default()
        };
        Some(ResultPiece { series: vec![series], partial: more, ..ResultPiece::default() })
    }
}

impl Drop for FakeRun {
    fn drop(&mut self) {
        if self.left > 0 {
            *self.fake.dropped.borrow_mut() += 1;
        }
    }
}

impl Services for Fake {
    type Write = FakeWrite;
    type Query = FakeRun;

    fn now_ns(&self) -> i64 {
        1_500_000_000_000_000_000
    }

    fn health(&self) -> Health {
        Health::Ready
    }

    async fn authenticate(&self, credentials: Credentials) -> Result<Caller, AuthError> {
        match credentials {
            _ if !self.needs_login => Ok(Caller::Trusted),
            Credentials::Password { user, password } if password == "pw" => Ok(Caller::User(user)),
            Credentials::None => Err(AuthError::Unauthorized("unable to parse authentication credentials".into())),
            _ => Err(AuthError::Unauthorized("authorization failed".into())),
        }
    }

    fn authorize_admin(&self, _: &Caller) -> Result<(), AuthError> {
        Ok(())
    }

    async fn requests_during(&self, _: Duration) -> Vec<RequestCount> {
        Vec::new()
    }

    async fn begin_write(&self, params: WriteParams) -> Result<FakeWrite, WriteError> {
        if params.database == "nope" {
            return Err(WriteError::DatabaseNotFound(params.database));
        }
        Ok(FakeWrite { fake: self.clone(), params, body: Vec::new() })
    }

    fn authorize_write(&self, caller: &Caller, database: &str) -> Result<(), AuthError> {
        if caller.name() == Some("bob") {
            let text = format!("\"bob\" user is not authorized to write to database \"{database}\"");
            return Err(AuthError::Forbidden(text));
        }
        Ok(())
    }

    /// `ROWS pieces rows`, `HANG`, or a parse error; `ECHO` answers with the request as a message.
    async fn query(&self, request: QueryRequest) -> Result<FakeRun, QueryError> {
        let words: Vec<&str> = request.text.split(' ').collect();
        let run = |left, rows, hang| Ok(FakeRun { fake: self.clone(), left, rows, hang });
        match words[..] {
            ["ROWS", pieces, rows] => run(pieces.parse().unwrap(), rows.parse().unwrap(), false),
            ["HANG"] => run(1, 0, true),
            ["ECHO"] => Err(QueryError::Internal(format!(
                "db={} rp={} params={} read_only={} chunk={:?}",
                request.database, request.policy, request.params, request.read_only, request.chunk_size
            ))),
            [""] => run(0, 0, false),
            _ => Err(QueryError::Parse(format!("found {}", request.text))),
        }
    }

    async fn statistics(&self) -> Vec<Statistic> {
        vec![Statistic { name: "write", tags: None, values: vec![("req", Value::Integer(1))] }]
    }

    fn memory_bytes(&self) -> i64 {
        1
    }
}
