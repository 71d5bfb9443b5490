//! Why a request has no answer.

use crate::observe::loss::DropNotice;
use crate::reason::DropReason;
use crate::wire::frames::refuse::Unanswered;

/// The reason why a request has no answer. It answers two questions: the cause, and whether the request may have been
/// handled.
///
/// The manual has a recipe: [retrying safely](crate::manual::retrying_safely).
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AskError {
    /// The request was not, and will not be, handled, so another attempt cannot be a duplicate. Whether it can succeed
    /// depends on the reason: the manual has [a table](crate::manual::retrying_safely). In the pause after a failed dial
    /// a request fails as `NotConnected` at once, so wait a little before the next.
    #[error("the request was not delivered: {reason}{}", in_brackets(detail.as_deref()))]
    NotDelivered {
        /// The reason of the drop.
        reason: DropReason,
        /// Details for a person: the error of the encoder, the decoder or the attempt to connect, or the difference
        /// between two types (``"`Ping.n`: u32 here, u64 there"``).
        detail: Option<String>,
    },
    /// The request was given to the connection and no answer has come, nor will: it may have been handled.
    #[error("the outcome of the request is unknown: {}", came_between(*reason))]
    OutcomeUnknown {
        /// The event that prevented the answer. [`Lost`](DropReason::Lost) means here that the connection broke before
        /// the answer came: the request may have been written, and handled. [`OutboxFull`](DropReason::OutboxFull) means
        /// that it was handled, and that its answer found no room on the way back: read faster, or raise `outbox` or
        /// `outboxes` there.
        reason: DropReason,
    },
    /// The actor stopped while it had the request, or left it unanswered: it may have been handled.
    #[error("the actor stopped, or left the request unanswered")]
    ActorStopped,
    /// The request was handled, and its result could not be encoded.
    #[error("the answer cannot be encoded: {why}")]
    AnswerNotEncodable {
        /// The encoder's error.
        why: String,
    },
    /// No answer came in time; a later one is ignored. The request may have been handled.
    #[error("no answer came in time")]
    Timeout,
}

/// Returns the reason in words that hold for a request which may have been handled.
fn came_between(reason: DropReason) -> String {
    match reason {
        DropReason::Lost => "the connection broke before the answer came".to_owned(),
        DropReason::OutboxFull => "it was handled, and there was no room for the answer".to_owned(),
        reason => reason.to_string(),
    }
}

fn in_brackets(detail: Option<&str>) -> String {
    detail.map(|detail| format!(" ({detail})")).unwrap_or_default()
}

impl AskError {
    /// Returns the error of a caller whose request was dropped here.
    pub(crate) fn not_delivered(notice: &DropNotice<'_>) -> AskError {
        AskError::NotDelivered { reason: notice.reason(), detail: notice.detail().map(str::to_owned) }
    }

    /// Returns the asker's error for a refused request.
    pub(crate) fn refused(why: Unanswered, detail: &str) -> AskError {
        match why {
            Unanswered::Abandoned => AskError::ActorStopped,
            Unanswered::NotEncodable => AskError::AnswerNotEncodable { why: detail.to_owned() },
            Unanswered::NotDelivered(reason) => {
                AskError::NotDelivered { reason, detail: Some(detail.to_owned()).filter(|detail| !detail.is_empty()) }
            }
            Unanswered::LostOnTheWay => AskError::OutcomeUnknown { reason: DropReason::Lost },
            Unanswered::NoRoom => AskError::OutcomeUnknown { reason: DropReason::OutboxFull },
            Unanswered::Other(_) => AskError::OutcomeUnknown { reason: DropReason::Refused },
        }
    }

    /// Returns false only if the request certainly was not, and will not be, handled: then it can be sent again without
    /// being handled twice.
    pub fn may_have_been_handled(&self) -> bool {
        !matches!(self, AskError::NotDelivered { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of `Lost` itself says that the message was not written, which is not certain here.
    #[test]
    fn what_may_have_been_handled_is_not_said_to_be_unwritten() {
        let words = AskError::OutcomeUnknown { reason: DropReason::Lost }.to_string();
        assert_eq!(words, "the outcome of the request is unknown: the connection broke before the answer came");
        let words = AskError::OutcomeUnknown { reason: DropReason::Shutdown }.to_string();
        assert_eq!(words, format!("the outcome of the request is unknown: {}", DropReason::Shutdown));
    }
}
