//! One request and its response, as the handlers see them: parameters, body windows, one answer.
//!
//! ```text
//! body:      socket -> input window -> framing -> (gzip) -> window() -> handler
//! response:  handler -> head + body, or head + pieces -> (gzip) -> (chunks) -> socket
//! ```
//!
//! A plain body with a length is handed to the handler where it was received; anything else goes through a second
//! window. A response is sent whole ([`Exchange::respond`]) or as it is made ([`Exchange::send`]).

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use crate::encode;
use crate::http::accept::Accepted;
use crate::http::conn::Connection;
use crate::http::conn::Transport;
use crate::http::edge::Edge;
use crate::http::error::BodyError;
use crate::http::error::Failure;
use crate::http::input::Window;
use crate::http::services::Services;
use crate::http::wire::body::BodyDecoder;
use crate::http::wire::gzip::Gunzip;
use crate::http::wire::head::Framing;
use crate::http::wire::head::RequestHead;
use crate::http::wire::query_string::Parameters;
use crate::http::wire::response;
use crate::http::wire::response::GzipWriter;
use crate::observe::requests::Kind;

/// Unread body bytes worth reading to keep a connection; beyond, it is closed.
const DISCARD_BYTES_MAX: u64 = 256 << 10;
/// Longest wait for them.
const DISCARD_WAIT: Duration = Duration::from_secs(5);
/// Small chunks are gathered up to this before the handler looks at them.
const WINDOW_BYTES: usize = 64 << 10;
/// Stock's bound on the header that repeats the error.
const ERROR_HEADER_BYTES_MAX: usize = 1024;

/// One request and its response.
pub struct Exchange<'c, T, S> {
    connection: &'c mut Connection<T, S>,
    /// The request's head.
    pub head: &'c RequestHead,
    /// Parameters of the address.
    pub parameters: Parameters,
    /// The media type to answer with.
    pub accepted: Accepted,
    /// The server's clock when the request began, ns.
    pub now_ns: i64,
    /// The authenticated user, for the log.
    pub user: Option<String>,
    /// Errors have the shape of the v2 API.
    pub v2_errors: bool,
    /// Set by the router; the router's own refusals have none.
    request_id: Option<String>,
    started: Instant,
    body: Body,
    reply: Reply,
}

/// The request body on its way in.
struct Body {
    decoder: BodyDecoder,
    /// Bytes at the front of the input that are body bytes out of their framing and not used yet.
    admitted: usize,
    /// Decoded bytes, unless the handler can read the input itself.
    staged: Option<Window>,
    unpacker: Option<Gunzip>,
    /// The peer waits for a `100 Continue` before it sends the body.
    awaits_continue: bool,
    received: u64,
    unpacked: u64,
    deadline: Option<Instant>,
    broken: bool,
}

/// The response on its way out.
#[derive(Default)]
struct Reply {
    status: u16,
    sent_bytes: u64,
    close: bool,
    failed: bool,
    streaming: bool,
    chunked: bool,
    gzip: Option<Box<GzipWriter>>,
    error: Option<String>,
}

impl<'c, T: Transport, S: Services> Exchange<'c, T, S> {
    /// The exchange of the request whose head was just read.
    pub fn new(connection: &'c mut Connection<T, S>, head: &'c RequestHead) -> Exchange<'c, T, S> {
        let body = Body {
            decoder: BodyDecoder::new(head.framing()),
            admitted: 0,
            staged: (head.framing() == Framing::Chunked).then(Window::default),
            unpacker: None,
            awaits_continue: head.is_http_11() && head.has_token("expect", "100-continue"),
            received: 0,
            unpacked: 0,
            deadline: None,
            broken: false,
        };
        let counters = &connection.edge.counters;
        counters.req.add(1);
        counters.req_active.add(1);
        Exchange {
            parameters: Parameters::parse(head.query()),
            accepted: Accepted::negotiate(head.header_values("accept")),
            now_ns: connection.edge.services.now_ns(),
            user: None,
            v2_errors: false,
            request_id: None,
            started: Instant::now(),
            body,
            reply: Reply { close: !head.keeps_alive(), ..Reply::default() },
            connection,
            head,
        }
    }

    /// What the connections of this core share.
    pub fn edge(&self) -> &Edge<S> {
        &self.connection.edge
    }

    /// What the connections of this core share, to be held while the exchange goes on.
    pub fn shared_edge(&self) -> Rc<Edge<S>> {
        self.connection.edge.clone()
    }

    /// Tells whoever counts requests by sender of this one, once its sender is known.
    pub fn count_sender(&self, kind: Kind) {
        self.edge().requests.count(kind, self.user.as_deref(), &self.connection.peer);
    }

    /// The connection ends with this exchange.
    pub fn set_close(&mut self) {
        self.reply.close = true;
    }

    /// Services of this core.
    pub fn services(&self) -> S {
        self.connection.edge.services.clone()
    }

    /// Nanoseconds since the request began.
    pub fn elapsed_ns(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_nanos()).unwrap_or(i64::MAX)
    }

    /// The path is a known one: the answer carries ids and, for a browser, what other sites may do.
    pub fn set_routed(&mut self) {
        let given = [self.head.header_text("x-request-id"), self.head.header_text("request-id")];
        let id = given.into_iter().find(|id| !id.is_empty()).map(str::to_owned);
        self.request_id = Some(id.unwrap_or_else(|| self.edge().request_id(self.now_ns)));
    }

    // Request body.

    /// The body is gzip; it is unpacked from here on.
    pub fn unpack_body(&mut self) {
        self.body.unpacker = Some(self.edge().take_unpacker());
        self.body.staged.get_or_insert_default();
    }

    /// Body bytes that came and were not used yet.
    pub fn window(&self) -> &[u8] {
        match &self.body.staged {
            Some(staged) => staged.filled(),
            None => &self.connection.input.filled()[..self.body.admitted],
        }
    }

    /// Uses bytes from the front of [`Exchange::window`].
    pub fn consume(&mut self, count: usize) {
        match &mut self.body.staged {
            Some(staged) => staged.consume(count),
            None => {
                self.connection.input.consume(count);
                self.body.admitted -= count;
            }
        }
    }

    /// Adds at least one byte to the window, or says that the body has ended: `true`.
    pub async fn more(&mut self) -> Result<bool, BodyError> {
        let result = self.more_or_broken().await;
        self.body.broken |= result.is_err();
        result
    }

    async fn more_or_broken(&mut self) -> Result<bool, BodyError> {
        let before = self.window().len();
        if before >= self.edge().options.line_bytes_max {
            return Err(BodyError::TooLarge);
        }
        loop {
            let unused = self.connection.input.filled().len();
            self.admit()?;
            if self.stage()? {
                return Ok(true);
            }
            let progressed = self.connection.input.filled().len() < unused;
            let gained = self.window().len() - before;
            if gained >= WINDOW_BYTES || (gained > 0 && !progressed) {
                return Ok(false);
            }
            if !progressed {
                self.receive().await?;
            }
        }
    }

    /// Takes body bytes out of their framing, as far as they have come.
    fn admit(&mut self) -> Result<(), BodyError> {
        let input = &mut self.connection.input;
        // A plain body grows over several reads; the other kinds take one run of bytes after the other.
        while self.body.staged.is_none() || self.body.admitted == 0 {
            let step = self.body.decoder.step(&input.filled()[self.body.admitted..])?;
            if step.skip > 0 {
                input.consume(step.skip);
            }
            self.body.admitted += step.data;
            self.body.received += step.data as u64;
            if step.done || step.skip + step.data == 0 {
                break;
            }
        }
        let limit = self.connection.edge.options.body_bytes_max;
        if limit > 0 && self.body.unpacker.is_none() && self.body.received > limit {
            return Err(BodyError::TooLarge);
        }
        Ok(())
    }

    /// Moves admitted bytes on into the second window, if there is one. Says whether the body is complete.
    fn stage(&mut self) -> Result<bool, BodyError> {
        let edge = &self.connection.edge;
        let Some(staged) = &mut self.body.staged else { return Ok(self.body.decoder.is_done()) };
        let input = &mut self.connection.input;
        loop {
            let source = &input.filled()[..self.body.admitted];
            let done = self.body.decoder.is_done();
            let Some(unpacker) = &mut self.body.unpacker else {
                if !source.is_empty() {
                    let room = staged.room(&edge.buffers);
                    let count = room.len().min(source.len());
                    room[..count].copy_from_slice(&source[..count]);
                    staged.commit(count);
                    input.consume(count);
                    self.body.admitted -= count;
                }
                return Ok(done && self.body.admitted == 0);
            };
            let room = staged.room(&edge.buffers);
            let (taken, given) = unpacker.unpack(source, room)?;
            let full = given == room.len();
            staged.commit(given);
            input.consume(taken);
            self.body.admitted -= taken;
            self.body.unpacked += given as u64;
            if self.body.unpacked > edge.options.unpacked_bytes_max {
                return Err(BodyError::TooLarge);
            }
            if given > 0 {
                // What fills the window is worth a look before more is unpacked.
                return if !full && done && self.body.admitted == 0 {
                    unpacker.finish()?;
                    Ok(true)
                } else {
                    Ok(false)
                };
            }
            if self.body.admitted == 0 {
                if done {
                    unpacker.finish()?;
                }
                return Ok(done);
            }
            if taken == 0 {
                // The unpacker can neither take nor give: it has nothing to hold back for.
                return Err(BodyError::Gzip(crate::http::wire::gzip::GzipError::Header));
            }
        }
    }

    /// Waits for more bytes of the body.
    async fn receive(&mut self) -> Result<(), BodyError> {
        if std::mem::take(&mut self.body.awaits_continue) {
            self.connection.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.connection.flush().await.map_err(|_| BodyError::Disconnected)?;
        }
        let options = &self.connection.edge.options;
        let now = Instant::now();
        let deadline = *self.body.deadline.get_or_insert(now + options.body_deadline);
        let left = deadline.saturating_duration_since(now).min(options.body_stall);
        if left.is_zero() {
            return Err(BodyError::Timeout);
        }
        self.connection.transport.set_read_timeout(left);
        match self.connection.fill().await {
            Ok(0) => Err(BodyError::Ended),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(BodyError::Timeout),
            Err(_) => Err(BodyError::Disconnected),
        }
    }

    /// Refuses a body whose length alone is too much, before any of it is read.
    pub fn check_length(&self) -> Result<(), BodyError> {
        let limit = self.edge().options.body_bytes_max;
        match self.head.framing() {
            Framing::Length(length) if limit > 0 && length > limit => Err(BodyError::TooLarge),
            _ => Ok(()),
        }
    }

    /// The whole body, when it is no longer than `bytes_max`; a longer one stays unread: `None`.
    pub async fn whole_body(&mut self, bytes_max: usize) -> Result<Option<Vec<u8>>, BodyError> {
        let mut whole = Vec::new();
        loop {
            let last = self.more().await?;
            let window = self.window();
            let count = window.len();
            if whole.len() + count > bytes_max {
                return Ok(None);
            }
            whole.extend_from_slice(window);
            self.consume(count);
            if last {
                return Ok(Some(whole));
            }
        }
    }

    /// Body bytes received, after decompression.
    pub fn body_bytes(&self) -> u64 {
        if self.body.unpacker.is_some() { self.body.unpacked } else { self.body.received }
    }

    /// Reads what is left of the body, if that is little; otherwise the connection will be closed.
    async fn discard_body(&mut self) {
        if self.body.broken || self.body.awaits_continue {
            self.reply.close |= !self.body.decoder.is_done() || self.body.broken;
            return;
        }
        if let BodyDecoder::Length(left) = self.body.decoder
            && left > DISCARD_BYTES_MAX + self.connection.input.filled().len() as u64
        {
            self.reply.close = true;
            return;
        }
        let (until, limit) = (Instant::now() + DISCARD_WAIT, self.body.received + DISCARD_BYTES_MAX);
        loop {
            self.connection.input.consume(std::mem::take(&mut self.body.admitted));
            let step = self.body.decoder.step(self.connection.input.filled());
            let Ok(step) = step else { return self.reply.close = true };
            self.connection.input.consume(step.skip + step.data);
            self.body.received += step.data as u64;
            if self.body.decoder.is_done() {
                return;
            }
            if step.skip + step.data > 0 {
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.body.received > limit {
                return self.reply.close = true;
            }
            self.connection.transport.set_read_timeout(left);
            match self.connection.fill().await {
                Ok(count) if count > 0 => {}
                _ => return self.reply.close = true,
            }
        }
    }

    // Response.

    /// Answers with an error in the shape of this request's media type or API.
    pub async fn fail(&mut self, failure: Failure) {
        let edge = &self.connection.edge;
        match failure.status {
            400..500 => edge.counters.client_error.add(1),
            500.. => edge.counters.server_error.add(1),
            _ => {}
        }
        if failure.status == 401 {
            edge.counters.auth_fail.add(1);
        }
        let mut headers = Vec::new();
        if failure.status == 401 {
            let realm = format!("Basic realm=\"{}\"", edge.options.realm);
            headers.push(("Www-Authenticate", realm.into_bytes()));
        } else {
            let text = &failure.text;
            headers.push(("X-Influxdb-Error", text[..text.len().min(ERROR_HEADER_BYTES_MAX)].to_vec()));
        }
        if let Some(seconds) = failure.retry_after_s {
            headers.push(("Retry-After", seconds.to_string().into_bytes()));
        }
        let mut body = Vec::new();
        if self.v2_errors {
            failure.v2_document(&mut body);
        } else {
            let pretty = self.parameters.is_true("pretty");
            encode::error_document(self.accepted.format, pretty, &failure.text, &mut body);
        }
        let content_type = if self.v2_errors { "application/json" } else { self.accepted.content_type };
        self.reply.error = Some(String::from_utf8_lossy(&failure.text).into_owned());
        self.respond(failure.status, Some(content_type), &headers, &body).await;
    }

    /// Answers with a line of plain text, as Go's `http.Error` does.
    pub async fn fail_plain(&mut self, status: u16, text: &str, headers: &[(&str, Vec<u8>)]) {
        let mut headers = headers.to_vec();
        headers.push(("X-Content-Type-Options", b"nosniff".to_vec()));
        let body = format!("{text}\n");
        self.respond(status, Some("text/plain; charset=utf-8"), &headers, body.as_bytes()).await;
    }

    /// Answers 204 without a body.
    pub async fn respond_empty(&mut self) {
        let content_type = self.accepted.content_type;
        self.respond(204, Some(content_type), &[], b"").await;
    }

    /// Sends a whole response.
    pub async fn respond(&mut self, status: u16, content_type: Option<&str>, headers: &[(&str, Vec<u8>)], body: &[u8]) {
        self.discard_body().await;
        self.push_head(status, content_type, headers);
        let out = &mut self.connection.out;
        if status != 204 {
            out.extend_from_slice(b"Content-Length: ");
            response::number(body.len() as u64, out);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        if self.head.method() != "HEAD" {
            out.extend_from_slice(body);
            self.reply.sent_bytes += body.len() as u64;
        }
        self.flush().await;
    }

    /// Begins a response of unknown length.
    pub async fn begin_stream(&mut self, status: u16, content_type: &str, may_gzip: bool) {
        self.discard_body().await;
        self.reply.streaming = true;
        self.reply.chunked = self.head.is_http_11();
        self.reply.close |= !self.reply.chunked;
        self.push_head(status, Some(content_type), &[]);
        // Stock looks for the word alone, so `gzip;q=0` gets gzip too; clients that say so do not exist.
        let wants =
            self.head.header_values("accept-encoding").any(|value| memchr::memmem::find(value, b"gzip").is_some());
        let out = &mut self.connection.out;
        if may_gzip && wants {
            self.reply.gzip = Some(Box::default());
            response::header("Content-Encoding", b"gzip", out);
        }
        if self.reply.chunked {
            response::header("Transfer-Encoding", b"chunked", out);
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Sends a part of the body at once. False when the peer is gone: nothing more can be sent.
    pub async fn send(&mut self, data: &[u8]) -> bool {
        self.push_body(data);
        self.flush().await;
        !self.reply.failed
    }

    fn push_body(&mut self, data: &[u8]) {
        let out = &mut self.connection.out;
        let data = match &mut self.reply.gzip {
            Some(gzip) => {
                gzip.write(data, true);
                gzip.take()
            }
            None => data,
        };
        self.reply.sent_bytes += data.len() as u64;
        if self.reply.chunked {
            response::chunk(data, out);
        } else {
            out.extend_from_slice(data);
        }
        if let Some(gzip) = &mut self.reply.gzip {
            gzip.taken();
        }
    }

    /// Sends the last part of the body and ends it.
    pub async fn end_stream(&mut self, data: &[u8]) {
        if !data.is_empty() {
            self.push_body(data);
        }
        if let Some(mut gzip) = self.reply.gzip.take() {
            gzip.finish();
            self.push_body(gzip.take());
        }
        if self.reply.chunked {
            self.connection.out.extend_from_slice(response::LAST_CHUNK);
        }
        self.flush().await;
        self.reply.streaming = false;
    }

    /// Waits for `work`; `None` when the peer went away first.
    pub async fn unless_gone<F: Future>(&mut self, work: Pin<&mut F>) -> Option<F::Output> {
        let output = self.connection.unless_gone(work).await;
        self.reply.failed |= output.is_none();
        output
    }

    fn push_head(&mut self, status: u16, content_type: Option<&str>, headers: &[(&str, Vec<u8>)]) {
        self.reply.status = status;
        self.reply.close |= self.connection.edge.stop().is_set();
        let edge = &self.connection.edge;
        let out = &mut self.connection.out;
        response::status_line(status, self.head.is_http_11(), out);
        if let Some(content_type) = content_type {
            response::header("Content-Type", content_type.as_bytes(), out);
        }
        if let Some(id) = &self.request_id {
            response::header("Request-Id", id.as_bytes(), out);
            response::header("X-Request-Id", id.as_bytes(), out);
            if let Some(origin) = self.head.header("origin").filter(|origin| !origin.is_empty()) {
                push_cors(origin, out);
            }
        }
        response::header("X-Influxdb-Build", b"OSS", out);
        response::header("X-Influxdb-Version", edge.options.version.as_bytes(), out);
        for (name, value) in headers {
            response::header(name, value, out);
        }
        out.extend_from_slice(b"Date: ");
        edge.push_date(self.now_ns, out);
        out.extend_from_slice(b"\r\n");
        if self.reply.close {
            response::header("Connection", b"close", out);
        } else if !self.head.is_http_11() {
            response::header("Connection", b"keep-alive", out);
        }
    }

    async fn flush(&mut self) {
        if !self.reply.failed {
            self.reply.failed = self.connection.flush().await.is_err();
        }
        self.connection.out.clear();
    }

    /// Ends the exchange; false when the connection ends with it.
    pub async fn finish(mut self) -> bool {
        let edge = self.connection.edge.clone();
        edge.counters.req_active.add(-1);
        edge.counters.req_duration_ns.add(self.elapsed_ns());
        if edge.options.access_log && !(edge.options.suppress_write_log && self.head.path() == b"/write") {
            self.log();
        }
        if let Some(unpacker) = self.body.unpacker.take() {
            edge.give_unpacker(unpacker);
        }
        if let Some(mut staged) = self.body.staged.take() {
            let unread = staged.filled().len();
            staged.consume(unread);
            staged.release(&edge.buffers);
        }
        // A response that was not ended, or a handler without one, leaves the peer only the end of the connection.
        if self.reply.failed || self.reply.streaming || self.reply.status == 0 {
            return false;
        }
        if self.reply.close {
            self.connection.linger().await;
        }
        !self.reply.close
    }

    fn log(&self) {
        crate::http::access_log::write(&crate::http::access_log::Entry {
            head: self.head,
            peer: &self.connection.peer,
            user: self.user.as_deref(),
            now_ns: self.now_ns,
            status: self.reply.status,
            bytes: self.reply.sent_bytes,
            request_id: self.request_id.as_deref(),
            elapsed_us: self.elapsed_ns() / 1000,
            error: self.reply.error.as_deref(),
        });
    }
}

fn push_cors(origin: &[u8], out: &mut Vec<u8>) {
    response::header("Access-Control-Allow-Origin", origin, out);
    response::header("Access-Control-Allow-Methods", b"DELETE, GET, OPTIONS, POST, PUT", out);
    response::header(
        "Access-Control-Allow-Headers",
        b"Accept, Accept-Encoding, Authorization, Content-Length, Content-Type, X-CSRF-Token, X-HTTP-Method-Override",
        out,
    );
    response::header("Access-Control-Expose-Headers", b"Date, X-InfluxDB-Version, X-InfluxDB-Build", out);
}
