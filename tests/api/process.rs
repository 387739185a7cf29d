//! One server process under test: started on a port of its own, watched until it answers, killed when dropped.
//!
//! Owns:  the child and the file its output goes to.
//! In:    arguments and environment. Out: its address, or what it said when it did not start.

use crate::wire::Client;
use std::fs;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// A start that takes longer is a failure. Debug builds on a loaded machine took up to 3 s.
const START_WAIT_MAX: Duration = Duration::from_secs(60);

/// A running server.
pub struct Process {
    pub child: Child,
    output: PathBuf,
}

/// The binary under test; MILLRACE_BINARY names another one (stock itself, to test the tests).
pub fn binary() -> PathBuf {
    std::env::var_os("MILLRACE_BINARY").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_millrace")), PathBuf::from)
}

impl Process {
    /// Starts `binary` with `arguments`, and returns when `/ping` answers at `address`. Everything it prints goes
    /// to the file `output`. When it ends instead, the error is what it printed.
    pub fn start(
        address: SocketAddr,
        output: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Process, String> {
        let mut process = Process { child: spawn(output, arguments, environment), output: output.to_owned() };
        let deadline = Instant::now() + START_WAIT_MAX;
        while Instant::now() < deadline {
            if let Some(status) = process.child.try_wait().expect("the child is ours to wait for") {
                return Err(format!("{status}\n{}", process.said()));
            }
            if Client::new(address).request("GET", "/ping", &[], None).is_ok() {
                return Ok(process);
            }
            pause();
        }
        Err(format!("no answer at {address} in {START_WAIT_MAX:?}\n{}", process.said()))
    }

    /// What it has printed until now, on both streams.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Ends it at once (SIGKILL): nothing of it runs any more when this returns.
    pub fn kill(&mut self) -> ExitStatus {
        self.child.kill().expect("the child is ours to kill");
        self.child.wait().expect("the child is ours to wait for")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(output: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(output).expect("the output file can be made");
    let mut command = Command::new(binary());
    for (key, _) in std::env::vars_os() {
        // A setting of whoever runs the tests must not reach the server.
        if key.to_string_lossy().starts_with("INFLUXDB_") {
            command.env_remove(key);
        }
    }
    command
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a descriptor can be copied"))
        .stderr(log)
        .spawn()
        .expect("the binary can be started")
}

/// A loopback address nobody listens on. Below the range from which the kernel takes ports of outgoing connections,
/// and never the same twice in one process, so that tests running side by side do not take each other's.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + std::process::id().wrapping_mul(61).wrapping_add(step) % 20_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port as u16));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// The breath between two looks at a state that the server reaches in its own time.
#[allow(clippy::disallowed_methods, reason = "polls another process; nothing else runs on this thread")]
pub fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}
