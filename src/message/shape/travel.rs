//! Finds out whether any value of a type can travel: known from its shape, before there is a value.
//!
//! A part that describes itself cannot be read from postcard's bytes. It stops only the values that contain it, so a
//! type never travels if each of its values contains such a part: a struct with such a field is stopped, one with an
//! `Option` of it is not. A type that contains itself passes unless something else stops it, and so does every unknown
//! part.

use std::collections::HashMap;
use std::collections::HashSet;
use std::fmt::Display;

use super::check::Unfit;
use super::model::Content;
use super::model::Model;
use super::model::ShapeNode;
use super::model::ShapeNodeId;
use super::model::Variant;
use super::path::Step;
use super::path::Trail;

const SELF_DESCRIBING: &str = "Deserialize asks the bytes what they are (deserialize_any: serde_json::Value, untagged and \
                               tagged enums do), and a message's bytes do not say; use a type that is always of one form \
                               (an enum without these attributes, a String that holds JSON, another form by serde(with))";

const FLATTENED: &str = "serde(flatten) makes it a map of unknown length, which a message cannot hold; use a field that \
                         holds the struct, or the map, without this attribute";

/// Returns the part because of which no value of the root travels; `None` if some may. `flattened` are the maps that
/// are structs with flattened fields.
pub(super) fn obstacle(model: &Model, flattened: &HashSet<ShapeNodeId>, name: &dyn Display) -> Option<Unfit> {
    let stopped = stopped(model, flattened);
    stopped.contains_key(&model.root()).then(|| tell(&stopped, model.root(), Trail::new(name)))
}

/// The reason why a part does not travel: the part itself, or one inside it.
#[derive(Clone, Copy)]
enum Stopped<'m> {
    Itself(&'static str),
    Inside(Inside<'m>),
}

/// The step from a part to another that each of its values has.
#[derive(Clone, Copy)]
struct Inside<'m> {
    variant: Option<&'m str>,
    step: Step<'m>,
    part: ShapeNodeId,
}

type Stops<'m> = HashMap<ShapeNodeId, Stopped<'m>>;

/// Returns all parts of which no value travels. A part is inserted after the one that stops it, so that the chains end.
fn stopped<'m>(model: &'m Model, flattened: &HashSet<ShapeNodeId>) -> Stops<'m> {
    let mut stopped = Stops::new();
    loop {
        let before = stopped.len();
        // From the end, where the parts are that others refer to, so that one round usually covers all levels.
        for (at, node) in model.nodes().iter().enumerate().rev() {
            let id = ShapeNodeId(at as u32);
            if !stopped.contains_key(&id)
                && let Some(by) = stops(node, flattened.contains(&id), &stopped)
            {
                stopped.insert(id, by);
            }
        }
        if stopped.len() == before {
            return stopped;
        }
    }
}

fn stops<'m>(node: &'m ShapeNode, is_flattened: bool, stopped: &Stops<'m>) -> Option<Stopped<'m>> {
    match node {
        ShapeNode::SelfDescribing => Some(Stopped::Itself(SELF_DESCRIBING)),
        ShapeNode::Map { .. } if is_flattened => Some(Stopped::Itself(FLATTENED)),
        ShapeNode::Tuple(parts) => within_parts(parts, stopped).map(Stopped::Inside),
        ShapeNode::Struct { content, .. } => within(content, stopped).map(Stopped::Inside),
        // An enum without variants has no values that could be lost.
        ShapeNode::Enum { variants, .. } => {
            let inside = |variant: &'m Variant| {
                within(&variant.content, stopped).map(|inside| Inside { variant: Some(&variant.name), ..inside })
            };
            let all: Option<Vec<Inside<'m>>> = variants.iter().map(inside).collect();
            all.and_then(|all| all.first().copied()).map(Stopped::Inside)
        }
        // These have values without anything inside, or are opaque.
        ShapeNode::Option(_)
        | ShapeNode::Seq(_)
        | ShapeNode::Map { .. }
        | ShapeNode::Scalar(_)
        | ShapeNode::Address { .. }
        | ShapeNode::Opaque(_) => None,
    }
}

fn within<'m>(content: &'m Content, stopped: &Stops<'m>) -> Option<Inside<'m>> {
    match content {
        Content::Newtype(part) => {
            stopped.contains_key(part).then_some(Inside { variant: None, step: Step::Inside, part: *part })
        }
        Content::Tuple(parts) => within_parts(parts, stopped),
        Content::Fields(fields) => {
            let field = fields.iter().find(|field| stopped.contains_key(&field.node));
            field.map(|field| Inside { variant: None, step: Step::Field(&field.name), part: field.node })
        }
        Content::Unit | Content::Opaque(_) => None,
    }
}

fn within_parts<'m>(parts: &[ShapeNodeId], stopped: &Stops<'m>) -> Option<Inside<'m>> {
    let at = parts.iter().position(|part| stopped.contains_key(part))?;
    Some(Inside { variant: None, step: Step::Position(at), part: parts[at] })
}

/// Returns the part that stops the others, with its path. This recurses once for each level of the type, of which there
/// are few.
fn tell(stopped: &Stops<'_>, part: ShapeNodeId, at: Trail<'_>) -> Unfit {
    match stopped.get(&part) {
        Some(Stopped::Inside(Inside { variant, step, part })) => {
            let at = match variant {
                Some(variant) => at.into_variant(variant),
                None => at,
            };
            tell(stopped, *part, at.to(*step))
        }
        Some(Stopped::Itself(why)) => Unfit { path: at.to_string(), why: (*why).to_owned() },
        None => Unfit { path: at.to_string(), why: SELF_DESCRIBING.to_owned() },
    }
}
