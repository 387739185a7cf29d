//! Certificate and key of HTTPS: two files to what a session is made from, read before anything starts.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS12;
use rustls::version::TLS13;

use crate::config::tls::HttpsOptions;
use crate::server::checks::BootError;

/// What sessions of all cores are made from. Tickets let a client come back to any core without a full handshake.
pub fn load(options: &HttpsOptions) -> Result<Arc<ServerConfig>, BootError> {
    load_or_why(options).map_err(BootError::Https)
}

fn load_or_why(options: &HttpsOptions) -> Result<Arc<ServerConfig>, String> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| {
        let name = suite.suite().as_str();
        suite.tls13().is_some() || name.is_some_and(|name| options.suites.contains(&name))
    });
    let versions = [(options.tls_12, &TLS12), (options.tls_13, &TLS13)];
    let versions: Vec<_> = versions.iter().filter(|(is_served, _)| *is_served).map(|(_, version)| *version).collect();
    let key = certified_key(options, &provider)?;
    let builder = ServerConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&versions);
    let builder = builder.map_err(|_| "[tls] ciphers leaves nothing for the versions that are asked for".to_owned())?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| error.to_string())?;
    Ok(Arc::new(config))
}

fn certified_key(options: &HttpsOptions, provider: &rustls::crypto::CryptoProvider) -> Result<CertifiedKey, String> {
    let path = &options.certificate;
    let place = |problem: &str| format!("https-certificate {}: {problem}", path.display());
    let text = read(path).map_err(|problem| place(&problem))?;
    let chain: Result<Vec<CertificateDer>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| place(&format!("not valid PEM: {error}")))?;
    let Some(leaf) = chain.first() else { return Err(place("holds no certificate in PEM form")) };

    let path = &options.private_key;
    let place = |problem: &str| format!("https-private-key {}: {problem}", path.display());
    let text = read(path).map_err(|problem| place(&problem))?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => place("holds no private key in PEM form"),
        error => place(&format!("not valid PEM: {error}")),
    })?;
    let key = provider.key_provider.load_private_key(key).map_err(|error| place(&error.to_string()))?;
    // A certificate holds its public key as it is. Nothing else of it matters here: whether it is good is for clients
    // to judge, and Go serves old forms too that the usual check cannot read.
    if key.public_key().is_some_and(|public| memchr::memmem::find(leaf, &public).is_none()) {
        return Err(place(&format!("does not belong to the certificate {}", options.certificate.display())));
    }
    Ok(CertifiedKey::new(chain, key))
}

#[allow(clippy::disallowed_methods, reason = "before there is any executor")]
fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| error.to_string())
}
