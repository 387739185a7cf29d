//! `/debug/requests`: who writes and queries, counted for a while.

use std::pin::pin;
use std::time::Duration;

use crate::encode;
use crate::http::conn::Transport;
use crate::http::error::Failure;
use crate::http::exchange::Exchange;
use crate::http::services::Services;
use crate::observe::requests::RequestCount;

/// How long when nothing is said.
const SECONDS_DEFAULT: i64 = 10;
/// Longest.
const SECONDS_MAX: i64 = 6 * 3600;

/// Answers when the time is over; a client that goes away ends the counting.
pub async fn requests<T: Transport, S: Services>(exchange: &mut Exchange<'_, T, S>) {
    let seconds = match seconds(&exchange.parameters.text("seconds")) {
        Ok(seconds) => seconds,
        Err(text) => return exchange.fail(Failure::bad_request(text)).await,
    };
    let services = exchange.services();
    let counting = pin!(services.requests_during(Duration::from_secs(seconds)));
    let Some(counts) = exchange.unless_gone(counting).await else { return };
    exchange.set_close();
    exchange.respond(200, Some("application/json; charset=utf-8"), &[], &document(&counts)).await;
}

fn seconds(text: &str) -> Result<u64, String> {
    if text.is_empty() {
        return Ok(SECONDS_DEFAULT.unsigned_abs());
    }
    let seconds: i64 = text.parse().map_err(|error: std::num::ParseIntError| {
        let problem = match error.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.ParseInt: parsing {text:?}: {problem}")
    })?;
    if seconds > SECONDS_MAX {
        return Err(format!("exceeded maximum interval time: {} > 6h", query_duration(seconds)));
    }
    Ok(seconds.max(0).unsigned_abs())
}

/// A duration in the largest unit that leaves no rest, as queries write it.
fn query_duration(seconds: i64) -> String {
    let units = [("w", 604_800), ("d", 86_400), ("h", 3600), ("m", 60)];
    let whole = units.iter().find(|(_, length)| seconds % length == 0);
    whole.map_or_else(|| format!("{seconds}s"), |(unit, length)| format!("{}{unit}", seconds / length))
}

fn document(counts: &[RequestCount]) -> Vec<u8> {
    let mut body = b"{\n".to_vec();
    for (index, RequestCount { sender, writes, queries }) in counts.iter().enumerate() {
        if index > 0 {
            body.extend_from_slice(b",\n");
        }
        encode::json_string(sender.as_bytes(), &mut body);
        body.extend_from_slice(format!(": {{\"writes\":{writes},\"queries\":{queries}}}").as_bytes());
    }
    body.extend_from_slice(b"\n}\n");
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_read_as_by_stock() {
        assert_eq!([seconds(""), seconds("3"), seconds("-1")], [Ok(10), Ok(3), Ok(0)]);
        assert_eq!(seconds("abc"), Err("strconv.ParseInt: parsing \"abc\": invalid syntax".to_owned()));
        assert_eq!(
            seconds("99999999999999999999"),
            Err("strconv.ParseInt: parsing \"99999999999999999999\": value out of range".to_owned())
        );
        assert_eq!(seconds("30000"), Err("exceeded maximum interval time: 500m > 6h".to_owned()));
        assert_eq!(seconds("604800"), Err("exceeded maximum interval time: 1w > 6h".to_owned()));
    }

    #[test]
    fn senders_stand_on_lines_of_their_own() {
        assert_eq!(document(&[]), b"{\n\n}\n");
        let count = |sender: &str| RequestCount { sender: sender.to_owned(), writes: 1, queries: 2 };
        let expected = "{\n\"a\": {\"writes\":1,\"queries\":2},\n\"b\": {\"writes\":1,\"queries\":2}\n}\n";
        assert_eq!(String::from_utf8(document(&[count("a"), count("b")])).unwrap(), expected);
    }
}
