//! The servers under test: started with a fresh data directory, measured from outside, stopped.
//!
//! Owns:  the child process and its directory; both are gone when a [`Server`] is dropped.
//! In:    which server, and where its program is.
//! Out:   its address, and what the kernel says about it: CPU time, peak memory, bytes on disk.

use std::fs;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use crate::drive::Client;

/// Longest a server may take to answer its first ping, and to stop.
const START_STOP_MAX: Duration = Duration::from_secs(60);

/// How to get the program we compare with.
pub const STOCK_HELP: &str = "influxd 1.8.10 was not found. Give its path with --influxd PATH, leave it out with \
--only millrace, or install it with Go:\n\n    GOBIN=DIR go install -ldflags \"-X main.version=1.8.10\" \
github.com/influxdata/influxdb/cmd/influxd@v1.8.10\n";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Millrace,
    /// InfluxDB 1.8.10.
    Stock,
}

impl Kind {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Millrace => "millrace",
            Kind::Stock => "influxd",
        }
    }
}

/// A server's program and what to add to its command line.
#[derive(Clone, Debug)]
pub struct Program {
    /// Which server.
    pub kind: Kind,
    /// The executable.
    pub path: PathBuf,
    /// Further arguments.
    pub arguments: Vec<String>,
}

/// A running server.
pub struct Server {
    /// Which server.
    pub kind: Kind,
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    directory: PathBuf,
    keep: bool,
}

impl Server {
    /// Starts a server in a new directory below `parent` and waits until it answers.
    pub fn start(program: &Program, parent: &Path, keep: bool) -> Result<Server, String> {
        let directory = parent.join(format!("{}-{}", program.kind.name(), std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let address = free_address()?;
        let mut command = Command::new(&program.path);
        match program.kind {
            Kind::Millrace => {
                command.arg("run").arg("--data").arg(directory.join("data")).arg("--bind").arg(address.to_string());
            }
            Kind::Stock => {
                let config = directory.join("influxdb.conf");
                fs::write(&config, stock_config(&directory, address)?).map_err(|error| error.to_string())?;
                command.arg("run").arg("-config").arg(config);
            }
        }
        let log_path = directory.join("log");
        let log = fs::File::create(&log_path).map_err(|error| error.to_string())?;
        let child = command
            .args(&program.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", program.path.display()))?;
        let mut server = Server { kind: program.kind, address, child, directory, keep };
        server.wait_for_ping(&log_path)?;
        Ok(server)
    }

    fn wait_for_ping(&mut self, log: &Path) -> Result<(), String> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                return Err(format!("{} ended with {status}:\n{}", self.kind.name(), tail(log)));
            }
            let ping = Client::connect(self.address).and_then(|mut client| client.get("/ping"));
            if ping.is_ok_and(|answer| answer.status == 204) {
                return Ok(());
            }
            if started.elapsed() > START_STOP_MAX {
                return Err(format!("{} did not answer /ping in time:\n{}", self.kind.name(), tail(log)));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// User and system time of all its threads, in seconds.
    pub fn cpu_seconds(&self) -> Result<f64, String> {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        // The second field is the program's name in brackets and may hold anything; utime and stime are fields 14, 15.
        let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let mut ticks = after_name.split_ascii_whitespace().skip(11).take(2).map(|field| field.parse::<u64>());
        match (ticks.next(), ticks.next()) {
            (Some(Ok(user)), Some(Ok(system))) => {
                Ok((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64)
            }
            _ => Err(format!("{path}: not understood")),
        }
    }

    /// Most memory it ever held, in bytes.
    pub fn memory_peak(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        text.lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok())
            .map(|kib| kib * 1024)
            .ok_or_else(|| format!("{path}: no VmHWM"))
    }

    /// Bytes its files take on the device.
    pub fn disk_bytes(&self) -> u64 {
        let parts: &[&str] = match self.kind {
            Kind::Millrace => &["data"],
            Kind::Stock => &["data", "wal", "meta"],
        };
        parts.iter().map(|part| allocated(&self.directory.join(part))).sum()
    }

    /// Asks it to stop and waits.
    pub fn stop(mut self) -> Result<(), String> {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let started = Instant::now();
        while started.elapsed() < START_STOP_MAX {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("{} stopped with {status}", self.kind.name())),
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        Err(format!("{} did not stop in time and was killed", self.kind.name()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !self.keep {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

fn free_address() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map_err(|error| error.to_string())
}

/// Every acknowledgement synced and no limits, else as installed. The two cold durations are short only so that the
/// disk settles soon after the load; during it there is no cold data.
fn stock_config(directory: &Path, address: SocketAddr) -> Result<String, String> {
    let root = directory.display();
    let rpc = free_address()?;
    Ok(format!(
        "reporting-enabled = false\nbind-address = \"{rpc}\"\n\
         [meta]\n  dir = \"{root}/meta\"\n\
         [data]\n  dir = \"{root}/data\"\n  wal-dir = \"{root}/wal\"\n  wal-fsync-delay = \"0s\"\n  \
         query-log-enabled = false\n  max-series-per-database = 0\n  max-values-per-tag = 0\n  \
         cache-snapshot-write-cold-duration = \"5s\"\n  compact-full-write-cold-duration = \"5s\"\n\
         [coordinator]\n  max-select-point = 0\n  max-select-series = 0\n  max-select-buckets = 0\n\
         [monitor]\n  store-enabled = false\n\
         [http]\n  bind-address = \"{address}\"\n  log-enabled = false\n  max-row-limit = 0\n\
         [logging]\n  level = \"error\"\n\
         [continuous_queries]\n  enabled = false\n"
    ))
}

fn allocated(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let mut bytes = metadata.blocks() * 512;
    if metadata.is_dir() {
        bytes += fs::read_dir(path).into_iter().flatten().flatten().map(|entry| allocated(&entry.path())).sum::<u64>();
    }
    bytes
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
