//! One line for each request, in the common log format with passwords blotted out.

use std::fmt::Write;
use std::sync::LazyLock;

use regex::Regex;

use crate::encode::number;
use crate::http::wire::head::RequestHead;

/// What a line says.
pub struct Entry<'a> {
    /// The request.
    pub head: &'a RequestHead,
    /// Address of the other side.
    pub peer: &'a str,
    /// The authenticated user.
    pub user: Option<&'a str>,
    /// When it began, ns.
    pub now_ns: i64,
    /// Status of the answer; 0 when there was none.
    pub status: u16,
    /// Body bytes of the answer.
    pub bytes: u64,
    /// The request's id.
    pub request_id: Option<&'a str>,
    /// How long it took.
    pub elapsed_us: i64,
    /// What the answer said was wrong.
    pub error: Option<&'a str>,
}

/// Writes the line.
pub fn write(entry: &Entry<'_>) {
    if entry.status >= 500 {
        tracing::error!(target: "httpd", status = entry.status, "{}", entry.error.unwrap_or_default());
    }
    tracing::info!(target: "httpd", "{}", line(entry));
}

fn line(entry: &Entry<'_>) -> String {
    let head = entry.head;
    let mut time = Vec::new();
    number::rfc3339(entry.now_ns, 0, &mut time);
    let mut line = String::new();
    let forwarded = head.header_text("x-forwarded-for");
    if !forwarded.is_empty() {
        let _ = write!(line, "{},", clean(forwarded));
    }
    let _ = write!(
        line,
        "{} - {} [{}] \"{} {} HTTP/1.{}\" {} {} \"{}\" \"{}\" {} {}",
        host(entry.peer),
        entry.user.map_or("-".into(), clean),
        String::from_utf8_lossy(&time),
        clean(head.method()),
        redact_target(head.target()),
        u8::from(head.is_http_11()),
        entry.status,
        entry.bytes,
        or_dash(head.header_text("referer")),
        or_dash(head.header_text("user-agent")),
        or_dash(entry.request_id.unwrap_or_default()),
        entry.elapsed_us,
    );
    let trace = head.header_text("zap-trace-span");
    if !trace.is_empty() {
        let _ = write!(line, " trace={}", clean(trace));
    }
    line
}

/// The address without its port.
fn host(peer: &str) -> &str {
    peer.rsplit_once(':').map_or(peer, |(host, _)| host)
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".into() } else { clean(text) }
}

/// No byte of a client may start a new field or line of the log.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c == '"' { '_' } else { c }).collect()
}

/// The address with `p` and every password inside `q` replaced.
fn redact_target(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return clean(target) };
    let pairs: Vec<String> = query.split('&').map(redact_pair).collect();
    clean(&format!("{path}?{}", pairs.join("&")))
}

fn redact_pair(pair: &str) -> String {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    if key == "p" {
        return "p=%5BREDACTED%5D".into();
    }
    if key != "q" {
        return pair.into();
    }
    let mut decoded = Vec::new();
    if !crate::http::wire::query_string::percent_decode(value.as_bytes(), true, &mut decoded) {
        return "q=%5BREDACTED%5D".into();
    }
    let redacted = redact_statement(&String::from_utf8_lossy(&decoded));
    format!("q={}", form_urlencoded::byte_serialize(redacted.as_bytes()).collect::<String>())
}

/// Blots out the passwords of CREATE USER and SET PASSWORD.
pub fn redact_statement(text: &str) -> String {
    static PASSWORD: LazyLock<Regex> = LazyLock::new(|| {
        let quoted = r#"(?:'(?:[^'\\]|\\.)*'?|"(?:[^"\\]|\\.)*"?|[^\s;]+)"#;
        let pattern =
            format!(r#"(?is)(with\s+password\s+|set\s+password\s+for\s+(?:"(?:[^"\\]|\\.)*"|[^\s=]+)\s*=\s*){quoted}"#);
        Regex::new(&pattern).expect("a constant pattern, compiled by the tests")
    });
    PASSWORD.replace_all(text, "$1[REDACTED]").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_do_not_reach_the_log() {
        for (text, expected) in [
            (
                "CREATE USER a WITH PASSWORD 'x y' WITH ALL PRIVILEGES",
                "CREATE USER a WITH PASSWORD [REDACTED] WITH ALL PRIVILEGES",
            ),
            ("set password for \"b c\" = 'it\\'s'; show users", "set password for \"b c\" = [REDACTED]; show users"),
            ("create user a with\npassword 'open", "create user a with\npassword [REDACTED]"),
            ("SELECT 'password' FROM m", "SELECT 'password' FROM m"),
        ] {
            assert_eq!(redact_statement(text), expected);
        }
        assert_eq!(redact_target("/write?db=a&p=secret&u=b"), "/write?db=a&p=%5BREDACTED%5D&u=b");
        let target = redact_target("/query?q=CREATE+USER+a+WITH+PASSWORD+%27geheim%27");
        assert!(!target.contains("geheim"), "{target}");
        assert_eq!(redact_target("/query?q=%zz"), "/query?q=%5BREDACTED%5D");
    }

    #[test]
    fn a_line_is_one_line() {
        let mut head = RequestHead::default();
        head.parse(b"GET /ping HTTP/1.1\r\nHost: h\r\nUser-Agent: a\"b\r\n\r\n").unwrap();
        let entry = Entry {
            head: &head,
            peer: "127.0.0.1:5555",
            user: None,
            now_ns: 0,
            status: 204,
            bytes: 0,
            request_id: Some("id"),
            elapsed_us: 7,
            error: None,
        };
        assert_eq!(
            line(&entry),
            "127.0.0.1 - - [1970-01-01T00:00:00Z] \"GET /ping HTTP/1.1\" 204 0 \"-\" \"a_b\" id 7"
        );
    }
}
