//! Work the clock starts, on core 0: shard groups past retention are dropped, the next ones made in time, and own
//! statistics stored ([`monitor`]).
//!
//! In:    the settings of `[retention]`, `[shard-precreation]` and `[monitor]`.
//! Out:   changes of the catalog; every core drops the partitions of groups that are no longer in it. Writes.
//!
//! A look that fails is reported once and repeated at every tick: nothing is owed in between.

pub mod monitor;

use std::time::Duration;

use crate::mesh::Mesh;
use crate::mesh::MeshError;
use crate::mesh::Request;
use crate::mesh::Response;
use crate::meta::Command;

/// Longest wait for a change of the catalog.
const CHANGE_WAIT: Duration = Duration::from_secs(60);

/// Asks for `command` every `interval`, for as long as the executor runs. A failure that repeats is logged once.
pub async fn repeat(mesh: Mesh, interval: Duration, name: &str, command: Command) {
    let mut last_failure = None;
    loop {
        glommio::timer::sleep(interval).await;
        let failure = match mesh.call(0, Request::Change(Box::new(command.clone())), CHANGE_WAIT).await {
            Ok(Response::Changed(Ok(outcome))) => {
                let (created, dropped) = (outcome.created.len(), outcome.dropped.len());
                if outcome.changed {
                    tracing::info!(created, dropped, "{name}");
                }
                None
            }
            Ok(Response::Changed(Err(error))) => Some(error.to_string()),
            Ok(other) => Some(format!("unexpected answer {other:?}")),
            // The server stops.
            Err(MeshError::Gone(_)) => return,
            Err(error) => Some(error.to_string()),
        };
        match (&failure, &last_failure) {
            (Some(now), before) if Some(now) != before.as_ref() => {
                tracing::error!("{name}: {now}; tried again until it works")
            }
            (None, Some(_)) => tracing::info!("{name}: works again"),
            _ => {}
        }
        last_failure = failure;
    }
}
