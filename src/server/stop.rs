//! How the server ends: signals, and the order in which its parts stop.
//!
//! ```text
//! signal -> accept loop ends -> Drain: connections finish -> Close: everything flushed -> Leave: executors end
//! ```
//!
//! A second signal, or a stop that takes too long, ends the process at once: what was acknowledged is in the logs.

use std::process;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;

use futures_channel::oneshot;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

use crate::mesh::Mesh;
use crate::mesh::Request;

/// A stop that takes longer than this is cut short.
const STOP_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long one step may take for one core; two of them fit into the whole.
const STEP_WAIT: Duration = Duration::from_secs(14);

/// The first SIGTERM or SIGINT; the thread that waits for it also watches over the stop.
pub fn on_signal() -> Result<oneshot::Receiver<()>, String> {
    let mut signals =
        Signals::new([SIGTERM, SIGINT]).map_err(|error| format!("signals cannot be received: {error}"))?;
    let (first, told) = oneshot::channel();
    let (forward, forwarded) = mpsc::channel();
    let receive = move || {
        for signal in signals.forever() {
            // Nobody listens once the process is about to end.
            let _ = forward.send(signal);
        }
    };
    let watch = move || {
        let Ok(signal) = forwarded.recv() else { return };
        tracing::info!(signal, "Signal received, stopping");
        let _ = first.send(());
        let reason = match forwarded.recv_timeout(STOP_WAIT_MAX) {
            Ok(_) => "second signal received",
            Err(RecvTimeoutError::Timeout) => "the stop takes too long",
            Err(RecvTimeoutError::Disconnected) => return,
        };
        tracing::error!("{reason}, ending at once; what was acknowledged is in the logs");
        process::exit(1);
    };
    for (name, work) in [("signals", Box::new(receive) as Box<dyn FnOnce() + Send>), ("stop-watch", Box::new(watch))] {
        let started = thread::Builder::new().name(name.to_owned()).spawn(work);
        started.map_err(|error| format!("the thread {name} cannot be started: {error}"))?;
    }
    Ok(told)
}

/// Stops all cores but the calling one's executor, which ends by itself.
pub async fn stop_all(mesh: &Mesh) {
    step(mesh, "drain", || Request::Drain).await;
    step(mesh, "close", || Request::Close).await;
    leave_others(mesh).await;
}

/// Lets the other cores' executors end.
pub async fn leave_others(mesh: &Mesh) {
    for core in 0..mesh.core_count() {
        if core != mesh.core() && mesh.call(core, Request::Leave, STEP_WAIT).await.is_err() {
            tracing::warn!(core, "core did not hear that it shall end");
        }
    }
}

async fn step(mesh: &Mesh, name: &str, request: impl Fn() -> Request) {
    for (core, answer) in mesh.call_all(request, STEP_WAIT).await.into_iter().enumerate() {
        if let Err(error) = answer {
            tracing::error!(core, step = name, "stop: {error}; what was acknowledged is in the logs");
        }
    }
}
