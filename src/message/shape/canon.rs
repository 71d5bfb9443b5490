//! One graph for each shape: equal types give equal graphs, wherever and in whatever order they were traced.
//!
//! Two nodes are the same if no walk from them can tell them apart. [`canonical`] merges all nodes that are the same
//! and numbers the remaining ones in the order in which a walk from the root first meets them. So the result does not
//! depend on the order of tracing, on whether two places share one Rust type or have equal ones, or on how often a
//! recursive type is unrolled.
//!
//! The nodes are told apart by Hopcroft's algorithm for automata: they begin in classes by their own content, and a
//! class is split when its members lead to different classes. The largest part keeps its number, so that each node
//! changes its class a logarithmic number of times; and only the references to nodes that changed their class are
//! examined again, not all references of the nodes that have one. So the time is bounded for a stranger's graph of any
//! form.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::model::Model;
use super::model::ROOT;
use super::model::ShapeNode;
use super::model::ShapeNodeId;

/// The canonical graph of the same shape.
pub(super) fn canonical(model: &Model) -> Model {
    let graph = Graph::new(model);
    let classes = graph.classes();
    number(model, &graph, &classes)
}

/// The references of the nodes, in both directions.
struct Graph<'a> {
    nodes: &'a [ShapeNode],
    children: Vec<Vec<usize>>,
    /// For each node, the nodes that refer to it, each with the index of the reference.
    parents: Vec<Vec<(usize, usize)>>,
}

/// The references of a node that lead to nodes whose class has changed, each with the new class.
type Changes = Vec<(usize, usize)>;

impl Graph<'_> {
    fn new(model: &Model) -> Graph<'_> {
        let nodes = model.nodes();
        let mut children = vec![Vec::new(); nodes.len()];
        let mut parents = vec![Vec::new(); nodes.len()];
        for (at, node) in nodes.iter().enumerate() {
            node.each_child(|child| {
                parents[child.0 as usize].push((at, children[at].len()));
                children[at].push(child.0 as usize);
            });
        }
        Graph { nodes, children, parents }
    }

    /// Returns the class of each node: equal for nodes that are the same.
    fn classes(&self) -> Vec<usize> {
        let mut partition = Partition::new(self.nodes);
        let mut changed: Vec<usize> = (0..self.nodes.len()).collect();
        while !changed.is_empty() {
            let mut suspects: BTreeMap<usize, Changes> = BTreeMap::new();
            for node in changed.drain(..) {
                for &(parent, reference) in &self.parents[node] {
                    suspects.entry(parent).or_default().push((reference, partition.class_of[node]));
                }
            }
            let mut by_class: BTreeMap<usize, Vec<(usize, Changes)>> = BTreeMap::new();
            for (node, mut changes) in suspects {
                changes.sort_unstable();
                by_class.entry(partition.class_of[node]).or_default().push((node, changes));
            }
            for (class, suspects) in by_class {
                partition.split(class, suspects, &mut changed);
            }
        }
        partition.class_of
    }
}

/// The classes so far.
struct Partition {
    class_of: Vec<usize>,
    members: Vec<Vec<usize>>,
    /// The position of each node among the members of its class.
    place_of: Vec<usize>,
}

impl Partition {
    /// Returns the classes by the nodes' own content, without following their references.
    fn new(nodes: &[ShapeNode]) -> Partition {
        let mut known: HashMap<ShapeNode, Vec<usize>> = HashMap::new();
        for (at, node) in nodes.iter().enumerate() {
            let mut label = node.clone();
            label.each_reference(&mut |id| *id = ROOT);
            known.entry(label).or_default().push(at);
        }
        let mut partition =
            Partition { class_of: vec![0; nodes.len()], members: Vec::new(), place_of: vec![0; nodes.len()] };
        known.into_values().for_each(|class| partition.settle(class));
        partition
    }

    /// Makes a class of these members.
    fn settle(&mut self, members: Vec<usize>) {
        self.members.push(Vec::new());
        self.fill(self.members.len() - 1, members);
    }

    fn fill(&mut self, class: usize, members: Vec<usize>) {
        for (place, &node) in members.iter().enumerate() {
            self.class_of[node] = class;
            self.place_of[node] = place;
        }
        self.members[class] = members;
    }

    fn take_out(&mut self, class: usize, node: usize) {
        let place = self.place_of[node];
        self.members[class].swap_remove(place);
        if let Some(&moved) = self.members[class].get(place) {
            self.place_of[moved] = place;
        }
    }

    /// Splits a class. Only the suspects lead elsewhere than before, to a new class, so none of them leads to the same
    /// classes as the other members; and two suspects lead to the same classes if their changes are equal.
    fn split(&mut self, class: usize, suspects: Vec<(usize, Changes)>, changed: &mut Vec<usize>) {
        let mut groups: BTreeMap<Changes, Vec<usize>> = BTreeMap::new();
        for (node, changes) in suspects {
            self.take_out(class, node);
            groups.entry(changes).or_default().push(node);
        }
        let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
        groups.sort_by_key(Vec::len);
        // The largest part keeps the number, and is not touched if it is the part of the members that are no suspects.
        if groups.last().is_some_and(|largest| largest.len() > self.members[class].len())
            && let Some(largest) = groups.pop()
        {
            groups.push(std::mem::take(&mut self.members[class]));
            self.fill(class, largest);
        }
        for group in groups.into_iter().filter(|group| !group.is_empty()) {
            changed.extend(&group);
            self.settle(group);
        }
    }
}

/// Keeps one node of each class, numbered as a walk first meets them: the message before its result, each node before
/// what it refers to, and all below one reference before the next.
fn number(model: &Model, graph: &Graph<'_>, classes: &[usize]) -> Model {
    let result = model.result().map(|id| id.0 as usize);
    let mut numbers: HashMap<usize, u32> = HashMap::new();
    let mut order = Vec::new();
    let mut waiting: Vec<usize> = result.into_iter().collect();
    waiting.push(ROOT.0 as usize);
    while let Some(node) = waiting.pop() {
        if let Entry::Vacant(vacant) = numbers.entry(classes[node]) {
            vacant.insert(order.len() as u32);
            order.push(node);
            waiting.extend(graph.children[node].iter().rev());
        }
    }
    let new = |old: usize| ShapeNodeId(numbers[&classes[old]]);
    let renumbered = |&at: &usize| {
        let mut node = graph.nodes[at].clone();
        node.each_reference(&mut |id| *id = new(id.0 as usize));
        node
    };
    Model::new(order.iter().map(renumbered).collect(), result.map(new))
}
