//! `/ping` and `/status`: is somebody there, and which version.

use crate::http::auth;
use crate::http::conn::Transport;
use crate::http::exchange::Exchange;
use crate::http::services::Services;

/// Answers 204, or 200 with the version when `verbose` asks for it.
pub async fn ping<T: Transport, S: Services>(exchange: &mut Exchange<'_, T, S>) {
    let is_ping = exchange.head.path() == b"/ping";
    let counters = &exchange.edge().counters;
    if is_ping {
        counters.ping_req.add(1)
    } else {
        counters.status_req.add(1)
    }
    if exchange.edge().options.ping_auth
        && let Err(failure) = auth::authenticate(exchange).await
    {
        return exchange.fail(failure).await;
    }
    let verbose = exchange.parameters.find("verbose").unwrap_or_default();
    if is_ping && !matches!(verbose, b"" | b"0" | b"false") {
        let body = format!("{{\"version\":\"{}\"}}", exchange.edge().options.version);
        let content_type = exchange.accepted.content_type;
        return exchange.respond(200, Some(content_type), &[], body.as_bytes()).await;
    }
    exchange.respond_empty().await;
}
