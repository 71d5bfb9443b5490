//! Whether anything is to be made of the handles of a message, and of what.

use std::rc::Rc;

use super::binding::Binding;
use super::context::ConnectionContext;
use super::delivery::do_handles_fit;
use super::lookup_cache::LookupCache;
use crate::wire::incoming::Bearer;
use crate::wire::incoming::Bind;
use crate::wire::introduction::Introduction;

/// Looks up whom the peer introduces.
pub(super) struct Binder<'a> {
    pub(super) cache: &'a mut LookupCache,
    pub(super) context: &'a ConnectionContext,
}

impl Bind<Rc<Binding>> for Binder<'_> {
    fn bind(&mut self, introduction: &Introduction<'_>) -> Rc<Binding> {
        self.cache.bind(introduction, self.context.near)
    }

    /// Only those of a message that is taken, as far as that is known before them.
    #[inline]
    fn wants(&mut self, bearer: Bearer<'_, Rc<Binding>>, count: usize) -> bool {
        do_handles_fit(self.context.router.limits(), count)
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

/// The same, of messages that nobody takes any more.
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
