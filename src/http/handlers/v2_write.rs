//! `POST /api/v2/write`: the same write under the names of the v2 API; and the refusal of Flux.

use crate::http::auth;
use crate::http::conn::Transport;
use crate::http::error::Failure;
use crate::http::exchange::Exchange;
use crate::http::handlers::write;
use crate::http::handlers::write::Target;
use crate::http::services::Services;

/// Handles the request; errors have the v2 shape.
pub async fn write<T: Transport, S: Services>(exchange: &mut Exchange<'_, T, S>) {
    exchange.v2_errors = true;
    write::run(exchange, parse_target).await;
}

/// `/api/v2/query`: answered as a stock server with Flux disabled.
pub async fn flux<T: Transport, S: Services>(exchange: &mut Exchange<'_, T, S>) {
    exchange.edge().counters.flux_query_req.add(1);
    if let Err(failure) = auth::authenticate(exchange).await {
        exchange.v2_errors = true;
        return exchange.fail(failure).await;
    }
    let text = "Flux query service disabled. Verify flux-enabled=true in the [http] section of the InfluxDB config.";
    exchange.edge().counters.flux_query_req_duration_ns.add(exchange.elapsed_ns());
    exchange.fail_plain(403, text, &[]).await;
}

/// `bucket` is `db`, `db/` or `db/rp`; organisations mean nothing here.
fn parse_target<T: Transport, S: Services>(exchange: &Exchange<'_, T, S>) -> Result<Target, Failure> {
    let parameters = &exchange.parameters;
    let precision = parameters.text("precision");
    let precision_ns = match precision.as_str() {
        "" | "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => {
            let text = format!("invalid precision {precision:?} (use ns, us, ms or s)");
            return Err(Failure::bad_request(text));
        }
    };
    let (database, policy) = split_bucket(&parameters.text("bucket"))?;
    Ok(Target { database, policy, precision_ns, consistency: String::new() })
}

fn split_bucket(bucket: &str) -> Result<(String, String), Failure> {
    let (database, policy) = bucket.split_once('/').unwrap_or((bucket, ""));
    if bucket.is_empty() {
        let text = "bucket name \"\" is missing a slash; not in \"database/retention-policy\" format";
        return Err(Failure::not_found(text));
    }
    if database.is_empty() {
        let text = format!("bucket name {bucket:?} is in db/rp form but has an empty database");
        return Err(Failure::not_found(text));
    }
    Ok((database.to_owned(), policy.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_databases_and_policies() {
        let pair = |database: &str, policy: &str| Ok((database.to_owned(), policy.to_owned()));
        assert_eq!(split_bucket("db"), pair("db", ""));
        assert_eq!(split_bucket("db/"), pair("db", ""));
        assert_eq!(split_bucket("db/rp/x"), pair("db", "rp/x"));
        assert_eq!(split_bucket("").unwrap_err().status, 404);
        assert_eq!(
            &*split_bucket("/rp").unwrap_err().text,
            b"bucket name \"/rp\" is in db/rp form but has an empty database"
        );
    }
}
