//! Decides whether the handles of a message become pointers, and binds those that do.

use std::rc::Rc;

use super::binding::Binding;
use super::context::ConnectionContext;
use super::delivery::do_handles_fit;
use super::lookup_cache::LookupCache;
use crate::wire::incoming::Bearer;
use crate::wire::incoming::Bind;
use crate::wire::introduction::Introduction;

/// The work of an introduction, in posts to a box that has a number.
const INTRODUCTION: usize = 3;

/// Binds the introductions of the peer.
pub(super) struct Binder<'a> {
    pub(super) cache: &'a mut LookupCache,
    pub(super) context: &'a ConnectionContext,
}

impl Bind<Rc<Binding>> for Binder<'_> {
    fn bind(&mut self, introduction: &Introduction<'_>) -> Rc<Binding> {
        self.context.add_work(INTRODUCTION);
        self.cache.bind(introduction, self.context.near, &self.context.transports)
    }

    /// Handles are wanted only if their message will be accepted, as far as that is known before they are read.
    #[inline]
    fn wants(&mut self, bearer: Bearer<'_, Rc<Binding>>, count: usize) -> bool {
        do_handles_fit(self.context.node.limits(), count)
            && match bearer {
                Bearer::For(target) => target.takes_messages(self.context),
                Bearer::Answer(number) => self.context.link.waits_for(self.context.correlation(number)),
            }
    }

    fn skip(&mut self, meaning: Result<&Rc<Binding>, &Introduction<'_>>) {
        match meaning {
            Ok(binding) => binding.skip(self.context),
            Err(introduction) => Binding::skip_inline(introduction, self.context),
        }
    }
}

/// Binds the introductions in messages that nobody takes any more: handles are given back.
pub(super) struct Late<'a>(pub(super) Binder<'a>);

impl Bind<Rc<Binding>> for Late<'_> {
    fn bind(&mut self, introduction: &Introduction<'_>) -> Rc<Binding> {
        self.0.bind(introduction)
    }

    fn wants(&mut self, _: Bearer<'_, Rc<Binding>>, _: usize) -> bool {
        false
    }

    fn skip(&mut self, meaning: Result<&Rc<Binding>, &Introduction<'_>>) {
        self.0.skip(meaning);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::BoxId;
    use crate::ident::Epoch;
    use crate::ident::Incarnation;
    use crate::ident::NodeId;
    use crate::net::io_thread;
    use crate::net::shared::NodeInner;
    use crate::net::shared::Setup;
    use crate::wire::introduction::Identity;

    const PEER: Incarnation = Incarnation { node: NodeId([7; 16]), epoch: Epoch([7; 16]) };

    #[test]
    fn introductions_and_handles_that_are_given_back_take_their_part_of_the_turn() {
        let (io, _not_started) = io_thread::io();
        let node = NodeInner::new(Setup::default(), io, |_, _| {});
        let link = node.link_to(&"localhost:1".parse().expect("an endpoint"), None);
        let context = ConnectionContext::new(&node, link, 1, (PEER, false));
        let mut cache = LookupCache::new(&node.registry);
        let binder = &mut Binder { cache: &mut cache, context: &context };
        let named = Introduction { identity: Identity::YourName("box"), is_leased: false, fingerprint: 0 };
        binder.bind(&named);
        assert_eq!(context.take_work(), INTRODUCTION);
        let theirs = Identity::MyBox { id: BoxId([1; 16]), name: "box" };
        let leased = Introduction { identity: theirs, is_leased: true, fingerprint: 0 };
        (0..10).for_each(|_| binder.skip(Err(&leased)));
        assert_eq!((context.take_work(), context.take_work()), (10, 0));
    }
}
