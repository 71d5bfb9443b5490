//! The I/O thread of a node: what runs there, and how others have it run.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::thread;

use futures_core::Stream;
use futures_util::FutureExt;
use futures_util::stream::FuturesUnordered;
use tokio::runtime;
use tokio::runtime::RuntimeFlavor;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::config::IoThread;
use crate::env;

/// A pump: see [`Router::run`](crate::handle::ports::Router::run).
pub(crate) type PumpFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Something to be done once on the I/O thread, where it may start actors and local tasks.
pub(crate) type Chore = Box<dyn FnOnce() + Send>;

/// Hands work to the I/O thread. What it is handed after the thread has ended is dropped.
///
/// The queues have no bound of their own: a pump belongs to a recipient or a box that exists, and a chore is done once.
#[derive(Debug)]
pub(crate) struct IoHandle {
    pumps: mpsc::UnboundedSender<PumpFuture>,
    chores: mpsc::UnboundedSender<Chore>,
}

/// The other end, to be driven by [`Io::start`].
pub(crate) struct Io {
    pumps: mpsc::UnboundedReceiver<PumpFuture>,
    chores: mpsc::UnboundedReceiver<Chore>,
}

pub(crate) fn io() -> (IoHandle, Io) {
    let (pumps, pumps_in) = mpsc::unbounded_channel();
    let (chores, chores_in) = mpsc::unbounded_channel();
    (IoHandle { pumps, chores }, Io { pumps: pumps_in, chores: chores_in })
}

impl IoHandle {
    pub(crate) fn run(&self, pump: PumpFuture) {
        // The thread has ended: dropping the pump is what it would do.
        let _ = self.pumps.send(pump);
    }

    pub(crate) fn perform(&self, chore: impl FnOnce() + Send + 'static) {
        let _ = self.chores.send(Box::new(chore));
    }
}

impl Io {
    /// Runs until `housekeeping` ends, which is dropped when the thread ends before. `last` is done when the pumps have
    /// ended after it.
    ///
    /// On the current thread if that is what is wanted and it has a runtime, otherwise on a new one; in a simulation, which
    /// has one thread, always on that. `tie` is
    /// dropped when the current thread's runtime ends; if it has none, when the new thread does.
    pub(crate) fn start<T: Send + 'static>(
        self,
        thread: IoThread,
        housekeeping: impl Future<Output = ()> + Send + 'static,
        last: impl FnOnce() + Send + 'static,
        tie: T,
    ) {
        let current = runtime::Handle::try_current().ok();
        let is_local = current.as_ref().is_some_and(|handle| handle.runtime_flavor() == RuntimeFlavor::CurrentThread);
        if (thread == IoThread::Current || env::is_simulated()) && is_local {
            actix_rt::spawn(async move {
                let _tie = tie;
                self.drive(housekeeping).await;
                last();
            });
            return;
        }
        let mut tie = Some(tie);
        if let Some(current) = current {
            let tie = tie.take();
            current.spawn(async move {
                let _tie = tie;
                std::future::pending::<()>().await;
            });
        }
        let run = move || match runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                let _tie = tie;
                LocalSet::new().block_on(&runtime, self.drive(housekeeping));
                last();
            }
            Err(error) => tracing::error!(target: "actix_hermod", %error, "the node's thread has no runtime"),
        };
        if let Err(error) = thread::Builder::new().name("hermod-io".to_owned()).spawn(run) {
            tracing::error!(target: "actix_hermod", %error, "the node has no thread");
        }
    }

    async fn drive(self, housekeeping: impl Future<Output = ()>) {
        let Io { pumps, mut chores } = self;
        let pumping = actix_rt::spawn(Pumping { arriving: pumps, running: FuturesUnordered::new() });
        let chores = async {
            while let Some(chore) = chores.recv().await {
                chore();
            }
        };
        tokio::select! {
            biased;
            () = housekeeping => {}
            () = chores => {}
        }
        pumping.abort();
        // It ends by being aborted, which is no error here.
        let _ = pumping.await;
    }
}

/// Runs the pumps, which are as many as there are recipients and published actors: each has a waker of its own, so that
/// only those with something to do are looked at.
struct Pumping {
    arriving: mpsc::UnboundedReceiver<PumpFuture>,
    running: FuturesUnordered<PumpFuture>,
}

impl Future for Pumping {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(Some(pump)) = self.arriving.poll_recv(cx) {
            // A message whose `Drop` panics ends the pump that it was in, and no other.
            self.running.push(Box::pin(AssertUnwindSafe(pump).catch_unwind().map(|_| ())));
        }
        while let Poll::Ready(Some(())) = Pin::new(&mut self.running).poll_next(cx) {}
        Poll::Pending
    }
}
