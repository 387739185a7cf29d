//! The `Accept` header to one of the media types an answer can have.

use crate::encode::Format;

/// The media type of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// How the body is written.
    pub format: Format,
    /// The `Content-Type` that says so.
    pub content_type: &'static str,
}

/// What can be served, in the order that settles a wildcard.
const OFFERS: [(&str, &str, Accepted); 4] = [
    ("application", "json", Accepted { format: Format::Json, content_type: "application/json" }),
    ("application", "csv", Accepted { format: Format::Csv, content_type: "application/csv" }),
    ("text", "csv", Accepted { format: Format::Csv, content_type: "text/csv" }),
    ("application", "x-msgpack", Accepted { format: Format::MessagePack, content_type: "application/x-msgpack" }),
];

impl Accepted {
    /// The offer that the client likes best; JSON when it likes none.
    pub fn negotiate<'a>(headers: impl Iterator<Item = &'a [u8]>) -> Accepted {
        let mut wishes: Vec<(f64, &str, &str)> = headers
            .filter_map(|header| std::str::from_utf8(header).ok())
            .flat_map(|header| header.split(','))
            .filter_map(parse_wish)
            .collect();
        wishes.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (_, kind, subtype) in wishes {
            let serves = |(offer_kind, offer_subtype, _): &&(&str, &str, Accepted)| {
                (kind == "*" || kind.eq_ignore_ascii_case(offer_kind))
                    && (subtype == "*" || subtype.eq_ignore_ascii_case(offer_subtype))
            };
            if let Some((_, _, accepted)) = OFFERS.iter().find(serves) {
                return *accepted;
            }
        }
        OFFERS[0].2
    }
}

/// Quality, type and subtype of one element. A quality that cannot be read is 0, a missing one 1.
fn parse_wish(element: &str) -> Option<(f64, &str, &str)> {
    let mut parts = element.split(';').map(str::trim);
    let (kind, subtype) = parts.next()?.split_once('/')?;
    let quality = parts
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
        .map_or(1.0, |(_, value)| value.trim().parse().unwrap_or(0.0));
    Some((quality, kind, subtype))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &[&str], expected: &str) {
        let accepted = Accepted::negotiate(accept.iter().map(|header| header.as_bytes()));
        assert_eq!(accepted.content_type, expected, "{accept:?}");
    }

    #[test]
    fn the_best_liked_offer_wins() {
        check(&[], "application/json");
        check(&[""], "application/json");
        check(&["*/*"], "application/json");
        check(&["text/*"], "text/csv");
        check(&["APPLICATION/CSV"], "application/csv");
        check(&["application/json;q=0.5, text/csv"], "text/csv");
        check(&["text/csv;q=0.9"], "text/csv");
        check(&["text/csv, application/json"], "text/csv");
        check(&["application/xml"], "application/json");
        check(&["application/msgpack"], "application/json");
        check(&["application/x-msgpack, */*"], "application/x-msgpack");
        check(&["text/html", "application/x-msgpack"], "application/x-msgpack");
        check(&["text/csv;q=bad, application/x-msgpack;q=0.1"], "application/x-msgpack");
        check(&["application/*;q=0.2"], "application/json");
        check(&[";;,/,a/b;q"], "application/json");
    }
}
