//! What the handlers need of everything below them. `server` implements it for real; the tests here fake it.
//!
//! In:   parsed parameters and windows of body bytes.
//! Out:  how much was stored, pieces of an answer, or one of the domain errors that [`super::error`] maps.

use std::future::Future;
use std::time::Duration;

use crate::ingest::WriteError;
use crate::ingest::WriteParams;
use crate::ingest::Written;
use crate::model::ResultPiece;
use crate::observe::Statistic;
use crate::observe::requests::RequestCount;
use crate::query::request::Caller;
use crate::query::request::QueryError;
use crate::query::request::QueryRequest;

/// What a request says about who sends it, before anyone has looked at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// None, or none that can be read: `unable to parse authentication credentials` where they are needed.
    #[default]
    None,
    /// User and password (address, Basic, or `Token user:password`). The password may be a token.
    Password {
        /// As sent; may be empty.
        user: String,
        /// As sent.
        password: String,
    },
    /// `Bearer`: a JWT or a token.
    Bearer(String),
    /// `Token` without a colon, or `p` alone in the address.
    Token(String),
}

/// The caller is unknown, or may not do this; the texts are stock's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// 401, e.g. `authorization failed`.
    #[error("{0}")]
    Unauthorized(String),
    /// 403, e.g. `"bob" user is not authorized to write to database "db1"`.
    #[error("{0}")]
    Forbidden(String),
}

/// Whether requests can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Reads and writes are served.
    Ready,
    /// Not yet, or not any more; the text says how far.
    NotReady(String),
}

/// Everything below the handlers, seen from one core.
pub trait Services: Clone + 'static {
    /// A write whose body is still arriving.
    type Write: WriteSession;
    /// A query whose rows are still being made; dropping it cancels the query.
    type Query: QueryRun;

    /// The wall clock, ns.
    fn now_ns(&self) -> i64;

    /// Whether requests can be served.
    fn health(&self) -> Health;

    /// Who sends `credentials`. With authentication off: [`Caller::Trusted`] whatever they are.
    fn authenticate(&self, credentials: Credentials) -> impl Future<Output = Result<Caller, AuthError>>;

    /// Whether `caller` may do everything.
    fn authorize_admin(&self, caller: &Caller) -> Result<(), AuthError>;

    /// Opens a write, or refuses it: the database does not exist, or there is no room. Nothing is stored before
    /// [`WriteSession::finish`].
    fn begin_write(&self, params: WriteParams) -> impl Future<Output = Result<Self::Write, WriteError>>;

    /// Whether `caller` may write to `database`; asked after [`Services::begin_write`] found that it exists.
    fn authorize_write(&self, caller: &Caller, database: &str) -> Result<(), AuthError>;

    /// Parses and authorises a query and starts it.
    fn query(&self, request: QueryRequest) -> impl Future<Output = Result<Self::Query, QueryError>>;

    /// The statistics of `/debug/vars`, of all cores, in the order they are printed.
    fn statistics(&self) -> impl Future<Output = Vec<Statistic>>;

    /// Writes and queries of all cores by sender, counted for `interval`.
    fn requests_during(&self, interval: Duration) -> impl Future<Output = Vec<RequestCount>>;

    /// Memory of the process, for `/debug/vars`.
    fn memory_bytes(&self) -> i64;
}

/// One write request while its body arrives.
pub trait WriteSession: 'static {
    /// Takes whole lines from the front of `window` and says how many bytes they were. With `last` the rest counts as
    /// a line too and everything is taken. 0 without `last` means that the first line is longer than the window.
    fn feed(&mut self, window: &[u8], last: bool) -> impl Future<Output = Result<usize, WriteError>>;

    /// Stores what was fed and waits until it is durable.
    fn finish(self) -> impl Future<Output = Result<Written, WriteError>>;
}

/// The rest of an answer.
pub trait QueryRun: 'static {
    /// The next piece; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Option<ResultPiece>>;
}
