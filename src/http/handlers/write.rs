//! `POST /write`: line protocol in, 204 out when it is durable.
//!
//! Checks in stock's order: credentials, `precision`, `db`, database, permission, length, body, lines, `consistency`.
//! Nothing is stored before the whole body has arrived, so a body that breaks off leaves nothing behind.

use crate::http::auth;
use crate::http::conn::Transport;
use crate::http::error::BodyError;
use crate::http::error::Failure;
use crate::http::exchange::Exchange;
use crate::http::services::Services;
use crate::http::services::WriteSession;
use crate::ingest::WriteError;
use crate::ingest::WriteParams;
use crate::observe::requests::Kind;

/// Where a write goes and how its times are counted.
pub(super) struct Target {
    pub(super) database: String,
    pub(super) policy: String,
    pub(super) precision_ns: i64,
    pub(super) consistency: String,
}

/// Handles the request.
pub async fn write<T: Transport, S: Services>(exchange: &mut Exchange<'_, T, S>) {
    let edge = exchange.shared_edge();
    match edge.throttle.enter().await {
        Ok(_permit) => run(exchange, parse_target).await,
        Err(throttled) => {
            edge.counters.server_error.add(1);
            exchange.fail_plain(503, &throttled.to_string(), &[]).await;
        }
    }
}

/// Handles a write whose target `parse` finds in the request; counts and answers.
pub(super) async fn run<T: Transport, S: Services>(
    exchange: &mut Exchange<'_, T, S>,
    parse: fn(&Exchange<'_, T, S>) -> Result<Target, Failure>,
) {
    let counters = &exchange.edge().counters;
    counters.write_req.add(1);
    counters.write_req_active.add(1);
    let outcome = store(exchange, parse).await;
    let counters = &exchange.edge().counters;
    counters.write_req_active.add(-1);
    counters.write_req_bytes.add(exchange.body_bytes() as i64);
    counters.write_req_duration_ns.add(exchange.elapsed_ns());
    match outcome {
        Ok(()) => exchange.respond_empty().await,
        Err(Some(failure)) => exchange.fail(failure).await,
        // The client is gone: no answer, and the connection ends.
        Err(None) => {}
    }
}

async fn store<T: Transport, S: Services>(
    exchange: &mut Exchange<'_, T, S>,
    parse: fn(&Exchange<'_, T, S>) -> Result<Target, Failure>,
) -> Result<(), Option<Failure>> {
    let caller = auth::authenticate(exchange).await.map_err(Some)?;
    if exchange.head.path() == b"/write" {
        exchange.count_sender(Kind::Write);
    }
    let target = parse(exchange).map_err(Some)?;
    let services = exchange.services();
    let params = WriteParams {
        database: target.database,
        policy: target.policy,
        precision_ns: target.precision_ns,
        now_ns: exchange.now_ns,
    };
    let database = params.database.clone();
    let mut session = services.begin_write(params).await.map_err(refused)?;
    services.authorize_write(&caller, &database).map_err(|error| Some(error.into()))?;
    feed(exchange, &mut session).await?;
    check_consistency(&target.consistency).map_err(Some)?;
    let outcome = session.finish().await;
    let counters = &exchange.edge().counters;
    match &outcome {
        Ok(written) => {
            counters.points_written_ok.add(written.points as i64);
            counters.values_written_ok.add(written.values as i64);
        }
        Err(WriteError::Partial { dropped, .. }) => counters.points_written_dropped.add(*dropped as i64),
        Err(_) => counters.points_written_fail.add(1),
    }
    outcome.map(|_| ()).map_err(refused)
}

fn refused(error: WriteError) -> Option<Failure> {
    Some(error.into())
}

/// Hands the body to the session, window by window.
async fn feed<T: Transport, S: Services>(
    exchange: &mut Exchange<'_, T, S>,
    session: &mut S::Write,
) -> Result<(), Option<Failure>> {
    if exchange.head.header("content-encoding") == Some(b"gzip") {
        exchange.unpack_body();
    }
    exchange.check_length().map_err(broken)?;
    loop {
        let last = exchange.more().await.map_err(broken)?;
        let used = session.feed(exchange.window(), last).await.map_err(refused)?;
        exchange.consume(used);
        if last {
            return Ok(());
        }
    }
}

fn broken(error: BodyError) -> Option<Failure> {
    (error != BodyError::Disconnected).then(|| error.into())
}

fn parse_target<T: Transport, S: Services>(exchange: &Exchange<'_, T, S>) -> Result<Target, Failure> {
    let parameters = &exchange.parameters;
    let precision = parameters.text("precision");
    let precision_ns = match precision.as_str() {
        "" | "n" | "ns" => 1,
        "u" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => {
            let text = format!("invalid precision {precision:?} (use n, u, ms, s, m or h)");
            return Err(Failure::bad_request(text));
        }
    };
    let database = parameters.text("db");
    if database.is_empty() {
        return Err(Failure::bad_request("database is required"));
    }
    Ok(Target { database, policy: parameters.text("rp"), precision_ns, consistency: parameters.text("consistency") })
}

/// One node has no replicas to agree with, but an unknown level is refused as stock does.
fn check_consistency(level: &str) -> Result<(), Failure> {
    let known = ["", "any", "one", "quorum", "all"];
    if known.iter().any(|known| known.eq_ignore_ascii_case(level)) {
        return Ok(());
    }
    Err(Failure::bad_request("invalid consistency level"))
}
