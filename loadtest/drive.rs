//! Sends a workload over kept connections and measures what comes back; a small HTTP/1.1 client for that.
//!
//! In:    requests ready to send, an address.
//! Out:   [`Load`]: how long it took, the latency of each request until it was acknowledged, and what was retried.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use hdrhistogram::Histogram;

use crate::generate;
use crate::generate::Body;

/// Longest a server may take over one request.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(120);
/// Pause before the first retry; doubled each time up to [`BACKOFF_MAX`].
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Between two lines of the small writer.
const SMALL_PAUSE: Duration = Duration::from_millis(10);

/// What was measured while a workload was sent.
pub struct Load {
    /// From the first byte sent to the last acknowledgement.
    pub seconds: f64,
    /// Microseconds from the first try to the acknowledgement, for each request.
    pub latency: Histogram<u64>,
    /// Requests that were sent again after a 500 or 503.
    pub retries: u64,
    /// The same latency for the small writer beside them, if there was one.
    pub small: Option<Histogram<u64>>,
}

/// One answer.
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The body, unchunked.
    pub body: Vec<u8>,
}

/// One kept connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WAIT_MAX))?;
        stream.set_write_timeout(Some(ANSWER_WAIT_MAX))?;
        Ok(Client { stream: BufReader::new(stream) })
    }

    /// Sends one request, head and body.
    pub fn send(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.get_mut().write_all(request)?;
        self.answer()
    }

    /// `GET` on a path that is already escaped.
    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: loadtest\r\n\r\n").as_bytes())
    }

    /// Runs a query; statements that change something need `POST`, which every statement accepts.
    pub fn query(&mut self, database: &str, text: &str) -> io::Result<Answer> {
        let escaped: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let head = "HTTP/1.1\r\nHost: loadtest\r\nContent-Length: 0\r\n\r\n";
        self.send(format!("POST /query?epoch=ns&db={database}&q={escaped} {head}").as_bytes())
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| malformed(&status_line))?;
        let mut length = None;
        let mut chunked = false;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| malformed(&line))?;
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse::<usize>().map_err(|_| malformed(&line))?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = value.trim().eq_ignore_ascii_case("chunked");
            }
        }
        let mut body = Vec::new();
        match (chunked, length) {
            (true, _) => self.chunks(&mut body)?,
            (false, Some(length)) => {
                body.resize(length, 0);
                self.stream.read_exact(&mut body)?;
            }
            (false, None) if status == 204 || status == 304 => {}
            (false, None) => {
                self.stream.read_to_end(&mut body)?;
            }
        }
        Ok(Answer { status, body })
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or("").trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| malformed(&line))?;
            let start = body.len();
            body.resize(start + size, 0);
            self.stream.read_exact(&mut body[start..])?;
            while !self.line()?.is_empty() {}
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

fn malformed(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not an HTTP answer: {line}"))
}

/// How to send.
pub struct Options {
    /// Connections, each with one request under way.
    pub connections: usize,
    /// How often one request is sent again before the run is given up.
    pub retries_max: u32,
    /// No faster than this; as fast as it goes when not given.
    pub lines_per_second: Option<u64>,
    /// One more connection writes a line of another measurement every [`SMALL_PAUSE`]: what others notice of the load.
    pub small_writer: bool,
}

/// Sends all bodies; each connection takes the next one that nobody has taken, so they arrive about in order.
pub fn run(
    address: SocketAddr,
    bodies: &[Body],
    options: &Options,
    progress: impl Fn(u64) + Sync,
) -> Result<Load, String> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let mut clients = Vec::new();
    for _ in 0..options.connections {
        clients.push(Client::connect(address).map_err(|error| format!("connecting to {address}: {error}"))?);
    }
    let mut beside = match options.small_writer {
        true => Some(Client::connect(address).map_err(|error| format!("connecting to {address}: {error}"))?),
        false => None,
    };
    let done = AtomicBool::new(false);
    let started = Instant::now();
    let connection = |mut client: Client| {
        let mut latency = histogram();
        let mut retries = 0;
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(body) = bodies.get(index) else { break };
            if let Some(rate) = options.lines_per_second {
                let due = Duration::from_secs_f64(index as f64 * bodies[0].lines as f64 / rate as f64);
                std::thread::sleep(due.saturating_sub(started.elapsed()));
            }
            let sent = Instant::now();
            match acknowledged(&mut client, &body.request, options.retries_max) {
                Ok(count) => retries += count,
                Err(text) => {
                    failed.store(true, Ordering::Relaxed);
                    return Err(text);
                }
            }
            latency.saturating_record(sent.elapsed().as_micros() as u64);
            progress(body.lines);
        }
        Ok((latency, retries))
    };
    let connection = &connection;
    type Part = Result<(Histogram<u64>, u64), String>;
    let (parts, seconds, small) = std::thread::scope(|scope| {
        let small = beside.as_mut().map(|client| scope.spawn(|| small_writer(client, &done, options.retries_max)));
        let threads: Vec<_> = clients.into_iter().map(|client| scope.spawn(move || connection(client))).collect();
        let parts: Vec<Part> =
            threads.into_iter().map(|thread| thread.join().expect("a sender does not panic")).collect();
        let seconds = started.elapsed().as_secs_f64();
        done.store(true, Ordering::Relaxed);
        (parts, seconds, small.map(|thread| thread.join().expect("a sender does not panic")))
    });
    let mut load = Load { seconds, latency: histogram(), retries: 0, small: small.transpose()? };
    for part in parts {
        let (latency, retries) = part?;
        load.latency.add(latency).expect("both have the same bounds");
        load.retries += retries;
    }
    Ok(load)
}

/// Writes a line at a time until `done`; how long each took.
fn small_writer(client: &mut Client, done: &AtomicBool, retries_max: u32) -> Result<Histogram<u64>, String> {
    let mut latency = histogram();
    let mut time = generate::START_NS;
    while !done.load(Ordering::Relaxed) {
        let line = format!("beside,writer=small value=1i {time}\n");
        let request = generate::request(line.as_bytes(), 1).request;
        let sent = Instant::now();
        acknowledged(client, &request, retries_max)?;
        latency.saturating_record(sent.elapsed().as_micros() as u64);
        time += generate::STEP_NS;
        std::thread::sleep(SMALL_PAUSE);
    }
    Ok(latency)
}

/// Sends one request until it is acknowledged; how often it had to be sent again.
fn acknowledged(client: &mut Client, request: &[u8], retries_max: u32) -> Result<u64, String> {
    let mut pause = BACKOFF_FIRST;
    for retry in 0.. {
        let answer = client.send(request).map_err(|error| format!("writing: {error}"))?;
        match answer.status {
            204 => return Ok(u64::from(retry)),
            500 | 503 if retry < retries_max => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(BACKOFF_MAX);
            }
            status => return Err(format!("writing: {status} {}", String::from_utf8_lossy(&answer.body))),
        }
    }
    unreachable!("the last retry returns")
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are in order")
}
