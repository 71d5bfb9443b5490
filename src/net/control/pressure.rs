//! How full boxes are, as both ends of a connection know it: those of this side that the peer presses, and those of the
//! peer that this side presses.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::handle::ports::LocalBox;
use crate::wire::target::Target;

/// Boxes that are told of over one connection at a time, in each direction; a further one is taken for empty.
const MAX_PRESSED: usize = 4096;

/// What makes a difference, of 255.
const STEP: u8 = 8;

/// Below that, of 255, a box is told as empty, and looked at no longer.
pub(crate) const NEARLY_EMPTY: u8 = 32;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Pressures {
    /// Boxes of this side that the peer presses.
    pressed: BTreeMap<Target, Pressed>,
    /// How often one of them was forgotten because it is empty: what was told of it holds no more.
    pub(crate) relieved: Arc<AtomicU64>,
    /// Those of the peer that this side presses.
    heard: HashMap<Target, u8>,
}

#[derive(Debug)]
struct Pressed {
    local: Weak<dyn LocalBox>,
    /// How full the peer takes it to be.
    told: u8,
}

impl Pressures {
    /// The peer presses a box. Whether it is the first, and none if there are too many.
    pub(crate) fn press(&mut self, target: &Target, local: &Arc<dyn LocalBox>) -> Option<bool> {
        let is_first = self.pressed.is_empty();
        if self.pressed.len() >= MAX_PRESSED && !self.pressed.contains_key(target) {
            return None;
        }
        let pressed =
            self.pressed.entry(target.clone()).or_insert_with(|| Pressed { local: Arc::downgrade(local), told: 0 });
        // One that was of that name may have closed.
        pressed.local = Arc::downgrade(local);
        Some(is_first)
    }

    /// The boxes that the peer presses.
    pub(crate) fn pressed(&self) -> Vec<(Target, Weak<dyn LocalBox>)> {
        self.pressed.iter().map(|(target, pressed)| (target.clone(), Weak::clone(&pressed.local))).collect()
    }

    pub(crate) fn presses_none(&self) -> bool {
        self.pressed.is_empty()
    }

    /// How full the peer's box is, as far as it has told.
    pub(crate) fn heard(&self, target: &Target) -> u8 {
        self.heard.get(target).copied().unwrap_or(0)
    }

    fn is_worth_telling(told: u8, fill: u8) -> bool {
        told != fill && (fill == 0 || fill == u8::MAX || told.abs_diff(fill) >= STEP)
    }

    /// What there is to tell when boxes are so full, up to `most` of them; those that are empty are forgotten.
    pub(crate) fn news(&mut self, fills: &[(Target, u8)], most: usize) -> Vec<(Target, u8)> {
        let mut news = Vec::new();
        for (target, fill) in fills {
            let Some(pressed) = self.pressed.get_mut(target) else { continue };
            if Self::is_worth_telling(pressed.told, *fill) {
                if news.len() >= most {
                    continue;
                }
                pressed.told = *fill;
                news.push((target.clone(), *fill));
            }
            if *fill == 0 {
                self.pressed.remove(target);
                self.relieved.fetch_add(1, Ordering::Relaxed);
            }
        }
        news
    }

    /// The peer says that one of its boxes is so full.
    pub(crate) fn hear(&mut self, target: Target, fill: u8) {
        if fill == 0 {
            self.heard.remove(&target);
        } else if self.heard.len() < MAX_PRESSED || self.heard.contains_key(&target) {
            self.heard.insert(target, fill);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::BoxId;

    fn target(n: u16) -> Target {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_le_bytes());
        Target::Id(BoxId(id))
    }

    #[test]
    fn small_changes_are_not_told_and_the_ends_always_are() {
        assert!(Pressures::is_worth_telling(0, 130));
        assert!(!Pressures::is_worth_telling(130, 130 + STEP - 1));
        assert!(Pressures::is_worth_telling(254, 255));
        assert!(Pressures::is_worth_telling(3, 0));
        assert!(!Pressures::is_worth_telling(0, 0));
    }

    #[test]
    fn a_peer_is_believed_of_so_many_boxes() {
        let mut pressures = Pressures::default();
        (0..=MAX_PRESSED as u16).for_each(|n| pressures.hear(target(n), 200));
        assert_eq!(pressures.heard.len(), MAX_PRESSED);
        pressures.hear(target(0), 255);
        assert_eq!(pressures.heard[&target(0)], 255);
        pressures.hear(target(0), 0);
        assert_eq!(pressures.heard.len(), MAX_PRESSED - 1);
    }
}
