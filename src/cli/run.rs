//! `run`: settings, log, checks, then the server until it is told to stop.
//!
//! Order matters: nothing is written and nobody is listened to before everything that can be checked has been.

use super::arguments::RunArguments;
use super::load_config;
use super::logging;
use crate::config::Config;
use crate::config::ConfigError;
use crate::observe::profile::Recording;
use crate::server::boot;
use crate::server::checks;
use crate::server::checks::BootError;
use crate::server::layout;
use crate::server::layout::Layout;
use crate::server::tls;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

/// Shards of a new directory for each core of the machine it is made on: a larger machine may take it over later, and
/// then still has work for each core.
const SHARDS_PER_CORE: u32 = 4;

/// Why a run ended with a failure.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file for the process id.
    #[error("write pid file: {}: {source}", path.display())]
    PidFile {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The profile that was asked for.
    #[error("cpuprofile: {}: {reason}", path.display())]
    CpuProfile {
        /// Where to.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// What must be there before a start.
    #[error("open server: {0}")]
    Boot(#[from] BootError),
    /// While it served.
    #[error("{0}")]
    Server(String),
}

/// What the checks have made definite.
#[derive(Debug)]
pub struct Ground {
    /// Executors.
    pub core_count: u32,
    /// Free a moment ago.
    pub address: SocketAddr,
    /// What TLS sessions are made from, if HTTPS is served.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Ours alone.
    pub layout: Layout,
}

/// Runs the server; returns when it has stopped.
pub fn run(arguments: &RunArguments) -> Result<(), RunError> {
    let config = load_config(&arguments.config)?;
    logging::start(&config.logging);
    tracing::info!(version = super::VERSION_LINE, "Millrace starting");
    for notice in &config.notices {
        tracing::warn!("configuration: {notice}");
    }
    if arguments.memprofile.is_some() {
        tracing::warn!("-memprofile writes nothing here: there is no Go runtime to ask");
    }
    let ground = prepare(&config)?;
    let _pid_file = arguments.pidfile.as_deref().map(PidFile::write).transpose()?;
    let profile = arguments.cpuprofile.as_deref().map(CpuProfile::start).transpose()?;
    boot::run(config, ground.core_count, ground.address, ground.tls, &ground.layout).map_err(RunError::Server)?;
    profile.map_or(Ok(()), CpuProfile::write)
}

/// Runs all checks, cheapest first; the directory last, since it is the only one that changes anything.
pub fn prepare(config: &Config) -> Result<Ground, BootError> {
    let core_count = checks::core_count(config.core_count)?;
    checks::io_uring()?;
    if let Some(notice) = checks::memlock(core_count)? {
        tracing::warn!("{notice}");
    }
    let address = checks::listen_address(&config.http.bind_address)?;
    let tls = config.http.https.as_ref().map(tls::load).transpose()?;
    let machine_count = checks::core_count(None)?;
    let shard_count = config
        .data
        .shard_count
        .unwrap_or_else(|| u16::try_from(machine_count.saturating_mul(SHARDS_PER_CORE)).unwrap_or(u16::MAX));
    let layout = layout::open_or_create(&config.data.dir, shard_count)?;
    let dir = layout.dir.display();
    tracing::info!(%dir, shards = layout.shard_count, new = layout.is_new, "Data directory open");
    Ok(Ground { core_count, address, tls, layout })
}

/// A CPU profile of the whole run, written when the server stops.
struct CpuProfile {
    path: PathBuf,
    recording: Recording,
}

#[allow(clippy::disallowed_methods, reason = "before and after the executors")]
impl CpuProfile {
    fn start(path: &Path) -> Result<CpuProfile, RunError> {
        let refused = |reason: String| RunError::CpuProfile { path: path.to_owned(), reason };
        // Whether it can be written is to be known before the run, not after it.
        std::fs::write(path, b"").map_err(|error| refused(error.to_string()))?;
        let recording = Recording::start().map_err(refused)?;
        Ok(CpuProfile { path: path.to_owned(), recording })
    }

    fn write(self) -> Result<(), RunError> {
        let outcome = self.recording.finish();
        let outcome =
            outcome.and_then(|profile| std::fs::write(&self.path, profile).map_err(|error| error.to_string()));
        outcome.map_err(|reason| RunError::CpuProfile { path: self.path, reason })
    }
}

/// A file with the process id, gone again when the server stops.
struct PidFile {
    path: PathBuf,
}

#[allow(clippy::disallowed_methods, reason = "before and after the executors")]
impl PidFile {
    fn write(path: &Path) -> Result<PidFile, RunError> {
        let outcome = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(path, std::process::id().to_string()));
        outcome.map_err(|source| RunError::PidFile { path: path.to_owned(), source })?;
        Ok(PidFile { path: path.to_owned() })
    }
}

impl Drop for PidFile {
    #[allow(clippy::disallowed_methods, reason = "after the executors")]
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::error!(%error, "Unable to remove pidfile");
        }
    }
}
