//! `/debug/pprof`: what Go's tools ask a server about itself. There is a CPU profile; the others are of Go's runtime.

use std::pin::pin;
use std::time::Duration;

use futures_channel::oneshot;

use crate::http::conn::Transport;
use crate::http::error::Failure;
use crate::http::exchange::Exchange;
use crate::http::services::Services;
use crate::observe::profile::Recording;

/// How long a profile takes when nothing is said, as with Go.
const SECONDS_DEFAULT: u64 = 30;
/// Longest.
const SECONDS_MAX: u64 = 3600;
const TEXT: &str = "text/plain; charset=utf-8";
const NO_SNIFF: (&str, &[u8]) = ("X-Content-Type-Options", b"nosniff");
/// Profiles that stock has and this server has not.
const OF_GO: [&str; 8] = ["all", "allocs", "block", "goroutine", "heap", "mutex", "threadcreate", "trace"];

const INDEX: &str = "<html>
<head>
<title>/debug/pprof/</title>
</head>
<body>
/debug/pprof/
<br>
Types of profiles available:
<ul>
<li><a href='cmdline'>cmdline</a>: the command line of the running program</li>
<li><a href='profile'>profile</a>: CPU profile; ?seconds= sets how long, then read it with go tool pprof</li>
<li><a href='symbol'>symbol</a>: profiles hold their symbols</li>
</ul>
</body>
</html>
";

/// Answers for whatever stands behind `/debug/pprof`.
pub async fn pprof<T: Transport, S: Services>(exchange: &mut Exchange<'_, T, S>) {
    let path = String::from_utf8_lossy(exchange.head.path()).into_owned();
    let headers = [(NO_SNIFF.0, NO_SNIFF.1.to_vec())];
    match path.strip_prefix("/debug/pprof/").unwrap_or_default() {
        "" => exchange.respond(200, Some("text/html; charset=utf-8"), &headers, INDEX.as_bytes()).await,
        "cmdline" => exchange.respond(200, Some(TEXT), &headers, &command_line()).await,
        "symbol" => exchange.respond(200, Some(TEXT), &headers, b"num_symbols: 1\n").await,
        "profile" => profile(exchange).await,
        name => {
            let text = if OF_GO.contains(&name) { "Not served: a profile of Go's runtime" } else { "Unknown profile" };
            exchange.fail_plain(404, text, &[("X-Go-Pprof", b"1".to_vec())]).await
        }
    }
}

/// Arguments, with a NUL between them.
fn command_line() -> Vec<u8> {
    let arguments: Vec<_> = std::env::args_os().collect();
    let arguments: Vec<&[u8]> = arguments.iter().map(|argument| argument.as_encoded_bytes()).collect();
    arguments.join(&0)
}

async fn profile<T: Transport, S: Services>(exchange: &mut Exchange<'_, T, S>) {
    let seconds = exchange.parameters.text("seconds").parse().unwrap_or(0);
    let seconds = if seconds == 0 { SECONDS_DEFAULT } else { seconds.min(SECONDS_MAX) };
    let recorded = pin!(record(Duration::from_secs(seconds)));
    let Some(recorded) = exchange.unless_gone(recorded).await else { return };
    match recorded {
        Ok(profile) => {
            let name = ("Content-Disposition", b"attachment; filename=\"profile\"".to_vec());
            let headers = [name, (NO_SNIFF.0, NO_SNIFF.1.to_vec())];
            exchange.respond(200, Some("application/octet-stream"), &headers, &profile).await;
        }
        Err(text) => exchange.fail(Failure::new(500, format!("Could not enable CPU profiling: {text}"))).await,
    }
}

async fn record(duration: Duration) -> Result<Vec<u8>, String> {
    let recording = Recording::start()?;
    glommio::timer::sleep(duration).await;
    let (sender, receiver) = oneshot::channel();
    // A thread of its own: reading the symbols takes seconds, and logins wait for the executor's blocking ones.
    let work = move || {
        // Whoever asked may have gone.
        let _ = sender.send(recording.finish());
    };
    std::thread::Builder::new().name("profile".to_owned()).spawn(work).map_err(|error| error.to_string())?;
    receiver.await.unwrap_or_else(|_| Err("the profile was lost".to_owned()))
}
