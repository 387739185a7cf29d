//! TLS over a socket: the handshake of a new connection, then the same bytes in and out as without.
//!
//! Owns:  the socket and its TLS session.
//! In:    records of the peer, a read of 4 KiB at a time. Out: plain bytes for [`super::conn`], and records for the
//!        peer.
//!
//! Bounds: the session holds 64 KiB of a handshake, one record of plain bytes and 64 KiB to be sent at most. A
//! handshake has one deadline, and runs in a queue that yields to requests: a signature takes milliseconds. A read has
//! one deadline for all records it takes, so that a peer that sends a byte now and then does not last.

use std::future::Future;
use std::future::poll_fn;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;
use std::time::Instant;

use futures_lite::AsyncRead;
use futures_lite::AsyncReadExt;
use futures_lite::AsyncWrite;
use futures_lite::AsyncWriteExt;
use glommio::TaskQueueHandle;
use glommio::net::TcpStream;
use rustls::ServerConfig;
use rustls::ServerConnection;

use crate::http::conn::Transport;
use crate::http::edge::Edge;

/// What Go answers a client that speaks plain HTTP to such a port.
const PLAIN_ANSWER: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// First bytes by which Go knows one.
const PLAIN_STARTS: [&[u8; 5]; 5] = [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO"];

/// How the connections of one core are encrypted.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificate, versions and suites.
    pub config: Arc<ServerConfig>,
    /// Where handshakes run.
    pub queue: TaskQueueHandle,
}

impl Tls {
    /// Shakes hands on `socket`. `None` when that fails, takes too long, or the server stops: `peer` has been told, if
    /// there is a way to tell.
    pub async fn accept<S>(&self, socket: TcpStream, peer: &str, edge: &Rc<Edge<S>>) -> Option<TlsStream> {
        let session = match ServerConnection::new(Arc::clone(&self.config)) {
            Ok(session) => session,
            Err(error) => {
                tracing::error!(target: "httpd", "TLS cannot be served: {error}");
                return None;
            }
        };
        let stream = TlsStream { socket, session, read_until: None, opening: Opening::default() };
        let (deadline, linger) = (edge.options.head_deadline, edge.options.linger);
        let work = stream.shake_hands(deadline, linger);
        let mut work = glommio::spawn_local_into(work, self.queue).expect("the queue lives as long as the core");
        let id = edge.stop().enter();
        let outcome = poll_fn(|cx| {
            if edge.stop().poll_idle(id, cx) {
                return Poll::Ready(None);
            }
            Pin::new(&mut work).poll(cx).map(Some)
        })
        .await;
        edge.stop().leave(id);
        match outcome? {
            Ok(stream) => Some(stream),
            Err(error) => {
                tracing::info!(target: "httpd", "TLS handshake error from {peer}: {error}");
                None
            }
        }
    }
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct TlsStream {
    socket: TcpStream,
    session: ServerConnection,
    /// The end of all waiting for the peer's bytes.
    read_until: Option<Instant>,
    opening: Opening,
}

impl TlsStream {
    async fn shake_hands(mut self, deadline: Duration, linger: Duration) -> io::Result<TlsStream> {
        self.read_until = Some(Instant::now() + deadline);
        Transport::set_write_timeout(&mut self.socket, deadline);
        match self.exchange_flights().await {
            Ok(()) => Ok(self),
            Err(_) if self.opening.is_plain_http() => {
                self.answer_plainly(linger).await;
                Err(io::Error::new(io::ErrorKind::InvalidData, "client sent an HTTP request to an HTTPS server"))
            }
            Err(error) => {
                // The peer is told why, unless it does not listen: its loss.
                self.try_send().await;
                Err(error)
            }
        }
    }

    async fn exchange_flights(&mut self) -> io::Result<()> {
        loop {
            // What ends the handshake for this side may still be on its way, and the tickets behind it.
            poll_fn(|cx| self.poll_send(cx)).await?;
            if !self.session.is_handshaking() {
                return Ok(());
            }
            if poll_fn(|cx| self.poll_receive(cx)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn answer_plainly(&mut self, linger: Duration) {
        let until = Instant::now() + linger;
        let mut unread = [0; 4096];
        if self.socket.write_all(PLAIN_ANSWER).await.is_err() {
            return;
        }
        Transport::shut_write(&mut self.socket).await;
        // Closed with unread bytes, the connection would be reset and the answer lost.
        loop {
            let left = until.saturating_duration_since(Instant::now());
            Transport::set_read_timeout(&mut self.socket, left);
            match self.socket.read(&mut unread).await {
                Ok(count) if count > 0 && !left.is_zero() => {}
                _ => return,
            }
        }
    }

    /// Reads once from the socket and takes what records there are; 0 at the end of the stream.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(until) = self.read_until {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            Transport::set_read_timeout(&mut self.socket, left);
        }
        let count =
            match self.session.read_tls(&mut Receiver { socket: &mut self.socket, opening: &mut self.opening, cx }) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                outcome => outcome?,
            };
        let state = self.session.process_new_packets();
        state.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Poll::Ready(Ok(count))
    }

    /// Sends all that the session has for the peer.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Sender { socket: &mut self.socket, cx }) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                outcome => outcome.map(drop)?,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what the socket takes at once.
    async fn try_send(&mut self) {
        poll_fn(|cx| {
            let _ = self.poll_send(cx);
            Poll::Ready(())
        })
        .await;
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.session.reader().read(&mut buf[filled..]) {
                // The peer has said that nothing more comes.
                Ok(0) => break,
                Ok(count) => {
                    filled += count;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // It went without a word: the same to HTTP, whose messages say how long they are.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Poll::Ready(Err(error)),
            }
            match self.poll_receive(cx) {
                Poll::Ready(Ok(_)) => {}
                // What came before is good; the error comes again.
                _ if filled > 0 => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            // The answer to a change of keys; what the socket does not take goes with the next write.
            if let Poll::Ready(Err(error)) = self.poll_send(cx) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(filled))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // What was taken before has to go first: so the session never holds more than it takes at once.
        ready!(self.poll_send(cx))?;
        let count = self.session.writer().write(buf)?;
        if let Poll::Ready(Err(error)) = self.poll_send(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.send_close_notify();
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.socket).poll_close(cx)
    }
}

impl Transport for TlsStream {
    fn set_read_timeout(&mut self, timeout: Duration) {
        self.read_until = Some(Instant::now() + timeout);
    }

    fn clear_read_timeout(&mut self) {
        self.read_until = None;
        Transport::clear_read_timeout(&mut self.socket);
    }

    fn set_write_timeout(&mut self, timeout: Duration) {
        Transport::set_write_timeout(&mut self.socket, timeout);
    }

    async fn shut_write(&mut self) {
        self.farewell().await;
        // The peer may be gone already; then there is nobody to tell.
        let _ = self.socket.shutdown(Shutdown::Write).await;
    }

    async fn farewell(&mut self) {
        self.session.send_close_notify();
        self.try_send().await;
    }
}

/// The first bytes of a peer, which tell in what it speaks.
#[derive(Debug, Default)]
struct Opening {
    bytes: [u8; 5],
    count: usize,
}

impl Opening {
    fn add(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(self.bytes.len() - self.count);
        self.bytes[self.count..self.count + kept].copy_from_slice(&bytes[..kept]);
        self.count += kept;
    }

    fn is_plain_http(&self) -> bool {
        PLAIN_STARTS.contains(&&self.bytes)
    }
}

/// What the session reads from. A read that has to wait fails with `WouldBlock`, and the task is woken when it is worth
/// another try.
struct Receiver<'a, 'c> {
    socket: &'a mut TcpStream,
    opening: &'a mut Opening,
    cx: &'a mut Context<'c>,
}

impl Read for Receiver<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = or_would_block(Pin::new(&mut *self.socket).poll_read(self.cx, buf))?;
        self.opening.add(&buf[..count]);
        Ok(count)
    }
}

/// What the session writes to, in the same way.
struct Sender<'a, 'c> {
    socket: &'a mut TcpStream,
    cx: &'a mut Context<'c>,
}

impl Write for Sender<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        or_would_block(Pin::new(&mut *self.socket).poll_write(self.cx, buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn or_would_block(polled: Poll<io::Result<usize>>) -> io::Result<usize> {
    match polled {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}
