//! Method and path to handler: one table.

use crate::http::auth;
use crate::http::conn::Transport;
use crate::http::exchange::Exchange;
use crate::http::handlers::debug;
use crate::http::handlers::health;
use crate::http::handlers::metrics;
use crate::http::handlers::ping;
use crate::http::handlers::pprof;
use crate::http::handlers::query;
use crate::http::handlers::requests;
use crate::http::handlers::v2_write;
use crate::http::handlers::write;
use crate::http::options::DebugAccess;
use crate::http::services::Services;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handler {
    Ping,
    Health,
    Query,
    Write,
    V2Write,
    V2Query,
    Metrics,
    Vars,
    Requests,
    Pprof,
}

/// Path, methods, handler. OPTIONS in the list means that a browser may ask, and gets an empty 200.
const ROUTES: &[(&str, &[&str], Handler)] = &[
    ("/write", &["POST", "OPTIONS"], Handler::Write),
    ("/query", &["GET", "POST", "OPTIONS"], Handler::Query),
    ("/ping", &["GET", "HEAD"], Handler::Ping),
    ("/status", &["GET", "HEAD"], Handler::Ping),
    ("/health", &["GET"], Handler::Health),
    ("/metrics", &["GET"], Handler::Metrics),
    ("/api/v2/write", &["POST"], Handler::V2Write),
    ("/api/v2/query", &["POST"], Handler::V2Query),
];

/// What begins so is answered whatever the method, before any route: where administrators alone may look, it is not.
const DEBUG_PREFIXES: &[(&str, Handler)] =
    &[("/debug/pprof", Handler::Pprof), ("/debug/vars", Handler::Vars), ("/debug/requests", Handler::Requests)];

/// Routes for administrators instead.
const DEBUG_ROUTES: &[(&str, &[&str], Handler)] = &[
    ("/debug/pprof/cmdline", &["GET"], Handler::Pprof),
    ("/debug/pprof/profile", &["GET"], Handler::Pprof),
    ("/debug/pprof/symbol", &["GET"], Handler::Pprof),
    ("/debug/pprof/all", &["GET"], Handler::Pprof),
    ("/debug/vars", &["GET"], Handler::Vars),
    ("/debug/requests", &["GET"], Handler::Requests),
];

/// Answers one request.
pub async fn dispatch<T: Transport, S: Services>(exchange: &mut Exchange<'_, T, S>) {
    let expect = exchange.head.header("expect").unwrap_or_default();
    if !expect.is_empty() && !expect.eq_ignore_ascii_case(b"100-continue") {
        return exchange.fail_plain(417, "417 Expectation Failed", &[]).await;
    }
    let access = exchange.edge().options.debug_access;
    let begins = |(prefix, handler): &&(&str, Handler)| {
        exchange.head.path().starts_with(prefix.as_bytes())
            && (*handler != Handler::Pprof || access == DebugAccess::Open)
    };
    if access != DebugAccess::Administrators
        && let Some((_, handler)) = DEBUG_PREFIXES.iter().find(begins)
    {
        return handle(exchange, *handler).await;
    }
    let debug_routes: &[(&str, &[&str], Handler)] =
        if access == DebugAccess::Administrators { DEBUG_ROUTES } else { &[] };
    let mut routes = ROUTES.iter().chain(debug_routes);
    let found = routes.find(|(path, _, _)| path.as_bytes() == exchange.head.path());
    let Some((_, methods, handler)) = found else {
        return exchange.fail_plain(404, "404 page not found", &[]).await;
    };
    let method = exchange.head.method();
    if !methods.contains(&method) {
        let allow = ("Allow", methods.join(", ").into_bytes());
        return exchange.fail_plain(405, "Method Not Allowed", &[allow]).await;
    }
    exchange.set_routed();
    if method == "OPTIONS" {
        return exchange.respond(200, None, &[], b"").await;
    }
    if matches!(handler, Handler::Pprof | Handler::Vars | Handler::Requests)
        && let Err(failure) = auth::authenticate_admin(exchange).await
    {
        return exchange.fail(failure).await;
    }
    handle(exchange, *handler).await
}

async fn handle<T: Transport, S: Services>(exchange: &mut Exchange<'_, T, S>, handler: Handler) {
    match handler {
        Handler::Ping => ping::ping(exchange).await,
        Handler::Health => health::health(exchange).await,
        Handler::Query => query::query(exchange).await,
        Handler::Write => write::write(exchange).await,
        Handler::V2Write => v2_write::write(exchange).await,
        Handler::V2Query => v2_write::flux(exchange).await,
        Handler::Metrics => metrics::metrics(exchange).await,
        Handler::Vars => debug::vars(exchange).await,
        Handler::Requests => requests::requests(exchange).await,
        Handler::Pprof => pprof::pprof(exchange).await,
    }
}
