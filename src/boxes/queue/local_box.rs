//! A box's queue as handles and connections see it.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::Recipient;
use tokio_util::sync::CancellationToken;

use super::BoxQueue;
use super::level;
use super::weight::RowWeights;
use crate::boxes::behind::ActorBehind;
use crate::boxes::buffer::fill_level_of;
use crate::handle::envelope::Arrival;
use crate::handle::envelope::Parcel;
use crate::handle::envelope::contained;
use crate::handle::pointer::POINTER_COST;
use crate::handle::pointer::Pointer;
use crate::handle::ports::FindActor;
use crate::handle::ports::LocalBox;
use crate::handle::ports::NotTaken;
use crate::handle::reply::AnswerTo;
use crate::handle::reply::away;
use crate::handle::serde_scope;
use crate::handle::visibility::Visibility;
use crate::ident::BoxId;
use crate::message::RemoteMessage;
use crate::message::guard::DecodeError;
use crate::message::shape::Shape;
use crate::observe::loss::Drops;
use crate::observe::loss::Loss;
use crate::observe::stats::BoxStats;
use crate::reason::DropReason;
use crate::wire::batch::Bodies;

fn undecodable(error: &DecodeError) -> Loss<'static> {
    Loss::from(DropReason::NotDecodable).with_detail(Some(error.to_string()))
}

/// Returns the loss of a message from a connection that the box did not take, and gives back the way of its answer.
fn rejected<M: RemoteMessage>(
    (parcel, reason): (Parcel<M>, DropReason),
    answer: &mut Option<AnswerTo>,
) -> Loss<'static> {
    let Parcel { message, reply, .. } = parcel;
    *answer = reply.and_then(|reply| reply.into_answer());
    contained::<M, _>(|| drop(message));
    reason.into()
}

impl<M: RemoteMessage> LocalBox for BoxQueue<M> {
    fn id(&self) -> BoxId {
        self.identity.id
    }

    fn given_name(&self) -> &str {
        &self.identity.name
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<M>()
    }

    fn is_open(&self) -> bool {
        self.state.lock().open
    }

    fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    fn accept(&self, parcel: &mut dyn Any) -> Result<(), NotTaken> {
        let Some(slot) = parcel.downcast_mut::<Option<Parcel<M>>>() else { return Err(NotTaken::OtherType) };
        let Some(parcel) = slot.take() else { return Ok(()) };
        // The message was never encoded, so its weight is 0.
        self.put(parcel, 0).map_err(|(parcel, reason)| {
            *slot = Some(parcel);
            NotTaken::Dropped(reason)
        })
    }

    fn accept_encoded(
        &self,
        body: &[u8],
        handles: &mut Vec<Arc<Pointer>>,
        answer: &mut Option<AnswerTo>,
        arrival: Arrival,
    ) -> Result<(), Loss<'static>> {
        let weighs = body.len() + POINTER_COST * handles.len();
        if let Some(reason) = self.refusal(|| weighs) {
            return Err(reason.into());
        }
        let message = serde_scope::read(&self.node, body, handles).map_err(|error| undecodable(&error))?;
        let reply = answer.take().map(|answer| Box::new(away::<M>(answer)));
        self.put(Parcel { message, reply, from: arrival.from }, weighs).map_err(|refused| rejected(refused, answer))
    }

    fn accept_all(&self, mut bodies: Bodies<'_>, arrival: Arrival, reject: &mut dyn FnMut(Loss<'static>)) {
        while bodies.len() > 0 {
            let lightest = || bodies.clone().map(<[u8]>::len).min().unwrap_or(0);
            if let Some(reason) = self.refusal(lightest) {
                return bodies.for_each(|_| reject(reason.into()));
            }
            let ((mut parcels, room), row) = (self.row(), bodies.clone());
            parcels.reserve(room.min(bodies.len()));
            let keep = |message| parcels.push_back(Parcel { message, reply: None, from: arrival.from });
            serde_scope::read_each(&self.node, bodies.by_ref().take(room), keep, |error| reject(undecodable(&error)));
            let weights = RowWeights::new(row, &bodies, parcels.len());
            self.put_all(parcels, &weights, |refused| reject(rejected(refused, &mut None)));
        }
    }

    fn shape(&self) -> Option<Shape> {
        Some(Shape::of::<M>())
    }

    fn fill(&self) -> u8 {
        let state = self.state.lock();
        state.backlog.fill(self.held()).max(state.weight.fill())
    }

    #[inline]
    fn fill_level(&self) -> u8 {
        match self.fill_level.load(Ordering::Relaxed) {
            level::FULL => fill_level_of(u8::MAX),
            level::CLOSED => 0,
            fill_level => fill_level,
        }
    }

    fn note_recipient(&self) {
        self.has_recipient.store(true, Ordering::Relaxed);
    }

    fn recall(&self, recipient: &mut dyn Any) {
        if self.identity.is_leased
            && let Some(recipient) = recipient.downcast_mut::<Option<Recipient<M>>>()
        {
            *recipient = self.actor.as_deref().and_then(ActorBehind::plain);
        }
    }

    fn actor(&self) -> Option<FindActor> {
        let actor = self.actor.clone()?;
        Some(Box::new(move || actor.any()))
    }

    fn drops(&self) -> &Drops {
        &self.drops
    }

    fn is_leased(&self) -> bool {
        self.identity.is_leased
    }

    fn visibility(&self) -> Option<&Visibility> {
        self.identity.visibility.as_deref()
    }

    fn reap_if_dead(&self) {
        self.state.lock().backlog.shrink();
        if self.actor.as_ref().is_some_and(|actor| !actor.lives()) {
            self.close();
        }
    }

    fn close(&self) {
        // A reader that is not started any more is dropped outside the lock: it may hold the last address of an actor.
        let (reader, _start) = {
            let mut state = self.state.lock();
            if !std::mem::replace(&mut state.open, false) {
                return;
            }
            self.update_fill_level(&state);
            (state.reader.take(), state.start.take())
        };
        self.node.forget(self.identity.id, &self.identity.name);
        self.closed.cancel();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn relays(&self) -> Option<&Arc<Pointer>> {
        None
    }

    fn occupancy(&self) -> (u64, u64) {
        let state = self.state.lock();
        ((state.backlog.len() + self.held()) as u64, state.backlog.capacity() as u64)
    }

    fn stats(&self) -> BoxStats {
        let ((depth, capacity), received) = (self.occupancy(), self.state.lock().received);
        let name = match &*self.identity.name {
            "" => self.identity.id.to_string(),
            name => name.to_owned(),
        };
        BoxStats {
            name,
            type_name: self.type_name().to_owned(),
            depth,
            capacity,
            received,
            with_actor: self.given.load(Ordering::Relaxed) as u64,
            dropped: self.drops.to_map(),
        }
    }
}
