//! `/debug/vars`: counters as monitoring reads them.

use crate::encode;
use crate::encode::number;
use crate::http::conn::Transport;
use crate::http::exchange::Exchange;
use crate::http::services::Services;
use crate::observe::Statistic;
use crate::observe::Value;

/// Names of Go's memory statistics that Telegraf reads as whole numbers. There is no such heap here: they are zero
/// but for the totals the process knows.
const MEMORY_KEYS: [&str; 25] = [
    "Alloc",
    "TotalAlloc",
    "Sys",
    "Lookups",
    "Mallocs",
    "Frees",
    "HeapAlloc",
    "HeapSys",
    "HeapIdle",
    "HeapInuse",
    "HeapReleased",
    "HeapObjects",
    "StackInuse",
    "StackSys",
    "MSpanInuse",
    "MSpanSys",
    "MCacheInuse",
    "MCacheSys",
    "BuckHashSys",
    "GCSys",
    "OtherSys",
    "NextGC",
    "LastGC",
    "PauseTotalNs",
    "NumGC",
];

/// Answers with one object: system, cmdline, memstats, then every statistic.
pub async fn vars<T: Transport, S: Services>(exchange: &mut Exchange<'_, T, S>) {
    let statistics = exchange.services().statistics().await;
    let memory = exchange.services().memory_bytes();
    let mut body = b"{\n\"system\": {\"currentTime\":\"".to_vec();
    let (now_ns, started_ns) = (exchange.now_ns, exchange.edge().started_ns);
    number::rfc3339(now_ns, 0, &mut body);
    body.extend_from_slice(b"\",\"started\":\"");
    number::rfc3339(started_ns, 0, &mut body);
    body.extend_from_slice(b"\",\"uptime\":");
    number::integer((now_ns - started_ns) / 1_000_000_000, &mut body);
    body.extend_from_slice(b"},\n\"cmdline\": ");
    push_command_line(&mut body);
    body.extend_from_slice(b",\n\"memstats\": ");
    push_memory(memory, &mut body);
    for statistic in &statistics {
        body.extend_from_slice(b",\n");
        push_statistic(statistic, &mut body);
    }
    body.extend_from_slice(b"\n}\n");
    exchange.respond(200, Some("application/json; charset=utf-8"), &[], &body).await;
}

fn push_command_line(out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, argument) in std::env::args_os().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        encode::json_string(argument.as_encoded_bytes(), out);
    }
    out.push(b']');
}

fn push_memory(bytes: i64, out: &mut Vec<u8>) {
    out.push(b'{');
    for key in MEMORY_KEYS {
        let value = if matches!(key, "Alloc" | "Sys" | "HeapAlloc" | "HeapSys" | "HeapInuse") { bytes } else { 0 };
        out.extend_from_slice(format!("\"{key}\":{value},").as_bytes());
    }
    // Telegraf indexes this ring by the count of collections.
    out.extend_from_slice(format!("\"PauseNs\":[{}],\"GCCPUFraction\":0}}", vec!["0"; 256].join(",")).as_bytes());
}

fn push_statistic(statistic: &Statistic, out: &mut Vec<u8>) {
    encode::json_string(key(statistic).as_bytes(), out);
    out.extend_from_slice(b": {\"name\":");
    encode::json_string(statistic.name.as_bytes(), out);
    out.extend_from_slice(b",\"tags\":");
    match &statistic.tags {
        None => out.extend_from_slice(b"null"),
        Some(tags) => push_object(tags.iter().map(|(name, value)| (*name, Value::Text(value.clone()))), out),
    }
    out.extend_from_slice(b",\"values\":");
    push_object(statistic.values.iter().cloned(), out);
    out.push(b'}');
}

fn push_object(pairs: impl Iterator<Item = (&'static str, Value)>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, value)) in pairs.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        encode::json_string(name.as_bytes(), out);
        out.push(b':');
        match value {
            Value::Integer(value) => number::integer(value, out),
            Value::Float(value) if value.is_finite() => number::json_float(value, out),
            Value::Float(_) => out.push(b'0'),
            Value::Text(text) => encode::json_string(text.as_bytes(), out),
        }
    }
    out.push(b'}');
}

/// The name of a statistic with the tags that tell it from others of its kind.
fn key(statistic: &Statistic) -> String {
    let tag = |wanted: &str| {
        let tags = statistic.tags.iter().flatten();
        tags.into_iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str())
    };
    let parts: Vec<&str> = if let Some(path) = tag("path") {
        vec![path, tag("id").unwrap_or_default()]
    } else if let Some(bind) = tag("bind") {
        vec![tag("proto").unwrap_or_default(), bind]
    } else {
        ["database", "retention_policy", "name", "destination"].into_iter().filter_map(tag).collect()
    };
    let mut key = statistic.name.to_owned();
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        key.push(':');
        key.push_str(part);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_keyed_by_name_and_tags() {
        let statistic = |tags| Statistic { name: "n", tags, values: vec![] };
        assert_eq!(key(&statistic(None)), "n");
        assert_eq!(key(&statistic(Some(vec![("bind", ":8086".into())]))), "n::8086");
        assert_eq!(key(&statistic(Some(vec![("id", "7".into()), ("path", "/d".into())]))), "n:/d:7");
        assert_eq!(key(&statistic(Some(vec![("database", "d".into()), ("retention_policy", "r".into())]))), "n:d:r");
    }

    #[test]
    fn the_objects_are_json() {
        let mut out = Vec::new();
        push_memory(5, &mut out);
        let memory: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(memory["Alloc"], 5);
        assert_eq!(memory["PauseNs"].as_array().unwrap().len(), 256);
        let mut out = b"{".to_vec();
        let values = vec![("a", Value::Integer(1)), ("b", Value::Float(0.5)), ("c", Value::Text("x".into()))];
        push_statistic(&Statistic { name: "s", tags: Some(vec![]), values }, &mut out);
        out.push(b'}');
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read["s"]["values"]["b"], 0.5);
    }
}
