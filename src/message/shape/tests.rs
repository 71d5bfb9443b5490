//! Tests of the canonical form with any graph: equal nodes are merged, different ones are not, and numbers do not
//! matter.

use proptest::prelude::*;
use proptest::sample::Index;

use super::Shape;
use super::canon::canonical;
use super::encoding::decode;
use super::encoding::encode;
use super::model::Content;
use super::model::Field;
use super::model::Gap;
use super::model::Model;
use super::model::Opaque;
use super::model::Scalar;
use super::model::ShapeNode;
use super::model::ShapeNodeId;
use super::model::Variant;

/// Makes a node of a graph of `count` nodes. Few kinds and few names, so that many are alike.
fn node(count: u32) -> impl Strategy<Value = ShapeNode> {
    let id = move || (0..count).prop_map(ShapeNodeId);
    let name = || prop_oneof![Just("A"), Just("B")].prop_map(Box::<str>::from);
    let content = move || {
        prop_oneof![
            Just(Content::Unit),
            id().prop_map(Content::Newtype),
            prop::collection::vec(id(), 0..3).prop_map(Content::Tuple),
            prop::collection::vec((name(), id()).prop_map(|(name, node)| Field { name, node }), 0..3)
                .prop_map(Content::Fields),
            prop::option::of(name()).prop_map(|of| Content::Opaque(Opaque::Unchecked(Gap::Unreached, of))),
        ]
    };
    let variant = (name(), content()).prop_map(|(name, content)| Variant { name, content });
    prop_oneof![
        2 => prop_oneof![Just(Scalar::U8), Just(Scalar::Unit)].prop_map(ShapeNode::Scalar),
        3 => id().prop_map(ShapeNode::Option),
        1 => id().prop_map(ShapeNode::Seq),
        1 => (id(), id()).prop_map(|(key, value)| ShapeNode::Map { key, value }),
        3 => prop::collection::vec(id(), 0..4).prop_map(ShapeNode::Tuple),
        2 => (name(), content()).prop_map(|(name, content)| ShapeNode::Struct { name, content }),
        1 => (name(), prop::collection::vec(variant, 0..3)).prop_map(|(name, variants)| ShapeNode::Enum { name, variants }),
        1 => name().prop_map(|message| ShapeNode::Address { message }),
        1 => name().prop_map(|name| ShapeNode::Opaque(Opaque::Named(name))),
        1 => prop::option::of(name()).prop_map(|of| ShapeNode::Opaque(Opaque::Unchecked(Gap::Varies, of))),
        1 => Just(ShapeNode::SelfDescribing),
    ]
}

fn model() -> impl Strategy<Value = Model> {
    (1_u32..24).prop_flat_map(|count| {
        let nodes = prop::collection::vec(node(count), count as usize);
        (nodes, prop::option::of((0..count).prop_map(ShapeNodeId)))
            .prop_map(|(nodes, result)| Model::new(nodes, result))
    })
}

/// Returns the same shape in another form: nodes in another order, and each of them twice, with refs to either.
fn in_other_words(model: &Model, order: &[Index], which: &[bool]) -> Model {
    let count = model.nodes().len();
    let mut places: Vec<usize> = (1..2 * count).collect();
    let mut shuffled = vec![0];
    for index in order.iter().cycle().take(2 * count - 1) {
        shuffled.push(places.swap_remove(index.index(places.len())));
    }
    // Node n is at `shuffled[n]` and at `shuffled[n + count]`.
    let mut turn = which.iter().cycle();
    let mut moved = |id: ShapeNodeId| {
        let twin = if *turn.next().unwrap_or(&false) { count } else { 0 };
        ShapeNodeId(shuffled[id.0 as usize + twin] as u32)
    };
    let mut nodes = vec![ShapeNode::SelfDescribing; 2 * count];
    for at in 0..2 * count {
        let mut node = model.nodes()[at % count].clone();
        node.each_reference(&mut |id| *id = moved(*id));
        nodes[shuffled[at]] = node;
    }
    let result = model.result().map(&mut moved);
    Model::new(nodes, result)
}

/// Returns whether walks of `steps` steps cannot tell two nodes apart: the plain definition of equality.
fn look_alike(model: &Model, steps: usize) -> Vec<Vec<bool>> {
    let nodes = model.nodes();
    let label = |node: &ShapeNode| {
        let mut label = node.clone();
        label.each_reference(&mut |id| *id = ShapeNodeId(0));
        label
    };
    let children = |node: &ShapeNode| {
        let mut children = Vec::new();
        node.each_child(|child| children.push(child.0 as usize));
        children
    };
    let mut alike: Vec<Vec<bool>> =
        nodes.iter().map(|a| nodes.iter().map(|b| label(a) == label(b)).collect()).collect();
    for _ in 0..steps {
        let before = alike.clone();
        for (a, row) in alike.iter_mut().enumerate() {
            for (b, alike) in row.iter_mut().enumerate() {
                let mut pairs = children(&nodes[a]).into_iter().zip(children(&nodes[b]));
                *alike = *alike && pairs.all(|(a, b)| before[a][b]);
            }
        }
    }
    alike
}

proptest! {
    #[test]
    fn a_graph_in_other_words_has_the_same_canonical_form(
        model in model(),
        order in prop::collection::vec(any::<Index>(), 1..48),
        which in prop::collection::vec(any::<bool>(), 1..48),
    ) {
        let other = in_other_words(&model, &order, &which);
        prop_assert_eq!(canonical(&model), canonical(&other));
    }

    #[test]
    fn a_canonical_graph_stays_as_it_is_and_is_read_as_it_was_written(model in model()) {
        let form = canonical(&model);
        prop_assert_eq!(&canonical(&form), &form);
        prop_assert_eq!(decode(&encode(&form)), Ok(form));
    }

    #[test]
    fn what_a_walk_can_tell_apart_is_kept_apart_and_nothing_else(model in model()) {
        let form = canonical(&model);
        let count = form.nodes().len();
        // No two of the remaining nodes look alike.
        let alike = look_alike(&form, count);
        for (a, row) in alike.iter().enumerate() {
            for (b, &alike) in row.iter().enumerate() {
                prop_assert_eq!(alike, a == b, "{} and {} of {:?}", a, b, form);
            }
        }
        // And the root has not changed: side by side in one graph, the two roots look alike.
        let mut nodes = model.nodes().to_vec();
        let shift = nodes.len() as u32;
        for node in form.nodes() {
            let mut node = node.clone();
            node.each_reference(&mut |id| id.0 += shift);
            nodes.push(node);
        }
        let both = Model::new(nodes, None);
        prop_assert!(look_alike(&both, both.nodes().len())[0][shift as usize]);
    }

    #[test]
    fn shapes_differ_if_and_only_if_a_difference_is_told(a in model(), b in model()) {
        let (a, b) = (Shape::new(&a), Shape::new(&b));
        prop_assert_eq!(a.diff(&b).is_empty(), a == b, "{} and {}", a, b);
        prop_assert_eq!(b.diff(&a).is_empty(), a == b);
        prop_assert!(a.diff(&b).len() <= 32);
    }
}
