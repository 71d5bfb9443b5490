//! Messages of another shape than the box takes: what is found out about the difference, and who is told.

use std::sync::Arc;
use std::sync::OnceLock;

use super::inquiries::Told;
use super::link::Link;
use crate::handle::failure::AskError;
use crate::handle::route::Household;
use crate::handle::route::Waiting;
use crate::message::shape::Shape;
use crate::observe::DropReason;
use crate::observe::Side;
use crate::wire::question::Question;
use crate::wire::report::Target;

/// Words about a difference, once they are known.
pub(super) type Words = Arc<OnceLock<Box<str>>>;

/// Asks the sender for the shape of what it sends to a box that takes messages of another, and explains the drops.
pub(super) fn explain_here(
    link: &Arc<Link>,
    home: &Arc<dyn Household>,
    fingerprint: u64,
    (name, type_name): (Box<str>, &'static str),
    takes: Shape,
    explained: &Words,
) {
    let (home, explained) = (Arc::clone(home), Arc::clone(explained));
    let hear = move |told: Option<&Told<'_>>| {
        // There is no box here that takes what was sent: the difference is told from the box's side.
        if let Some(words) = told.and_then(|told| told.differences(&takes)) {
            home.observer().explain(&name, type_name, DropReason::TypeMismatch, Side::Here, &words);
            // It may have been explained twice.
            let _ = explained.set(words);
        }
    };
    link.inquire(&Question::Fingerprint(fingerprint), Box::new(hear));
}

/// Asks the owner of a box for the shape that it takes, and explains the drops that it has reported.
pub(super) fn explain_there(link: &Arc<Link>, home: &Arc<dyn Household>, target: Target, name: String) {
    let Some(sent) = link.sent_to(&target) else { return };
    let home = Arc::clone(home);
    let hear = move |told: Option<&Told<'_>>| {
        if let Some(words) = told.and_then(|told| told.differences(&sent)) {
            home.observer().explain(&name, "", DropReason::TypeMismatch, Side::Peer, &words);
        }
    };
    link.inquire(&Question::Box(target), Box::new(hear));
}

/// Ends a request that was refused because of its shape, with the difference if it can be found out.
pub(super) fn refused(link: &Arc<Link>, target: Option<Target>, waiting: Box<dyn Waiting>) {
    let reason = DropReason::TypeMismatch;
    let sent = target.and_then(|target| Some((link.sent_to(&target)?, target)));
    let Some((sent, target)) = sent else {
        return waiting.failed(AskError::NotDelivered { reason, detail: None });
    };
    let hear = move |told: Option<&Told<'_>>| {
        let detail = told.and_then(|told| told.differences(&sent)).map(String::from);
        waiting.failed(AskError::NotDelivered { reason, detail });
    };
    link.inquire(&Question::Box(target), Box::new(hear));
}
