//! How a message goes by a pointer: into a box of this node, or encoded to a connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::Message;

use super::ask_error::AskError;
use super::envelope::Arrival;
use super::envelope::Body;
use super::envelope::Envelope;
use super::envelope::Parcel;
use super::envelope::Source;
use super::pointer::Pointer;
use super::pointer::Route;
use super::ports::LocalBox;
use super::ports::PendingReply;
use super::ports::Refusal;
use super::reply::AnswerTo;
use super::reply::AwaitedReply;
use super::reply::Reply;
use super::reply::RequestGuard;
use crate::handle::serde_scope;
use crate::message::RemoteMessage;
use crate::message::guard::EncodeError;
use crate::message::preflight;
use crate::message::preflight::Check;
use crate::message::shape::Shape;
use crate::reason::DropReason;
use crate::wire::frames::refuse::Unanswered;

/// A message that was not taken.
struct Returned<M: Message> {
    parcel: Parcel<M>,
    reason: DropReason,
    detail: Option<String>,
}

impl<M: Message> Returned<M> {
    fn new(parcel: Parcel<M>, reason: DropReason) -> Returned<M> {
        Returned { parcel, reason, detail: None }
    }
}

/// Why a message could not be written to another process.
struct NotSent {
    reason: DropReason,
    detail: Option<String>,
}

/// How a message counts that was not encoded.
fn not_encoded(error: &EncodeError) -> DropReason {
    match error {
        EncodeError::TooLarge { .. } => DropReason::TooLarge,
        _ => DropReason::NotEncodable,
    }
}

impl Pointer {
    /// Sends a message for which no answer is wanted. Most messages go this way, to another process: one that is written
    /// there is not moved once more.
    #[inline]
    pub(crate) fn send_plain<M: RemoteMessage>(self: &Arc<Self>, message: M) {
        if !matches!(self.route(), Route::Away { .. }) {
            self.send(Parcel::new(message, None));
            return;
        }
        self.router().observer().sent_here();
        if let Err(NotSent { reason, detail }) = self.write_plain(&message) {
            self.count_drop(std::any::type_name::<M>(), reason, detail.as_deref());
        }
    }

    /// Hands on a message for which no answer is wanted, or gives it back.
    pub(crate) fn give_plain<M: RemoteMessage>(self: &Arc<Self>, message: M) -> Result<(), (M, DropReason)> {
        match self.route() {
            Route::Away { .. } => self.write_plain(&message).map_err(|unwritten| (message, unwritten.reason)),
            _ => {
                let given = self.give(Parcel::new(message, None));
                given.map(drop).map_err(|returned| (returned.parcel.message, returned.reason))
            }
        }
    }

    #[inline]
    fn write_plain<M: RemoteMessage>(self: &Arc<Self>, message: &M) -> Result<(), NotSent> {
        if self.router().is_stopped() {
            return Err(NotSent { reason: DropReason::Shutdown, detail: None });
        }
        let fingerprint = self.fingerprint::<M>();
        self.encode(message, |body, handles| self.post_written(body, handles, fingerprint))
    }

    /// Posts a message that was written here. By itself, so that what was written just now is not copied in wider pieces
    /// than it was written in, which the processor cannot forward.
    #[inline(never)]
    fn post_written(
        self: &Arc<Self>,
        body: Body<'_>,
        handles: &[Arc<Pointer>],
        fingerprint: u64,
    ) -> Result<(), DropReason> {
        self.post(&Envelope { body, handles, fingerprint, hops: 0 })
    }

    /// Sends: the message is counted as sent, and as dropped if it is.
    pub(crate) fn send<M: RemoteMessage>(self: &Arc<Self>, parcel: Parcel<M>) -> Option<RequestGuard> {
        self.router().observer().sent_here();
        match self.give(parcel) {
            Ok(asking) => asking,
            Err(Returned { parcel, reason, detail }) => {
                if let Some(local) = self.local() {
                    local.count_drop(reason);
                }
                self.count_drop(std::any::type_name::<M>(), reason, detail.as_deref());
                parcel.drop_for(reason, detail);
                None
            }
        }
    }

    /// Hands the message on, or back.
    fn give<M: RemoteMessage>(self: &Arc<Self>, parcel: Parcel<M>) -> Result<Option<RequestGuard>, Returned<M>> {
        if self.router().is_stopped() {
            return Err(Returned::new(parcel, DropReason::Shutdown));
        }
        match self.route() {
            Route::Here(local) => self.give_local(&**local, parcel),
            Route::HereNamed => match self.router().box_named(self.name()) {
                Some(local) => self.give_local(&*local, parcel),
                None => Err(Returned::new(parcel, DropReason::NoSuchBox)),
            },
            Route::Away { .. } => match parcel.reply {
                None => match self.write_plain(&parcel.message) {
                    Ok(()) => Ok(None),
                    Err(NotSent { reason, detail }) => Err(Returned { parcel, reason, detail }),
                },
                Some(reply) => self.request(parcel.message, *reply),
            },
            Route::Nowhere => Err(Returned::new(parcel, DropReason::BoxClosed)),
        }
    }

    fn give_local<M: RemoteMessage>(
        &self,
        local: &dyn LocalBox,
        parcel: Parcel<M>,
    ) -> Result<Option<RequestGuard>, Returned<M>> {
        let mut slot = Some(parcel);
        let refusal = local.accept(&mut slot);
        match (refusal, slot) {
            (Err(refusal), Some(parcel)) => match refusal {
                Refusal::Full(reason) => Err(Returned::new(parcel, reason)),
                Refusal::Closed => Err(Returned::new(parcel, DropReason::BoxClosed)),
                Refusal::OtherType => self.give_encoded(local, parcel).map(|()| None),
            },
            _ => Ok(None),
        }
    }

    /// Gives a message to a box of this node whose messages are of another Rust type, perhaps of equal shape: as bytes,
    /// and so its result comes back.
    #[cold]
    fn give_encoded<M: RemoteMessage>(&self, local: &dyn LocalBox, parcel: Parcel<M>) -> Result<(), Returned<M>> {
        let mut answer = parcel.reply.map(|reply| {
            let (router, deadline) = (Arc::clone(self.router()), reply.deadline());
            let waiting = Box::new(AwaitedReply { router: Arc::clone(&router), reply: *reply });
            AnswerTo::here(router, waiting, deadline)
        });
        let mut words = None;
        let shape = Shape::of::<M>();
        let arrival = Arrival { from: Source::HERE, fingerprint: shape.fingerprint(), hops: 0 };
        let given = match local.shape().filter(|takes| *takes != shape) {
            Some(takes) => {
                let detail = Some(shape.differences(&takes));
                Err(NotSent { reason: DropReason::TypeMismatch, detail })
            }
            None => self.encode(&parcel.message, |body, handles| {
                local.accept_encoded(&body, &mut handles.to_vec(), &mut answer, arrival).map_err(|rejection| {
                    words = rejection.detail;
                    rejection.reason
                })
            }),
        };
        given.map_err(|NotSent { reason, detail }| {
            let detail = detail.or(words);
            if let Some(answer) = answer {
                answer.refuse(Unanswered::NotDelivered(reason), detail.as_deref().unwrap_or_default());
            }
            Returned { parcel: Parcel::new(parcel.message, None), reason, detail }
        })
    }

    #[inline]
    fn encode<M: RemoteMessage, T>(
        &self,
        message: &M,
        send: impl FnOnce(Body<'_>, &[Arc<Pointer>]) -> Result<T, DropReason>,
    ) -> Result<T, NotSent> {
        let mut size = 0;
        let send = |body: Body<'_>, handles: &[Arc<Pointer>]| {
            size = body.len();
            send(body, handles)
        };
        match serde_scope::write(self.router(), message, self.check(), send) {
            Ok(Ok(sent)) => Ok(sent),
            Ok(Err(reason)) => Err(NotSent { reason, detail: self.trouble(reason, size) }),
            Err(error) => Err(NotSent { reason: not_encoded(&error), detail: Some(error.to_string()) }),
        }
    }

    /// How the message is looked at before it leaves: a comparison, once enough of its type were.
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

    /// Sends a message that is to be answered over a connection.
    fn request<M: RemoteMessage>(
        self: &Arc<Self>,
        message: M,
        reply: Reply<M::Result>,
    ) -> Result<Option<RequestGuard>, Returned<M>> {
        let time_left = reply.time_left();
        let mut waiting: Option<Box<dyn PendingReply>> =
            Some(Box::new(AwaitedReply { router: Arc::clone(self.router()), reply }));
        let fingerprint = self.fingerprint::<M>();
        let asked = self.encode(&message, |body, handles| {
            self.ask_encoded(&Envelope { body, handles, fingerprint, hops: 0 }, time_left, &mut waiting)
        });
        match asked {
            Ok((link, correlation)) => Ok(Some(RequestGuard::new(link, correlation))),
            Err(NotSent { reason, detail }) => {
                if let Some(waiting) = waiting {
                    waiting.failed(AskError::NotDelivered { reason, detail: detail.clone() });
                }
                Err(Returned { parcel: Parcel::new(message, None), reason, detail })
            }
        }
    }
}
