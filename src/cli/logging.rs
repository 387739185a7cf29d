//! Log lines on stderr in the forms stock has: console for eyes, logfmt and JSON for machines.
//!
//! Out: one line for each event; no spans, no colours.

use crate::config::options::LogFormat;
use crate::config::options::LogLevel;
use crate::config::options::LoggingOptions;
use std::fmt;
use std::fmt::Write;
use std::io::IsTerminal;
use tracing::Event;
use tracing::Level;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::field::Visit;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::FormatEvent;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::registry::LookupSpan;

/// Sends every later event of this process to stderr. Once a process; a second call changes nothing.
pub fn start(options: &LoggingOptions) {
    let form = match options.format {
        LogFormat::Auto if std::io::stderr().is_terminal() => Form::Console,
        LogFormat::Auto | LogFormat::Logfmt => Form::Logfmt,
        LogFormat::Console => Form::Console,
        LogFormat::Json => Form::Json,
    };
    let level = match options.level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let subscriber =
        tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).event_format(form).finish();
    // Fails only when something was installed before, which then goes on.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Console,
    Logfmt,
    Json,
}

impl<S, N> FormatEvent<S, N> for Form
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields { message: String::new(), rest: Vec::new() };
        event.record(&mut fields);
        let time = jiff::Timestamp::now();
        writeln!(writer, "{}", line(*self, &format!("{time:.6}"), severity(event.metadata().level()), &fields))
    }
}

fn severity(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}

/// What an event carries.
struct Fields {
    message: String,
    rest: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

impl Fields {
    fn put(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            name => self.rest.push((name, value)),
        }
    }
}

fn line(form: Form, time: &str, level: &str, fields: &Fields) -> String {
    let mut line = String::new();
    match form {
        Form::Console => {
            line.push_str(&format!("{time}\t{level}\t{}", escaped(&fields.message)));
            for (name, value) in &fields.rest {
                line.push_str(&format!("\t{name}={}", quoted(value)));
            }
        }
        Form::Logfmt => {
            line.push_str(&format!("ts={time} lvl={level} msg={}", quoted(&fields.message)));
            for (name, value) in &fields.rest {
                line.push_str(&format!(" {name}={}", quoted(value)));
            }
        }
        Form::Json => {
            let mut object = serde_json::Map::new();
            let all = [("lvl", level), ("ts", time), ("msg", fields.message.as_str())];
            for (name, value) in all.into_iter().chain(fields.rest.iter().map(|(name, value)| (*name, value.as_str())))
            {
                object.insert(name.to_owned(), serde_json::Value::from(value));
            }
            line.push_str(&serde_json::Value::Object(object).to_string());
        }
    }
    line
}

/// In quotes where a reader of `key=value` would stumble.
fn quoted(value: &str) -> String {
    let plain = |letter: char| letter > ' ' && letter != '"' && letter != '=' && letter != '\u{7f}';
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("\"{}\"", escaped(value).replace('"', "\\\""))
}

/// Control characters written out: no text of a client may start a line of its own.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for letter in value.chars() {
        match letter {
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            control if control.is_control() => {
                write!(text, "\\u{:04x}", u32::from(control)).expect("text takes all");
            }
            letter => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(form: Form, message: &str, rest: &[(&'static str, &str)], expected: &str) {
        let rest = rest.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        assert_eq!(line(form, "T", "info", &Fields { message: message.to_owned(), rest }), expected);
    }

    #[test]
    fn lines_have_stocks_forms() {
        let rest = [("path", "/a b"), ("n", "1")];
        check(Form::Logfmt, "Listening now", &rest, "ts=T lvl=info msg=\"Listening now\" path=\"/a b\" n=1");
        check(Form::Console, "Listening now", &rest, "T\tinfo\tListening now\tpath=\"/a b\"\tn=1");
        check(
            Form::Json,
            "Listening now",
            &rest,
            r#"{"lvl":"info","ts":"T","msg":"Listening now","path":"/a b","n":"1"}"#,
        );
    }

    #[test]
    fn text_of_a_client_stays_on_its_line() {
        check(
            Form::Logfmt,
            "q",
            &[("query", "a\nlvl=x \"b\"\u{1b}")],
            r#"ts=T lvl=info msg=q query="a\nlvl=x \"b\"\u001b""#,
        );
        check(Form::Console, "a\nb", &[], "T\tinfo\ta\\nb");
    }
}
