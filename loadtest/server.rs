//! The servers under test: started with a fresh data directory, measured from outside, ended, started again.
//!
//! Owns:  the child process and its directory; both are gone when a [`Server`] is dropped.
//! In:    which server, and where its program is.
//! Out:   its address, and what the kernel says about it: CPU time, memory, bytes on disk and on their way there.

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
    program: Program,
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
        let config = match program.kind {
            Kind::Millrace => millrace_config(),
            Kind::Stock => stock_config(&directory, address)?,
        };
        fs::write(directory.join("config"), config).map_err(|error| error.to_string())?;
        let child = spawn(program, &directory, address)?;
        let mut server = Server { kind: program.kind, address, program: program.clone(), child, directory, keep };
        server.wait_for_ping()?;
        Ok(server)
    }

    /// Lets Millrace keep a log of this length, and the points in memory, from the next start on; `None`: as installed.
    /// Stock has its own ways.
    pub fn keep_log(&self, bytes: Option<u64>) -> Result<(), String> {
        if self.kind == Kind::Stock {
            return Ok(());
        }
        let config = bytes.map_or_else(millrace_config, millrace_config_of_log);
        fs::write(self.directory.join("config"), config).map_err(|error| error.to_string())
    }

    /// Starts it again with the files it left; does not wait for it.
    pub fn start_again(&mut self) -> Result<(), String> {
        self.child = spawn(&self.program, &self.directory, self.address)?;
        Ok(())
    }

    /// Waits until it answers.
    pub fn wait_for_ping(&mut self) -> Result<(), String> {
        let started = Instant::now();
        while !self.answers_ping()? {
            if started.elapsed() > START_STOP_MAX {
                return Err(format!("{} did not answer /ping in time:\n{}", self.kind.name(), self.log_tail()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Whether it answers 204 to a ping now; an error when it has ended.
    pub fn answers_ping(&mut self) -> Result<bool, String> {
        if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
            return Err(format!("{} ended with {status}:\n{}", self.kind.name(), self.log_tail()));
        }
        let ping = Client::connect(self.address).and_then(|mut client| client.get("/ping"));
        Ok(ping.is_ok_and(|answer| answer.status == 204))
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
        Ok(self.process_value("status", "VmHWM:")? * 1024)
    }

    /// Memory it holds now, in bytes.
    pub fn memory_now(&self) -> Result<u64, String> {
        Ok(self.process_value("status", "VmRSS:")? * 1024)
    }

    /// Bytes it has sent to the device since it started: logs, what they became, and what that was rewritten to.
    pub fn written_bytes(&self) -> Result<u64, String> {
        self.process_value("io", "write_bytes:")
    }

    fn process_value(&self, file: &str, key: &str) -> Result<u64, String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        text.lines()
            .find_map(|line| line.strip_prefix(key))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
            .ok_or_else(|| format!("{path}: no {key}"))
    }

    /// Bytes its files take on the device.
    pub fn disk_bytes(&self) -> u64 {
        let parts: &[&str] = match self.kind {
            Kind::Millrace => &["data"],
            Kind::Stock => &["data", "wal", "meta"],
        };
        parts.iter().map(|part| allocated(&self.directory.join(part))).sum()
    }

    /// Bytes of its logs: what a start has to read again.
    pub fn log_bytes(&self) -> u64 {
        let path = match self.kind {
            Kind::Millrace => "data/wal",
            Kind::Stock => "wal",
        };
        allocated(&self.directory.join(path))
    }

    /// Asks it to stop and waits.
    pub fn stop(&mut self) -> Result<(), String> {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let started = Instant::now();
        while started.elapsed() < START_STOP_MAX {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("{} stopped with {status}", self.kind.name())),
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        Err(format!("{} did not stop in time and was killed", self.kind.name()))
    }

    /// Ends it without a word, as kill -9 does.
    pub fn kill(&mut self) -> Result<(), String> {
        self.child.kill().and_then(|()| self.child.wait()).map_err(|error| error.to_string())?;
        Ok(())
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
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

fn spawn(program: &Program, directory: &Path, address: SocketAddr) -> Result<Child, String> {
    let log = fs::OpenOptions::new().create(true).append(true).open(directory.join("log"));
    let log = log.map_err(|error| error.to_string())?;
    let mut command = Command::new(&program.path);
    command.arg("run").arg("--config").arg(directory.join("config"));
    if program.kind == Kind::Millrace {
        command.arg("--data").arg(directory.join("data")).arg("--bind").arg(address.to_string());
    }
    command
        .args(&program.arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(|error| error.to_string())?)
        .stderr(log)
        .spawn()
        .map_err(|error| format!("{}: {error}", program.path.display()))
}

fn free_address() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map_err(|error| error.to_string())
}

/// When what was written has gone cold. Short only so that files settle soon after the load: stock counts from the last
/// write, so never during it, and Millrace from the first point that is not in a segment, so at most that often.
const COLD: &str = "  cache-snapshot-write-cold-duration = \"15s\"\n  compact-full-write-cold-duration = \"15s\"\n";

/// As installed, without the limits, the access log and the statistics that stock does not have here either.
fn millrace_config() -> String {
    format!(
        "[data]\n{COLD}  query-log-enabled = false\n  max-series-per-database = 0\n  max-values-per-tag = 0\n\
         [monitor]\n  store-enabled = false\n[http]\n  log-enabled = false\n  max-row-limit = 0\n"
    )
}

/// Nothing is flushed before the logs are this long, all together; a point in memory takes up to ten times its place in
/// the log.
fn millrace_config_of_log(bytes: u64) -> String {
    let memory = bytes * 20;
    let config = millrace_config().replace(COLD, "");
    format!("[millrace]\n  log-size = {}\n  memtable-size = {memory}\n{config}", bytes * 2)
}

/// Every acknowledgement synced and no limits, else as installed.
fn stock_config(directory: &Path, address: SocketAddr) -> Result<String, String> {
    let root = directory.display();
    let rpc = free_address()?;
    Ok(format!(
        "reporting-enabled = false\nbind-address = \"{rpc}\"\n\
         [meta]\n  dir = \"{root}/meta\"\n\
         [data]\n{COLD}  dir = \"{root}/data\"\n  wal-dir = \"{root}/wal\"\n  wal-fsync-delay = \"0s\"\n  \
         query-log-enabled = false\n  max-series-per-database = 0\n  max-values-per-tag = 0\n\
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
