//! The recipients of one node, by what their pointers are made of: equal pointers have equal recipients.
//!
//! Two actix recipients are equal if they lead into one channel. So a recipient that is held is found here for each equal
//! pointer of its node and the same type of messages, by whichever connection and however the pointer came.
//!
//! There is an entry for each recipient that somebody holds. A pump removes its own when nobody does; of one that leads nowhere
//! any more the entry stays, so that the recipient can still be found in a set, and goes soon after the recipient has gone.

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
    /// Looked into for each recipient that a message brings: to compare a few places costs less than to hash one.
    proxies: BTreeMap<Place, Entry>,
    /// Entries of recipients that lead nowhere any more, and how many of them were held when they were last looked at.
    ended: usize,
    ended_held: usize,
}

/// Where a recipient is found: the type of its messages, and what its pointer is made of.
type Place = (TypeId, Origin);

struct Entry {
    key: ExportKey,
    /// Whether its pump has ended while it was held.
    has_ended: bool,
    proxy: Box<dyn AnyProxy>,
}

/// The way back to a recipient, whatever its type.
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
    /// The recipient of a pointer or of an equal one; for a new one `note` is called before others can find it.
    pub(super) fn recipient<M: RemoteMessage>(
        &self,
        pointer: &Arc<Pointer>,
        note: impl FnOnce(&Recipient<M>, &Arc<RecipientQueue<M>>) -> ExportKey,
    ) -> Found<M> {
        let place = (TypeId::of::<M>(), pointer.origin().clone());
        // Whatever these let go of goes without the lock.
        let (mut gone, mut dead) = (Vec::new(), None);
        let mut state = self.state.lock();
        if let Some((recipient, queue)) = state.proxies.get(&place).and_then(Entry::upgrade::<M>) {
            let leads_somewhere = queue.as_ref().is_some_and(|queue| queue.routes().offer(pointer, &mut gone));
            if leads_somewhere || pointer.is_dead() {
                drop(state);
                return Found::Known(recipient);
            }
            dead = Some((recipient, queue));
        }
        let (new, queue) = RecipientQueue::open(pointer);
        let proxy = Proxy { recipient: new.downgrade(), queue: Arc::downgrade(&queue) };
        let entry = Entry { key: note(&new, &queue), has_ended: false, proxy: Box::new(proxy) };
        let before = state.proxies.insert(place, entry);
        state.ended -= usize::from(before.as_ref().is_some_and(|before| before.has_ended));
        drop(state);
        drop((before, dead));
        Found::New(new, queue)
    }

    /// Forgets a recipient if `is_unheld` says so, which nobody can find meanwhile; whether it does.
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

    /// A pump has ended. Whoever holds its recipient still finds it here.
    pub(super) fn end(&self, key: ExportKey, origin: &Origin) {
        let mut state = self.state.lock();
        let place = (key.0, origin.clone());
        let Some(entry) = state.proxies.get_mut(&place).filter(|entry| entry.key == key) else { return };
        entry.has_ended = true;
        state.ended += 1;
        // Not more often than their number doubles.
        if state.ended > 2 * state.ended_held + 64 {
            state.forget_ended();
        }
    }

    /// Forgets recipients that lead nowhere any more and that nobody holds.
    pub(crate) fn sweep(&self) {
        self.state.lock().forget_ended();
    }

    /// How many recipients there are, for any type of messages.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.state.lock().proxies.len()
    }
}

impl TableState {
    fn remove(&mut self, key: ExportKey, origin: &Origin) -> Option<Entry> {
        let place = (key.0, origin.clone());
        // It may be that of another by now.
        self.proxies.get(&place).filter(|entry| entry.key == key)?;
        self.proxies.remove(&place)
    }

    fn forget_ended(&mut self) {
        if self.ended > 0 {
            self.proxies.retain(|_, entry| !entry.has_ended || entry.proxy.is_held());
            self.ended = self.proxies.values().filter(|entry| entry.has_ended).count();
        }
        self.ended_held = self.ended;
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
        f.debug_struct("Entry").field("key", &self.key).field("has_ended", &self.has_ended).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix::prelude::Message;
    use serde::Deserialize;
    use serde::Serialize;

    use super::*;
    use crate::handle::detached;
    use crate::handle::pointer::Route;
    use crate::handle::recipient::proxy;
    use crate::ident::BoxId;
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
        let table = pointer.router().recipients();
        for _ in 0..2 {
            let all: Vec<_> = (0..10_000).map(recipient).collect();
            assert_eq!(table.len(), 10_000);
            drop(all);
            // The node's I/O thread sees to it.
            let emptied = async {
                while table.len() > 1 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), emptied).await.expect("all others are forgotten");
        }
        assert!(recipient(0) == first);
    }

    /// The pump of each ends at once, as the node of the pointer has stopped.
    #[test]
    fn one_that_leads_nowhere_is_found_while_it_is_held_and_goes_soon_after() {
        let router = Arc::clone(detached::elsewhere().router());
        let recipient = |n: u128| {
            let origin = Origin::Boxed { node: router.id(), id: BoxId(n.to_le_bytes()) };
            let pointer = Pointer::new(Arc::clone(&router), origin, "", Route::Nowhere, None);
            proxy::recipient::<Note>(&Arc::new(pointer))
        };
        let held = recipient(0);
        assert!(!held.connected());
        for n in 0..10_000 {
            drop(recipient(n));
            assert!(router.recipients().len() < 100);
        }
        assert!(recipient(0) == held);
        router.recipients().sweep();
        assert_eq!(router.recipients().len(), 1);
        drop(held);
        router.recipients().sweep();
        assert_eq!(router.recipients().len(), 0);
    }
}
