//! SHOW STATS and SHOW DIAGNOSTICS, from what the server has told about itself.

use crate::model::Cell;
use crate::model::RowSet;
use crate::observe;
use crate::observe::Statistic;
use crate::observe::Value;

use super::bytes;
use super::list::go_duration;
use super::list::rfc3339;
use super::row_set;

/// What the server tells about itself; whoever runs statements collects it.
#[derive(Clone, Debug, Default)]
pub struct ServerFacts {
    /// Counters of all cores, added up.
    pub statistics: Vec<Statistic>,
    /// Sections beside those that are made here, sorted by name.
    pub diagnostics: Vec<RowSet>,
    /// When the process started, ns since 1970.
    pub started_ns: i64,
    /// Cores in use.
    pub core_count: usize,
}

impl ServerFacts {
    /// SHOW STATS [FOR 'module'].
    pub(super) fn statistics(&self, module: Option<&str>) -> Vec<RowSet> {
        let wanted = |statistic: &&Statistic| module.is_none_or(|module| module == statistic.name);
        self.statistics.iter().filter(wanted).map(statistic).collect()
    }

    /// SHOW DIAGNOSTICS [FOR 'module'].
    pub(super) fn diagnostics(&self, module: Option<&str>, now_ns: i64) -> Vec<RowSet> {
        let text = |text: &str| Cell::String(bytes(text));
        let uptime = now_ns.saturating_sub(self.started_ns).max(0);
        let version = env!("CARGO_PKG_VERSION");
        let mut sections = vec![
            section(
                "build",
                &[("Branch", text("")), ("Build Time", text("")), ("Commit", text("")), ("Version", text(version))],
            ),
            section("network", &[("hostname", text(&observe::host_name()))]),
            section(
                "runtime",
                &[
                    ("GOARCH", text(go_architecture())),
                    ("GOMAXPROCS", Cell::Integer(self.core_count as i64)),
                    ("GOOS", text(std::env::consts::OS)),
                    ("version", text(&format!("millrace {version}"))),
                ],
            ),
            section(
                "system",
                &[
                    ("PID", Cell::Integer(i64::from(std::process::id()))),
                    ("currentTime", text(&rfc3339(now_ns.into()))),
                    ("started", text(&rfc3339(self.started_ns.into()))),
                    ("uptime", text(&go_duration(uptime))),
                ],
            ),
        ];
        sections.extend(self.diagnostics.iter().cloned());
        sections.sort_by(|left, right| left.name.cmp(&right.name));
        sections.retain(|section| module.is_none_or(|module| section.name.as_deref() == Some(module.as_bytes())));
        sections
    }
}

/// The machine as Go calls it.
fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn section(name: &str, values: &[(&str, Cell)]) -> RowSet {
    let columns: Vec<&str> = values.iter().map(|(column, _)| *column).collect();
    let mut set = row_set(Some(name), &columns);
    set.rows.push(values.iter().map(|(_, value)| value.clone()).collect());
    set
}

fn statistic(statistic: &Statistic) -> RowSet {
    let cell = |value: &Value| match value {
        Value::Integer(value) => Cell::Integer(*value),
        Value::Float(value) => Cell::Float(*value),
        Value::Text(value) => Cell::String(bytes(value)),
    };
    let values: Vec<(&str, Cell)> = statistic.values.iter().map(|(name, value)| (*name, cell(value))).collect();
    let tags = statistic.tags.iter().flatten();
    let mut tags: Vec<_> = tags.map(|(key, value)| (bytes(key), bytes(value))).collect();
    tags.sort();
    RowSet { tags, ..section(statistic.name, &values) }
}
