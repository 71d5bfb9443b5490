//! Who a peer is: the token with which a node first claimed its id.

use std::collections::HashMap;

use crate::ident::NodeId;
use crate::ident::Token;

/// Nodes whose tokens are remembered while there is no connection to them; beyond, any one of them is forgotten, and
/// may then be claimed anew.
const MAX_TOKENS: usize = 65_536;

/// Whether a node id was claimed rightly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Proof {
    Proven,
    /// Another node first came with that id, or there are too many connections to it.
    Refused,
}

/// The tokens by which nodes are known. Bounded by [`MAX_TOKENS`].
#[derive(Debug, Default)]
pub(super) struct Identities {
    tokens: HashMap<NodeId, Token>,
    /// Whose token is never forgotten: this node's.
    ourselves: Option<NodeId>,
}

impl Identities {
    /// The id of this node is nobody else's, however many come.
    pub(super) fn reserve(&mut self, ourselves: NodeId, token: Token) {
        self.ourselves = Some(ourselves);
        self.tokens.insert(ourselves, token);
    }

    /// A peer shows the token for its id: right if it is the first from that id, or the same. A token that `is_used`, because
    /// there is a connection to its node, is not forgotten for another.
    pub(super) fn prove(&mut self, node: NodeId, token: Token, is_used: impl Fn(&NodeId) -> bool) -> Proof {
        match self.tokens.get(&node) {
            Some(known) if *known == token => Proof::Proven,
            Some(_) => Proof::Refused,
            None => {
                if self.tokens.len() >= MAX_TOKENS {
                    let is_unused = |node: &&NodeId| !is_used(node) && self.ourselves != Some(**node);
                    let unused = self.tokens.keys().find(is_unused).copied();
                    unused.map(|node| self.tokens.remove(&node));
                }
                self.tokens.insert(node, token);
                Proof::Proven
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: usize) -> NodeId {
        NodeId((n as u128).to_le_bytes())
    }

    fn token(n: u8) -> Token {
        Token([n; 16])
    }

    #[test]
    fn of_nodes_without_end_so_many_tokens_are_remembered() {
        let mut identities = Identities::default();
        (0..=MAX_TOKENS).for_each(|n| assert_eq!(identities.prove(node(n), token(1), |_| false), Proof::Proven));
        assert_eq!(identities.tokens.len(), MAX_TOKENS);
        let latest = identities.prove(node(MAX_TOKENS), token(2), |_| false);
        assert_eq!(latest, Proof::Refused, "the latest is remembered");
    }

    #[test]
    fn the_token_of_this_node_is_not_forgotten() {
        let mut identities = Identities::default();
        identities.reserve(node(0), token(1));
        (1..MAX_TOKENS).for_each(|n| assert_eq!(identities.prove(node(n), token(2), |_| false), Proof::Proven));
        // There is a connection to each of the others but one.
        let is_used = |other: &NodeId| *other != node(0) && *other != node(1);
        assert_eq!(identities.prove(node(MAX_TOKENS), token(2), is_used), Proof::Proven);
        assert_eq!(identities.prove(node(0), token(3), is_used), Proof::Refused, "an impostor");
        assert!(!identities.tokens.contains_key(&node(1)));
    }
}
