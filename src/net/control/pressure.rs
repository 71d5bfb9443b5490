//! The fill levels of boxes that both ends of a connection exchange: a side *presses* a box of the other when it fills
//! it with messages, and is told how full it is.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::handle::ports::LocalBox;
use crate::wire::target::Target;

/// Boxes whose levels are exchanged over one connection at a time, in each direction; a further box is taken for empty.
const MAX_PRESSED: usize = 4096;

/// The least change that is reported, of 255.
const STEP: u8 = 8;

/// The level, of 255, below which a box is reported as empty, and no longer looked at.
pub(crate) const NEARLY_EMPTY: u8 = 32;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Pressures {
    /// Boxes of this side that the peer presses.
    pressed: BTreeMap<Target, Pressed>,
    /// Counts the pressed boxes that were forgotten because they are empty: the level last reported of them no longer
    /// holds.
    pub(crate) relieved: Arc<AtomicU64>,
    /// Boxes of the peer that this side presses, with the last reported level.
    heard: HashMap<Target, u8>,
}

#[derive(Debug)]
struct Pressed {
    local: Weak<dyn LocalBox>,
    /// The level that the peer was told last.
    told: u8,
}

impl Pressures {
    /// Notes that the peer presses a box. Returns whether it is the first; `None` if there are too many.
    pub(crate) fn press(&mut self, target: &Target, local: &Arc<dyn LocalBox>) -> Option<bool> {
        let is_first = self.pressed.is_empty();
        if self.pressed.len() >= MAX_PRESSED && !self.pressed.contains_key(target) {
            return None;
        }
        let pressed =
            self.pressed.entry(target.clone()).or_insert_with(|| Pressed { local: Arc::downgrade(local), told: 0 });
        // An earlier box of that name may have closed.
        pressed.local = Arc::downgrade(local);
        Some(is_first)
    }

    /// Returns the boxes that the peer presses.
    pub(crate) fn pressed(&self) -> Vec<(Target, Weak<dyn LocalBox>)> {
        self.pressed.iter().map(|(target, pressed)| (target.clone(), Weak::clone(&pressed.local))).collect()
    }

    pub(crate) fn presses_none(&self) -> bool {
        self.pressed.is_empty()
    }

    /// Returns the level of the peer's box, as far as the peer has reported it.
    pub(crate) fn heard(&self, target: &Target) -> u8 {
        self.heard.get(target).copied().unwrap_or(0)
    }

    fn is_worth_telling(told: u8, fill: u8) -> bool {
        told != fill && (fill == 0 || fill == u8::MAX || told.abs_diff(fill) >= STEP)
    }

    /// Returns the levels to report when boxes are that full, at most `most` of them; empty boxes are forgotten.
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

    /// Takes the level of one of the peer's boxes.
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
