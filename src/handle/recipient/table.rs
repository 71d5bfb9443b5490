//! The recipients of one node, by the origin of their pointers: equal pointers have equal recipients.
//!
//! Two actix recipients are equal if they lead into one channel. So a recipient that is held is found here for each
//! equal pointer of its node and the same type of messages, however the pointer came.
//!
//! There is an entry for each recipient that is held. A pump removes its own when the recipient is not held any more;
//! the entry of a recipient that leads nowhere any more stays, so that the recipient can still be found in a set, and
//! is removed soon after the recipient has gone.

use std::any::Any;
use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Weak;

use actix::Recipient;
use actix::WeakRecipient;
use parking_lot::Mutex;

use super::queue::RecipientQueue;
use crate::handle::pointer::Pointer;
use crate::handle::pointer::identity::Origin;
use crate::handle::ports::ExportKey;
use crate::message::RemoteMessage;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct ProxyTable {
    state: Mutex<TableState>,
}

#[derive(Debug, Default)]
struct TableState {
    /// Entries of recipients with a pump. They are searched for each recipient that a message brings: comparing a few
    /// places costs less than hashing one.
    proxies: BTreeMap<Place, Entry>,
    /// Entries of recipients that lead nowhere any more, apart from the others, so that a search for unheld ones does
    /// not touch the rest; and the number of those held at the last search.
    ended: BTreeMap<Place, Entry>,
    ended_held: usize,
}

/// The key of a recipient: the type of its messages, and the origin of its pointer.
type Place = (TypeId, Origin);

struct Entry {
    key: ExportKey,
    proxy: Box<dyn AnyProxy>,
}

/// A weak reference to a recipient, whatever its type.
trait AnyProxy: Any + Send {
    fn is_held(&self) -> bool;
}

struct Proxy<M: RemoteMessage> {
    recipient: WeakRecipient<M>,
    queue: Weak<RecipientQueue<M>>,
}

impl<M: RemoteMessage> AnyProxy for Proxy<M> {
    fn is_held(&self) -> bool {
        self.recipient.upgrade().is_some()
    }
}

/// A recipient that is held and, while it has a pump, its queue.
type Upgraded<M> = (Recipient<M>, Option<Arc<RecipientQueue<M>>>);

/// A recipient, and the queue that needs a pump if the recipient is new.
pub(super) enum Found<M: RemoteMessage> {
    Known(Recipient<M>),
    New(Recipient<M>, Arc<RecipientQueue<M>>),
}

impl ProxyTable {
    /// Returns the recipient of a pointer or of an equal one; calls `note` for a new one before others can find it.
    pub(super) fn recipient<M: RemoteMessage>(
        &self,
        pointer: &Arc<Pointer>,
        note: impl FnOnce(&Recipient<M>, &Arc<RecipientQueue<M>>) -> ExportKey,
    ) -> Found<M> {
        let place = (TypeId::of::<M>(), pointer.origin().clone());
        // The contents of these are dropped without the lock.
        let (mut gone, mut dead) = (Vec::new(), None);
        let mut state = self.state.lock();
        if let Some((recipient, queue)) = state.find(&place).and_then(Entry::upgrade::<M>) {
            let leads_somewhere = queue.as_ref().is_some_and(|queue| queue.routes().offer(pointer, &mut gone));
            if leads_somewhere || pointer.is_dead() {
                drop(state);
                return Found::Known(recipient);
            }
            dead = Some((recipient, queue));
        }
        let (new, queue) = RecipientQueue::open(pointer);
        let proxy = Proxy { recipient: new.downgrade(), queue: Arc::downgrade(&queue) };
        let entry = Entry { key: note(&new, &queue), proxy: Box::new(proxy) };
        let before = (state.ended.remove(&place), state.proxies.insert(place, entry));
        drop(state);
        drop((before, dead));
        Found::New(new, queue)
    }

    /// Forgets a recipient if `is_unheld` returns true; nobody can find it meanwhile. Returns whether it was forgotten.
    pub(super) fn forget(&self, key: ExportKey, origin: &Origin, is_unheld: impl FnOnce() -> bool) -> bool {
        let mut state = self.state.lock();
        if !is_unheld() {
            return false;
        }
        let forgotten = state.remove(key, origin);
        drop(state);
        drop(forgotten);
        true
    }

    /// Records that a pump has ended. If its recipient is still held, it is still found here.
    pub(super) fn end(&self, key: ExportKey, origin: &Origin) {
        let mut state = self.state.lock();
        if let Some(entry) = state.remove(key, origin) {
            state.end((key.0, origin.clone()), entry);
        }
    }

    /// Forgets recipients that lead nowhere any more and are not held.
    pub(crate) fn sweep(&self) {
        self.state.lock().forget_ended();
    }

    /// Returns the number of recipients, for all types of messages.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let state = self.state.lock();
        state.proxies.len() + state.ended.len()
    }
}

impl TableState {
    fn find(&self, place: &Place) -> Option<&Entry> {
        self.proxies.get(place).or_else(|| self.ended.get(place))
    }

    fn end(&mut self, place: Place, entry: Entry) {
        self.ended.insert(place, entry);
        // Unheld entries are removed only when the number of entries has doubled.
        if self.ended.len() > 2 * self.ended_held + 64 {
            self.forget_ended();
        }
    }

    fn remove(&mut self, key: ExportKey, origin: &Origin) -> Option<Entry> {
        let place = (key.0, origin.clone());
        // The entry may be that of another recipient by now.
        self.proxies.get(&place).filter(|entry| entry.key == key)?;
        self.proxies.remove(&place)
    }

    fn forget_ended(&mut self) {
        self.ended.retain(|_, entry| entry.proxy.is_held());
        self.ended_held = self.ended.len();
    }
}

impl Entry {
    fn upgrade<M: RemoteMessage>(&self) -> Option<Upgraded<M>> {
        let proxy = (&*self.proxy as &dyn Any).downcast_ref::<Proxy<M>>()?;
        Some((proxy.recipient.upgrade()?, proxy.queue.upgrade()))
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("key", &self.key).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use actix::prelude::Message;
    use serde::Deserialize;
    use serde::Serialize;

    use super::*;
    use crate::handle::detached;
    use crate::handle::pointer::Route;
    use crate::handle::recipient::proxy;
    use crate::ident::BoxId;
    use crate::ident::Incarnation;
    use crate::node::Node;

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct Note;

    #[actix::test]
    async fn a_recipient_that_nobody_holds_leaves_nothing_behind() {
        let node = Node::start();
        let recipient = |n: usize| node.remote::<Note>("127.0.0.1:1", format!("box {n}")).unwrap().recipient();
        let first = recipient(0);
        let pointer = proxy::pointer_of(&proxy::key_of(&first)).unwrap();
        let table = pointer.this_node().recipients();
        for _ in 0..2 {
            let all: Vec<_> = (0..10_000).map(recipient).collect();
            assert_eq!(table.len(), 10_000);
            drop(all);
            // The node's I/O thread removes them.
            let emptied = async {
                while table.len() > 1 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), emptied).await.expect("all others are forgotten");
        }
        assert!(recipient(0) == first);
    }

    /// A proxy that is held or not, and counts the checks.
    struct Looked {
        is_held: bool,
        looks: Arc<AtomicUsize>,
    }

    impl AnyProxy for Looked {
        fn is_held(&self) -> bool {
            self.looks.fetch_add(1, Ordering::Relaxed);
            self.is_held
        }
    }

    /// Ends `count` recipients one after another, as when the thread of their pumps ends. Returns the total number of
    /// checks.
    fn looks(count: u128, is_held: bool) -> usize {
        let (table, looks, node) = (ProxyTable::default(), Arc::new(AtomicUsize::new(0)), Incarnation::of([1; 16]));
        let origin = |n: u128| Origin::Boxed { node, id: BoxId(n.to_le_bytes()) };
        let (key, of_type) = (|n: u128| (TypeId::of::<Note>(), n as usize), TypeId::of::<Note>());
        for n in 0..count {
            let proxy = Box::new(Looked { is_held, looks: Arc::clone(&looks) });
            table.state.lock().proxies.insert((of_type, origin(n)), Entry { key: key(n), proxy });
        }
        (0..count).for_each(|n| table.end(key(n), &origin(n)));
        assert!(table.len() == count as usize || (!is_held && table.len() <= 65));
        looks.load(Ordering::Relaxed)
    }

    #[test]
    fn recipients_are_looked_at_in_proportion_to_those_that_end() {
        for count in [1_000, 2_000, 4_000, 8_000] {
            assert!(looks(count, false) <= count as usize, "those that nobody holds go");
            assert!(looks(count, true) <= 2 * count as usize, "those that are held stay");
        }
    }

    /// Each pump ends at once, as the node of the pointer has stopped.
    #[test]
    fn one_that_leads_nowhere_is_found_while_it_is_held_and_goes_soon_after() {
        let node = Arc::clone(detached::elsewhere().this_node());
        let recipient = |n: u128| {
            let origin = Origin::Boxed { node: node.id(), id: BoxId(n.to_le_bytes()) };
            let pointer = Pointer::new(Arc::clone(&node), origin, "", Route::Nowhere, None);
            proxy::recipient::<Note>(&Arc::new(pointer))
        };
        let held = recipient(0);
        assert!(!held.connected());
        for n in 0..10_000 {
            drop(recipient(n));
            assert!(node.recipients().len() < 100);
        }
        assert!(recipient(0) == held);
        node.recipients().sweep();
        assert_eq!(node.recipients().len(), 1);
        drop(held);
        node.recipients().sweep();
        assert_eq!(node.recipients().len(), 0);
    }
}
