//! A stream on which writes fail when the other side takes nothing for too long: hyper bounds the time
//! to read a request's head, and nothing else.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use aquifer_store::Clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// See the module.
pub(super) struct NoStall<IO> {
    io: IO,
    stall_max: Duration,
    clock: Arc<dyn Clock>,
    /// Runs while a write waits.
    patience: Option<Sleep>,
}

impl<IO> fmt::Debug for NoStall<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoStall").finish_non_exhaustive()
    }
}

impl<IO> NoStall<IO> {
    pub(super) fn new(io: IO, stall_max: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            io,
            stall_max,
            clock,
            patience: None,
        }
    }

    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.patience = None;
            return result;
        }
        let (clock, stall_max) = (&self.clock, self.stall_max);
        let patience = self.patience.get_or_insert_with(|| {
            let clock = Arc::clone(clock);
            let until = clock.now().plus(stall_max);
            Box::pin(async move { clock.sleep_until(until).await })
        });
        match patience.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for NoStall<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for NoStall<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.bounded(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, pieces);
        self.bounded(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_flush(cx);
        self.bounded(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use aquifer_store::Ports;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_goes_on_is_waited_for_and_one_that_stops_is_not() {
        let ports = Ports::simulated(1, 0);
        let (ours, mut theirs) = tokio::io::duplex(10);
        let stall_max = Duration::from_secs(5);
        let mut ours = NoStall::new(ours, stall_max, Arc::clone(&ports.clock));
        let reading = async {
            let mut bytes = [0; 10];
            for _ in 0..5 {
                ports.sleep(Duration::from_secs(4)).await;
                theirs.read_exact(&mut bytes).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(ours.write_all(&[1; 60]), reading);
        written.unwrap();
        let began = ports.clock.now();
        let error = ours.write_all(&[1; 10]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(ports.clock.now().since(began), stall_max);
    }
}
