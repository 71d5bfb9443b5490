//! The log of the nodes of one thread.

use std::io;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::PoisonError;

use tracing::Dispatch;
use tracing::Subscriber;
use tracing::subscriber::DefaultGuard;
use tracing::subscriber::NoSubscriber;

/// Hears nothing. While there is just one dispatcher, tracing takes a line that some other thread comes upon first to be
/// of interest to nobody, for ever; with this one there are two, whatever the other tests of the process do.
static BYSTANDER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::default()));

/// Has a subscriber hear what is said on this thread, until the guard is dropped.
pub fn hear(subscriber: impl Subscriber + Send + Sync + 'static) -> DefaultGuard {
    LazyLock::force(&BYSTANDER);
    tracing::subscriber::set_default(subscriber)
}

/// The text of a log.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Listens to this thread until the guard is dropped.
    pub fn start(most: tracing::Level) -> (Log, DefaultGuard) {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(most)
            .with_writer(move || writer.clone())
            .finish();
        (log, hear(subscriber))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits for a line that has all of that in it.
    #[track_caller]
    pub fn says(&self, parts: &[&str]) -> impl Future<Output = String> {
        let lines = || self.text();
        super::watched(lines, move |text| text.lines().any(|line| parts.iter().all(|part| line.contains(part))))
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
