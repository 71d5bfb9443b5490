//! The deserializer that a type is traced with: it records each request, and offers a value.

use std::any::TypeId;
use std::any::type_name;

use serde::de;
use serde::de::Deserializer;
use serde::de::Expected;
use serde::de::Visitor;

use super::access::Choice;
use super::access::NamedParts;
use super::access::TracedElements;
use super::access::TracedEntries;
use super::access::TracedParts;
use super::candidates;
use super::draft::Form;
use super::draft::Kind;
use super::draft::Names;
use super::tracer::Probe;
use super::tracer::TraceFault;
use super::tracer::TracePlace;
use super::tracer::TraceSubject;
use crate::message::shape::mark::ADDRESS;
use crate::message::shape::mark::LEAF;
use crate::message::shape::model::Opaque;
use crate::message::shape::model::Scalar;
use crate::message::shape::model::ShapeNode;

impl Probe<'_> {
    /// Returns the candidate to offer, by its position among `count`.
    fn candidate(&mut self, node: ShapeNode, count: usize) -> Result<usize, TraceFault> {
        let leaf = self.tracer.leaf(node);
        self.tracer.link(self.place, leaf);
        self.tracer.reads += 1;
        self.tracer.leaf_count += 1;
        if self.tracer.is_exhausted() {
            return Err(self.tracer.give_up());
        }
        let first = candidates::offset(self.variation, self.tracer.leaf_count);
        let slot = self.tracer.slot_mut(self.place);
        let accepted = |at: &usize| slot.refused >> at & 1 == 0;
        match (0..count).map(|at| at.wrapping_add(first) % count).find(accepted) {
            Some(at) => {
                slot.offered = at as u32;
                Ok(at)
            }
            None => {
                let news = !std::mem::replace(&mut slot.stuck, true);
                self.tracer.progress |= news;
                Err(TraceFault::Refused)
            }
        }
    }

    fn scalar(&mut self, scalar: Scalar, count: usize) -> Result<usize, TraceFault> {
        self.candidate(ShapeNode::Scalar(scalar), count)
    }

    /// Reads a leaf whose only value is made by the visitor itself.
    fn marked<'de, V: Visitor<'de>>(mut self, node: ShapeNode, visitor: V) -> Result<V::Value, TraceFault> {
        self.candidate(node, 1)?;
        visitor.visit_unit()
    }

    /// Returns the text to offer: one of the texts listed in the type's error, if it refuses all others.
    fn text(&mut self) -> Result<&'static str, TraceFault> {
        let slot = self.tracer.slot_mut(self.place);
        if slot.listed.is_some() && !slot.by_list && slot.refused.count_ones() as usize >= candidates::TEXTS.len() {
            (slot.by_list, slot.refused) = (true, 0);
        }
        let texts = slot.listed.filter(|_| slot.by_list).unwrap_or(&candidates::TEXTS);
        let at = self.scalar(Scalar::Str, texts.len().min(candidates::MOST))?;
        Ok(texts[at])
    }

    /// Returns the draft of a composite.
    fn composite<'de, V: Visitor<'de>>(&mut self, what: TraceSubject, kind: impl FnOnce() -> Kind) -> usize {
        self.tracer.composite(typeid::of::<V>(), what, name_of::<V>(), kind)
    }

    /// Reads a composite whose parts come in order.
    fn parts<'de, V: Visitor<'de>>(self, draft: usize, count: usize, visitor: V) -> Result<V::Value, TraceFault> {
        let (level, variation) = (self.level + 1, self.variation);
        self.tracer.drafts[draft].declared = count;
        self.tracer.enter(self.place, draft, level, |tracer| {
            visitor.visit_seq(TracedParts { tracer, draft, next: 0, count, level, variation })
        })
    }

    /// Reads a composite whose parts have names: in order, or if one of them has no value, the parts that are not known
    /// yet.
    fn fields<'de, V: Visitor<'de>>(self, draft: usize, names: Names, visitor: V) -> Result<V::Value, TraceFault> {
        let (level, variation) = (self.level + 1, self.variation);
        let of = &self.tracer.drafts[draft];
        if !of.barren && of.naming.is_none() {
            return self.parts(draft, names.len(), visitor);
        }
        self.tracer.enter(self.place, draft, level, |tracer| {
            if let Some(question) = tracer.question(draft) {
                return tracer.ask(&question, draft, level, visitor);
            }
            if !tracer.drafts[draft].barren {
                return visitor.visit_seq(TracedParts { tracer, draft, next: 0, count: names.len(), level, variation });
            }
            let mut left: Vec<usize> =
                (0..names.len()).filter(|&slot| tracer.wants(TracePlace { draft, slot })).collect();
            // Parts without a value come last in the list, which is taken from its end, so that they are read first.
            left.sort_by_key(|&slot| !tracer.slot(TracePlace { draft, slot }).stuck);
            visitor.visit_map(NamedParts { tracer, draft, names, left, value_of: None, level, variation })
        })
    }

    /// Returns the draft of the content of a variant, which is part of the level of the enum.
    fn content(&mut self, form: Form) -> usize {
        let TracePlace { draft, slot } = self.place;
        let number = match form {
            Form::Unit => 0,
            Form::Newtype => 1,
            Form::Tuple => 2,
            Form::Fields(_) => 3,
        };
        let type_name = self.tracer.drafts[draft].type_name;
        let what = TraceSubject::Variant(draft, slot, number);
        self.tracer.composite(TypeId::of::<()>(), what, type_name, || Kind::Variant(form))
    }
}

/// Returns the name of the Rust type that a visitor makes; if it makes `()`, the visitor's own type.
fn name_of<'de, V: Visitor<'de>>() -> &'static str {
    match type_name::<V::Value>() {
        "()" => type_name::<V>(),
        name => name,
    }
}

/// Returns the visitor's `expecting` text.
fn expected<'de, V: Visitor<'de>>(visitor: &V) -> Box<str> {
    (visitor as &dyn Expected).to_string().into_boxed_str()
}

/// Methods for the leaves: each offers one value of a list.
macro_rules! leaves {
    ($($method:ident $scalar:ident $visit:ident $count:expr, $value:expr;)*) => { $(
        fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, TraceFault> {
            let at = self.scalar(Scalar::$scalar, $count)?;
            visitor.$visit($value(at))
        }
    )* };
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = TraceFault;

    leaves! {
        deserialize_bool Bool visit_bool 2, |at| at == 1;
        deserialize_i8 I8 visit_i8 candidates::INTEGERS.len(), |at: usize| candidates::INTEGERS[at] as i8;
        deserialize_i16 I16 visit_i16 candidates::INTEGERS.len(), |at: usize| candidates::INTEGERS[at] as i16;
        deserialize_i32 I32 visit_i32 candidates::INTEGERS.len(), |at: usize| candidates::INTEGERS[at] as i32;
        deserialize_i64 I64 visit_i64 candidates::INTEGERS.len(), |at: usize| candidates::INTEGERS[at] as i64;
        deserialize_i128 I128 visit_i128 candidates::INTEGERS.len(), |at: usize| candidates::INTEGERS[at];
        deserialize_u8 U8 visit_u8 candidates::INTEGERS.len(), |at: usize| candidates::INTEGERS[at] as u8;
        deserialize_u16 U16 visit_u16 candidates::INTEGERS.len(), |at: usize| candidates::INTEGERS[at] as u16;
        deserialize_u32 U32 visit_u32 candidates::INTEGERS.len(), |at: usize| candidates::INTEGERS[at] as u32;
        deserialize_u64 U64 visit_u64 candidates::INTEGERS.len(), |at: usize| candidates::INTEGERS[at] as u64;
        deserialize_u128 U128 visit_u128 candidates::INTEGERS.len(), |at: usize| candidates::INTEGERS[at] as u128;
        deserialize_f32 F32 visit_f32 candidates::FLOATS.len(), |at: usize| candidates::FLOATS[at] as f32;
        deserialize_f64 F64 visit_f64 candidates::FLOATS.len(), |at: usize| candidates::FLOATS[at];
        deserialize_char Char visit_char candidates::CHARS.len(), |at: usize| candidates::CHARS[at];
        deserialize_bytes Bytes visit_borrowed_bytes candidates::BYTE_LENGTHS.len(), candidates::bytes;
        deserialize_byte_buf Bytes visit_bytes candidates::BYTE_LENGTHS.len(), candidates::bytes;
    }

    fn deserialize_str<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, TraceFault> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, TraceFault> {
        visitor.visit_str(self.text()?)
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, TraceFault> {
        match self.candidate(ShapeNode::SelfDescribing, 6)? {
            0 => visitor.visit_unit(),
            1 => visitor.visit_bool(true),
            2 => visitor.visit_u64(1),
            3 => visitor.visit_borrowed_str("a"),
            4 => visitor.visit_seq(de::value::SeqDeserializer::new(std::iter::empty::<()>())),
            _ => visitor.visit_map(de::value::MapDeserializer::new(std::iter::empty::<((), ())>())),
        }
    }

    /// Names of fields and variants are not read here. A value that is read as a name, such as the tag of an adjacently
    /// tagged enum, may be a text or a number, and bytes that do not describe themselves cannot say which.
    fn deserialize_identifier<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, TraceFault> {
        let TracePlace { draft, slot } = self.place;
        let draft = &mut self.tracer.drafts[draft];
        draft.flattened |= slot == 0 && matches!(draft.kind, Kind::Map);
        let at = self.candidate(ShapeNode::SelfDescribing, candidates::TEXTS.len())?;
        visitor.visit_borrowed_str(candidates::TEXTS[at])
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceFault> {
        self.deserialize_any(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, TraceFault> {
        self.scalar(Scalar::Unit, 1)?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, TraceFault> {
        let draft = self.composite::<V>(TraceSubject::Unit(name), || Kind::Struct(name, Form::Unit));
        self.tracer.enter(self.place, draft, self.level + 1, |_| visitor.visit_unit())
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, TraceFault> {
        let draft = self.composite::<V>(TraceSubject::Option, || Kind::Option);
        let Probe { tracer, place, level, variation } = self;
        tracer.enter(place, draft, level + 1, |tracer| {
            let inner = TracePlace { draft, slot: 0 };
            // After a refusal, empty options and full ones are offered in turn.
            if tracer.wants(inner) || tracer.may_vary(draft) && tracer.slot(inner).good && variation % 2 == 1 {
                tracer.read(inner, level + 1, variation, |probe| visitor.visit_some(probe))
            } else {
                visitor.visit_none()
            }
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, TraceFault> {
        match name {
            ADDRESS => {
                let message = expected(&visitor);
                return self.marked(ShapeNode::Address { message }, visitor);
            }
            LEAF => {
                let named = Opaque::Named(expected(&visitor));
                return self.marked(ShapeNode::Opaque(named), visitor);
            }
            _ => {}
        }
        let draft = self.composite::<V>(TraceSubject::Newtype(name), || Kind::Struct(name, Form::Newtype));
        let Probe { tracer, place, level, variation } = self;
        tracer.enter(place, draft, level + 1, |tracer| {
            let inner = TracePlace { draft, slot: 0 };
            tracer.read(inner, level + 1, variation, |probe| visitor.visit_newtype_struct(probe))
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, TraceFault> {
        let draft = self.composite::<V>(TraceSubject::Seq, || Kind::Seq);
        let Probe { tracer, place, level, variation } = self;
        tracer.enter(place, draft, level + 1, |tracer| {
            let left = tracer.how_many(draft, variation);
            visitor.visit_seq(TracedElements { tracer, draft, left, level: level + 1, variation })
        })
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, TraceFault> {
        let draft = self.composite::<V>(TraceSubject::Map, || Kind::Map);
        let Probe { tracer, place, level, variation } = self;
        tracer.enter(place, draft, level + 1, |tracer| {
            let left = tracer.how_many(draft, variation);
            visitor.visit_map(TracedEntries { tracer, draft, left, level: level + 1, variation })
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(mut self, len: usize, visitor: V) -> Result<V::Value, TraceFault> {
        let draft = self.composite::<V>(TraceSubject::Tuple, || Kind::Tuple);
        self.parts(draft, len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, TraceFault> {
        let draft = self.composite::<V>(TraceSubject::TupleStruct(name), || Kind::Struct(name, Form::Tuple));
        self.parts(draft, len, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TraceFault> {
        let list = self.tracer.listed(fields);
        let draft = self.composite::<V>(TraceSubject::Struct(name, list), || Kind::Struct(name, Form::Fields(fields)));
        self.fields(draft, fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TraceFault> {
        let list = self.tracer.listed(variants);
        let draft = self.composite::<V>(TraceSubject::Enum(name, list), || Kind::Enum(name, variants));
        let Probe { tracer, place, level, variation } = self;
        tracer.enter(place, draft, level + 1, |tracer| {
            if let Some(question) = tracer.question(draft) {
                return Err(tracer.ask_variant(&question, draft, visitor));
            }
            let Some(slot) = tracer.choose(draft, variation) else { return Err(TraceFault::Refused) };
            let outer = std::mem::replace(&mut tracer.deepest, level + 1);
            let inner = TracePlace { draft, slot };
            let read = tracer.read(inner, level + 1, variation, |probe| visitor.visit_enum(Choice { probe }));
            let levels = tracer.deepest - level;
            tracer.deepest = tracer.deepest.max(outer);
            tracer.chosen(draft, slot, read.is_ok().then_some(levels));
            read
        })
    }
}

/// The content of a variant.
impl<'de> de::VariantAccess<'de> for Probe<'_> {
    type Error = TraceFault;

    fn unit_variant(mut self) -> Result<(), TraceFault> {
        let draft = self.content(Form::Unit);
        self.tracer.enter(self.place, draft, self.level, |_| Ok(()))
    }

    fn newtype_variant_seed<T: de::DeserializeSeed<'de>>(mut self, seed: T) -> Result<T::Value, TraceFault> {
        let draft = self.content(Form::Newtype);
        let Probe { tracer, place, level, variation } = self;
        tracer.enter(place, draft, level, |tracer| {
            tracer.read(TracePlace { draft, slot: 0 }, level, variation, |probe| seed.deserialize(probe))
        })
    }

    fn tuple_variant<V: Visitor<'de>>(mut self, len: usize, visitor: V) -> Result<V::Value, TraceFault> {
        let draft = self.content(Form::Tuple);
        self.level -= 1;
        self.parts(draft, len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TraceFault> {
        let draft = self.content(Form::Fields(fields));
        self.level -= 1;
        self.fields(draft, fields, visitor)
    }
}
