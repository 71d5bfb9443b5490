//! The I/O thread of a node: how other threads hand it work, and how that work runs.

use std::cell::Cell;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::thread;

use futures_core::Stream;
use futures_util::stream::FuturesUnordered;
use tokio::runtime;
use tokio::runtime::RuntimeFlavor;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::task::LocalSet;

use crate::config::IoThread;
use crate::env;

/// A pump: see [`Router::run`](crate::handle::ports::Router::run).
pub(crate) type PumpFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Something to be done once on the I/O thread, where it may start actors and local tasks.
pub(crate) type Chore = Box<dyn FnOnce() + Send>;

/// Hands work to the I/O thread. Work handed over after the thread has ended is dropped.
///
/// The queues have no bound of their own: a pump belongs to a recipient or a box that exists, and a chore is done once.
#[derive(Debug)]
pub(crate) struct IoHandle {
    pumps: mpsc::UnboundedSender<PumpFuture>,
    chores: mpsc::UnboundedSender<Chore>,
}

/// The receiving end of an [`IoHandle`], driven by [`Io::start`].
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
        // If the thread has ended, the pump is dropped, as the thread would have done.
        let _ = self.pumps.send(pump);
    }

    pub(crate) fn perform(&self, chore: impl FnOnce() + Send + 'static) {
        let _ = self.chores.send(Box::new(chore));
    }
}

impl Io {
    /// Runs until `housekeeping` ends; drops `housekeeping` if the thread ends earlier. Calls `last` when the pumps
    /// have ended as well.
    ///
    /// Runs on the current thread if `thread` asks for it and there is a runtime, otherwise on a new thread; in a
    /// simulation, which has one thread, always on that one. `tie` is dropped when the current thread's runtime ends;
    /// if it has none, when the new thread does.
    ///
    /// # Panics
    /// If it is to run on the current thread, and that thread runs no local tasks.
    #[track_caller]
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
            let drive = async move {
                let _tie = tie;
                self.drive(housekeeping).await;
                last();
            };
            // tokio cannot be asked whether local tasks run here, and its own panic message is no help to an
            // application that starts a node.
            assert!(catch_unwind(AssertUnwindSafe(|| actix_rt::spawn(drive))).is_ok(), "{NO_LOCAL_TASKS}");
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
        let pumping = pump_on(pumps);
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
        // The task ends by being aborted, which is no error here.
        let _ = pumping.await;
    }
}

/// The advice for a runtime without local tasks.
const NO_LOCAL_TASKS: &str = "a node was started in a current-thread tokio runtime without a LocalSet: start it in an actix \
     System (`#[actix::test]`, `System::new().block_on(..)`) or in a `tokio::task::LocalSet`, or give it a thread of its \
     own with `Node::builder().io_thread(IoThread::Own).start()`";

fn pump_on(arriving: mpsc::UnboundedReceiver<PumpFuture>) -> JoinHandle<()> {
    actix_rt::spawn(tokio::task::unconstrained(Pumping::new(arriving)))
}

/// Pumps that are polled before other tasks of the thread get a turn.
const YIELD_AFTER: usize = 256;

/// Runs the pumps, which are as many as there are recipients and published actors: each has a waker of its own, so that
/// only those with something to do are polled.
///
/// It runs outside tokio's cooperative budget and has one of its own, because tokio's does not fit a set of futures: a
/// resource that finds the budget used up wakes its task only when the task has ended its turn. So the set would poll
/// every ready pump in every turn, although only the first 128 achieve anything: n pumps that become ready at once
/// would cost n² / 128 polls. A pump that finds this budget used up wakes itself at once, whereupon the set ends
/// its turn.
struct Pumping {
    arriving: mpsc::UnboundedReceiver<PumpFuture>,
    running: FuturesUnordered<Budgeted>,
    /// Pumps that may still be polled in this turn.
    budget: Rc<Cell<usize>>,
}

impl Pumping {
    fn new(arriving: mpsc::UnboundedReceiver<PumpFuture>) -> Pumping {
        Pumping { arriving, running: FuturesUnordered::new(), budget: Rc::default() }
    }
}

impl Future for Pumping {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.budget.set(YIELD_AFTER);
        for arrived in 1..=YIELD_AFTER {
            let Poll::Ready(Some(pump)) = self.arriving.poll_recv(cx) else { break };
            let budget = Rc::clone(&self.budget);
            self.running.push(Budgeted { pump, budget });
            if arrived == YIELD_AFTER {
                // More may have arrived; they are taken in the next turn.
                cx.waker().wake_by_ref();
            }
        }
        while let Poll::Ready(Some(())) = Pin::new(&mut self.running).poll_next(cx) {}
        Poll::Pending
    }
}

/// A pump, as one of many that share a turn.
struct Budgeted {
    pump: PumpFuture,
    budget: Rc<Cell<usize>>,
}

impl Future for Budgeted {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(left) = self.budget.get().checked_sub(1) else {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        self.budget.set(left);
        // A message whose `Drop` panics ends the pump that it was in, and no other.
        catch_unwind(AssertUnwindSafe(|| self.pump.as_mut().poll(cx))).unwrap_or(Poll::Ready(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    use tokio::sync::oneshot;

    use super::*;

    /// Returns a pump that waits on a oneshot channel, as a watch does, so that tokio counts it against the budget of
    /// the task. Its polls are added to `polls`.
    fn counted(polls: &Arc<AtomicUsize>) -> (oneshot::Sender<()>, PumpFuture) {
        let ((told, mut hear), polls) = (oneshot::channel(), Arc::clone(polls));
        let pump = poll_fn(move |cx| {
            polls.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut hear).poll(cx).map(drop)
        });
        (told, Box::pin(pump))
    }

    /// Has that number of pumps end at once. Returns how often they were polled for that, and how many turns other
    /// tasks had meanwhile.
    fn end_at_once(pumps: usize) -> (usize, usize) {
        let polls = Arc::new(AtomicUsize::new(0));
        let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        LocalSet::new().block_on(&runtime, async {
            let (handle, Io { pumps: arriving, .. }) = io();
            let (told, waiting): (Vec<_>, Vec<_>) = (0..pumps).map(|_| counted(&polls)).unzip();
            waiting.into_iter().for_each(|pump| handle.run(pump));
            let pumping = pump_on(arriving);
            while polls.load(Ordering::Relaxed) < pumps {
                tokio::task::yield_now().await;
            }
            let (before, left) = (polls.swap(0, Ordering::Relaxed), Arc::clone(&polls));
            assert_eq!(before, pumps, "each looks once whether it has to wait");
            drop(told);
            // Each pump is dropped when it has ended. The two tasks that are ready take turns.
            let turns = actix_rt::spawn(async move {
                let mut turns = 0;
                poll_fn(|cx| {
                    turns += 1;
                    cx.waker().wake_by_ref();
                    if Arc::strong_count(&left) == 2 { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                turns
            });
            let turns = turns.await.expect("it ends");
            pumping.abort();
            (polls.load(Ordering::Relaxed), turns)
        })
    }

    #[test]
    fn pumps_that_end_at_once_cost_in_proportion_to_their_number_and_leave_others_their_turns() {
        for pumps in [2_000, 4_000, 8_000] {
            let (polls, turns) = end_at_once(pumps);
            assert!(polls <= 2 * pumps, "{polls} polls for {pumps} pumps");
            assert!(turns >= pumps / YIELD_AFTER, "{turns} turns of others beside {pumps} pumps");
        }
    }
}
