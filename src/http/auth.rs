//! The credentials in a request. Who they belong to is decided below, in [`Services::authenticate`].

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::http::conn::Transport;
use crate::http::error::Failure;
use crate::http::exchange::Exchange;
use crate::http::services::Credentials;
use crate::http::services::Services;
use crate::http::wire::query_string::Parameters;
use crate::query::request::Caller;

/// The caller of a request, or the refusal to answer with.
pub async fn authenticate<T: Transport, S: Services>(exchange: &mut Exchange<'_, T, S>) -> Result<Caller, Failure> {
    let credentials = credentials(&exchange.parameters, exchange.head.header_text("authorization"));
    let caller = exchange.services().authenticate(credentials).await?;
    exchange.user = caller.name().map(str::to_owned);
    Ok(caller)
}

/// Lets administrators through alone.
pub async fn authenticate_admin<T: Transport, S: Services>(exchange: &mut Exchange<'_, T, S>) -> Result<(), Failure> {
    let caller = authenticate(exchange).await?;
    Ok(exchange.services().authorize_admin(&caller)?)
}

/// The first credentials found: `u` and `p` of the address, then the `Authorization` header; the address wins even
/// when it is wrong.
pub fn credentials(parameters: &Parameters, authorization: &str) -> Credentials {
    let (user, password) = (parameters.text("u"), parameters.text("p"));
    if !user.is_empty() && !password.is_empty() {
        return Credentials::Password { user, password };
    }
    match from_header(authorization) {
        Credentials::None if !password.is_empty() => Credentials::Token(password),
        found => found,
    }
}

fn from_header(authorization: &str) -> Credentials {
    // Stock splits at single spaces and wants exactly two parts: a password with a space is not understood.
    let mut parts = authorization.split(' ');
    let (Some(scheme), Some(value), None) = (parts.next(), parts.next(), parts.next()) else {
        return Credentials::None;
    };
    match scheme {
        "Bearer" => Credentials::Bearer(value.to_owned()),
        "Token" => match value.split_once(':') {
            Some((user, password)) => password_of(user, password),
            None => Credentials::Token(value.to_owned()),
        },
        scheme if scheme.eq_ignore_ascii_case("basic") => basic(value),
        _ => Credentials::None,
    }
}

fn basic(value: &str) -> Credentials {
    let decoded = STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().and_then(|text| text.split_once(':')) {
        Some((user, password)) => password_of(user, password),
        None => Credentials::None,
    }
}

fn password_of(user: &str, password: &str) -> Credentials {
    Credentials::Password { user: user.to_owned(), password: password.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, authorization: &str, expected: Credentials) {
        assert_eq!(
            credentials(&Parameters::parse(query.as_bytes()), authorization),
            expected,
            "{query} {authorization}"
        );
    }

    #[test]
    fn credentials_are_found_in_stocks_order() {
        check("u=a&p=b", "Basic eDp5", password_of("a", "b"));
        check("u=a", "Basic eDp5", password_of("x", "y"));
        check("u=a&p=", "basic eDp5", password_of("x", "y"));
        check("p=tok", "", Credentials::Token("tok".into()));
        check("", "Bearer j.w.t", Credentials::Bearer("j.w.t".into()));
        check("", "bearer j.w.t", Credentials::None);
        check("", "Token a:b:c", password_of("a", "b:c"));
        check("", "Token abc", Credentials::Token("abc".into()));
        check("", "token a:b", Credentials::None);
        check("", "Token a:b c", Credentials::None);
        check("", "Basic %%%", Credentials::None);
        check("", "Basic eA==", Credentials::None);
        check("", "Basic OmI=", password_of("", "b"));
        check("", "", Credentials::None);
    }
}
