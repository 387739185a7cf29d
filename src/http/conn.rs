//! One connection on one core: requests one after the other until someone closes.
//!
//! Owns:  the socket, the bytes received and not used, the head of the request in flight.
//! In:    bytes of the peer; a pipelined request waits in the window until the one before is answered.
//! Out:   responses, in order.
//!
//! Waits for the peer, all with a deadline: idle (between requests), head, body (in [`super::exchange`]), write. While
//! it waits it holds no large buffer. The stop flag ends an idle connection at once, a busy one after its answer.

use std::future::Future;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use std::time::Instant;

use futures_lite::AsyncRead;
use futures_lite::AsyncWrite;
use futures_lite::AsyncWriteExt;

use crate::http::edge::Edge;
use crate::http::exchange::Exchange;
use crate::http::input::Window;
use crate::http::route;
use crate::http::services::Services;
use crate::http::wire::head::HeadEnd;
use crate::http::wire::head::HeadError;
use crate::http::wire::head::RequestHead;
use crate::http::wire::response;

/// Response bytes a connection keeps room for between requests.
const OUT_BYTES_KEPT: usize = 16 << 10;

/// A byte stream with deadlines: a socket, or TLS over one.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Longest wait of one read from now on.
    fn set_read_timeout(&mut self, timeout: Duration);
    /// Reads may wait for ever.
    fn clear_read_timeout(&mut self);
    /// Longest wait of one write from now on.
    fn set_write_timeout(&mut self, timeout: Duration);
    /// Sends the end of the stream; reading goes on.
    fn shut_write(&mut self) -> impl Future<Output = ()>;
    /// Tells the peer, without waiting for it, that what was sent is complete, where an end of the stream alone does
    /// not say so.
    fn farewell(&mut self) -> impl Future<Output = ()>;
}

impl Transport for glommio::net::TcpStream {
    fn set_read_timeout(&mut self, timeout: Duration) {
        // Only zero is refused.
        let _ = glommio::net::TcpStream::set_read_timeout(self, Some(timeout.max(Duration::from_millis(1))));
    }

    fn clear_read_timeout(&mut self) {
        let _ = glommio::net::TcpStream::set_read_timeout(self, None);
    }

    fn set_write_timeout(&mut self, timeout: Duration) {
        let _ = glommio::net::TcpStream::set_write_timeout(self, Some(timeout.max(Duration::from_millis(1))));
    }

    async fn shut_write(&mut self) {
        // The peer may be gone already; then there is nobody to tell.
        let _ = glommio::net::TcpStream::shutdown(self, Shutdown::Write).await;
    }

    async fn farewell(&mut self) {}
}

/// Serves one connection until it ends. `peer` is the other side's address, for logs.
pub async fn serve<T: Transport, S: Services>(transport: T, peer: String, edge: Rc<Edge<S>>) {
    let id = edge.stop().enter();
    let mut connection =
        Connection { transport, edge: edge.clone(), peer, id, input: Window::default(), out: Vec::new() };
    connection.run().await;
    connection.transport.farewell().await;
    drop(connection);
    edge.stop().leave(id);
}

/// The state of one connection.
pub struct Connection<T, S> {
    pub(super) transport: T,
    pub(super) edge: Rc<Edge<S>>,
    pub(super) peer: String,
    id: u64,
    pub(super) input: Window,
    /// Response bytes on their way out.
    pub(super) out: Vec<u8>,
}

/// What came instead of a request.
enum NoRequest {
    /// End of the stream, deadline, stop, or a broken connection: nothing to say.
    Silent,
    /// Not a request; this is said and the connection closed.
    Refused(HeadError),
}

impl<T: Transport, S: Services> Connection<T, S> {
    async fn run(&mut self) {
        self.transport.set_write_timeout(self.edge.options.write_deadline);
        let mut head = RequestHead::default();
        loop {
            match self.read_head(&mut head).await {
                Ok(()) => {}
                Err(NoRequest::Silent) => return,
                Err(NoRequest::Refused(error)) => return self.refuse(error).await,
            }
            let mut exchange = Exchange::new(self, &head);
            route::dispatch(&mut exchange).await;
            if !exchange.finish().await {
                return;
            }
            self.out.clear();
            self.out.shrink_to(OUT_BYTES_KEPT);
        }
    }

    /// Waits for the next request and reads its head.
    async fn read_head(&mut self, head: &mut RequestHead) -> Result<(), NoRequest> {
        let mut end = HeadEnd::default();
        let mut deadline = None;
        let mut first = true;
        loop {
            self.skip_blank_lines();
            let filled = self.input.filled();
            // Parsed when it has just begun, so that what is no HTTP is refused early, and when its end is there.
            if !filled.is_empty()
                && (end.find(filled) || std::mem::take(&mut first))
                && let Some(length) = head.parse(filled).map_err(NoRequest::Refused)?
            {
                self.input.consume(length);
                return Ok(());
            }
            if filled.len() >= self.edge.options.head_bytes_max {
                return Err(NoRequest::Refused(HeadError::TooLarge));
            }
            let idle = filled.is_empty();
            let now = Instant::now();
            let until = if idle {
                now + self.edge.options.idle_deadline
            } else {
                *deadline.get_or_insert(now + self.edge.options.head_deadline)
            };
            if now >= until {
                return Err(NoRequest::Silent);
            }
            self.transport.set_read_timeout(until - now);
            match self.fill_unless_stopped(idle).await {
                Some(Ok(count)) if count > 0 => {}
                _ => return Err(NoRequest::Silent),
            }
        }
    }

    /// Some clients send an empty line behind a body.
    fn skip_blank_lines(&mut self) {
        let blank = self.input.filled().iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if blank > 0 {
            self.input.consume(blank);
        }
    }

    /// Reads once; `None` when the server stops and no request has begun.
    async fn fill_unless_stopped(&mut self, idle: bool) -> Option<io::Result<usize>> {
        let result = poll_fn(|cx| {
            if idle && self.edge.stop().poll_idle(self.id, cx) {
                return Poll::Ready(None);
            }
            self.input.poll_fill(cx, &mut self.transport, &self.edge.buffers).map(Some)
        })
        .await;
        if idle {
            self.edge.stop().busy(self.id);
        }
        result
    }

    /// Reads once.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.input.poll_fill(cx, &mut self.transport, &self.edge.buffers)).await
    }

    /// Sends what stands in `out`.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.transport.write_all(&self.out).await?;
        self.transport.flush().await?;
        self.out.clear();
        Ok(())
    }

    /// Waits for `work`, or for the peer to go away: `None`. What the peer sends meanwhile (a pipelined request) is
    /// kept, up to one buffer.
    pub(super) async fn unless_gone<F: Future>(&mut self, work: Pin<&mut F>) -> Option<F::Output> {
        let mut work = work;
        let mut watching = true;
        self.transport.clear_read_timeout();
        poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            while watching {
                if self.input.filled().len() >= crate::http::input::READ_BYTES {
                    watching = false;
                    break;
                }
                match self.input.poll_fill(cx, &mut self.transport, &self.edge.buffers) {
                    Poll::Ready(Ok(count)) if count > 0 => {}
                    Poll::Ready(_) => return Poll::Ready(None),
                    Poll::Pending => break,
                }
            }
            Poll::Pending
        })
        .await
    }

    async fn refuse(&mut self, error: HeadError) {
        self.edge.counters.client_error.add(1);
        let body = error.to_string();
        self.out.clear();
        response::status_line(error.status(), true, &mut self.out);
        response::header("Content-Type", b"text/plain; charset=utf-8", &mut self.out);
        response::header("Connection", b"close", &mut self.out);
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(body.as_bytes());
        if self.flush().await.is_ok() {
            self.linger().await;
        }
    }

    /// Ends the stream and reads on for a moment: closing with unread bytes would reset the connection, and the peer
    /// would lose the answer.
    pub(super) async fn linger(&mut self) {
        self.transport.shut_write().await;
        let until = Instant::now() + self.edge.options.linger;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let unread = self.input.filled().len();
            self.input.consume(unread);
            self.transport.set_read_timeout(left);
            match self.fill().await {
                Ok(count) if count > 0 => {}
                _ => return,
            }
        }
    }
}

impl<T, S> Drop for Connection<T, S> {
    fn drop(&mut self) {
        let unread = self.input.filled().len();
        self.input.consume(unread);
        self.input.release(&self.edge.buffers);
    }
}
