//! `/query`: InfluxQL in, rows out while they are made.

use std::future::Future;
use std::pin::pin;

use crate::encode::Encoder;
use crate::encode::Epoch;
use crate::encode::Format;
use crate::encode::Layout;
use crate::http::auth;
use crate::http::conn::Transport;
use crate::http::error::BodyError;
use crate::http::error::Failure;
use crate::http::exchange::Exchange;
use crate::http::services::QueryRun;
use crate::http::services::Services;
use crate::http::wire::multipart;
use crate::http::wire::query_string::Parameters;
use crate::limits;
use crate::model::ResultPiece;
use crate::observe::requests::Kind;
use crate::query::request::Caller;
use crate::query::request::QueryRequest;

/// Bytes of an answer gathered before they are sent.
const SEND_BYTES: usize = 64 << 10;

/// Handles the request.
pub async fn query<T: Transport, S: Services>(exchange: &mut Exchange<'_, T, S>) {
    exchange.edge().counters.query_req.add(1);
    match start(exchange).await {
        Ok(Some((run, layout))) => answer(exchange, run, layout).await,
        Ok(None) => exchange.respond_empty().await,
        Err(Some(failure)) => exchange.fail(failure).await,
        // The client is gone: no answer, and the connection ends.
        Err(None) => {}
    }
    exchange.edge().counters.query_req_duration_ns.add(exchange.elapsed_ns());
}

/// Starts the query; `None` when it runs on without anyone waiting for it.
async fn start<T: Transport, S: Services>(
    exchange: &mut Exchange<'_, T, S>,
) -> Result<Option<(S::Query, Layout)>, Option<Failure>> {
    let caller = auth::authenticate(exchange).await.map_err(Some)?;
    exchange.count_sender(Kind::Query);
    let form = read_form(exchange).await?;
    let text = form.text("q").trim().to_owned();
    let text = match form.find("q file") {
        Some(file) if text.is_empty() => String::from_utf8_lossy(file).into_owned(),
        _ if text.is_empty() => return Err(Some(Failure::bad_request("missing required parameter \"q\""))),
        _ => text,
    };
    let request = request(exchange, &form, text, caller);
    let layout = Layout {
        format: exchange.accepted.format,
        pretty: exchange.parameters.is_true("pretty"),
        epoch: Epoch::from_parameter(&form.text("epoch")),
        chunked: request.chunk_size.is_some(),
        row_limit: exchange.edge().options.row_limit,
    };
    let run = exchange.services().query(request).await.map_err(|error| Some(error.into()))?;
    if form.is_true("async") {
        glommio::spawn_local(run_detached(run)).detach();
        return Ok(None);
    }
    Ok(Some((run, layout)))
}

fn request<T: Transport, S: Services>(
    exchange: &Exchange<'_, T, S>,
    form: &Parameters,
    text: String,
    caller: Caller,
) -> QueryRequest {
    let chunk_size = || {
        let given: Option<usize> = form.text("chunk_size").parse().ok();
        given.filter(|rows| *rows > 0).unwrap_or(limits::CHUNK_ROWS_DEFAULT)
    };
    QueryRequest {
        text,
        database: form.text("db"),
        policy: form.text("rp"),
        params: form.text("params"),
        read_only: exchange.head.method() == "GET",
        chunk_size: form.is_true("chunked").then(chunk_size),
        now_ns: exchange.now_ns,
        caller,
    }
}

/// Parameters of the address and, for a POST, of the form; the form's first when it is urlencoded, last when it is
/// multipart (as Go orders them). A file named `q` is put under a name no form can have.
async fn read_form<T: Transport, S: Services>(
    exchange: &mut Exchange<'_, T, S>,
) -> Result<Parameters, Option<Failure>> {
    let mut all = exchange.parameters.clone();
    if exchange.head.method() != "POST" {
        return Ok(all);
    }
    let content_type = exchange.head.header_text("content-type").to_owned();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let urlencoded = media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded");
    let boundary = multipart::boundary(&content_type);
    if !urlencoded && boundary.is_none() {
        return Ok(all);
    }
    let bytes_max = exchange.edge().options.form_bytes_max;
    let body = exchange.whole_body(bytes_max).await;
    let body = body.map_err(|error| (error != BodyError::Disconnected).then(|| error.into()))?;
    let Some(body) = body else { return Ok(all) };
    if urlencoded {
        let mut form = Parameters::parse(&body);
        form.append(all);
        return Ok(form);
    }
    let parts = boundary.and_then(|boundary| multipart::parse(&body, &boundary)).unwrap_or_default();
    for part in parts {
        match part.is_file {
            false => all.push(&part.name, &part.data),
            true if part.name == b"q" => all.push(b"q file", &part.data),
            true => {}
        }
    }
    Ok(all)
}

async fn run_detached(mut run: impl QueryRun) {
    while let Some(piece) = run.next().await {
        if let Some(error) = piece.error {
            tracing::error!(target: "httpd", statement = piece.statement_id, "async query failed: {error}");
        }
    }
}

/// Sends the rows while they are made. When the client goes away, the query is dropped.
async fn answer<T: Transport, S: Services>(exchange: &mut Exchange<'_, T, S>, mut run: S::Query, layout: Layout) {
    let mut encoder = Encoder::new(layout);
    let content_type = exchange.accepted.content_type;
    exchange.begin_stream(200, content_type, true).await;
    while let Ok(Some(piece)) = next_piece(exchange, &mut run, &mut encoder, layout.chunked).await {
        encoder.push(&piece).await;
        drop(piece);
        if encoder.is_full() {
            break;
        }
        if encoder.sendable().len() >= SEND_BYTES && !send(exchange, &mut encoder).await {
            return;
        }
        let packed_max = exchange.edge().options.packed_bytes_max;
        if layout.format == Format::MessagePack && encoder.held_bytes() > packed_max {
            encoder.fail("result too large for one MessagePack document: use chunked=true");
            break;
        }
    }
    drop(run);
    encoder.finish();
    exchange.edge().counters.query_resp_bytes.add(encoder.sendable().len() as i64);
    exchange.end_stream(encoder.sendable()).await;
}

/// The client went away.
struct Gone;

/// Waits for the next piece. What a chunked answer has gathered is sent before the wait, not after.
async fn next_piece<T: Transport, S: Services>(
    exchange: &mut Exchange<'_, T, S>,
    run: &mut S::Query,
    encoder: &mut Encoder,
    chunked: bool,
) -> Result<Option<ResultPiece>, Gone> {
    let mut next = pin!(run.next());
    if chunked && !encoder.sendable().is_empty() {
        let ready = std::future::poll_fn(|cx| std::task::Poll::Ready(next.as_mut().poll(cx))).await;
        if let std::task::Poll::Ready(piece) = ready {
            return Ok(piece);
        }
        if !send(exchange, encoder).await {
            return Err(Gone);
        }
    }
    exchange.unless_gone(next.as_mut()).await.ok_or(Gone)
}

async fn send<T: Transport, S: Services>(exchange: &mut Exchange<'_, T, S>, encoder: &mut Encoder) -> bool {
    exchange.edge().counters.query_resp_bytes.add(encoder.sendable().len() as i64);
    let alive = exchange.send(encoder.sendable()).await;
    encoder.sent();
    alive
}
