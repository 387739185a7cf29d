//! A CPU profile of the whole process, in the format of pprof.
//!
//! A timer of the process interrupts whichever thread runs; threads that wait do not show. One recording at a time.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use pprof::ProfilerGuard;
use pprof::ProfilerGuardBuilder;
use pprof::protos::Message;

/// Samples a second of CPU time, as Go takes them.
const FREQUENCY_HZ: i32 = 100;
/// Code that must not be interrupted: its locks are not free when the stack is walked.
const NOT_WALKED: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// A profile under way.
pub struct Recording(ProfilerGuard<'static>);

impl Recording {
    /// Starts; the error says that another one is under way, or what the system refuses.
    pub fn start() -> Result<Recording, String> {
        let builder = ProfilerGuardBuilder::default().frequency(FREQUENCY_HZ).blocklist(&NOT_WALKED);
        match builder.build() {
            Ok(guard) => Ok(Recording(guard)),
            Err(pprof::Error::Running) => Err("cpu profiling already in use".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Ends; the profile, packed with gzip. Blocks for as long as it takes to read the symbols of the binary.
    pub fn finish(self) -> Result<Vec<u8>, String> {
        let report = self.0.report().build().map_err(|error| error.to_string())?;
        let profile = report.pprof().map_err(|error| error.to_string())?;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&profile.encode_to_vec()).map_err(|error| error.to_string())?;
        gzip.finish().map_err(|error| error.to_string())
    }
}
