//! Method and path to handler: one table.

use crate::http::conn::Transport;
use crate::http::exchange::Exchange;
use crate::http::handlers::debug;
use crate::http::handlers::health;
use crate::http::handlers::ping;
use crate::http::handlers::query;
use crate::http::handlers::v2_write;
use crate::http::handlers::write;
use crate::http::services::Services;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handler {
    Ping,
    Health,
    Query,
    Write,
    V2Write,
    V2Query,
    Vars,
}

/// Path, methods, handler. OPTIONS in the list means that a browser may ask, and gets an empty 200.
const ROUTES: &[(&str, &[&str], Handler)] = &[
    ("/write", &["POST", "OPTIONS"], Handler::Write),
    ("/query", &["GET", "POST", "OPTIONS"], Handler::Query),
    ("/ping", &["GET", "HEAD"], Handler::Ping),
    ("/status", &["GET", "HEAD"], Handler::Ping),
    ("/health", &["GET"], Handler::Health),
    ("/api/v2/write", &["POST"], Handler::V2Write),
    ("/api/v2/query", &["POST"], Handler::V2Query),
    ("/debug/vars", &["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"], Handler::Vars),
];

/// Answers one request.
pub async fn dispatch<T: Transport, S: Services>(exchange: &mut Exchange<'_, T, S>) {
    let expect = exchange.head.header("expect").unwrap_or_default();
    if !expect.is_empty() && !expect.eq_ignore_ascii_case(b"100-continue") {
        return exchange.fail_plain(417, "417 Expectation Failed", &[]).await;
    }
    let found = ROUTES.iter().find(|(path, _, _)| path.as_bytes() == exchange.head.path());
    let Some((_, methods, handler)) = found else {
        return exchange.fail_plain(404, "404 page not found", &[]).await;
    };
    let method = exchange.head.method();
    if !methods.contains(&method) {
        let allow = ("Allow", methods.join(", ").into_bytes());
        return exchange.fail_plain(405, "Method Not Allowed", &[allow]).await;
    }
    if *handler != Handler::Vars {
        exchange.set_routed();
        if method == "OPTIONS" {
            return exchange.respond(200, None, &[], b"").await;
        }
    }
    match handler {
        Handler::Ping => ping::ping(exchange).await,
        Handler::Health => health::health(exchange).await,
        Handler::Query => query::query(exchange).await,
        Handler::Write => write::write(exchange).await,
        Handler::V2Write => v2_write::write(exchange).await,
        Handler::V2Query => v2_write::flux(exchange).await,
        Handler::Vars => debug::vars(exchange).await,
    }
}
