//! `[tls]` and the `https-*` keys of `[http]`: names of cipher suites and versions as Go has them.
//!
//! In:   the sections as read. Out: [`HttpsOptions`] in the names of the standard, or what cannot be served.
//!
//! The names are checked even when nothing is encrypted, as in stock; what they ask for, only when it is needed.

use super::raw::Entry;
use super::value::Value;
use std::path::PathBuf;

/// What is needed to serve HTTPS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsOptions {
    /// PEM file of the certificate and of those between it and a root.
    pub certificate: PathBuf,
    /// PEM file of its private key; may be the same.
    pub private_key: PathBuf,
    /// Cipher suites of TLS 1.2, by IANA name. Those of TLS 1.3 are not a matter of choice, as in Go.
    pub suites: Vec<&'static str>,
    /// Whether TLS 1.2 is served.
    pub tls_12: bool,
    /// Whether TLS 1.3 is served.
    pub tls_13: bool,
}

/// Cipher suites of TLS 1.2 that can be served: Go's name, IANA's.
const SUITES: [(&str, &str); 6] = [
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];
/// Names that change nothing: suites of TLS 1.3, which are always served with it, and a mark that is no suite.
const WITHOUT_EFFECT: [&str; 4] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_FALLBACK_SCSV"];
/// Suites that stock knows and nobody should use any more: no forward secrecy, CBC, RC4 or 3DES.
const WEAK: [&str; 16] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
];

/// The settings; `None` when HTTPS is not asked for.
pub fn https_options(http: &Entry, tls: &Entry, notices: &mut Vec<String>) -> Result<Option<HttpsOptions>, String> {
    let suites = suites(tls.value("ciphers"))?;
    let first = version(tls, "min-version")?.unwrap_or(Version::Tls12);
    let last = version(tls, "max-version")?.unwrap_or(Version::Tls13);
    if !http.value("https-enabled").bool() {
        return Ok(None);
    }
    if last < Version::Tls12 {
        return Err("[tls] max-version: TLS 1.2 and 1.3 are served; older versions are broken".to_owned());
    }
    if first > last {
        return Err("[tls] min-version is above max-version".to_owned());
    }
    if first < Version::Tls12 {
        notices.push("[tls] min-version: TLS 1.2 is the oldest version that is served".to_owned());
    }
    let certificate = PathBuf::from(http.value("https-certificate").text());
    Ok(Some(HttpsOptions {
        private_key: http.value("https-private-key").path().unwrap_or_else(|| certificate.clone()),
        certificate,
        suites: suites?,
        tls_12: first <= Version::Tls12,
        tls_13: last == Version::Tls13,
    }))
}

/// Oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    Older,
    Tls12,
    Tls13,
}

fn version(tls: &Entry, key: &str) -> Result<Option<Version>, String> {
    let text = tls.value(key).text();
    match text.to_ascii_uppercase().as_str() {
        "" => Ok(None),
        "SSL3.0" | "TLS1.0" | "1.0" | "TLS1.1" | "1.1" => Ok(Some(Version::Older)),
        "TLS1.2" | "1.2" => Ok(Some(Version::Tls12)),
        "TLS1.3" | "1.3" => Ok(Some(Version::Tls13)),
        _ => Err(format!("unknown tls version: {text:?}. available versions: SSL3.0, TLS1.0, TLS1.1, TLS1.2, TLS1.3")),
    }
}

/// The suites of TLS 1.2 by IANA name, all when none are named. The outer error is stock's too; the inner one counts
/// only when they are needed.
fn suites(value: &Value) -> Result<Result<Vec<&'static str>, String>, String> {
    let names = if let Value::Texts(names) = value { names.as_slice() } else { &[] };
    if names.is_empty() {
        return Ok(Ok(SUITES.iter().map(|(_, iana)| *iana).collect()));
    }
    let mut chosen = Vec::new();
    let mut refused = None;
    for name in names {
        let upper = name.to_ascii_uppercase();
        if let Some((_, iana)) = SUITES.iter().find(|(go, _)| *go == upper) {
            chosen.push(*iana);
        } else if WEAK.contains(&upper.as_str()) {
            refused.get_or_insert(name);
        } else if !WITHOUT_EFFECT.contains(&upper.as_str()) {
            let mut available = [&SUITES.map(|(go, _)| go)[..], &WITHOUT_EFFECT, &WEAK].concat();
            available.sort_unstable();
            return Err(format!("unknown cipher suite: {name:?}. available ciphers: {}", available.join(", ")));
        }
    }
    Ok(match refused {
        None => Ok(chosen),
        Some(name) => {
            let served = SUITES.map(|(go, _)| go).join(", ");
            Err(format!("[tls] ciphers: {name:?} is not served. Served are {served}, and those of TLS 1.3"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw::Raw;

    fn read(text: &str) -> (Result<Option<HttpsOptions>, String>, Vec<String>) {
        let raw = Raw::read(text.as_bytes()).unwrap();
        let mut notices = Vec::new();
        (https_options(raw.section("http"), raw.section("tls"), &mut notices), notices)
    }

    fn served(tls: &str) -> HttpsOptions {
        read(&format!("[http]\nhttps-enabled = true\n[tls]\n{tls}")).0.unwrap().unwrap()
    }

    fn refused(text: &str) -> String {
        read(text).0.unwrap_err()
    }

    #[test]
    fn nothing_is_asked_for_by_default() {
        assert_eq!(read("").0, Ok(None));
    }

    #[test]
    fn the_key_is_in_the_certificate_file_unless_it_is_named() {
        let options = served("");
        assert_eq!(options.certificate, options.private_key);
        let text = "[http]\nhttps-enabled = true\nhttps-certificate = \"/c\"\nhttps-private-key = \"/k\"\n";
        let options = read(text).0.unwrap().unwrap();
        assert_eq!((options.certificate, options.private_key), (PathBuf::from("/c"), PathBuf::from("/k")));
    }

    #[test]
    fn versions_are_read_in_both_forms_and_old_ones_raised_with_a_notice() {
        let versions = |tls: &str| {
            let options = served(tls);
            (options.tls_12, options.tls_13)
        };
        assert_eq!(versions(""), (true, true));
        assert_eq!(versions("min-version = \"tls1.3\""), (false, true));
        assert_eq!(versions("max-version = \"1.2\""), (true, false));
        assert_eq!(versions("min-version = \"TLS1.0\""), (true, true));
        let (_, notices) = read("[http]\nhttps-enabled = true\n[tls]\nmin-version = \"tls1.1\"");
        assert_eq!(notices, ["[tls] min-version: TLS 1.2 is the oldest version that is served"]);
    }

    #[test]
    fn suites_have_names_of_go_and_those_of_13_are_no_choice() {
        assert_eq!(served("").suites.len(), 6);
        let chacha = "ciphers = [\"tls_ecdhe_rsa_with_chacha20_poly1305\", \"TLS_AES_128_GCM_SHA256\"]";
        assert_eq!(served(chacha).suites, ["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"]);
        assert_eq!(served("ciphers = [\"TLS_AES_128_GCM_SHA256\"]").suites, [""; 0]);
    }

    #[test]
    fn unknown_names_are_refused_always_and_weak_ones_when_they_are_needed() {
        assert!(
            refused("[tls]\nciphers = [\"NONE\"]").starts_with("unknown cipher suite: \"NONE\". available ciphers")
        );
        assert!(refused("[tls]\nmin-version = \"2\"").starts_with("unknown tls version: \"2\". available versions"));
        let weak = "[tls]\nciphers = [\"TLS_RSA_WITH_RC4_128_SHA\"]\n";
        assert_eq!(read(weak).0, Ok(None));
        let text = refused(&format!("[http]\nhttps-enabled = true\n{weak}"));
        assert!(text.contains("\"TLS_RSA_WITH_RC4_128_SHA\" is not served"), "{text}");
        assert!(text.contains("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"), "{text}");
        refused("[http]\nhttps-enabled = true\n[tls]\nmax-version = \"tls1.1\"");
        refused("[http]\nhttps-enabled = true\n[tls]\nmin-version = \"1.3\"\nmax-version = \"1.2\"");
    }
}
