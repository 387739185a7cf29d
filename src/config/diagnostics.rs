//! The settings as SHOW DIAGNOSTICS prints them: stock's series, columns and order.
//!
//! In:   the settings as read. Out: one [`Section`] for each series, in stock's order of columns.

use super::raw::Raw;
use super::value::Value;

/// One series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// Names of its columns.
    pub columns: Vec<&'static str>,
    /// One row, or one for each repetition of the section; that of a disabled one ends after its first column.
    pub rows: Vec<Vec<Value>>,
}

/// Series, section of the file, the switch of the whole section, further keys.
type Shape = (&'static str, &'static str, Option<&'static str>, &'static [&'static str]);

/// Columns are sorted by name; a section that is switched off shows its switch alone.
const ONCE: [Shape; 11] = [
    ("config", "", None, &["bind-address", "reporting-disabled"]),
    (
        "config-coordinator",
        "coordinator",
        None,
        &[
            "log-queries-after",
            "max-concurrent-queries",
            "max-select-buckets",
            "max-select-point",
            "max-select-series",
            "query-timeout",
            "write-timeout",
        ],
    ),
    ("config-cqs", "continuous_queries", Some("enabled"), &["query-stats-enabled", "run-interval"]),
    (
        "config-data",
        "data",
        None,
        &[
            "cache-max-memory-size",
            "cache-snapshot-memory-size",
            "cache-snapshot-write-cold-duration",
            "compact-full-write-cold-duration",
            "dir",
            "max-concurrent-compactions",
            "max-index-log-file-size",
            "max-series-per-database",
            "max-values-per-tag",
            "series-file-max-concurrent-snapshot-compactions",
            "series-id-set-cache-size",
            "strict-error-handling",
            "wal-dir",
            "wal-fsync-delay",
        ],
    ),
    (
        "config-httpd",
        "http",
        Some("enabled"),
        &["access-log-path", "bind-address", "https-enabled", "max-connection-limit", "max-row-limit"],
    ),
    ("config-meta", "meta", None, &["dir"]),
    (
        "config-millrace",
        "millrace",
        None,
        &["cores", "dir", "durability", "memtable-size", "query-size", "query-total-size", "shards", "sync-interval"],
    ),
    ("config-monitor", "monitor", Some("store-enabled"), &["store-database", "store-interval"]),
    ("config-precreator", "shard-precreation", Some("enabled"), &["advance-period", "check-interval"]),
    ("config-retention", "retention", Some("enabled"), &["check-interval"]),
    ("config-subscriber", "subscriber", Some("enabled"), &["http-timeout", "write-buffer-size", "write-concurrency"]),
];

/// Sections that can be repeated; they are there when one of them is enabled.
const REPEATED: [Shape; 4] = [
    (
        "config-collectd",
        "collectd",
        Some("enabled"),
        &["bind-address", "database", "retention-policy", "batch-size", "batch-pending", "batch-timeout"],
    ),
    (
        "config-graphite",
        "graphite",
        Some("enabled"),
        &["bind-address", "protocol", "database", "retention-policy", "batch-size", "batch-pending", "batch-timeout"],
    ),
    (
        "config-opentsdb",
        "opentsdb",
        Some("enabled"),
        &["bind-address", "database", "retention-policy", "batch-size", "batch-pending", "batch-timeout"],
    ),
    (
        "config-udp",
        "udp",
        Some("enabled"),
        &["bind-address", "database", "retention-policy", "batch-size", "batch-pending", "batch-timeout", "precision"],
    ),
];

/// All series of the settings.
pub fn sections(raw: &Raw) -> Vec<Section> {
    let once = ONCE.iter().map(|shape| once(raw, shape));
    once.chain(REPEATED.iter().filter_map(|shape| repeated(raw, shape))).collect()
}

fn once(raw: &Raw, &(name, section, switch, keys): &Shape) -> Section {
    let entry = raw.section(section);
    let is_off = switch.is_some_and(|switch| !entry.value(switch).bool());
    let mut keys: Vec<&str> = if is_off { Vec::new() } else { keys.to_vec() };
    keys.extend(switch);
    keys.sort_unstable();
    let row = keys.iter().map(|key| entry.value(key).clone()).collect();
    Section { name, columns: keys.into_iter().map(column).collect(), rows: vec![row] }
}

fn repeated(raw: &Raw, &(name, section, switch, keys): &Shape) -> Option<Section> {
    let is_on = |entry: &&super::raw::Entry| switch.is_none_or(|switch| entry.value(switch).bool());
    raw.all(section).find(is_on)?;
    let columns: Vec<&str> = switch.into_iter().chain(keys.iter().copied()).collect();
    let row = |entry: &super::raw::Entry| {
        let shown = if is_on(&entry) { &columns[..] } else { &columns[..1] };
        shown.iter().map(|key| entry.value(key).clone()).collect()
    };
    let rows = raw.all(section).map(row).collect();
    Some(Section { name, columns, rows })
}

/// Stock has another name for one of its keys here.
fn column(key: &'static str) -> &'static str {
    match key {
        "series-file-max-concurrent-snapshot-compactions" => "series-file-max-concurrent-compactions",
        key => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str, name: &str) -> Option<(Vec<&'static str>, Vec<Vec<Value>>)> {
        let sections = sections(&Raw::read(text.as_bytes()).unwrap());
        sections.into_iter().find(|section| section.name == name).map(|section| (section.columns, section.rows))
    }

    #[test]
    fn columns_are_sorted_and_a_section_that_is_off_shows_its_switch() {
        for Section { name, columns, rows } in sections(&Raw::builtin()) {
            assert!(columns.is_sorted(), "{name}");
            assert_eq!(rows[0].len(), columns.len(), "{name}");
        }
        let off = section("[continuous_queries]\nenabled = false", "config-cqs");
        assert_eq!(off, Some((vec!["enabled"], vec![vec![Value::Bool(false)]])));
        let monitor = section("[monitor]\nstore-enabled = false", "config-monitor");
        assert_eq!(monitor, Some((vec!["store-enabled"], vec![vec![Value::Bool(false)]])));
    }

    #[test]
    fn listeners_are_shown_when_one_is_enabled_and_a_disabled_one_ends_early() {
        assert_eq!(section("[[udp]]\nenabled = false", "config-udp"), None);
        let (columns, rows) = section("[[udp]]\nenabled = true\n[[udp]]\n", "config-udp").unwrap();
        assert_eq!(columns[..3], ["enabled", "bind-address", "database"]);
        assert_eq!((rows[0].len(), &rows[1][..]), (8, &[Value::Bool(false)][..]));
        assert!(section("[[graphite]]\nenabled = true", "config-graphite").is_some());
    }
}
