//! The parties that handles know of a drop: callers that wait for an answer, and peers that sent to a box.

use super::ask_error::AskError;
use super::context::NodeContext;
use super::envelope::Parcel;
use super::envelope::Source;
use super::envelope::contained;
use super::ports::LocalBox;
use super::ports::PendingReply;
use super::reply::AnswerTo;
use super::reply::Reply;
use crate::message::RemoteMessage;
use crate::observe::loss::Caller;
use crate::observe::loss::DropNotice;
use crate::observe::loss::SendingPeer;
use crate::wire::frames::refuse::Unanswered;

impl<M: RemoteMessage> Caller for Parcel<M> {
    /// Tells the caller, if there is one, and drops the message. A panic of the message's `Drop` has no other effect.
    fn not_delivered(self, notice: &DropNotice<'_>) {
        let Parcel { message, reply, .. } = self;
        reply.map(|reply| *reply).not_delivered(notice);
        contained::<M, _>(|| drop(message));
    }
}

impl<R> Caller for Reply<R> {
    fn not_delivered(self, notice: &DropNotice<'_>) {
        self.fail(AskError::not_delivered(notice));
    }
}

impl Caller for AnswerTo {
    fn not_delivered(self, notice: &DropNotice<'_>) {
        self.refuse(Unanswered::NotDelivered(notice.reason()), notice.detail().unwrap_or_default());
    }
}

impl Caller for Box<dyn PendingReply> {
    fn not_delivered(self, notice: &DropNotice<'_>) {
        self.failed(AskError::not_delivered(notice));
    }
}

/// The peers that sent messages to a box of this node, with the number of messages of each.
pub(crate) struct SendersTo<'a, I> {
    pub(crate) node: &'a NodeContext,
    pub(crate) local: &'a dyn LocalBox,
    pub(crate) from: I,
}

impl<I: IntoIterator<Item = (Source, u64)>> SendingPeer for SendersTo<'_, I> {
    fn report(self, notice: &DropNotice<'_>) {
        for (from, count) in self.from {
            self.node.report(from, self.local, &notice.part(count));
        }
    }
}
