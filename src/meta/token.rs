//! Bearer tokens: JSON web tokens signed with the shared secret.
//!
//! In:    the token of an `Authorization: Bearer` header, the secret, the time.
//! Out:   the user it names, or the text of its refusal. Whether that user exists is asked of the catalog.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use serde_json::Value;
use sha2::Sha256;
use sha2::Sha384;
use sha2::Sha512;

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant says itself in its text")]
pub enum TokenError {
    #[error("bearer auth disabled")]
    Disabled,
    #[error("token contains an invalid number of segments")]
    Segments,
    #[error("illegal base64 data at input byte {0}")]
    Base64(usize),
    #[error("token is not JSON: {0}")]
    Json(String),
    #[error("signing method (alg) is unavailable.")]
    UnknownAlgorithm,
    #[error("unexpected signing method: {0}")]
    Algorithm(String),
    #[error("signature is invalid")]
    Signature,
    #[error("Token is expired")]
    Expired,
    #[error("Token is not valid yet")]
    NotYetValid,
    #[error("token expiration required")]
    NoExpiration,
    #[error("username in token must be a string")]
    UsernameNotText,
    #[error("token must contain a username")]
    NoUsername,
}

/// Algorithms that are known but not accepted: a signature by anything but the secret proves nothing here.
const FOREIGN: [&str; 10] = ["none", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"];

/// The user that `token` names at `now_s` (seconds since 1970).
pub fn verify(token: &str, secret: &[u8], now_s: i64) -> Result<String, TokenError> {
    if secret.is_empty() {
        return Err(TokenError::Disabled);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::Segments);
    };
    let signed = &token[..header.len() + 1 + claims.len()];
    let header = json(header)?;
    let claims = json(claims)?;
    check_signature(&header, secret, signed.as_bytes(), signature)?;
    check_times(&claims, now_s)?;
    match claims.get("username") {
        Some(Value::String(name)) if name.is_empty() => Err(TokenError::NoUsername),
        Some(Value::String(name)) => Ok(name.clone()),
        _ => Err(TokenError::UsernameNotText),
    }
}

fn json(part: &str) -> Result<Value, TokenError> {
    serde_json::from_slice(&decode(part)?).map_err(|error| TokenError::Json(error.to_string()))
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|error| match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => {
            TokenError::Base64(at)
        }
        _ => TokenError::Base64(part.len()),
    })
}

fn check_signature(header: &Value, secret: &[u8], signed: &[u8], signature: &str) -> Result<(), TokenError> {
    let algorithm = header.get("alg").and_then(Value::as_str).unwrap_or_default();
    let verify: fn(&[u8], &[u8], &[u8]) -> bool = match algorithm {
        "HS256" => holds::<Hmac<Sha256>>,
        "HS384" => holds::<Hmac<Sha384>>,
        "HS512" => holds::<Hmac<Sha512>>,
        foreign if FOREIGN.contains(&foreign) => return Err(TokenError::Algorithm(foreign.to_owned())),
        _ => return Err(TokenError::UnknownAlgorithm),
    };
    if verify(secret, signed, &decode(signature)?) { Ok(()) } else { Err(TokenError::Signature) }
}

fn holds<M: Mac + KeyInit>(secret: &[u8], signed: &[u8], signature: &[u8]) -> bool {
    <M as KeyInit>::new_from_slice(secret).is_ok_and(|mac| mac.chain_update(signed).verify_slice(signature).is_ok())
}

fn check_times(claims: &Value, now_s: i64) -> Result<(), TokenError> {
    let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
    let now = now_s as f64;
    if seconds("exp").is_some_and(|expires| expires != 0.0 && now > expires) {
        return Err(TokenError::Expired);
    }
    if seconds("nbf").is_some_and(|from| now < from) {
        return Err(TokenError::NotYetValid);
    }
    match seconds("exp") {
        Some(expires) if expires > 0.0 => Ok(()),
        _ => Err(TokenError::NoExpiration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"millrace-secret";
    const NOW: i64 = 1_700_000_000;

    fn sign<M: Mac + KeyInit>(header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let mac = <M as KeyInit>::new_from_slice(SECRET).expect("any length").chain_update(&signed).finalize();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.into_bytes()))
    }

    fn check(claims: &str, expected: Result<&str, &str>) {
        let token = sign::<Hmac<Sha256>>(r#"{"alg":"HS256","typ":"JWT"}"#, claims);
        let outcome = verify(&token, SECRET, NOW).map_err(|error| error.to_string());
        assert_eq!(outcome, expected.map(str::to_owned).map_err(str::to_owned), "{claims}");
    }

    #[test]
    fn the_three_hmac_algorithms_are_accepted() {
        let claims = r#"{"username":"bob","exp":1700000060}"#;
        for token in [
            sign::<Hmac<Sha256>>(r#"{"alg":"HS256"}"#, claims),
            sign::<Hmac<Sha384>>(r#"{"alg":"HS384"}"#, claims),
            sign::<Hmac<Sha512>>(r#"{"alg":"HS512"}"#, claims),
        ] {
            assert_eq!(verify(&token, SECRET, NOW), Ok("bob".to_owned()));
            assert_eq!(verify(&token, b"other", NOW), Err(TokenError::Signature));
            assert_eq!(verify(&token, b"", NOW), Err(TokenError::Disabled));
        }
    }

    #[test]
    fn claims_are_checked() {
        check(r#"{"username":"bob","exp":1699999999}"#, Err("Token is expired"));
        check(r#"{"username":"bob","exp":1700000060,"nbf":1700000030}"#, Err("Token is not valid yet"));
        check(r#"{"username":"bob","exp":1700000060,"iat":1700000030}"#, Ok("bob"));
        check(r#"{"username":"bob"}"#, Err("token expiration required"));
        check(r#"{"username":"bob","exp":"soon"}"#, Err("token expiration required"));
        check(r#"{"username":"bob","exp":0}"#, Err("token expiration required"));
        check(r#"{"exp":1700000060}"#, Err("username in token must be a string"));
        check(r#"{"username":5,"exp":1700000060}"#, Err("username in token must be a string"));
        check(r#"{"username":"","exp":1700000060}"#, Err("token must contain a username"));
    }

    #[test]
    fn other_algorithms_and_forms_are_refused() {
        let claims = r#"{"username":"bob","exp":1700000060}"#;
        let text = |token: &str| verify(token, SECRET, NOW).expect_err("refused").to_string();
        let signed = |header: &str| sign::<Hmac<Sha256>>(header, claims);
        assert_eq!(text("a.b"), "token contains an invalid number of segments");
        assert_eq!(text("a.b.c.d"), "token contains an invalid number of segments");
        assert!(text("!!.e30.x").starts_with("illegal base64 data at input byte 0"));
        assert_eq!(text(&signed(r#"{"alg":"none"}"#)), "unexpected signing method: none");
        assert_eq!(text(&signed(r#"{"alg":"RS256"}"#)), "unexpected signing method: RS256");
        assert_eq!(text(&signed(r#"{"alg":"HS9"}"#)), "signing method (alg) is unavailable.");
        assert_eq!(text(&signed("{}")), "signing method (alg) is unavailable.");
    }
}
