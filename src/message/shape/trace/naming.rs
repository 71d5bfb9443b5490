//! Finds the name of each field or variant, where a type has more names than fields or variants.
//!
//! The lists of names that derived code passes to serde contain all aliases, sorted among the names they stand for. A
//! field or a variant is on the wire by its position, so a list with aliases does not tell which names belong to which
//! position. In this case the type is offered its own names, one by one, and the keys as which it reads them are
//! compared: names of one field give one key. The error for a field that comes twice tells which of them is the field's
//! own name. For a variant there is no such error: the first of several names counts, and the documentation of
//! [`Shape`](crate::Shape) says so.

use std::collections::BTreeSet;

use serde::de;
use serde::de::DeserializeSeed;
use serde::de::IntoDeserializer;
use serde::de::Visitor;

use super::draft::Draft;
use super::draft::DraftKey;
use super::draft::DraftNaming;
use super::draft::Kind;
use super::tracer::TraceFault;
use super::tracer::TracePlace;
use super::tracer::Tracer;

/// A question about a name, asked in one pass.
pub(super) enum NamingQuestion {
    /// Asks for the key as which the name is read.
    DraftKey(&'static str),
    /// Asks for the own name of the field that this name, perhaps an alias, stands for.
    Own(&'static str, TracePlace),
}

impl Draft {
    /// Returns the real number of fields or variants: the fields that were asked for in a complete value, or the
    /// variants whose number is accepted and means no other variant.
    fn count(&self) -> usize {
        if let Kind::Enum(..) = self.kind {
            let keys: Vec<DraftKey> = self.slots.iter().filter_map(|slot| slot.key).collect();
            let different = keys.iter().collect::<BTreeSet<_>>().len();
            // If all numbers are read as the same key, it is not derived code that reads them.
            return if different == 1 { keys.len() } else { different };
        }
        self.slots.iter().filter(|slot| slot.entered).count()
    }

    /// Begins to ask for names if there are too many. Returns whether there is something to ask.
    pub(super) fn is_unnamed(&mut self) -> bool {
        let is_known = self.whole || matches!(self.kind, Kind::Enum(..));
        let count = self.count();
        let too_many = is_known && count > 0 && self.listed().is_some_and(|names| names.len() > count);
        if self.names.is_none() && self.naming.is_none() && too_many {
            self.naming = Some(DraftNaming::default());
        }
        self.naming.is_some()
    }
}

impl Tracer {
    /// Returns the next question about a draft's names; `None` if there is nothing (more) to ask.
    pub(super) fn question(&mut self, draft: usize) -> Option<NamingQuestion> {
        let of = &mut self.drafts[draft];
        let (Some(names), Some(naming), 1) = (of.listed(), &of.naming, of.reading) else { return None };
        if let Some(&name) = names.get(naming.keys.len()) {
            return Some(NamingQuestion::DraftKey(name));
        }
        let groups = naming.groups(names);
        if groups.len() == of.count() {
            if !matches!(of.kind, Kind::Enum(..))
                && let Some(&(_, name)) = groups.get(naming.own.len())
            {
                return Some(NamingQuestion::Own(name, TracePlace { draft, slot: naming.own.len() }));
            }
            let firsts = groups.into_iter().map(|(_, name)| name).collect();
            of.names = Some(if naming.own.is_empty() { firsts } else { naming.own.clone() });
        } else {
            // The type reads its names in a way of its own; they are taken as they come.
            of.names = Some(names.iter().copied().take(of.count()).collect());
        }
        of.naming = None;
        None
    }

    /// Records an answer; such a pass never makes a value, and no slot is to blame for that.
    pub(super) fn answered(
        &mut self,
        draft: usize,
        question: &NamingQuestion,
        key: Option<DraftKey>,
        fault: Option<TraceFault>,
    ) -> TraceFault {
        if let Some(naming) = &mut self.drafts[draft].naming {
            match (question, fault) {
                (NamingQuestion::DraftKey(_), _) => naming.keys.push(key),
                (NamingQuestion::Own(..), Some(TraceFault::Duplicate(own))) => naming.own.push(own),
                (NamingQuestion::Own(name, _), _) => naming.own.push(name),
            }
        }
        self.progress = true;
        self.give_up()
    }

    /// Asks a struct, or a variant with fields, about a name.
    pub(super) fn ask<'de, V: Visitor<'de>>(
        &mut self,
        question: &NamingQuestion,
        draft: usize,
        level: usize,
        visitor: V,
    ) -> Result<V::Value, TraceFault> {
        let mut key = None;
        let shown = Shown { tracer: &mut *self, question, key: &mut key, times: 0, level };
        let fault = visitor.visit_map(shown).err();
        Err(self.answered(draft, question, key, fault))
    }

    /// Asks an enum about a name.
    pub(super) fn ask_variant<'de, V: Visitor<'de>>(
        &mut self,
        question: &NamingQuestion,
        draft: usize,
        visitor: V,
    ) -> TraceFault {
        let mut key = None;
        let fault = visitor.visit_enum(ShownVariant { question, key: &mut key }).err();
        self.answered(draft, question, key, fault)
    }
}

/// A variant by its name, without content.
struct ShownVariant<'t> {
    question: &'t NamingQuestion,
    key: &'t mut Option<DraftKey>,
}

/// The content of a variant that has none: no value of this type exists.
enum Never {}

impl<'de> de::VariantAccess<'de> for Never {
    type Error = TraceFault;

    fn unit_variant(self) -> Result<(), TraceFault> {
        match self {}
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, TraceFault> {
        match self {}
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, TraceFault> {
        match self {}
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, TraceFault> {
        match self {}
    }
}

impl<'de> de::EnumAccess<'de> for ShownVariant<'_> {
    type Error = TraceFault;
    type Variant = Never;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self::Variant), TraceFault> {
        let (NamingQuestion::DraftKey(name) | NamingQuestion::Own(name, _)) = self.question;
        let name: de::value::StrDeserializer<'_, TraceFault> = (*name).into_deserializer();
        *self.key = Some(DraftKey::of(&seed.deserialize(name)?));
        Err(TraceFault::Refused)
    }
}

/// A struct with one field, which comes twice if its own name is asked for.
struct Shown<'t> {
    tracer: &'t mut Tracer,
    question: &'t NamingQuestion,
    key: &'t mut Option<DraftKey>,
    times: usize,
    level: usize,
}

impl<'de> de::MapAccess<'de> for Shown<'_> {
    type Error = TraceFault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, TraceFault> {
        self.times += 1;
        let (NamingQuestion::DraftKey(name) | NamingQuestion::Own(name, _)) = self.question;
        if self.times > 2 {
            return Ok(None);
        }
        let name: de::value::StrDeserializer<'_, TraceFault> = (*name).into_deserializer();
        let read = seed.deserialize(name)?;
        *self.key = Some(DraftKey::of(&read));
        Ok(Some(read))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, TraceFault> {
        match self.question {
            NamingQuestion::Own(_, place) if self.times == 1 => {
                self.tracer.read(*place, self.level, 0, |probe| seed.deserialize(probe))
            }
            _ => Err(TraceFault::Refused),
        }
    }
}
