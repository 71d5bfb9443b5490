//! Sending a message by a pointer: into a box of this node, or encoded to a connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::Message;
use serde::de::DeserializeOwned;

use super::envelope::Arrival;
use super::envelope::Envelope;
use super::envelope::Parcel;
use super::envelope::Source;
use super::pointer::Pointer;
use super::pointer::Route;
use super::ports::LocalBox;
use super::ports::NotTaken;
use super::ports::PendingReply;
use super::reply::AnswerTo;
use super::reply::AwaitedReply;
use super::reply::Reply;
use super::reply::RequestGuard;
use super::reply::away;
use crate::handle::serde_scope;
use crate::message::RemoteMessage;
use crate::message::guard::EncodeError;
use crate::message::preflight;
use crate::message::preflight::Check;
use crate::message::shape::Shape;
use crate::observe::loss::Loss;
use crate::reason::DropReason;
use crate::wire::body::Body;

/// A message that was not taken, given back with its loss. A [`NotTaken`] has no message, because a box or an outbox
/// only borrows it.
struct Returned<M: Message> {
    parcel: Parcel<M>,
    loss: Loss<'static>,
}

impl<M: Message> Returned<M> {
    fn new(parcel: Parcel<M>, reason: DropReason) -> Returned<M> {
        Returned { parcel, loss: reason.into() }
    }
}

/// Returns the drop reason of a message that was not encoded.
fn not_encoded(error: &EncodeError) -> DropReason {
    match error {
        EncodeError::TooLarge { .. } | EncodeError::TooManyHandles { .. } => DropReason::TooLarge,
        _ => DropReason::NotEncodable,
    }
}

impl Pointer {
    /// Sends a message without an answer. Most messages take this way to another process; a message that is written
    /// there is not moved again.
    #[inline]
    pub(crate) fn send_plain<M: RemoteMessage>(self: &Arc<Self>, message: M) {
        if self.is_local() {
            self.send(Parcel::new(message, None));
            return;
        }
        self.this_node().observer().sent_here();
        if let Err(loss) = self.write_plain(&message) {
            self.not_written(message, loss);
        }
    }

    #[cold]
    fn not_written<M: RemoteMessage>(self: &Arc<Self>, message: M, loss: Loss<'static>) {
        let parcel = Parcel::new(message, None);
        let given = match self.withdraw_if_local(loss) {
            Ok(()) => self.give_named(parcel).map(drop),
            Err(loss) => Err(Returned { parcel, loss }),
        };
        given.unwrap_or_else(|returned| self.lose(returned));
    }

    /// Withdraws the loss of a message that was written for another node while the name has turned out to be this
    /// node's own: then the connection has not taken it. Returns any other loss.
    #[cold]
    fn withdraw_if_local(&self, loss: Loss<'static>) -> Result<(), Loss<'static>> {
        if loss.reason() == DropReason::NotConnected && self.is_local() {
            loss.withdraw();
            return Ok(());
        }
        Err(loss)
    }

    /// Sends a message without an answer, or returns it.
    pub(crate) fn give_plain<M: RemoteMessage>(self: &Arc<Self>, message: M) -> Result<(), (M, DropReason)> {
        if !self.is_local() {
            match self.write_plain(&message).map_err(|loss| self.withdraw_if_local(loss)) {
                Ok(()) => return Ok(()),
                Err(Ok(())) => {}
                Err(Err(loss)) => return Err((message, loss.withdraw().0)),
            }
        }
        let given = self.give(Parcel::new(message, None));
        given.map(drop).map_err(|Returned { parcel, loss }| (parcel.message, loss.withdraw().0))
    }

    #[inline]
    fn write_plain<M: RemoteMessage>(self: &Arc<Self>, message: &M) -> Result<(), Loss<'static>> {
        if self.this_node().is_stopped() {
            return Err(DropReason::Shutdown.into());
        }
        let fingerprint = self.fingerprint::<M>();
        let type_name = std::any::type_name::<M>();
        self.encode(message, |body, handles| self.post_written(body, handles, fingerprint, type_name))
    }

    /// Posts a message that was written here. This is a function of its own, so that bytes written just now are not
    /// copied by wider loads than the stores that wrote them, which the processor cannot forward.
    #[inline(never)]
    fn post_written(
        self: &Arc<Self>,
        body: Body<'_>,
        handles: &[Arc<Pointer>],
        fingerprint: u64,
        type_name: &'static str,
    ) -> Result<(), DropReason> {
        self.post(&Envelope { body, handles, fingerprint, type_name, hops: 0 })
    }

    /// Sends a message, which is counted as sent, and as dropped if it is dropped.
    pub(crate) fn send<M: RemoteMessage>(self: &Arc<Self>, parcel: Parcel<M>) -> Option<RequestGuard> {
        self.this_node().observer().sent_here();
        match self.give(parcel) {
            Ok(asking) => asking,
            Err(returned) => {
                self.lose(returned);
                None
            }
        }
    }

    /// Drops a message that was not taken.
    fn lose<M: RemoteMessage>(&self, Returned { parcel, loss }: Returned<M>) {
        let local = self.local();
        self.settle_loss(loss, std::any::type_name::<M>(), local.as_ref().map(|local| local.drops()), parcel);
    }

    /// Passes the message on, or returns it.
    fn give<M: RemoteMessage>(self: &Arc<Self>, parcel: Parcel<M>) -> Result<Option<RequestGuard>, Returned<M>> {
        let begins_nothing = parcel.reply.is_some() && self.this_node().shutdown().has_begun();
        if begins_nothing || self.this_node().is_stopped() {
            return Err(Returned::new(parcel, DropReason::Shutdown));
        }
        match self.route() {
            Route::Here(local) => self.give_local(&**local, parcel),
            Route::Away { .. } if !self.is_local() => match parcel.reply {
                None => match self.write_plain(&parcel.message).map_err(|loss| self.withdraw_if_local(loss)) {
                    Ok(()) => Ok(None),
                    Err(Ok(())) => self.give_named(parcel),
                    Err(Err(loss)) => Err(Returned { parcel, loss }),
                },
                Some(reply) => self.request(parcel.message, *reply),
            },
            Route::HereNamed | Route::Away { .. } => self.give_named(parcel),
            Route::Nowhere => Err(Returned::new(parcel, DropReason::BoxClosed)),
        }
    }

    /// Passes the message to the box of this node that has the name.
    fn give_named<M: RemoteMessage>(&self, parcel: Parcel<M>) -> Result<Option<RequestGuard>, Returned<M>> {
        match self.this_node().box_named(self.name()) {
            Some(local) => self.give_local(&*local, parcel),
            None => Err(Returned::new(parcel, DropReason::NoSuchBox)),
        }
    }

    fn give_local<M: RemoteMessage>(
        &self,
        local: &dyn LocalBox,
        parcel: Parcel<M>,
    ) -> Result<Option<RequestGuard>, Returned<M>> {
        let mut slot = Some(parcel);
        let accepted = local.accept(&mut slot);
        match (accepted, slot) {
            (Err(NotTaken::OtherType), Some(Parcel { message, reply, .. })) => {
                let answer = reply.map(|reply| self.answer_here(*reply));
                self.give_encoded(local, message, answer).map(|()| None)
            }
            (Err(not_taken), Some(parcel)) => Err(Returned::new(parcel, not_taken.reason())),
            _ => Ok(None),
        }
    }

    /// Gives a message to a box of this node whose messages are of another Rust type, perhaps of equal shape: as bytes,
    /// in which form the result comes back, too.
    #[cold]
    fn give_encoded<M: RemoteMessage>(
        &self,
        local: &dyn LocalBox,
        message: M,
        mut answer: Option<AnswerTo>,
    ) -> Result<(), Returned<M>> {
        let mut words = None;
        let shape = Shape::of::<M>();
        let arrival = Arrival { from: Source::HERE, fingerprint: shape.fingerprint(), hops: 0 };
        let given = match local.shape().filter(|takes| *takes != shape) {
            Some(takes) => {
                let detail = Some(shape.differences(&takes));
                Err(Loss::from(DropReason::TypeMismatch).with_detail(detail))
            }
            None => self.encode(&message, |body, handles| {
                local.accept_encoded(&body, &mut handles.to_vec(), &mut answer, arrival).map_err(|rejected| {
                    let (reason, detail) = rejected.withdraw();
                    words = detail;
                    reason
                })
            }),
        };
        given.map_err(|loss| {
            let parcel = Parcel::new(message, answer.map(away::<M>));
            Returned { parcel, loss: loss.with_detail(words) }
        })
    }

    /// Returns the way back to a caller that waits for the result here.
    fn answer_here<R: DeserializeOwned + Send + 'static>(&self, reply: Reply<R>) -> AnswerTo {
        let (node, deadline) = (Arc::clone(self.this_node()), reply.deadline());
        let waiting = Box::new(AwaitedReply { node: Arc::clone(&node), reply });
        AnswerTo::here(node, waiting, deadline)
    }

    #[inline]
    fn encode<M: RemoteMessage, T>(
        &self,
        message: &M,
        send: impl FnOnce(Body<'_>, &[Arc<Pointer>]) -> Result<T, DropReason>,
    ) -> Result<T, Loss<'static>> {
        let mut size = 0;
        let send = |body: Body<'_>, handles: &[Arc<Pointer>]| {
            size = body.len();
            send(body, handles)
        };
        match serde_scope::write(self.this_node(), message, self.check(), send) {
            Ok(Ok(sent)) => Ok(sent),
            Ok(Err(reason)) => Err(Loss::from(reason).with_detail(self.trouble(reason, size))),
            Err(error) => Err(Loss::from(not_encoded(&error)).with_detail(Some(error.to_string()))),
        }
    }

    /// Returns the check of a message before it leaves: only a comparison, once enough messages of the type were
    /// checked.
    #[inline]
    fn check<M: RemoteMessage>(&self) -> Check<M> {
        let key = preflight::key::<M>();
        if self.settled().load(Ordering::Relaxed) == key {
            return preflight::of_known_message();
        }
        let check = preflight::of_message();
        if !check.always {
            self.settled().store(key, Ordering::Relaxed);
        }
        check
    }

    /// Sends a request over a connection.
    fn request<M: RemoteMessage>(
        self: &Arc<Self>,
        message: M,
        reply: Reply<M::Result>,
    ) -> Result<Option<RequestGuard>, Returned<M>> {
        let (time_left, deadline) = (reply.time_left(), reply.deadline());
        let mut waiting: Option<Box<dyn PendingReply>> =
            Some(Box::new(AwaitedReply { node: Arc::clone(self.this_node()), reply }));
        let (fingerprint, type_name) = (self.fingerprint::<M>(), std::any::type_name::<M>());
        let asked = self.encode(&message, |body, handles| {
            self.ask_encoded(&Envelope { body, handles, fingerprint, type_name, hops: 0 }, time_left, &mut waiting)
        });
        let answer = |waiting| AnswerTo::here(Arc::clone(self.this_node()), waiting, deadline);
        match asked.map_err(|loss| self.withdraw_if_local(loss)) {
            Ok(request) => Ok(Some(RequestGuard::new(request))),
            Err(Ok(())) => self.ask_named(message, waiting.map(answer)).map(|()| None),
            Err(Err(loss)) => {
                let reply = waiting.map(|waiting| away::<M>(answer(waiting)));
                Err(Returned { parcel: Parcel::new(message, reply), loss })
            }
        }
    }

    /// Passes a request that was written for another node to the box of this node that has the name.
    #[cold]
    fn ask_named<M: RemoteMessage>(&self, message: M, answer: Option<AnswerTo>) -> Result<(), Returned<M>> {
        match self.this_node().box_named(self.name()) {
            Some(local) => self.give_encoded(&*local, message, answer),
            None => Err(Returned::new(Parcel::new(message, answer.map(away::<M>)), DropReason::NoSuchBox)),
        }
    }
}
