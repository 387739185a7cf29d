//! HTTPS: the same answers over TLS, and peers that do not keep to it.

use crate::harness::Server;
use crate::harness::query_target;
use crate::harness::wait_until;
use crate::wire::Answer;
use crate::wire::connect;
use crate::wire::read_answer;
use flate2::Compression;
use flate2::write::GzEncoder;
use rcgen::CertifiedKey;
use rcgen::KeyPair;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::RootCertStore;
use rustls::StreamOwned;
use rustls::SupportedProtocolVersion;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::version::TLS12;
use rustls::version::TLS13;
use serde_json::json;
use std::fs;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// Files of a certificate for `localhost`.
struct Identity {
    directory: TempDir,
    certificate: CertificateDer<'static>,
}

impl Identity {
    fn new() -> Identity {
        let directory = tempfile::tempdir().unwrap();
        let CertifiedKey { cert, signing_key } = issue();
        fs::write(directory.path().join("cert.pem"), cert.pem()).unwrap();
        fs::write(directory.path().join("key.pem"), signing_key.serialize_pem()).unwrap();
        fs::write(directory.path().join("both.pem"), signing_key.serialize_pem() + &cert.pem()).unwrap();
        Identity { directory, certificate: cert.der().clone() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A configuration that serves these files; `rest` stands behind.
    fn config(&self, certificate: &str, key: &str, rest: &str) -> String {
        let key = if key.is_empty() { String::new() } else { self.path(key).display().to_string() };
        format!(
            "[monitor]\nstore-enabled = false\n[http]\nhttps-enabled = true\nhttps-certificate = \"{}\"\n\
             https-private-key = \"{key}\"\n{rest}",
            self.path(certificate).display(),
        )
    }

    fn connect(&self, server: &Server, versions: &[&'static SupportedProtocolVersion]) -> Connection {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let session = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let socket = connect(server.address).unwrap().into_inner();
        Connection(BufReader::new(StreamOwned::new(session, socket)))
    }
}

fn issue() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

/// A client's end.
struct Connection(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Connection {
    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    fn answer(&mut self, method: &str) -> Answer {
        read_answer(&mut self.0, method).unwrap()
    }

    fn post(&mut self, target: &str, headers: &str, body: &[u8]) -> Answer {
        let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        self.send(&[head.as_bytes(), body].concat());
        self.answer("POST")
    }

    fn query(&mut self, text: &str) -> serde_json::Value {
        serde_json::from_slice(&self.post(&query_target("d", text), "", b"").body).unwrap()
    }

    fn count(&mut self) -> serde_json::Value {
        self.query("SELECT count(f) FROM m")["results"][0]["series"][0]["values"][0][1].clone()
    }
}

fn lines(count: usize) -> String {
    (0..count).map(|n| format!("m,t=a f={n} {n}\n")).collect()
}

#[test]
fn requests_are_answered_over_both_versions_whatever_their_size() {
    let identity = Identity::new();
    let server = Server::start_configured(&identity.config("cert.pem", "key.pem", ""));
    for version in [&TLS12, &TLS13] {
        let mut client = identity.connect(&server, &[version]);
        client.query("DROP DATABASE d; CREATE DATABASE d");
        // 4 MB as they are, then as gzip, on one connection.
        assert_eq!(client.post("/write?db=d", "", lines(200_000).as_bytes()).status, 204);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(lines(250_000).as_bytes()).unwrap();
        let packed = gzip.finish().unwrap();
        assert_eq!(client.post("/write?db=d", "Content-Encoding: gzip\r\n", &packed).status, 204);
        assert_eq!(client.count(), 250_000);
        let session = &client.0.get_ref().conn;
        assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(session.protocol_version(), Some(version.version));

        let target = query_target("d", "SELECT * FROM m") + "&chunked=true&chunk_size=1000";
        let answer = client.post(&target, "", b"");
        let documents: Vec<serde_json::Value> =
            serde_json::Deserializer::from_slice(&answer.body).into_iter().collect::<Result<_, _>>().unwrap();
        assert_eq!(documents.len(), 250);
    }
}

#[test]
fn pipelined_requests_in_any_records_are_answered_in_order_and_the_end_is_said() {
    let identity = Identity::new();
    let server = Server::start_configured(&identity.config("cert.pem", "key.pem", ""));
    let mut client = identity.connect(&server, &[&TLS13]);
    let requests = "GET /ping HTTP/1.1\r\nHost: a\r\n\r\n\
                    GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n\
                    GET /ping HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for piece in requests.as_bytes().chunks(7) {
        client.send(piece);
    }
    assert_eq!(
        [client.answer("GET").status, client.answer("GET").status, client.answer("GET").status],
        [204, 404, 204]
    );
    // An end without close_notify would be an error.
    assert_eq!(client.0.read_to_end(&mut Vec::new()).unwrap(), 0);
}

#[test]
fn plain_http_is_told_so_as_by_go_and_garbage_is_refused() {
    let identity = Identity::new();
    let mut server = Server::start_configured(&identity.config("cert.pem", "key.pem", ""));
    let told = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    for method in ["GET", "HEAD", "POST", "PUT", "OPTIONS"] {
        assert_eq!(server.raw(format!("{method} /ping HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()), told);
    }
    let large = [&b"POST /write HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n"[..], &[b'x'; 100_000]].concat();
    assert_eq!(server.raw(&large), told);
    for garbage in [&b""[..], b"\r\n", b"DELETE / HTTP/1.1\r\n\r\n", &[0; 3], &[0x16; 40_000], &[0xff; 70_000]] {
        let answer = server.raw(garbage);
        // An alert, or nothing.
        assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
    }
    // A record of a handshake whose message claims 16 MB.
    server.raw(&[&[0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff][..], &[0; 0x3ffc]].concat());
    let mut client = identity.connect(&server, &[&TLS13]);
    assert_eq!(client.post("/query?q=SHOW+DATABASES", "", b"").status, 200);
    assert!(server.said().contains("TLS handshake error from 127.0.0.1:"), "{}", server.said());
    drop(client);
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn slow_handshakes_end_at_their_deadline_and_keep_nobody_waiting() {
    let identity = Identity::new();
    let rest = "[millrace]\nhead-timeout = \"300ms\"\nidle-timeout = \"500ms\"\n";
    let mut server = Server::start_configured(&identity.config("cert.pem", "key.pem", rest));
    let mut slow: Vec<_> = (0..50).map(|_| connect(server.address).unwrap()).collect();
    for stream in &mut slow[..25] {
        stream.get_mut().write_all(&[0x16, 3, 1]).unwrap();
    }
    let mut client = identity.connect(&server, &[&TLS13]);
    assert_eq!(client.post("/query?q=SHOW+DATABASES", "", b"").status, 200);
    for mut stream in slow {
        let mut rest = Vec::new();
        // The server's end comes first; this side never sends one.
        stream.read_to_end(&mut rest).unwrap();
    }
    // A byte now and then is no handshake either.
    let mut drip = connect(server.address).unwrap().into_inner();
    drip.set_nodelay(true).unwrap();
    let hello = [&[0x16, 3, 1, 0x20, 0, 1, 0, 0x1f, 0xfc][..], &[0; 8192]].concat();
    let mut sent = hello.iter();
    wait_until("a dripping handshake has ended", || drip.write_all(&[*sent.next().unwrap()]).is_err());
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn a_body_cut_off_without_a_word_is_not_stored() {
    let identity = Identity::new();
    let server = Server::start_configured(&identity.config("both.pem", "", ""));
    let mut client = identity.connect(&server, &[&TLS13]);
    client.query("CREATE DATABASE d");
    assert_eq!(client.post("/write?db=d", "", b"m f=1 1").status, 204);
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let mut broken = identity.connect(&server, &[&TLS13]);
        broken.send(format!("POST /write?db=d HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes());
        broken.send(b"10\r\nm f=1 2\nm f=1 3\n\r\n");
        broken.0.get_mut().sock.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        let _ = broken.0.read_to_end(&mut rest);
    }
    assert_eq!(client.count(), 1);
}

#[test]
fn what_cannot_be_served_is_named_before_anything_starts() {
    let identity = Identity::new();
    fs::write(identity.path("text.pem"), "no certificate\n").unwrap();
    fs::write(identity.path("broken.pem"), "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n").unwrap();
    fs::write(identity.path("other.pem"), issue().signing_key.serialize_pem()).unwrap();
    let refused = |config: String, expected: &str| {
        let mut server = Server::prepare(&["--cores", "1"]);
        server.configure(&config);
        let said = server.try_restart().unwrap_err();
        assert!(said.contains(expected), "{expected:?} is not in {said:?}");
        assert!(!server.data_path().exists(), "nothing has been made");
    };
    refused(identity.config("none.pem", "key.pem", ""), "none.pem: No such file");
    refused(identity.config("cert.pem", "none.pem", ""), "none.pem: No such file");
    refused(identity.config("text.pem", "key.pem", ""), "text.pem: holds no certificate in PEM form");
    refused(identity.config("broken.pem", "key.pem", ""), "broken.pem: not valid PEM");
    refused(identity.config("cert.pem", "", ""), "cert.pem: holds no private key in PEM form");
    refused(identity.config("cert.pem", "other.pem", ""), "other.pem: does not belong to the certificate");
    let weak = "[tls]\nciphers = [\"TLS_RSA_WITH_AES_128_CBC_SHA\"]\n";
    refused(identity.config("cert.pem", "key.pem", weak), "\"TLS_RSA_WITH_AES_128_CBC_SHA\" is not served");
    let nothing = "[tls]\nciphers = [\"TLS_AES_128_GCM_SHA256\"]\nmax-version = \"tls1.2\"\n";
    refused(identity.config("cert.pem", "key.pem", nothing), "leaves nothing");
}

#[test]
fn versions_and_suites_are_those_of_the_settings_and_the_unix_socket_stays_plain() {
    let identity = Identity::new();
    let path = identity.path("influxdb.sock");
    let rest = format!(
        "unix-socket-enabled = true\nbind-socket = \"{}\"\n[tls]\nmin-version = \"tls1.0\"\nmax-version = \"tls1.2\"\n\
         ciphers = [\"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305\"]\n",
        path.display(),
    );
    let server = Server::start_configured(&identity.config("cert.pem", "key.pem", &rest));
    let mut client = identity.connect(&server, &[&TLS13, &TLS12]);
    assert_eq!(client.post("/query?q=SHOW+DATABASES", "", b"").status, 200);
    let suite = client.0.get_ref().conn.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite.as_str(), Some("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"));
    let mut refused = identity.connect(&server, &[&TLS13]);
    assert!(refused.0.get_mut().write_all(b"x").and_then(|()| refused.0.get_mut().flush()).is_err());
    let mut plain = BufReader::new(UnixStream::connect(&path).unwrap());
    plain.get_mut().write_all(b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut plain, "GET").unwrap().status, 204);
    assert_eq!(server.request("GET", "/ping", &[], None).body, b"Client sent an HTTP request to an HTTPS server.\n");
    assert_eq!(client.query("SHOW DATABASES")["results"][0]["statement_id"], json!(0));
}
