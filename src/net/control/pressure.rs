//! The fill levels of boxes that both ends of a connection exchange: a side *presses* a box of the other when it fills
//! it with messages, and is told how full it is.
//!
//! A box is reported soon after it has become more than half full. From then on the caller looks at its level a few
//! times a second, as it does for drops, and the level is reported when it has changed, until the box is nearly empty.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use bytes::BytesMut;

use crate::handle::ports::LocalBox;
use crate::wire::codec::Violation;
use crate::wire::frames::pressure::put_pressure;
use crate::wire::frames::pressure::read_pressure;
use crate::wire::frames::watch::LONGEST;
use crate::wire::target::Target;

/// Boxes whose levels are exchanged over one connection at a time, in each direction; a further box is taken for empty.
const MAX_PRESSED: usize = 4096;

/// The least change that is reported, of 255.
const STEP: u8 = 8;

/// The level, of 255, below which a box is reported as empty, and no longer looked at.
const NEARLY_EMPTY: u8 = 32;

/// Returns the level to report for a box that is that full.
pub(crate) fn level(fill: u8) -> u8 {
    if fill < NEARLY_EMPTY { 0 } else { fill }
}

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
    reported: u8,
}

impl Pressures {
    /// Notes that the peer presses a box. Returns whether it is the first; `None` if there are too many.
    pub(crate) fn press(&mut self, target: &Target, local: &Arc<dyn LocalBox>) -> Option<bool> {
        let is_first = self.pressed.is_empty();
        if self.pressed.len() >= MAX_PRESSED && !self.pressed.contains_key(target) {
            return None;
        }
        let pressed =
            self.pressed.entry(target.clone()).or_insert_with(|| Pressed { local: Arc::downgrade(local), reported: 0 });
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

    /// Reports the levels of boxes that are that full, in a frame of at most `room` bytes; empty boxes are forgotten.
    /// A level for which there is no room is reported the next time. Returns whether there was anything to report.
    pub(crate) fn poll_frames(&mut self, out: &mut BytesMut, room: usize, fills: &[(Target, u8)]) -> bool {
        let news = self.news(fills, room / LONGEST);
        let is_news = !news.is_empty();
        if is_news {
            put_pressure(out, news);
        }
        is_news
    }

    fn news(&mut self, fills: &[(Target, u8)], most: usize) -> Vec<(Target, u8)> {
        let mut news = Vec::new();
        for (target, fill) in fills {
            let Some(pressed) = self.pressed.get_mut(target) else { continue };
            if Self::is_worth_telling(pressed.reported, *fill) {
                if news.len() >= most {
                    continue;
                }
                pressed.reported = *fill;
                news.push((target.clone(), *fill));
            }
            if *fill == 0 {
                self.pressed.remove(target);
                self.relieved.fetch_add(1, Ordering::Relaxed);
            }
        }
        news
    }

    /// Takes the levels of boxes of the peer. If a part of the frame is a violation, takes the levels before that part.
    pub(crate) fn on_frame(&mut self, payload: &[u8]) -> Result<(), Violation> {
        for entry in read_pressure(payload) {
            let (target, fill) = entry?;
            self.hear(target, fill);
        }
        Ok(())
    }

    fn hear(&mut self, target: Target, fill: u8) {
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
    use crate::boxes::relay::Relay;
    use crate::handle::detached;
    use crate::ident::BoxId;
    use crate::wire::frames::Front;
    use crate::wire::frames::front;
    use crate::wire::frames::kind;

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

    /// Reports one box after the other, and hands the frames to the other side. Returns the levels that it then knows.
    fn told(ours: &mut Pressures, theirs: &mut Pressures, fills: &[(Target, u8)], room: usize) -> Vec<u8> {
        let mut out = BytesMut::new();
        if ours.poll_frames(&mut out, room, fills) {
            let Ok(Front::Frame(raw)) = front(&out, 1024) else { panic!("{out:?}") };
            assert_eq!((raw.kind, raw.size), (kind::PRESSURE, out.len()));
            theirs.on_frame(raw.payload).expect("it was just written");
        }
        fills.iter().map(|(target, _)| theirs.heard(target)).collect()
    }

    #[test]
    fn the_other_side_hears_of_pressed_boxes_as_far_as_there_is_room_until_they_are_empty() {
        let local = Arc::new(Relay::new(BoxId([0; 16]), detached::pointer(), 1)) as Arc<dyn LocalBox>;
        let (mut ours, mut theirs) = (Pressures::default(), Pressures::default());
        assert_eq!([1, 2].map(|n| ours.press(&target(n), &local)), [Some(true), Some(false)]);
        let fills = |fill| [(target(1), fill), (target(2), fill), (target(3), fill)];
        assert_eq!(told(&mut ours, &mut theirs, &fills(130), 1024), [130, 130, 0], "nobody presses the third");
        assert_eq!(told(&mut ours, &mut theirs, &fills(131), 1024), [130, 130, 0], "it is not worth a frame");
        assert_eq!(told(&mut ours, &mut theirs, &fills(200), LONGEST), [200, 130, 0], "there is room for one");
        assert_eq!(told(&mut ours, &mut theirs, &fills(200), LONGEST), [200, 200, 0], "the other one is still due");
        assert_eq!(told(&mut ours, &mut theirs, &fills(level(NEARLY_EMPTY - 1)), LONGEST), [0, 200, 0]);
        assert!(!ours.presses_none(), "an end that is not reported yet is not forgotten");
        assert_eq!(told(&mut ours, &mut theirs, &fills(0), 1024), [0, 0, 0]);
        assert_eq!((ours.presses_none(), ours.relieved.load(Ordering::Relaxed)), (true, 2));
        assert!(theirs.heard.is_empty());
    }

    #[test]
    fn levels_before_a_violation_are_believed() {
        let (mut pressures, mut out) = (Pressures::default(), BytesMut::new());
        put_pressure(&mut out, [(target(1), 200), (target(2), 100)]);
        let Ok(Front::Frame(raw)) = front(&out, 1024) else { panic!("{out:?}") };
        let cut = raw.payload.split_last().expect("it is not empty").1;
        assert!(pressures.on_frame(cut).is_err());
        assert_eq!([1, 2].map(|n| pressures.heard(&target(n))), [200, 0]);
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
