//! Bytes received on one connection and not used yet.
//!
//! Owns:  a large buffer, but only while there is something in it: a connection that waits gives it back to its core
//!        (leftovers up to a few kilobytes move aside), so ten thousand idle clients hold nothing.
//! In:    large reads from the socket, straight into the buffer.
//! Out:   the unused bytes, from the front.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use futures_lite::AsyncRead;

/// Bytes of one read. Larger reads gained nothing over the loopback, smaller ones pay more system calls.
pub const READ_BYTES: usize = 256 << 10;
/// Leftovers this small move aside while a connection waits.
const STASH_BYTES_MAX: usize = 4096;
/// Buffers a core keeps for the next request.
const SPARE_MAX: usize = 16;

/// Buffers that no connection of this core holds now.
#[derive(Debug, Default)]
pub struct Buffers(RefCell<Vec<Vec<u8>>>);

impl Buffers {
    /// A zeroed buffer of [`READ_BYTES`], or one used before.
    pub fn take(&self) -> Vec<u8> {
        let spare = self.0.borrow_mut().pop();
        spare.unwrap_or_else(|| vec![0; READ_BYTES])
    }

    /// Keeps a buffer for the next one who asks; grown ones are freed.
    pub fn give(&self, buffer: Vec<u8>) {
        let mut spare = self.0.borrow_mut();
        if buffer.len() == READ_BYTES && spare.len() < SPARE_MAX {
            spare.push(buffer);
        }
    }
}

/// A window over bytes that arrive at the end and are used at the front.
#[derive(Debug, Default)]
pub struct Window {
    /// Initialised throughout; empty while not held.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The bytes, while the buffer is not held.
    stash: Vec<u8>,
}

impl Window {
    /// The bytes not used yet.
    pub fn filled(&self) -> &[u8] {
        if self.buffer.is_empty() { &self.stash } else { &self.buffer[self.start..self.end] }
    }

    /// Uses `count` bytes from the front.
    pub fn consume(&mut self, count: usize) {
        if self.buffer.is_empty() {
            self.stash.drain(..count);
            return;
        }
        assert!(count <= self.end - self.start, "more consumed than there is");
        self.start += count;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Room behind the bytes, at least one byte: the buffer is taken, compacted or doubled as needed.
    pub fn room(&mut self, buffers: &Buffers) -> &mut [u8] {
        if self.buffer.is_empty() {
            self.buffer = buffers.take();
            let count = self.stash.len();
            self.buffer[..count].copy_from_slice(&self.stash);
            self.stash.clear();
            (self.start, self.end) = (0, count);
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// `count` bytes of [`Window::room`] were written.
    pub fn commit(&mut self, count: usize) {
        self.end += count;
        assert!(self.end <= self.buffer.len(), "more committed than there is room");
    }

    /// Gives the buffer back when its bytes are few enough to move aside.
    pub fn release(&mut self, buffers: &Buffers) {
        if self.buffer.is_empty() || self.end - self.start > STASH_BYTES_MAX {
            return;
        }
        self.stash.clear();
        self.stash.extend_from_slice(&self.buffer[self.start..self.end]);
        if self.stash.is_empty() {
            self.stash = Vec::new();
        }
        buffers.give(std::mem::take(&mut self.buffer));
        (self.start, self.end) = (0, 0);
    }

    /// Reads once from `source`. While it has nothing, the buffer is not held.
    pub fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        buffers: &Buffers,
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(source).poll_read(cx, self.room(buffers));
        match &polled {
            Poll::Ready(Ok(count)) => self.commit(*count),
            Poll::Ready(Err(_)) | Poll::Pending => self.release(buffers),
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(window: &mut Window, buffers: &Buffers, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = window.room(buffers);
            let count = room.len().min(rest.len());
            room[..count].copy_from_slice(&rest[..count]);
            window.commit(count);
            rest = &rest[count..];
        }
    }

    #[test]
    fn bytes_come_out_in_order_whatever_happens_to_the_buffer() {
        let buffers = Buffers::default();
        let mut window = Window::default();
        push(&mut window, &buffers, b"hello ");
        window.consume(1);
        window.release(&buffers);
        assert_eq!(window.filled(), b"ello ");
        window.consume(1);
        push(&mut window, &buffers, b"world");
        assert_eq!(window.filled(), b"llo world");
        window.consume(9);
        assert_eq!(window.filled(), b"");
    }

    #[test]
    fn a_waiting_window_holds_no_buffer_and_a_full_one_grows() {
        let buffers = Buffers::default();
        let mut window = Window::default();
        window.room(&buffers);
        window.release(&buffers);
        assert_eq!((window.buffer.capacity(), buffers.0.borrow().len()), (0, 1));
        push(&mut window, &buffers, &vec![b'x'; READ_BYTES + 1]);
        assert_eq!(window.filled().len(), READ_BYTES + 1);
        window.release(&buffers);
        assert_eq!(window.filled().len(), READ_BYTES + 1, "too much to move aside");
        window.consume(READ_BYTES);
        window.release(&buffers);
        assert_eq!(window.filled(), b"x");
        assert_eq!(buffers.0.borrow().len(), 0, "a grown buffer is not kept");
    }
}
