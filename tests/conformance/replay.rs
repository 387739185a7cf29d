//! Plays scenarios against one server, which is started fresh and empty for its configuration.

use crate::compare;
use crate::process::Process;
use crate::process::free_address;
use crate::process::pause;
use crate::scenario::Scenario;
use crate::scenario::Step;
use crate::wire::Answer;
use crate::wire::Client;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use tempfile::TempDir;

/// How one scenario went: a line for each difference, none when it passed.
pub struct Outcome {
    pub name: String,
    pub group: String,
    pub differences: Vec<String>,
}

/// A server and a connection to it.
struct Bench {
    process: Process,
    client: Client,
    _directory: TempDir,
}

/// Plays all scenarios of one configuration, in order, on one server; a new one follows when it dies.
pub fn play(config: &str, scenarios: &[&Scenario]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut bench = None;
    for scenario in scenarios {
        let mut differences = match bench.take().map_or_else(|| start(config), Ok) {
            Err(text) => vec![format!("the server does not start with config {config}: {text}")],
            Ok(mut ready) => {
                let mut differences = run(&mut ready.client, scenario);
                if let Ok(Some(status)) = ready.process.child.try_wait() {
                    differences.push(format!("the server ended: {status}\n{}", tail(&ready.process.said())));
                } else {
                    bench = Some(ready);
                }
                differences
            }
        };
        differences.truncate(20);
        outcomes.push(Outcome { name: scenario.name.clone(), group: scenario.group.clone(), differences });
    }
    outcomes
}

/// Whether a server starts with a configuration at all; some have no scenarios here.
pub fn try_start(config: &str) -> Outcome {
    let differences = start(config).err().into_iter().collect();
    Outcome { name: format!("start/{config}"), group: "start".to_owned(), differences }
}

fn tail(text: &str) -> &str {
    let start = text.len().saturating_sub(2000);
    let start = (start..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    &text[start..]
}

/// File and environment only, so that the same words start stock itself (MILLRACE_BINARY).
fn start(config: &str) -> Result<Bench, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let below = |name: &str| directory.path().join(name).display().to_string();
    let address = free_address();
    let (bind, other) = (address.to_string(), free_address().to_string());
    let (data, wal, meta) = (below("data"), below("wal"), below("meta"));
    let environment = [
        ("INFLUXDB_HTTP_BIND_ADDRESS", bind.as_str()),
        ("INFLUXDB_BIND_ADDRESS", &other),
        ("INFLUXDB_DATA_DIR", &data),
        ("INFLUXDB_DATA_WAL_DIR", &wal),
        ("INFLUXDB_META_DIR", &meta),
    ];
    let path = config_path(config).display().to_string();
    let output: PathBuf = directory.path().join("output");
    let process = Process::start(address, &output, &["run", "-config", &path], &environment)?;
    Ok(Bench { process, client: Client::new(address), _directory: directory })
}

fn config_path(config: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/configs").join(format!("{config}.conf"))
}

/// All differences of all steps.
fn run(client: &mut Client, scenario: &Scenario) -> Vec<String> {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is past 1970");
    let now_ns = since_epoch.as_secs() as i64 * 1_000_000_000;
    let mut differences = Vec::new();
    if scenario.needs_empty && !scenario.config.starts_with("auth") {
        differences.extend(drop_all(client).err());
    }
    for (index, step) in scenario.steps.iter().enumerate() {
        wait(Duration::from_millis(step.sleep_ms));
        let found = settle(client, step, now_ns);
        if !found.is_empty() {
            differences.push(format!("step {index}: {}", described(step)));
            differences.extend(found.into_iter().map(|line| format!("  {line}")));
        }
    }
    differences
}

/// Sends a step, again and again while it may still come right.
fn settle(client: &mut Client, step: &Step, now_ns: i64) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_millis(step.retry_ms);
    loop {
        let differences = match send(client, step, now_ns) {
            Ok(answer) => compare::check(&step.expect, &answer),
            Err(error) => vec![format!("request failed: {error}")],
        };
        if differences.is_empty() || Instant::now() >= deadline {
            return differences;
        }
        pause();
    }
}

fn send(client: &mut Client, step: &Step, now_ns: i64) -> std::io::Result<Answer> {
    let request = step.request(now_ns);
    let headers: Vec<(&str, &str)> =
        request.headers.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    client.request(&request.method, &request.target, &headers, request.body.as_deref())
}

fn wait(length: Duration) {
    let end = Instant::now() + length;
    while Instant::now() < end {
        pause();
    }
}

/// Drops every database that a client made.
fn drop_all(client: &mut Client) -> Result<(), String> {
    let answer = client.request("GET", "/query?q=SHOW+DATABASES", &[], None).map_err(|error| error.to_string())?;
    let answer: serde_json::Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    let rows = answer.pointer("/results/0/series/0/values").and_then(|rows| rows.as_array());
    for row in rows.into_iter().flatten() {
        let Some(name) = row.get(0).and_then(|name| name.as_str()).filter(|name| *name != "_internal") else {
            continue;
        };
        let name = name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let text = format!("DROP DATABASE \"{name}\"");
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("q", &text).finish();
        client.request("POST", &format!("/query?{query}"), &[], None).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn described(step: &Step) -> String {
    let statement = step.query.iter().find(|(key, _)| key == "q").map(|(_, value)| value.as_str());
    let statement = statement.or(step.raw_query.as_deref()).unwrap_or_default();
    let rest: Vec<String> =
        step.query.iter().filter(|(key, _)| key != "q").map(|(key, value)| format!("{key}={value}")).collect();
    let body = step.body.as_deref().map(|body| format!(" body={body:?}")).unwrap_or_default();
    compare::shortened(&format!("{} {} {} q={statement}{body}", step.method, step.path, rest.join("&")), 600)
}
