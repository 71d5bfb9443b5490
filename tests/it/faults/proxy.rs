//! A link that does what a test wants: it passes bytes, or as many as it is let, in each direction for itself; it cuts
//! all that it carries, or takes no more; and it counts what has passed.
//!
//! It runs on the test's own thread, beside the nodes there, so that whatever holds up one holds up all of them.

use std::cell::Cell;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use actix_hermod::Endpoint;
use support::transport;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// The most that is passed at a time.
const PIECE: usize = 64 << 10;

/// See the [module](self).
pub(crate) struct Proxy {
    pub(crate) endpoint: String,
    node: Rc<RefCell<String>>,
    /// From those who dial the proxy to the node behind it.
    pub(crate) there: Rc<Direction>,
    /// From the node behind it to those who have dialled.
    pub(crate) back: Rc<Direction>,
    accepted: Rc<Cell<u64>>,
    /// Held by each connection that it carries.
    carried: Rc<()>,
    /// Whether connections are hung up on at once.
    closed: Rc<Cell<bool>>,
    scissors: Rc<Scissors>,
    accepting: JoinHandle<()>,
}

/// A fault for all connections of before, and not for those that come.
#[derive(Default)]
struct Scissors {
    cuts: Cell<u64>,
    cut: Notify,
    /// Of connections that were accepted until then, nothing passes.
    frozen: Cell<u64>,
    thawed: Notify,
}

impl Scissors {
    /// Waits until the connection of that number may pass bytes.
    async fn thawed(&self, number: u64) {
        loop {
            let thawed = self.thawed.notified();
            if self.frozen.get() < number {
                return;
            }
            thawed.await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Proxy {
    /// A link to a node, by which everything passes.
    pub(crate) async fn to(node: impl Into<String>) -> Proxy {
        let node = Rc::new(RefCell::new(node.into()));
        let leads_to = Rc::clone(&node);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = transport::endpoint(listener.local_addr().expect("an address").to_string());
        let (there, back, scissors) = (Direction::free(), Direction::free(), Rc::new(Scissors::default()));
        let (accepted, closed, carried) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)), Rc::new(()));
        let rules = (Rc::clone(&there), Rc::clone(&back), Rc::clone(&scissors));
        let (count, is_closed, one_more) = (Rc::clone(&accepted), Rc::clone(&closed), Rc::downgrade(&carried));
        let accepting = actix::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                count.set(count.get() + 1);
                if is_closed.get() {
                    continue;
                }
                let (there, back, scissors) = rules.clone();
                let (before, number) = (scissors.cuts.get(), count.get());
                let to = leads_to.borrow().clone();
                let Ok(far) = TcpStream::connect(transport::host_and_port(&to)).await else { continue };
                let carried = one_more.upgrade();
                actix::spawn(async move {
                    let _carried = carried;
                    if scissors.cuts.get() == before {
                        tokio::select! {
                            () = scissors.cut.notified() => {}
                            () = carry(near, far, [&there, &back], (&scissors, number)) => {}
                        }
                    }
                });
            }
        });
        Proxy { endpoint, node, there, back, accepted, carried, closed, scissors, accepting }
    }

    /// Leads to another node from the next connection on.
    pub(crate) fn lead_to(&self, node: &Endpoint) {
        *self.node.borrow_mut() = node.to_string();
    }

    /// Breaks all connections; the next pass again.
    pub(crate) fn cut(&self) {
        self.scissors.cuts.set(self.scissors.cuts.get() + 1);
        self.scissors.cut.notify_waiters();
    }

    /// Breaks all connections, and each that comes until it is mended.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.cut();
    }

    /// Nothing passes in either direction, and nobody is told.
    pub(crate) fn stall(&self) {
        self.there.stall();
        self.back.stall();
    }

    /// Of the connections that there are nothing passes any more, and nobody is told; those that come are well.
    pub(crate) fn freeze(&self) {
        self.scissors.frozen.set(self.accepted.get());
    }

    /// The bytes that they have been given pass after all.
    pub(crate) fn thaw(&self) {
        self.scissors.frozen.set(0);
        self.scissors.thawed.notify_waiters();
    }

    /// Everything passes.
    pub(crate) fn mend(&self) {
        self.closed.set(false);
        self.there.open();
        self.back.open();
    }

    /// Connections that were made to it, those that it hung up on included.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.get()
    }

    /// Connections that it carries now.
    pub(crate) fn carried(&self) -> usize {
        Rc::strong_count(&self.carried) - 1
    }
}

/// The bytes let through in one direction, by all connections together.
pub(crate) struct Direction {
    /// Bytes that may still pass; without an end if it is all of them.
    allowed: Cell<usize>,
    piece: Cell<usize>,
    passed: Cell<usize>,
    changed: Notify,
}

impl Direction {
    fn free() -> Rc<Direction> {
        let (allowed, piece, passed) = (Cell::new(usize::MAX), Cell::new(PIECE), Cell::new(0));
        Rc::new(Direction { allowed, piece, passed, changed: Notify::new() })
    }

    /// Nothing passes.
    pub(crate) fn stall(&self) {
        self.allowed.set(0);
        self.changed.notify_waiters();
    }

    /// Everything passes.
    pub(crate) fn open(&self) {
        self.allowed.set(usize::MAX);
        self.changed.notify_waiters();
    }

    /// So many more bytes pass, beside those that were allowed before.
    pub(crate) fn allow(&self, bytes: usize) {
        self.allowed.set(self.allowed.get().saturating_add(bytes));
        self.changed.notify_waiters();
    }

    /// At most so many bytes pass at a time.
    pub(crate) fn in_pieces_of(&self, bytes: usize) {
        self.piece.set(bytes);
    }

    /// Bytes that have passed.
    pub(crate) fn passed(&self) -> usize {
        self.passed.get()
    }

    /// Passes bytes until no more come, which the other end is told then; an error if one of the two is gone.
    async fn pass(
        &self,
        from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        (ice, number): (&Scissors, u64),
    ) -> io::Result<()> {
        let mut bytes = vec![0; PIECE];
        loop {
            let changed = self.changed.notified();
            let most = self.allowed.get().min(self.piece.get());
            if most == 0 {
                changed.await;
                continue;
            }
            tokio::select! {
                biased;
                // The allowance may be less now.
                () = changed => continue,
                ready = from.readable() => ready?,
            }
            ice.thawed(number).await;
            let read = match from.try_read(&mut bytes[..most]) {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                read => read?,
            };
            if self.allowed.get() != usize::MAX {
                self.allowed.set(self.allowed.get().saturating_sub(read));
            }
            to.write_all(&bytes[..read]).await?;
            self.passed.set(self.passed.get() + read);
        }
    }
}

/// Carries bytes both ways until both directions have ended, or one has broken; then both ends are reset.
async fn carry(near: TcpStream, far: TcpStream, [there, back]: [&Direction; 2], ice: (&Scissors, u64)) {
    for end in [&near, &far] {
        // Unread bytes are thrown away, and the other end hears of it at once.
        end.set_zero_linger().expect("a socket option");
        end.set_nodelay(true).expect("a socket option");
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    // A broken connection is reset by being dropped.
    let _ = tokio::try_join!(there.pass(near_in, far_out, ice), back.pass(far_in, near_out, ice));
}
