//! The source of a reader's bytes, and the limits on waiting for them.

use std::io;

use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::reader::Ended;
use crate::config::Limits;
use crate::net::control::frame_pace::FramePace;
use crate::net::peers::unfinished::Unfinished;
use crate::net::peers::unfinished::UnfinishedShare;

/// The reading half of a stream. A peer that has begun a frame or a message has to go on with it, at the pace that the
/// node asks for, and only as long as all peers together have not begun too much.
pub(super) struct Source {
    from: Box<dyn AsyncRead + Send + Unpin>,
    pace: FramePace,
    share: UnfinishedShare,
    /// Whether something was unfinished at the last read.
    is_behind: bool,
}

impl Source {
    pub(super) fn new(from: Box<dyn AsyncRead + Send + Unpin>, limits: &Limits, share: UnfinishedShare) -> Source {
        Source { from, pace: FramePace::new(limits.dead_after, limits.least_rate), share, is_behind: false }
    }

    /// Returns the token that is cancelled when the connection has to go, because its unfinished bytes are too many.
    pub(super) fn expelled(&self) -> CancellationToken {
        self.share.expelled.clone()
    }

    /// Returns the end of a connection that has to go.
    pub(super) fn expulsion(&self) -> Ended {
        self.share.violation().into()
    }

    /// Counts the bytes of incomplete frames and messages before a pause in which nothing is read.
    pub(super) fn note(&mut self, unfinished: Option<Unfinished>) -> Result<(), Ended> {
        self.is_behind |= unfinished.is_some();
        Ok(self.share.note(unfinished.unwrap_or_default(), Instant::now())?)
    }

    /// Reads the bytes that are there, and waits if there are none. Returns how many came, at least one.
    pub(super) async fn read(&mut self, buffer: &mut BytesMut, unfinished: Option<Unfinished>) -> Result<usize, Ended> {
        let came = match unfinished {
            Some(unfinished) => self.read_on(buffer, unfinished).await?,
            None => self.read_next(buffer).await?,
        };
        if came > 0 { Ok(came) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) }
    }

    /// Reads while nothing is unfinished: the peer may be silent for as long as it answers heartbeats.
    async fn read_next(&mut self, buffer: &mut BytesMut) -> Result<usize, Ended> {
        if std::mem::take(&mut self.is_behind) {
            self.pace.settled();
            self.share.note(Unfinished::default(), Instant::now())?;
        }
        Ok(self.from.read_buf(buffer).await?)
    }

    async fn read_on(&mut self, buffer: &mut BytesMut, unfinished: Unfinished) -> Result<usize, Ended> {
        self.is_behind = true;
        self.share.note(unfinished, Instant::now())?;
        loop {
            let (since, turn) = (Instant::now(), self.pace.turn());
            tokio::select! {
                biased;
                came = self.from.read_buf(buffer) => {
                    let came = came?;
                    self.pace.waited(since.elapsed(), came)?;
                    return Ok(came);
                }
                () = self.share.expelled.cancelled() => return Err(self.share.violation().into()),
                () = tokio::time::sleep(turn) => self.pace.waited(turn, 0)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Buf;
    use tokio::io::AsyncWriteExt;
    use tokio::io::DuplexStream;

    use super::*;
    use crate::net::peers::unfinished::UnfinishedFrames;
    use crate::wire::codec::Violation;
    use crate::wire::frames::Front;
    use crate::wire::frames::front;

    const LONGEST: usize = 16 << 20;

    /// Returns a frame of that many bytes, behind its length field.
    fn frame(len: usize) -> Vec<u8> {
        let mut bytes = u32::try_from(len).unwrap().to_le_bytes().to_vec();
        bytes.resize(4 + len, 200);
        bytes
    }

    /// Reads frames as a connection does, and pauses after each read. Returns how many came, and why there were no
    /// more.
    async fn read_all(from: DuplexStream, frames: &Arc<UnfinishedFrames>, pause: Duration) -> (usize, Ended) {
        let mut source = Source::new(Box::new(from), &Limits::default(), frames.share());
        let (mut buffer, mut count) = (BytesMut::new(), 0);
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < Duration::from_secs(100_000), "it is waited for without end");
            while let Ok(Front::Frame(raw)) = front(&buffer, LONGEST) {
                let size = raw.size;
                buffer.advance(size);
                count += 1;
            }
            let mut unfinished = Unfinished::default();
            unfinished.add(buffer.len(), Duration::ZERO);
            let unfinished = (!buffer.is_empty()).then_some(unfinished);
            buffer.reserve(4096);
            match source.read(&mut buffer, unfinished).await {
                Ok(_) => tokio::time::sleep(pause).await,
                Err(ended) => return (count, ended),
            }
        }
    }

    /// Writes the bytes in pieces, a second apart. Returns the seconds until all were written, or nobody read them any
    /// more.
    async fn write_slowly(mut to: DuplexStream, bytes: &[u8], piece: usize) -> u64 {
        let start = Instant::now();
        for piece in bytes.chunks(piece) {
            if to.write_all(piece).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        start.elapsed().as_secs()
    }

    fn frames() -> Arc<UnfinishedFrames> {
        Arc::new(UnfinishedFrames::new(2 * LONGEST))
    }

    fn is_too_slow(ended: &Ended) -> bool {
        matches!(ended, Ended::Violation(Violation::TooSlow { .. }))
    }

    /// It takes twenty-eight minutes.
    #[tokio::test(start_paused = true)]
    async fn the_longest_message_passes_over_a_link_of_10_kilobytes_a_second() {
        let (near, far) = tokio::io::duplex(64 << 10);
        let bytes = frame(LONGEST);
        let all = frames();
        let ((count, ended), took) =
            tokio::join!(read_all(near, &all, Duration::ZERO), write_slowly(far, &bytes, 10_000));
        assert_eq!(count, 1, "{ended:?}");
        assert!(matches!(ended, Ended::Lost(_)), "{ended:?}");
        assert_eq!(took, (bytes.len() / 10_000 + 1) as u64);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_comes_a_byte_at_a_time_is_not_waited_for() {
        let (near, far) = tokio::io::duplex(64 << 10);
        let bytes = frame(1000);
        let all = frames();
        let ((count, ended), took) = tokio::join!(read_all(near, &all, Duration::ZERO), write_slowly(far, &bytes, 1));
        assert!(is_too_slow(&ended) && count == 0, "{ended:?}");
        let grace = Limits::default().dead_after.as_secs();
        assert!((grace..grace + 4).contains(&took), "{took} s");
    }

    /// A reader that takes a minute after each read holds up the writer.
    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_reads_is_not_the_peers() {
        let (near, mut far) = tokio::io::duplex(64);
        let bytes = frame(3000);
        let all = frames();
        let write = async move {
            far.write_all(&bytes).await.unwrap();
        };
        let ((count, ended), ()) = tokio::join!(read_all(near, &all, Duration::from_secs(60)), write);
        assert_eq!(count, 1, "{ended:?}");
        assert!(matches!(ended, Ended::Lost(_)), "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_has_begun_nothing_may_be_silent() {
        let (near, mut far) = tokio::io::duplex(64);
        let all = frames();
        let write = async move {
            for _ in 0..3 {
                far.write_all(&frame(9)).await.unwrap();
                tokio::time::sleep(Duration::from_secs(3600)).await;
            }
        };
        let ((count, ended), ()) = tokio::join!(read_all(near, &all, Duration::ZERO), write);
        assert_eq!(count, 3, "{ended:?}");
        assert!(matches!(ended, Ended::Lost(_)), "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_keeps_most_goes_when_all_have_begun_too_much() {
        let all = Arc::new(UnfinishedFrames::new(1000));
        let [(near, mut waster), (other_near, mut other)] = [(); 2].map(|()| tokio::io::duplex(4096));
        waster.write_all(&frame(5000)[..600]).await.unwrap();
        let write = async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            other.write_all(&frame(900)[..500]).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            other.write_all(&frame(900)[500..]).await.unwrap();
        };
        let (wasted, (count, ended), ()) =
            tokio::join!(read_all(near, &all, Duration::ZERO), read_all(other_near, &all, Duration::ZERO), write);
        assert!(matches!(wasted.1, Ended::Violation(Violation::Unfinished { limit: 1000 })), "{wasted:?}");
        assert_eq!(count, 1, "{ended:?}");
        drop(waster);
    }
}
