//! Just what the file and the environment say, before anybody asks whether it makes sense.
//!
//! Owns:  one [`Entry`] for each section, filled with defaults, then the file, then the environment.
//! In:    TOML text in stock's form; a lookup of environment variables.
//! Out:   values by name; notices about what is unknown or means nothing here; the whole as TOML again.

use super::schema::Effect;
use super::schema::SECTIONS;
use super::schema::Section;
use super::schema::complaint_name;
use super::schema::section_index;
use super::value::Kind;
use super::value::Value;
use std::fmt::Write;

/// What cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RawError {
    /// The bytes are not text.
    #[error("the file is not UTF-8 (or UTF-16 with a byte order mark)")]
    NotText,
    /// The text is not TOML.
    #[error("{0}")]
    Syntax(String),
    /// A section is not a table, or one that stands once is repeated.
    #[error("[{section}]: {problem}")]
    Section {
        /// Its name.
        section: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A value of the file has the wrong kind or form.
    #[error("{place}: {problem}")]
    Value {
        /// Section and key.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// A variable whose value Go's reflection would refuse.
    #[error("failed to apply {variable} to {field} using type {kind} and value '{value}': {problem}")]
    Variable {
        /// Its name.
        variable: String,
        /// What stock calls the key.
        field: String,
        /// What stock calls the kind.
        kind: &'static str,
        /// Its value.
        value: String,
        /// What is wrong.
        problem: String,
    },
    /// A variable whose value the kind itself refuses (durations, sizes, modes): stock names no variable, we do.
    #[error("{problem} ({variable})")]
    VariableText {
        /// Its name.
        variable: String,
        /// What is wrong.
        problem: String,
    },
}

/// One section of the file, or one of several of a repeated section.
#[derive(Debug, Clone)]
pub struct Entry {
    section: &'static Section,
    values: Vec<Value>,
    given: Vec<bool>,
}

impl Entry {
    fn new(section: &'static Section) -> Entry {
        let default = |key: &super::schema::Key| {
            Value::from_text(key.kind, key.default).expect("a test reads every default of the schema")
        };
        Entry { section, values: section.keys.iter().map(default).collect(), given: vec![false; section.keys.len()] }
    }

    /// The value of a key of the schema.
    pub fn value(&self, name: &str) -> &Value {
        &self.values[self.index(name)]
    }

    /// Whether the file or the environment set it.
    pub fn is_given(&self, name: &str) -> bool {
        self.given[self.index(name)]
    }

    fn index(&self, name: &str) -> usize {
        self.section.key_index(name).expect("config asks for keys of its own schema only")
    }

    fn set(&mut self, index: usize, value: Value) {
        self.values[index] = value;
        self.given[index] = true;
    }
}

/// All sections.
#[derive(Debug, Clone)]
pub struct Raw {
    /// In the order of the schema; several in a row of a repeated section.
    entries: Vec<Entry>,
    /// Lines for the operator: unknown names, and names without a meaning here.
    pub notices: Vec<String>,
}

impl Raw {
    /// The defaults.
    pub fn builtin() -> Raw {
        Raw { entries: SECTIONS.iter().map(Entry::new).collect(), notices: Vec::new() }
    }

    /// The defaults, overlaid with a file.
    pub fn read(bytes: &[u8]) -> Result<Raw, RawError> {
        let text = decode(bytes)?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| RawError::Syntax(error.to_string()))?;
        let mut raw = Raw::builtin();
        let mut top = toml::Table::new();
        for (name, value) in table {
            match value {
                toml::Value::Table(table) => raw.read_section(&name, vec![table])?,
                toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
                    let table = |item| if let toml::Value::Table(table) = item { Some(table) } else { None };
                    let tables: Option<Vec<_>> = items.into_iter().map(table).collect();
                    let problem = "expected tables";
                    let tables = tables.ok_or_else(|| RawError::Section { section: name.clone(), problem })?;
                    raw.read_section(&name, tables)?;
                }
                value => {
                    top.insert(name, value);
                }
            }
        }
        raw.read_section("", vec![top])?;
        Ok(raw)
    }

    fn read_section(&mut self, name: &str, tables: Vec<toml::Table>) -> Result<(), RawError> {
        let current = if name == "cluster" {
            self.notices.push("[cluster] is read as [coordinator]; rename it".to_owned());
            "coordinator"
        } else {
            name
        };
        let Some(section) = section_index(current).map(|index| &SECTIONS[index]) else {
            self.notices.push(format!("[{name}] is unknown and ignored"));
            return Ok(());
        };
        if !section.repeated && tables.len() > 1 {
            return Err(RawError::Section { section: name.to_owned(), problem: "stands more than once" });
        }
        let mut entries = Vec::new();
        for table in tables {
            entries.push(self.read_entry(section, table)?);
        }
        let first = self.entries.iter().position(|entry| entry.section.name == section.name);
        let first = first.expect("the defaults hold every section");
        let count = self.all(section.name).count();
        self.entries.splice(first..first + count, entries);
        Ok(())
    }

    fn read_entry(&mut self, section: &'static Section, table: toml::Table) -> Result<Entry, RawError> {
        let mut entry = Entry::new(section);
        let mut idle = Vec::new();
        for (name, value) in table {
            let place = if section.name.is_empty() { name.clone() } else { format!("[{}] {name}", section.name) };
            let Some(index) = section.key_index(&name) else {
                self.notices.push(format!("{place} is unknown and ignored"));
                continue;
            };
            let key = &section.keys[index];
            if key.effect != Effect::Obeyed {
                idle.push(key.name);
            }
            if let Some(value) =
                Value::from_toml(key.kind, &value).map_err(|problem| RawError::Value { place, problem })?
            {
                entry.set(index, value);
            }
        }
        self.note_idle(section, &entry, &idle);
        Ok(entry)
    }

    /// One line for each section that has something in it which does nothing here.
    fn note_idle(&mut self, section: &Section, entry: &Entry, idle: &[&str]) {
        let enabled = section.key_index("enabled").is_some_and(|index| entry.values[index].bool());
        if section.name.is_empty() || (idle.is_empty() && section.is_obeyed()) {
            // reporting-*, bind-address and their like: stock's sample file sets them, nobody misses them.
        } else if section.is_obeyed() {
            self.notices.push(format!("[{}] without effect here: {}", section.name, idle.join(", ")));
        } else if enabled && section.repeated {
            self.notices.push(format!("[[{}]] is enabled, but not served by Millrace", section.name));
        } else {
            self.notices.push(format!("[{}] has no meaning here and is ignored", section.name));
        }
    }

    /// Lets the environment override what the file said. `get` answers `None` or empty text for what is not set.
    pub fn apply_environment(&mut self, get: &dyn Fn(&str) -> Option<String>) -> Result<(), RawError> {
        let mut position = 0;
        let mut last = "";
        for entry in &mut self.entries {
            position = if entry.section.name == last { position + 1 } else { 0 };
            last = entry.section.name;
            if last.is_empty() {
                apply_to_entry(entry, "INFLUXDB", get)?;
                continue;
            }
            let prefix = format!("INFLUXDB_{}", shouted(last));
            apply_to_entry(entry, &prefix, get)?;
            if entry.section.repeated {
                apply_to_entry(entry, &format!("{prefix}_{position}"), get)?;
            }
        }
        Ok(())
    }

    /// The section that stands once.
    pub fn section(&self, name: &str) -> &Entry {
        let entry = self.entries.iter().find(|entry| entry.section.name == name);
        entry.expect("the defaults hold every section that stands once")
    }

    /// All entries of a section.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Entry> + 'a {
        self.entries.iter().filter(move |entry| entry.section.name == name)
    }

    /// Sets a value as the command line does.
    pub fn set(&mut self, section: &str, key: &str, value: Value) {
        let entry = self.entries.iter_mut().find(|entry| entry.section.name == section);
        let entry = entry.expect("the defaults hold every section");
        let index = entry.index(key);
        entry.set(index, value);
    }

    /// The effective settings as a configuration file.
    pub fn print(&self) -> String {
        let mut text = String::new();
        for entry in &self.entries {
            let shown =
                |index: usize| entry.section.keys[index].effect != Effect::AcceptedSilently || entry.given[index];
            let section = entry.section;
            if !(0..section.keys.len()).any(shown) {
                continue;
            }
            let indent = if section.name.is_empty() { "" } else { "  " };
            match (section.name, section.repeated) {
                ("", _) => (),
                (name, false) => writeln!(text, "[{name}]").expect("text takes all"),
                (name, true) => writeln!(text, "[[{name}]]").expect("text takes all"),
            }
            for (index, key) in section.keys.iter().enumerate() {
                let empty_group = key.kind == Kind::Group && entry.values[index].text().is_empty();
                let empty_pairs = entry.values[index] == Value::Pairs(Vec::new());
                if shown(index) && !empty_group && !empty_pairs {
                    let value = entry.values[index].to_toml(key.kind);
                    writeln!(text, "{indent}{} = {value}", key.name).expect("text takes all");
                }
            }
            text.push('\n');
        }
        text
    }
}

/// Sheds a byte order mark; UTF-16 is read too, as stock does.
fn decode(bytes: &[u8]) -> Result<String, RawError> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|&pair| unit(pair)).collect();
        if rest.is_empty() { String::from_utf16(&units).ok() } else { None }
    };
    let text = match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    };
    text.ok_or(RawError::NotText)
}

fn shouted(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

fn apply_to_entry(entry: &mut Entry, prefix: &str, get: &dyn Fn(&str) -> Option<String>) -> Result<(), RawError> {
    for (index, key) in entry.section.keys.iter().enumerate() {
        let variable = format!("{prefix}_{}", shouted(key.name));
        if key.kind == Kind::Texts {
            apply_to_texts(entry, index, &variable, get);
            continue;
        }
        let Some(text) = get(&variable).filter(|text| !text.is_empty()) else { continue };
        let value = Value::from_text(key.kind, &text).map_err(|problem| complaint(key, variable, text, problem))?;
        entry.set(index, value);
    }
    Ok(())
}

/// A list takes `KEY_0`, `KEY_1` for the items it has; `KEY` sets all of them, or the whole list when it is empty.
fn apply_to_texts(entry: &mut Entry, index: usize, variable: &str, get: &dyn Fn(&str) -> Option<String>) {
    let set = |variable: &str| get(variable).filter(|text| !text.is_empty());
    let Value::Texts(mut items) = entry.values[index].clone() else { return };
    let before = items.clone();
    if items.is_empty() {
        items = set(variable).map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default();
    } else {
        for (position, item) in items.iter_mut().enumerate() {
            if let Some(text) = set(&format!("{variable}_{position}")).or_else(|| set(variable)) {
                *item = text;
            }
        }
    }
    if items != before {
        entry.set(index, Value::Texts(items));
    }
}

fn complaint(key: &super::schema::Key, variable: String, value: String, problem: String) -> RawError {
    let kind = match key.kind {
        Kind::Bool => "bool",
        Kind::Count => "int",
        Kind::Nanoseconds => "time.Duration",
        Kind::Size | Kind::Duration | Kind::Text | Kind::Texts | Kind::Mode | Kind::Group | Kind::Pairs => {
            return RawError::VariableText { variable, problem };
        }
    };
    RawError::Variable { variable, field: complaint_name(key.name), kind, value, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Raw {
        Raw::read(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refused(text: &str) -> String {
        Raw::read(text.as_bytes()).expect_err(text).to_string()
    }

    fn with_environment(text: &str, variables: &[(&str, &str)]) -> Result<Raw, String> {
        let mut raw = read(text);
        let get =
            |name: &str| variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned());
        raw.apply_environment(&get).map_err(|error| error.to_string())?;
        Ok(raw)
    }

    #[test]
    fn every_key_is_printed_and_read_again_as_it_was() {
        let first = Raw::builtin();
        let second = read(&first.print());
        assert_eq!(first.print(), second.print());
        for (one, two) in first.entries.iter().zip(&second.entries) {
            assert_eq!(one.values, two.values, "{}", one.section.name);
        }
    }

    #[test]
    fn every_key_of_the_schema_parses_even_those_not_printed() {
        for section in SECTIONS {
            let mut text = match (section.name, section.repeated) {
                ("", _) => String::new(),
                (name, false) => format!("[{name}]\n"),
                (name, true) => format!("[[{name}]]\n"),
            };
            for key in section.keys {
                let value = Value::from_text(key.kind, key.default).unwrap().to_toml(key.kind);
                text.push_str(&format!("{} = {value}\n", key.name));
            }
            let unknown: Vec<String> =
                read(&text).notices.into_iter().filter(|line| line.contains("unknown")).collect();
            assert!(unknown.is_empty(), "{unknown:?}");
        }
    }

    #[test]
    fn unknown_names_are_named() {
        let raw = read("nothing = 1\n[http]\nbind-adress = ':1'\n[admin]\nenabled = true\n");
        assert_eq!(
            raw.notices,
            [
                "[admin] is unknown and ignored",
                "[http] bind-adress is unknown and ignored",
                "nothing is unknown and ignored"
            ]
        );
    }

    #[test]
    fn sections_without_meaning_are_noticed() {
        let raw = read("[[graphite]]\nenabled = true\n[data]\nindex-version = 'tsi1'\n[http]\n");
        assert_eq!(
            raw.notices,
            ["[data] without effect here: index-version", "[[graphite]] is enabled, but not served by Millrace",]
        );
    }

    #[test]
    fn byte_order_marks_are_shed() {
        let text = "[http]\nrealm = \"R\"\n";
        let mut wide = vec![0xff, 0xfe];
        text.encode_utf16().for_each(|unit| wide.extend(unit.to_le_bytes()));
        for bytes in [text.as_bytes().to_vec(), format!("\u{feff}{text}").into_bytes(), wide] {
            assert_eq!(Raw::read(&bytes).unwrap().section("http").value("realm").text(), "R");
        }
        assert_eq!(Raw::read(b"\xc3(").unwrap_err(), RawError::NotText);
    }

    #[test]
    fn cluster_is_read_as_coordinator() {
        let raw = read("[cluster]\nmax-select-point = 5\n");
        assert_eq!(raw.section("coordinator").value("max-select-point").count(), 5);
        assert_eq!(raw.notices.len(), 1);
    }

    #[test]
    fn values_of_the_wrong_kind_name_their_place() {
        assert_eq!(refused("[http]\nenabled = 'yes'\n"), "[http] enabled: expected true or false, got string \"yes\"");
        assert_eq!(refused("[http]\nmax-row-limit = -1\n"), "[http] max-row-limit: must not be negative, got -1");
        assert_eq!(
            refused("[retention]\ncheck-interval = '1d'\n"),
            "[retention] check-interval: time: unknown unit \"d\" in duration \"1d\""
        );
        assert_eq!(refused("[[http]]\n[[http]]\n"), "[http]: stands more than once");
        assert!(refused("[http\n").contains("line 1"));
    }

    #[test]
    fn the_environment_beats_the_file() {
        let text = "[http]\nrealm = 'file'\n[[udp]]\n[[udp]]\n[[graphite]]\ntemplates = ['a', 'b']\n";
        let raw = with_environment(
            text,
            &[
                ("INFLUXDB_BIND_ADDRESS", "1.2.3.4:5"),
                ("INFLUXDB_HTTP_REALM", "environment"),
                ("INFLUXDB_HTTP_SHARED_SECRET", ""),
                ("INFLUXDB_CONTINUOUS_QUERIES_RUN_INTERVAL", "3s"),
                ("INFLUXDB_UDP_ENABLED", "true"),
                ("INFLUXDB_UDP_1_DATABASE", "second"),
                ("INFLUXDB_GRAPHITE_0_TEMPLATES_1", "B"),
                ("INFLUXDB_GRAPHITE_TAGS", "x=1,y=2"),
                ("INFLUXDB_MILLRACE_CORES", "3"),
            ],
        )
        .unwrap();
        assert_eq!(raw.section("").value("bind-address").text(), "1.2.3.4:5");
        assert_eq!(raw.section("http").value("realm").text(), "environment");
        assert!(!raw.section("http").is_given("shared-secret"));
        assert_eq!(raw.section("continuous_queries").value("run-interval").nanoseconds(), 3_000_000_000);
        let udp: Vec<(bool, &str)> =
            raw.all("udp").map(|entry| (entry.value("enabled").bool(), entry.value("database").text())).collect();
        assert_eq!(udp, [(true, "udp"), (true, "second")]);
        let graphite = raw.section("graphite");
        assert_eq!(*graphite.value("templates"), Value::Texts(vec!["a".to_owned(), "B".to_owned()]));
        assert_eq!(*graphite.value("tags"), Value::Texts(vec!["x=1".to_owned(), "y=2".to_owned()]));
        assert_eq!(raw.section("millrace").value("cores").count(), 3);
    }

    #[test]
    fn bad_variables_get_stocks_complaints() {
        let check = |variable: &str, value: &str, expected: &str| {
            assert_eq!(with_environment("", &[(variable, value)]).expect_err(variable), expected);
        };
        check(
            "INFLUXDB_HTTP_AUTH_ENABLED",
            "maybe",
            "failed to apply INFLUXDB_HTTP_AUTH_ENABLED to AuthEnabled using type bool and value 'maybe': \
             strconv.ParseBool: parsing \"maybe\": invalid syntax",
        );
        check(
            "INFLUXDB_COORDINATOR_MAX_SELECT_POINT",
            "x",
            "failed to apply INFLUXDB_COORDINATOR_MAX_SELECT_POINT to MaxSelectPointN using type int and value 'x': \
             strconv.ParseInt: parsing \"x\": invalid syntax",
        );
        check(
            "INFLUXDB_UDP_0_BATCH_TIMEOUT",
            "5",
            "time: missing unit in duration \"5\" (INFLUXDB_UDP_0_BATCH_TIMEOUT)",
        );
    }
}
