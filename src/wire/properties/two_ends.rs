//! Between two ends no message ever reaches a box that it was not sent to.

use super::*;
use crate::wire::fuzz::ends::*;
use crate::wire::fuzz::meant::*;

fn wanted() -> impl Strategy<Value = Wanted> {
    prop_oneof![
        2 => Just(Wanted::Post),
        1 => prop::option::of(number()).prop_map(|deadline| Wanted::Ask { deadline }),
        1 => any::<u16>().prop_map(Wanted::Answer),
    ]
}

fn events() -> impl Strategy<Value = Vec<(bool, Event)>> {
    // Half of them among the first few, so that some are named often and others rarely.
    let place = || prop_oneof![0..8_u16, any::<u16>()];
    let padding = prop_oneof![16 => 0..200_usize, 1 => OWN_MAX_FRAME..OWN_MAX_FRAME + 9];
    let event = prop_oneof![
        200 => (wanted(), place(), vec(place(), 0..=6), padding)
            .prop_map(|(what, to, handles, padding)| Event::Write { what, to, handles, padding }),
        80 => (1..2_500_usize).prop_map(Event::Deliver),
        2 => Just(Event::PeerAccepts),
        1 => Just(Event::Break),
    ];
    vec((any::<bool>(), event), 1..if cfg!(miri) { 100 } else { 700 })
}

fn terms() -> impl Strategy<Value = Terms> {
    (0..300_usize, ENOUGH..6_000_usize, ENOUGH..6_000_usize).prop_map(|(numbers, max_frame, capacity)| Terms {
        numbers,
        max_frame,
        capacity,
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_message_reaches_the_box_that_it_was_sent_to(
        size in 1..=300_usize,
        terms in [terms(), terms()],
        events in events(),
    ) {
        play(size, terms, events);
    }

    #[test]
    fn what_was_not_written_left_no_trace(
        size in 1..=100_usize,
        messages in vec((0..3_u8, any::<u16>(), vec(any::<u16>(), 0..=6), 0..300_usize, 0..1_500_usize), 1..100),
    ) {
        // Two writers of the same messages, one of which first tries, for each message, one that is too large and
        // perhaps too little room.
        let pools = [pool(size), pool(size)];
        let mut writers = [(); 2].map(|()| (Outgoing::new(OWN_MAX_FRAME), BytesMut::new()));
        for (serial, (kind, to, handles, padding, room)) in (0..).zip(messages) {
            let place = |any: u16| u32::from(any) % size as u32;
            let handles = handles.into_iter().map(place).collect();
            let meant = Meant { sender: 0, serial, to: place(to), handles, padding, what: what(kind, serial) };
            let [(tried, out), (plain, other)] = &mut writers;
            let too_large = Meant { padding: OWN_MAX_FRAME, ..meant.clone() };
            prop_assert_eq!(too_large.write(&pools[0], tried, out, usize::MAX), Err(DropReason::TooLarge));
            let before = out.len();
            match meant.write(&pools[0], tried, out, room) {
                Ok(()) => prop_assert!(out.len() - before <= room),
                Err(why) => {
                    prop_assert_eq!(why, DropReason::OutboxFull);
                    meant.write(&pools[0], tried, out, usize::MAX).unwrap();
                }
            }
            meant.write(&pools[1], plain, other, usize::MAX).unwrap();
            prop_assert_eq!(&*out, &*other);
            prop_assert_eq!(tried.posts(), plain.posts());
        }
    }
}

/// Returns a post, an ask or an answer, for tests to which the correlation does not matter.
pub(super) fn what(kind: u8, serial: u32) -> Option<Correlated> {
    let correlation = u64::from(serial);
    match kind % 3 {
        0 => None,
        1 => Some(Correlated::Ask { correlation, deadline: serial.is_multiple_of(2).then_some(correlation) }),
        _ => Some(Correlated::Answer { correlation }),
    }
}

#[test]
fn a_set_counts_from_where_it_stands() {
    let told = [whom(0).told, whom(1).told, whom(2).told];
    let payload = |to: Handle<'_>, handles: &[Handle<'_>]| {
        written(|out| {
            out.put_u8(flag::HANDLES);
            to.put(out);
            put_number(out, handles.len() as u64);
            handles.iter().for_each(|handle| handle.put(out));
        })
    };
    let set = |at: usize| Handle::Set(5, told[at].introduction());
    let mut incoming = Incoming::new(0);
    let first = payload(set(0), &[Handle::Use(5), set(1), Handle::Use(5)]);
    let received = incoming.post(&first, &mut place).unwrap();
    assert_eq!((received.to, received.handles), (&0, &[0, 1, 1][..]));
    let second = payload(Handle::Use(5), &[Handle::Use(5), set(2), Handle::Use(5)]);
    let received = incoming.post(&second, &mut place).unwrap();
    assert_eq!((received.to, received.handles), (&1, &[1, 2, 2][..]));
    let third = payload(Handle::Use(5), &[]);
    assert_eq!(incoming.post(&third, &mut place).unwrap().to, &2);
}

#[test]
fn a_message_with_5_000_handles_arrives_whatever_the_table_holds() {
    const HANDLES: u32 = if cfg!(miri) { 200 } else { 5_000 };
    const NUMBERS: &[usize] = if cfg!(miri) { &[64] } else { &[64, 4_096] };
    let pool = pool(HANDLES as usize);
    for &numbers in NUMBERS {
        let mut outgoing = Outgoing::new(1 << 20);
        let mut incoming = Incoming::new(numbers);
        outgoing.peer_accepts(1 << 20, numbers);
        let mut shortest = usize::MAX;
        for serial in 0..6 {
            // The handles come in order at first, then backwards, so that the last numbered comes first.
            let mut handles: Vec<u32> = (0..HANDLES).collect();
            if serial >= 4 {
                handles.reverse();
            }
            let what = what(serial as u8, serial);
            let meant = Meant { sender: 0, serial, to: HANDLES - 1 - serial, handles, padding: 0, what };
            let mut out = BytesMut::new();
            meant.write(&pool, &mut outgoing, &mut out, 1 << 20).unwrap();
            shortest = shortest.min(out.len());
            let Front::Frame(raw) = front(&out, 1 << 20).unwrap() else { panic!("the frame is not whole") };
            let came = Came::read(&mut incoming, raw);
            assert_eq!((came.what, came.to), (what, meant.counts().then_some(meant.to)));
            assert_eq!((came.handles, came.body), (&*meant.handles, &*meant.body()));
        }
        // Most of the handles have numbers in the end, if there are enough numbers.
        assert_eq!(shortest < 20 * HANDLES as usize, numbers == 4_096, "{shortest} bytes");
    }
}

#[test]
fn a_message_may_have_16_384_handles_and_no_more() {
    let pool = pool(1);
    let most = if cfg!(miri) { 1_000 } else { MAX_HANDLES };
    for kind in 0..3 {
        let mut outgoing = Outgoing::new(usize::MAX);
        let mut incoming = Incoming::new(0);
        let mut out = BytesMut::new();
        let what = what(kind, 7);
        let mut meant = Meant { sender: 0, serial: 0, to: 0, handles: vec![0; most], padding: 0, what };
        meant.write(&pool, &mut outgoing, &mut out, usize::MAX).unwrap();
        let Front::Frame(raw) = front(&out, out.len()).unwrap() else { panic!("the frame is not whole") };
        assert_eq!(Came::read(&mut incoming, raw).handles.len(), most);
        let before = out.len();
        if cfg!(miri) {
            // One handle more than 16,384 is refused.
            continue;
        }
        meant.handles.push(0);
        let refused = meant.write(&pool, &mut outgoing, &mut out, usize::MAX);
        assert_eq!((refused, out.len()), (Err(DropReason::TooLarge), before));
    }
}

#[test]
fn a_peer_that_reads_less_is_written_less_and_no_peer_more() {
    let pool = pool(1);
    let mut outgoing = Outgoing::new(OWN_MAX_FRAME);
    let fits = |outgoing: &mut Outgoing, padding| {
        [0, 1, 2].map(|kind| {
            let meant = Meant { sender: 0, serial: 0, to: 0, handles: Vec::new(), padding, what: what(kind, 0) };
            meant.write(&pool, outgoing, &mut BytesMut::new(), usize::MAX) != Err(DropReason::TooLarge)
        })
    };
    let limit_is = |outgoing: &mut Outgoing, limit| {
        assert_eq!(fits(outgoing, limit - 200), [true; 3]);
        assert_eq!(fits(outgoing, limit), [false; 3]);
    };
    limit_is(&mut outgoing, OWN_MAX_FRAME);
    outgoing.peer_accepts(usize::MAX, 0);
    limit_is(&mut outgoing, OWN_MAX_FRAME);
    outgoing.peer_accepts(1_000, 0);
    limit_is(&mut outgoing, 1_000);
}
