//! `/health`: 200 when requests are served, 503 while the server starts or stops.

use crate::encode;
use crate::http::auth;
use crate::http::conn::Transport;
use crate::http::exchange::Exchange;
use crate::http::services::Health;
use crate::http::services::Services;

/// Answers with the state as an object whose keys are sorted.
pub async fn health<T: Transport, S: Services>(exchange: &mut Exchange<'_, T, S>) {
    if exchange.edge().options.ping_auth
        && let Err(failure) = auth::authenticate(exchange).await
    {
        return exchange.fail(failure).await;
    }
    let (status, word, message) = match exchange.services().health() {
        Health::Ready => (200, "pass", "ready for queries and writes".to_owned()),
        Health::NotReady(text) => (503, "fail", text),
    };
    let mut body = b"{\"checks\":[],\"message\":".to_vec();
    encode::json_string(message.as_bytes(), &mut body);
    body.extend_from_slice(b",\"name\":\"influxdb\",\"status\":");
    encode::json_string(word.as_bytes(), &mut body);
    body.extend_from_slice(b",\"version\":");
    encode::json_string(exchange.edge().options.version.as_bytes(), &mut body);
    body.push(b'}');
    exchange.respond(status, Some("application/json"), &[], &body).await;
}
