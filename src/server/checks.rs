//! What must be true before anything starts, each with a complaint that says what to do.
//!
//! Owns:  nothing. Runs on the main thread before any executor exists, so it may block.
//! In:    what the operator asked for. Out: the same made definite (an address, a core count), or a [`BootError`].

use std::io;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

/// Below this glommio refuses to make an executor.
const MEMLOCK_BYTES_MIN: u64 = 512 << 10;
/// What one executor locks: the buffers that glommio registers with its rings, and the rings.
const MEMLOCK_BYTES_PER_CORE: u64 = 11 << 20;
/// How long an address may stay taken before that is an error.
const TAKEN_WAIT: Duration = Duration::from_millis(1500);
const TAKEN_STEP: Duration = Duration::from_millis(20);

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The kernel has no io_uring.
    #[error("this kernel has no io_uring; Linux 5.8 or newer is needed")]
    RingMissing,
    /// io_uring is switched off.
    #[error(
        "io_uring is disabled ({reason}); set kernel.io_uring_disabled=0 with sysctl, \
         or allow the io_uring system calls in the container's seccomp profile"
    )]
    RingDisabled {
        /// Which switch.
        reason: String,
    },
    /// io_uring fails for another reason.
    #[error("io_uring cannot be used: {0}")]
    Ring(io::Error),
    /// Too little memory may be locked.
    #[error(
        "only {limit} bytes of memory may be locked and {needed} are needed; raise the limit \
         (ulimit -l, LimitMEMLOCK= of systemd, --ulimit memlock= of a container)"
    )]
    Memlock {
        /// The hard limit.
        limit: u64,
        /// What would do.
        needed: u64,
    },
    /// More executors than processors.
    #[error("--cores {asked}: this process may run on {available} processors only")]
    Cores {
        /// Wanted.
        asked: u32,
        /// There are.
        available: u32,
    },
    /// The address cannot be understood or found.
    #[error("bind address {text}: {source}")]
    Address {
        /// As given.
        text: String,
        /// Why.
        source: io::Error,
    },
    /// HTTPS cannot be served as asked.
    #[error("HTTPS: {0}")]
    Https(String),
    /// Somebody listens there.
    #[error("address {0} is already in use; stop what listens there or choose another with --bind")]
    AddressTaken(SocketAddr),
    /// Listening fails for another reason.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The data directory cannot be made, or is not a directory.
    #[error("data directory {}: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing can be written there.
    #[error("data directory {} is not writable: {source}", path.display())]
    DirectoryReadOnly {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another server has it open.
    #[error("data directory {} is in use by another process{}", path.display(), holder(owner))]
    DirectoryLocked {
        /// Which.
        path: PathBuf,
        /// Process id that the lock file names; empty when it names none.
        owner: String,
    },
    /// It holds something else.
    #[error(
        "data directory {} holds files but no FORMAT file, so it is not Millrace's ({example}); \
         choose another directory",
        path.display()
    )]
    DirectoryForeign {
        /// Which.
        path: PathBuf,
        /// One of the files.
        example: String,
    },
    /// Nothing says that it is a data directory.
    #[error("{} holds no FORMAT file, so it is not a data directory of Millrace", path.display())]
    DirectoryUnknown {
        /// Which.
        path: PathBuf,
    },
    /// A newer version wrote it.
    #[error(
        "data directory {} has format {found}, this version reads up to {known}; \
         use the version that wrote it, or newer",
        path.display()
    )]
    FormatNewer {
        /// Which.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest known here.
        known: u64,
    },
    /// The file that tells the format is damaged.
    #[error("{}: {problem}", path.display())]
    FormatDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

fn holder(owner: &str) -> String {
    if owner.is_empty() { String::new() } else { format!(" (process {owner})") }
}

/// Asks the kernel for a small ring.
pub fn io_uring() -> Result<(), BootError> {
    #[allow(clippy::disallowed_methods, reason = "before any executor exists")]
    let switch = || std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match io_uring::IoUring::new(2) {
        Ok(_) => Ok(()),
        Err(error) => Err(ring_error(error, switch().trim())),
    }
}

/// `switch` is the content of kernel.io_uring_disabled; empty on kernels without that setting.
fn ring_error(error: io::Error, switch: &str) -> BootError {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => BootError::RingMissing,
        Some(libc::EPERM | libc::EACCES) => {
            let reason = match switch {
                "" | "0" => "the system call is not permitted".to_owned(),
                value => format!("kernel.io_uring_disabled is {value}"),
            };
            BootError::RingDisabled { reason }
        }
        _ => BootError::Ring(error),
    }
}

/// Raises the limit on locked memory as far as allowed. A line for the log when it stays small.
pub fn memlock(core_count: u32) -> Result<Option<String>, BootError> {
    use rustix::process::Resource;
    use rustix::process::Rlimit;
    let wanted = u64::from(core_count).saturating_mul(MEMLOCK_BYTES_PER_CORE);
    let before = rustix::process::getrlimit(Resource::Memlock);
    if before.current.is_none_or(|bytes| bytes >= wanted) {
        return Ok(None);
    }
    // Unlimited is for the privileged; everybody may go up to the hard limit.
    for maximum in [None, before.maximum] {
        if rustix::process::setrlimit(Resource::Memlock, Rlimit { current: maximum, maximum }).is_ok() {
            break;
        }
    }
    judge_memlock(rustix::process::getrlimit(Resource::Memlock).current, wanted)
}

fn judge_memlock(limit: Option<u64>, wanted: u64) -> Result<Option<String>, BootError> {
    match limit {
        Some(limit) if limit < MEMLOCK_BYTES_MIN => Err(BootError::Memlock { limit, needed: wanted }),
        Some(limit) if limit < wanted => Ok(Some(format!(
            "{limit} bytes of memory may be locked, {wanted} are wanted: I/O buffers are not registered with the kernel"
        ))),
        _ => Ok(None),
    }
}

/// How many executors to run: as asked, or one for each processor this process may use.
pub fn core_count(asked: Option<u32>) -> Result<u32, BootError> {
    let available = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    match asked {
        None => Ok(available),
        Some(asked) if asked > available => Err(BootError::Cores { asked, available }),
        Some(asked) => Ok(asked),
    }
}

/// Turns `host:port` into an address on which nobody listens. No host means every address of the machine; port 0
/// means any free port. Tried without SO_REUSEPORT: the executors share their port with each other, and must not
/// share it with another server.
pub fn listen_address(text: &str) -> Result<SocketAddr, BootError> {
    let wrong = |source| BootError::Address { text: text.to_owned(), source };
    if let Some(port) = text.strip_prefix(':') {
        let port = port.parse::<u16>().map_err(|error| wrong(io::Error::new(ErrorKind::InvalidInput, error)))?;
        // Both families at once where the machine has IPv6.
        return match probe(SocketAddr::from(([0_u16; 8], port))) {
            Err(BootError::Listen { source, .. })
                if matches!(source.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) =>
            {
                probe(SocketAddr::from(([0_u8; 4], port)))
            }
            outcome => outcome,
        };
    }
    let nothing = || io::Error::new(ErrorKind::NotFound, "the name has no address");
    let address = text.to_socket_addrs().map_err(wrong)?.next().ok_or_else(nothing).map_err(wrong)?;
    probe(address)
}

/// The addresses that `host:port` may mean, best first; no host means every address of the machine.
pub fn addresses(text: &str) -> io::Result<Vec<SocketAddr>> {
    let Some(port) = text.strip_prefix(':') else { return Ok(text.to_socket_addrs()?.collect()) };
    let port = port.parse::<u16>().map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
    Ok(vec![SocketAddr::from(([0_u16; 8], port)), SocketAddr::from(([0_u8; 4], port))])
}

/// A killed server's socket outlives it for a moment, as long as the kernel takes to end its rings.
#[allow(clippy::disallowed_methods, reason = "before there is any executor")]
fn probe(address: SocketAddr) -> Result<SocketAddr, BootError> {
    let bind = || TcpListener::bind(address).and_then(|listener| listener.local_addr());
    let until = Instant::now() + TAKEN_WAIT;
    let mut outcome = bind();
    while outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::AddrInUse) && Instant::now() < until {
        std::thread::sleep(TAKEN_STEP);
        outcome = bind();
    }
    outcome.map_err(|source| match source.kind() {
        ErrorKind::AddrInUse => BootError::AddressTaken(address),
        _ => BootError::Listen { address, source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_ring_tells_its_switch() {
        let check = |code, switch, expected: &str| {
            let text = ring_error(io::Error::from_raw_os_error(code), switch).to_string();
            assert!(text.contains(expected), "{text}");
        };
        check(libc::ENOSYS, "", "no io_uring");
        check(libc::EPERM, "2", "kernel.io_uring_disabled is 2");
        check(libc::EPERM, "0", "not permitted");
        check(libc::EPERM, "", "not permitted");
        check(libc::ENOMEM, "0", "cannot be used");
    }

    #[test]
    fn locked_memory_is_judged_by_what_executors_need() {
        assert!(matches!(judge_memlock(None, 1 << 30), Ok(None)));
        assert!(matches!(judge_memlock(Some(1 << 30), 1 << 30), Ok(None)));
        assert!(matches!(judge_memlock(Some(8 << 20), 1 << 30), Ok(Some(_))));
        let error = judge_memlock(Some(65_536), 11 << 20).unwrap_err().to_string();
        assert!(error.starts_with("only 65536 bytes of memory may be locked and 11534336 are needed"), "{error}");
    }

    #[test]
    fn more_cores_than_processors_are_refused() {
        assert!(core_count(None).unwrap() >= 1);
        assert_eq!(core_count(Some(1)).unwrap(), 1);
        assert!(core_count(Some(100_000)).unwrap_err().to_string().starts_with("--cores 100000: "));
    }

    #[test]
    fn a_taken_address_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = listen_address(&address.to_string()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("address {address} is already in use")), "{error}");
    }

    #[test]
    fn an_address_without_a_host_is_every_address() {
        let address = listen_address(":0").unwrap();
        assert!(address.ip().is_unspecified());
        assert_ne!(address.port(), 0);
    }

    #[test]
    fn what_is_no_address_is_named() {
        for text in ["nonsense", "127.0.0.1:port", ":99999", "256.1.1.1:1"] {
            let error = listen_address(text).unwrap_err();
            assert!(error.to_string().starts_with(&format!("bind address {text}: ")), "{error}");
        }
    }
}
