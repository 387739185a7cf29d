//! What one `/query` request asks, and the errors that answer it before any row exists.
//!
//! In:   filled by `http` (and by the 0.8 dialect) from the address, the form and the credentials.
//! Out:  a run that yields [`crate::model::ResultPiece`]s, or a [`QueryError`] that http turns into a status.

/// Who asks. The mapping from credentials is below `http`; the statements' privileges are checked by `query`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Caller {
    /// Authentication is off: everything is allowed.
    #[default]
    Trusted,
    /// Authentication is on but no admin exists: only the first admin may be created.
    NoAdminYet,
    /// An authenticated user or token, by the name grants are kept under.
    User(String),
}

impl Caller {
    /// The user's name, for logs and SHOW QUERIES.
    pub fn name(&self) -> Option<&str> {
        match self {
            Caller::User(name) => Some(name),
            Caller::Trusted | Caller::NoAdminYet => None,
        }
    }
}

/// One query request.
#[derive(Clone, Debug, Default)]
pub struct QueryRequest {
    /// The statements; trimmed. Empty text is an answer without results.
    pub text: String,
    /// Database for sources that name none; may be empty.
    pub database: String,
    /// Retention policy for sources that name none; empty: the database's default.
    pub policy: String,
    /// JSON text of the bind parameters; empty: none.
    pub params: String,
    /// Asked with GET: statements that change something carry a warning.
    pub read_only: bool,
    /// Rows of one piece; `None`: not chunked, pieces of [`crate::limits::CHUNK_ROWS_DEFAULT`] rows are joined above.
    pub chunk_size: Option<usize>,
    /// `now()` of every statement, ns.
    pub now_ns: i64,
    /// Who asks.
    pub caller: Caller,
}

/// Why a query request was refused before its first row. Later errors stand inside the results.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The bind parameters are no JSON object, or a number in them is out of range: the whole text. 400.
    #[error("{0}")]
    Params(String),
    /// The text does not parse. 400.
    #[error("error parsing query: {0}")]
    Parse(String),
    /// The caller may not run one of the statements; nothing ran. 403.
    #[error("error authorizing query: {0}")]
    Forbidden(String),
    /// No query slot or no memory for another query; nothing ran. 503.
    #[error("{0}")]
    Overloaded(String),
    /// The server failed. 500.
    #[error("{0}")]
    Internal(String),
}
