//! Own statistics as points of a database, for dashboards that look there: stock's `_internal`.
//!
//! In:    the statistics of all cores, at every whole interval.
//! Out:   an ordinary write of one point each, with the tag `hostname`, into the policy `monitor`.
//!
//! The database is made with the first points, not before. One that was dropped since stays dropped until the next
//! start, as in stock. A write that fails is reported and not repeated: the next one has newer figures.

use std::time::Duration;

use crate::encode::number;
use crate::http::services::Health;
use crate::http::services::Services;
use crate::http::services::WriteSession;
use crate::ingest::WriteError;
use crate::ingest::WriteParams;
use crate::mesh::Mesh;
use crate::mesh::Request;
use crate::mesh::Response;
use crate::meta::Command;
use crate::meta::NewPolicy;
use crate::observe::Statistic;
use crate::observe::Value;

/// Where points go, and how long they stay: as in stock.
const POLICY: &str = "monitor";
const POLICY_NS: i64 = 7 * 24 * 3600 * 1_000_000_000;
/// Longest wait for the database to be made.
const CHANGE_WAIT: Duration = Duration::from_secs(60);

/// What is stored, and when.
#[derive(Clone, Debug)]
pub struct Monitor {
    /// The database.
    pub database: String,
    /// Between two looks, ns.
    pub interval_ns: i64,
    /// Tag of every point.
    pub hostname: String,
}

/// Stores the statistics of `services` until the server stops.
pub async fn store(services: impl Services, mesh: Mesh, monitor: Monitor) {
    let Monitor { database, interval_ns, hostname } = monitor;
    let mut is_made = false;
    // The interval under way is not waited for alone: stock's first points come after a whole one, too.
    let mut at_ns = next_tick(services.now_ns(), interval_ns).saturating_add(interval_ns);
    loop {
        let left = at_ns.saturating_sub(services.now_ns());
        glommio::timer::sleep(Duration::from_nanos(left.max(0).unsigned_abs())).await;
        let mut lines = Vec::new();
        for statistic in services.statistics().await {
            push_line(&statistic, &hostname, at_ns, &mut lines);
        }
        let outcome = write(&services, &mesh, &database, &mut is_made, &lines).await;
        if services.health() != Health::Ready {
            return;
        }
        if let Err(error) = outcome {
            tracing::warn!(database, "failed to store statistics: {error}");
        }
        // By the clock of now, which may have been set: what was missed is not made up for.
        at_ns = next_tick(services.now_ns(), interval_ns);
    }
}

/// The first whole interval after `now_ns`.
fn next_tick(now_ns: i64, interval_ns: i64) -> i64 {
    (now_ns - now_ns.rem_euclid(interval_ns)).saturating_add(interval_ns)
}

async fn write(
    services: &impl Services,
    mesh: &Mesh,
    database: &str,
    is_made: &mut bool,
    lines: &[u8],
) -> Result<(), WriteError> {
    let params = || WriteParams {
        database: database.to_owned(),
        policy: POLICY.to_owned(),
        precision_ns: 1,
        now_ns: services.now_ns(),
    };
    let mut session = match services.begin_write(params()).await {
        Err(WriteError::DatabaseNotFound(_)) if *is_made => return Ok(()),
        Err(WriteError::DatabaseNotFound(_)) => {
            make(mesh, database).await.map_err(WriteError::Storage)?;
            services.begin_write(params()).await?
        }
        outcome => outcome?,
    };
    *is_made = true;
    session.feed(lines, true).await?;
    session.finish().await.map(drop)
}

async fn make(mesh: &Mesh, database: &str) -> Result<(), String> {
    let policy = NewPolicy {
        name: Some(POLICY.to_owned()),
        duration: Some(POLICY_NS),
        shard_duration: None,
        replica_n: Some(1),
    };
    let command = Command::CreateDatabase { name: database.to_owned(), policy: Some(policy) };
    match mesh.call(0, Request::Change(Box::new(command)), CHANGE_WAIT).await {
        Ok(Response::Changed(outcome)) => outcome.map(drop).map_err(|error| error.to_string()),
        Ok(other) => Err(format!("unexpected answer: {other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

/// One line of line protocol; a statistic without values has none.
fn push_line(statistic: &Statistic, hostname: &str, at_ns: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(statistic.name.as_bytes());
    let tags = statistic.tags.iter().flatten().map(|(key, value)| (*key, value.as_str()));
    for (key, value) in tags.chain([("hostname", hostname)]) {
        push_tag(key, value, out);
    }
    for (index, (name, value)) in statistic.values.iter().enumerate() {
        out.push(if index == 0 { b' ' } else { b',' });
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        match value {
            Value::Integer(value) => {
                number::integer(*value, out);
                out.push(b'i');
            }
            Value::Float(value) => number::json_float(*value, out),
            Value::Text(text) => {
                out.push(b'"');
                push_escaped(text, b"\"\\", out);
                out.push(b'"');
            }
        }
    }
    out.push(b' ');
    number::integer(at_ns, out);
    out.push(b'\n');
}

fn push_tag(key: &str, value: &str, out: &mut Vec<u8>) {
    // Neither can stand in a tag: a line break ends the point, a backslash would take the byte behind it along.
    let value = value.replace(['\n', '\r'], " ");
    let value = value.trim_end_matches('\\');
    if value.is_empty() {
        return;
    }
    out.push(b',');
    out.extend_from_slice(key.as_bytes());
    out.push(b'=');
    push_escaped(value, b", =", out);
}

fn push_escaped(text: &str, special: &[u8], out: &mut Vec<u8>) {
    for byte in text.bytes() {
        if special.contains(&byte) {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(tags: Option<Vec<(&'static str, String)>>, values: Vec<(&'static str, Value)>) -> String {
        let mut out = Vec::new();
        push_line(&Statistic { name: "s", tags, values }, "h", 7, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_statistic_is_a_line() {
        let values = vec![("a", Value::Integer(-1)), ("b", Value::Float(0.5)), ("c", Value::Text("x\"\\y".into()))];
        assert_eq!(line(None, values), "s,hostname=h a=-1i,b=0.5,c=\"x\\\"\\\\y\" 7\n");
    }

    #[test]
    fn any_name_of_a_database_makes_a_line_that_can_be_read() {
        for name in ["d", "a b,c=d", "back\\slash", "end\\", "\\", "", "two\nlines", "\"q\""] {
            let text = line(Some(vec![("database", name.to_owned())]), vec![("a", Value::Integer(1))]);
            let mut counted = Counted::default();
            crate::line::Parser::new(crate::line::Options { precision_ns: 1, now_ns: 0 }).parse(
                text.as_bytes(),
                true,
                &mut counted,
            );
            assert_eq!(counted, Counted { points: 1, errors: 0 }, "{text:?}");
        }
    }

    #[derive(Debug, Default, PartialEq)]
    struct Counted {
        points: usize,
        errors: usize,
    }

    impl crate::line::Sink for Counted {
        fn point(&mut self, point: &crate::line::Point<'_>) {
            assert!(point.raw_key.ends_with(b"hostname=h"));
            self.points += 1;
        }

        fn error(&mut self, _: &crate::line::LineError<'_>) {
            self.errors += 1;
        }
    }

    #[test]
    fn ticks_are_whole_intervals() {
        assert_eq!([next_tick(19, 10), next_tick(20, 10), next_tick(-1, 10)], [20, 30, 0]);
        assert_eq!(next_tick(5, i64::MAX), i64::MAX);
    }
}
