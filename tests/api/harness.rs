//! What black-box cases need: a server with a directory of its own that can be stopped, killed and started again,
//! and requests without ceremony.
//!
//! ```text
//! let mut server = Server::start();
//! server.create("db");
//! assert_eq!(server.write("db", "m f=1 1").status, 204);
//! server.kill();
//! server.restart();
//! assert_eq!(server.rows("db", "SELECT f FROM m"), json!([["1970-01-01T00:00:00.000000001Z", 1]]));
//! ```

use crate::process::Process;
use crate::process::free_address;
use crate::process::pause;
use crate::wire::Answer;
use crate::wire::Client;
use crate::wire::connect;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;
use std::time::Instant;
use tempfile::TempDir;

/// Longest time a stopped server may take to end.
const STOP_WAIT_MAX: Duration = Duration::from_secs(30);

/// A server in a directory that goes away with this value.
pub struct Server {
    process: Option<Process>,
    directory: TempDir,
    pub address: SocketAddr,
    arguments: Vec<String>,
}

impl Server {
    /// Two cores, everything else as built in.
    pub fn start() -> Server {
        Server::start_with(&["--cores", "2"])
    }

    /// With further arguments of `run`; `--data`, `--bind` and `-config` are given already.
    pub fn start_with(arguments: &[&str]) -> Server {
        let mut server = Server::prepare(arguments);
        server.restart();
        server
    }

    /// With a configuration file of this text.
    pub fn start_configured(text: &str) -> Server {
        let mut server = Server::prepare(&["--cores", "2"]);
        server.configure(text);
        server.restart();
        server
    }

    /// Everything but the process: for cases in which the start itself is under test.
    pub fn prepare(arguments: &[&str]) -> Server {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let server = Server { process: None, directory, address: free_address(), arguments };
        std::fs::write(server.config_path(), "[monitor]\nstore-enabled = false\n").expect("the directory is ours");
        server
    }

    /// The directory given as `--data`.
    pub fn data_path(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Its segment files.
    pub fn segment_paths(&self) -> Vec<PathBuf> {
        let folders = std::fs::read_dir(self.data_path()).expect("the server made it").flatten();
        let files = folders.filter_map(|folder| std::fs::read_dir(folder.path()).ok()).flatten().flatten();
        let paths = files.map(|file| file.path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).collect()
    }

    /// Replaces the configuration file; the next start reads it.
    pub fn configure(&mut self, text: &str) {
        std::fs::write(self.config_path(), text).expect("the directory is ours");
    }

    fn config_path(&self) -> PathBuf {
        self.directory.path().join("millrace.conf")
    }

    /// Starts the process (again) on the same directory and address; the error is what it printed.
    pub fn try_restart(&mut self) -> Result<(), String> {
        self.process = None;
        let config = self.config_path().display().to_string();
        let data = self.data_path().display().to_string();
        let bind = self.address.to_string();
        let mut arguments = vec!["run", "-config", &config, "--data", &data, "--bind", &bind];
        arguments.extend(self.arguments.iter().map(String::as_str));
        let output = self.directory.path().join("output");
        self.process = Some(Process::start(self.address, &output, &arguments, &[])?);
        Ok(())
    }

    /// As `try_restart`, where a failure fails the test.
    pub fn restart(&mut self) {
        if let Err(text) = self.try_restart() {
            panic!("the server did not start: {text}");
        }
    }

    /// As `restart`, with other arguments from now on.
    pub fn restart_with(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        self.restart();
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.running().kill();
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        let id = Pid::from_raw(self.running().child.id() as i32).expect("a process id is not zero");
        kill_process(id, Signal::TERM).expect("the child is ours to signal");
        let deadline = Instant::now() + STOP_WAIT_MAX;
        while Instant::now() < deadline {
            if let Some(status) = self.running().child.try_wait().expect("the child is ours to wait for") {
                return status;
            }
            pause();
        }
        panic!("still running {STOP_WAIT_MAX:?} after SIGTERM: {}", self.said());
    }

    /// What the server has printed since it was first started.
    pub fn said(&mut self) -> String {
        self.running().said()
    }

    fn running(&mut self) -> &mut Process {
        self.process.as_mut().expect("the server was started")
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// One request on a connection of its own.
    pub fn request(&self, method: &str, target: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Answer {
        self.client().request(method, target, headers, body).expect("the server answers")
    }

    /// Sends bytes as they are and returns all that comes back until the server closes.
    pub fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = connect(self.address).expect("the server accepts");
        // A server that refuses early may have reset the connection by any of these steps: as good as a close.
        let socket = stream.get_mut();
        let _ = socket.write_all(bytes).and_then(|()| socket.shutdown(Shutdown::Write));
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    /// Line protocol in ns into the default policy.
    pub fn write(&self, database: &str, lines: &str) -> Answer {
        write(&mut self.client(), database, lines).expect("the server answers")
    }

    /// One or more statements; the whole answer.
    pub fn query(&self, database: &str, text: &str) -> Value {
        let answer = self.request("POST", &query_target(database, text), &[], None);
        serde_json::from_slice(&answer.body)
            .unwrap_or_else(|error| panic!("{text}: {} {error}: {:?}", answer.status, answer.body))
    }

    /// The rows of the first series of the first statement; null when there are none.
    pub fn rows(&self, database: &str, text: &str) -> Value {
        let answer = self.query(database, text);
        answer.pointer("/results/0/series/0/values").cloned().unwrap_or(Value::Null)
    }

    /// Makes a database.
    pub fn create(&self, database: &str) {
        let answer = self.query("", &format!("CREATE DATABASE \"{database}\""));
        assert_eq!(answer.pointer("/results/0/error"), None);
    }
}

/// Line protocol in ns over a kept connection; the error is the socket's.
pub fn write(client: &mut Client, database: &str, lines: &str) -> std::io::Result<Answer> {
    let database: String = form_urlencoded::byte_serialize(database.as_bytes()).collect();
    client.request("POST", &format!("/write?db={database}"), &[], Some(lines.as_bytes()))
}

/// Path and query of a statement.
pub fn query_target(database: &str, text: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if !database.is_empty() {
        query.append_pair("db", database);
    }
    query.append_pair("q", text);
    format!("/query?{}", query.finish())
}

/// Longest wait for something that the server does in its own time.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Looks until it is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        pause();
    }
}
