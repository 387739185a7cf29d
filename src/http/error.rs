//! Domain errors to status, header and body: the one file with status codes.

use crate::encode;
use crate::http::services::AuthError;
use crate::http::wire::body::FramingError;
use crate::http::wire::gzip::GzipError;
use crate::ingest::WriteError;
use crate::model::Bytes;
use crate::query::request::QueryError;

/// Seconds after which a client that met a full queue may try again: a flush makes room in about that time.
const RETRY_AFTER_S: u32 = 1;

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status code.
    pub status: u16,
    /// What clients see; need not be UTF-8.
    pub text: Bytes,
    /// Value of `Retry-After`.
    pub retry_after_s: Option<u32>,
}

/// A request body did not arrive, or not as it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Larger than allowed, as sent, unpacked, or one line of it.
    #[error("Request Entity Too Large")]
    TooLarge,
    /// Not gzip although it says so.
    #[error("{0}")]
    Gzip(#[from] GzipError),
    /// Broken chunks.
    #[error("{0}")]
    Framing(#[from] FramingError),
    /// The peer stopped sending.
    #[error("timeout while reading the request body")]
    Timeout,
    /// The peer ended its side of the connection before the body was complete.
    #[error("unexpected EOF")]
    Ended,
    /// The connection broke; nobody is there to be answered.
    #[error("client disconnected")]
    Disconnected,
}

impl Failure {
    /// A failure with this status.
    pub fn new(status: u16, text: impl Into<String>) -> Failure {
        Failure { status, text: text.into().into_bytes().into(), retry_after_s: None }
    }

    /// 400.
    pub fn bad_request(text: impl Into<String>) -> Failure {
        Failure::new(400, text)
    }

    /// 404.
    pub fn not_found(text: impl Into<String>) -> Failure {
        Failure::new(404, text)
    }

    /// 503, to be tried again.
    pub fn unavailable(text: impl Into<String>) -> Failure {
        Failure { retry_after_s: Some(RETRY_AFTER_S), ..Failure::new(503, text) }
    }

    /// The machine word of the v2 API for this status.
    fn code(&self) -> &'static str {
        match self.status {
            400 => "invalid",
            401 => "unauthorized",
            403 => "forbidden",
            404 => "not found",
            405 => "method not allowed",
            409 => "conflict",
            413 => "request too large",
            415 => "unsupported media type",
            422 => "unprocessable entity",
            429 => "too many requests",
            501 => "not implemented",
            503 => "unavailable",
            _ => "internal error",
        }
    }

    /// Appends the error object of the v2 API; `error` is for clients of 1.8, which look for it.
    pub fn v2_document(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"code\":");
        encode::json_string(self.code().as_bytes(), out);
        for key in ["message", "error"] {
            out.extend_from_slice(format!(",\"{key}\":").as_bytes());
            encode::json_string(&self.text, out);
        }
        out.extend_from_slice(b"}\n");
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Failure {
        let status = match &error {
            // What a line holds goes back as it came.
            WriteError::Parse(text) | WriteError::Partial { text, .. } => {
                return Failure { status: 400, text: text.clone(), retry_after_s: None };
            }
            WriteError::FieldTypeConflict => 400,
            WriteError::DatabaseNotFound(_) => 404,
            // Stock's choice; Telegraf looks at the text and drops the batch.
            WriteError::PolicyNotFound(_) | WriteError::Timeout | WriteError::Storage(_) => 500,
            // Nothing was kept. Not 429, on which Telegraf drops the batch.
            WriteError::Overloaded(text) => return Failure::unavailable(text.clone()),
        };
        Failure::new(status, error.to_string())
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Failure {
        let status = match &error {
            QueryError::Params(_) | QueryError::Parse(_) => 400,
            QueryError::Forbidden(_) => 403,
            QueryError::Internal(_) => 500,
            QueryError::Overloaded(text) => return Failure::unavailable(text.clone()),
        };
        Failure::new(status, error.to_string())
    }
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Failure {
        let status = match &error {
            AuthError::Unauthorized(_) => 401,
            AuthError::Forbidden(_) => 403,
        };
        Failure::new(status, error.to_string())
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Failure {
        let status = match &error {
            BodyError::TooLarge => 413,
            BodyError::Gzip(_) | BodyError::Framing(_) | BodyError::Ended | BodyError::Disconnected => 400,
            BodyError::Timeout => 408,
        };
        Failure::new(status, error.to_string())
    }
}
