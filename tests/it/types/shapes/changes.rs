//! Every kind of change to a type makes another shape, and is told in one sentence with the place.

use std::collections::HashMap;

use actix::Message;
use actix_hermod::Difference;
use actix_hermod::Shape;
use serde::Deserialize;
use serde::Serialize;

/// Two versions of a type, and everything that is told of their difference, each way.
macro_rules! change {
    ($($test:ident: { $($before:item)* } => { $($after:item)* } $told:expr, $told_back:expr;)*) => { $(
        #[test]
        fn $test() {
            mod before {
                #[allow(unused_imports)]
                use super::*;
                $(#[derive(Deserialize)] #[allow(dead_code)] $before)*
                pub(super) fn shape() -> Shape { Shape::of_value::<Ping>() }
            }
            mod after {
                #[allow(unused_imports)]
                use super::*;
                $(#[derive(Deserialize)] #[allow(dead_code)] $after)*
                pub(super) fn shape() -> Shape { Shape::of_value::<Ping>() }
            }
            let (before, after) = (before::shape(), after::shape());
            assert_ne!(before, after);
            assert_ne!(before.fingerprint(), after.fingerprint());
            let sentences = |differences: Vec<Difference>| differences.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(sentences(before.diff(&after)), $told);
            assert_eq!(sentences(after.diff(&before)), $told_back);
            assert_eq!((before.diff(&before), after.diff(&after)), (Vec::new(), Vec::new()));
        }
    )* };
}

change! {
    a_field_added:
    { struct Ping { n: u8 } } => { struct Ping { n: u8, m: Option<u16> } }
    ["`Ping.m`: no such field here, a field of type Option<u16> there"],
    ["`Ping.m`: a field of type Option<u16> here, no such field there"];

    a_field_added_in_front:
    { struct Ping { n: u8 } } => { struct Ping { m: u16, n: u8 } }
    ["`Ping.m`: no such field here, a field of type u16 there"],
    ["`Ping.m`: a field of type u16 here, no such field there"];

    a_field_renamed:
    { struct Ping { n: u8, x: u8 } } => { struct Ping { m: u8, x: u8 } }
    ["`Ping.n`: named `n` here, `m` there"],
    ["`Ping.m`: named `m` here, `n` there"];

    fields_reordered:
    { struct Ping { n: u8, m: u8 } } => { struct Ping { m: u8, n: u8 } }
    ["`Ping`: fields in the order n, m here, m, n there"],
    ["`Ping`: fields in the order m, n here, n, m there"];

    a_field_retyped:
    { struct Ping { n: u32 } } => { struct Ping { n: u64 } }
    ["`Ping.n`: u32 here, u64 there"],
    ["`Ping.n`: u64 here, u32 there"];

    a_field_made_optional:
    { struct Ping { n: u32 } } => { struct Ping { n: Option<u32> } }
    ["`Ping.n`: u32 here, Option<u32> there"],
    ["`Ping.n`: Option<u32> here, u32 there"];

    a_field_wrapped:
    { struct Ping { n: u32 } } => { struct Ping { n: Id } struct Id(u32); }
    ["`Ping.n`: u32 here, Id there"],
    ["`Ping.n`: Id here, u32 there"];

    the_message_renamed:
    { struct Ping { n: u32 } } => { #[serde(rename = "Pang")] struct Ping { n: u32 } }
    ["`Ping`: named `Ping` here, `Pang` there"],
    ["`Pang`: named `Pang` here, `Ping` there"];

    a_field_retyped_at_depth_four:
    { struct Ping { a: A } struct A { b: Option<B> } struct B(Vec<C>); struct C { n: u32 } } =>
    { struct Ping { a: A } struct A { b: Option<B> } struct B(Vec<C>); struct C { n: i32 } }
    ["`Ping.a.b?.0[].n`: u32 here, i32 there"],
    ["`Ping.a.b?.0[].n`: i32 here, u32 there"];

    a_field_added_at_depth_four:
    { struct Ping { a: A } struct A { b: B } struct B { c: C } struct C { n: u32 } } =>
    { struct Ping { a: A } struct A { b: B } struct B { c: C } struct C { n: u32, m: u32 } }
    ["`Ping.a.b.c.m`: no such field here, a field of type u32 there"],
    ["`Ping.a.b.c.m`: a field of type u32 here, no such field there"];

    a_field_renamed_at_depth_four:
    { struct Ping { a: A } struct A { b: B } struct B { c: C } struct C { n: u32 } } =>
    { struct Ping { a: A } struct A { b: B } struct B { c: C } struct C { m: u32 } }
    ["`Ping.a.b.c.n`: named `n` here, `m` there"],
    ["`Ping.a.b.c.m`: named `m` here, `n` there"];

    fields_reordered_at_depth_four:
    { struct Ping { a: A } struct A { b: B } struct B { c: C } struct C { n: u32, m: u8 } } =>
    { struct Ping { a: A } struct A { b: B } struct B { c: C } struct C { m: u8, n: u32 } }
    ["`Ping.a.b.c`: fields in the order n, m here, m, n there"],
    ["`Ping.a.b.c`: fields in the order m, n here, n, m there"];

    a_field_retyped_in_a_variant:
    { enum Ping { A, B { n: u32, m: u8 } } } => { enum Ping { A, B { n: u64, m: u8 } } }
    ["`Ping::B.n`: u32 here, u64 there"],
    ["`Ping::B.n`: u64 here, u32 there"];

    a_field_added_in_a_variant:
    { enum Ping { A, B { n: u32 } } } => { enum Ping { A, B { n: u32, m: char } } }
    ["`Ping::B.m`: no such field here, a field of type char there"],
    ["`Ping::B.m`: a field of type char here, no such field there"];

    a_field_renamed_in_a_variant:
    { enum Ping { A, B { n: u32 } } } => { enum Ping { A, B { m: u32 } } }
    ["`Ping::B.n`: named `n` here, `m` there"],
    ["`Ping::B.m`: named `m` here, `n` there"];

    fields_reordered_in_a_variant:
    { enum Ping { A, B { n: u32, m: u8 } } } => { enum Ping { A, B { m: u8, n: u32 } } }
    ["`Ping::B`: fields in the order n, m here, m, n there"],
    ["`Ping::B`: fields in the order m, n here, n, m there"];

    a_part_retyped_in_a_variant:
    { enum Ping { A(u8, u16) } } => { enum Ping { A(u8, i16) } }
    ["`Ping::A.1`: u16 here, i16 there"],
    ["`Ping::A.1`: i16 here, u16 there"];

    a_part_added_to_a_variant:
    { enum Ping { A(u8) } } => { enum Ping { A(u8, u8) } }
    ["`Ping::A`: (u8) here, 2 parts (u8, u8) there"],
    ["`Ping::A`: 2 parts (u8, u8) here, (u8) there"];

    a_variant_made_a_unit:
    { enum Ping { A { n: u8 } } } => { enum Ping { A } }
    ["`Ping::A`: fields (n) here, no content there"],
    ["`Ping::A`: no content here, fields (n) there"];

    a_field_retyped_in_a_map_s_value:
    { struct Ping { all: HashMap<String, Vec<A>> } struct A { n: u8 } } =>
    { struct Ping { all: HashMap<String, Vec<A>> } struct A { n: u16 } }
    ["`Ping.all[value][].n`: u8 here, u16 there"],
    ["`Ping.all[value][].n`: u16 here, u8 there"];

    a_field_added_in_a_map_s_value:
    { struct Ping { all: HashMap<String, A> } struct A { n: u8 } } =>
    { struct Ping { all: HashMap<String, A> } struct A { n: u8, m: char } }
    ["`Ping.all[value].m`: no such field here, a field of type char there"],
    ["`Ping.all[value].m`: a field of type char here, no such field there"];

    a_field_renamed_in_a_map_s_value:
    { struct Ping { all: HashMap<String, A> } struct A { n: u8 } } =>
    { struct Ping { all: HashMap<String, A> } struct A { m: u8 } }
    ["`Ping.all[value].n`: named `n` here, `m` there"],
    ["`Ping.all[value].m`: named `m` here, `n` there"];

    fields_reordered_in_a_map_s_value:
    { struct Ping { all: HashMap<String, A> } struct A { n: u8, m: char } } =>
    { struct Ping { all: HashMap<String, A> } struct A { m: char, n: u8 } }
    ["`Ping.all[value]`: fields in the order n, m here, m, n there"],
    ["`Ping.all[value]`: fields in the order m, n here, n, m there"];

    a_map_s_key_retyped:
    { struct Ping { all: HashMap<String, u8> } } => { struct Ping { all: HashMap<u8, u8> } }
    ["`Ping.all[key]`: String here, u8 there"],
    ["`Ping.all[key]`: u8 here, String there"];

    a_variant_added_at_the_end:
    { enum Ping { A } } => { enum Ping { A, B(u8) } }
    ["`Ping::B`: no such variant here, a variant there"],
    ["`Ping::B`: a variant here, no such variant there"];

    a_variant_added_in_between:
    { enum Ping { A, B } } => { enum Ping { A, X, B } }
    ["`Ping::X`: no such variant here, a variant there"],
    ["`Ping::X`: a variant here, no such variant there"];

    a_variant_added_at_depth_four:
    { struct Ping { a: A } struct A { b: B } struct B { c: Vec<C> } enum C { X } } =>
    { struct Ping { a: A } struct A { b: B } struct B { c: Vec<C> } enum C { X, Y } }
    ["`Ping.a.b.c[]::Y`: no such variant here, a variant there"],
    ["`Ping.a.b.c[]::Y`: a variant here, no such variant there"];

    variants_reordered_at_depth_four:
    { struct Ping { a: A } struct A { b: B } struct B { c: Vec<C> } enum C { X, Y } } =>
    { struct Ping { a: A } struct A { b: B } struct B { c: Vec<C> } enum C { Y, X } }
    ["`Ping.a.b.c[]`: variants in the order X, Y here, Y, X there"],
    ["`Ping.a.b.c[]`: variants in the order Y, X here, X, Y there"];

    a_variant_renamed:
    { enum Ping { A, B } } => { enum Ping { A, C } }
    ["`Ping::B`: named `B` here, `C` there"],
    ["`Ping::C`: named `C` here, `B` there"];

    variants_reordered:
    { enum Ping { A, B(u8) } } => { enum Ping { B(u8), A } }
    ["`Ping`: variants in the order A, B here, B, A there"],
    ["`Ping`: variants in the order B, A here, A, B there"];

    a_tuple_longer:
    { struct Ping((u8, u8)); } => { struct Ping((u8, u8, u8)); }
    ["`Ping.0`: (u8, u8) here, (u8, u8, u8) there"],
    ["`Ping.0`: (u8, u8, u8) here, (u8, u8) there"];

    a_type_that_contains_itself_changed:
    { struct Ping { next: Option<Box<Ping>>, n: u8 } } => { struct Ping { next: Option<Box<Ping>>, n: u16 } }
    ["`Ping.n`: u8 here, u16 there"],
    ["`Ping.n`: u16 here, u8 there"];

    several_changes_at_once:
    { struct Ping { a: u8, b: B, c: u8 } enum B { X(u8), Y } } =>
    { struct Ping { a: u16, b: B } enum B { X(u8), Y, Z } }
    [
        "`Ping.c`: a field of type u8 here, no such field there",
        "`Ping.a`: u8 here, u16 there",
        "`Ping.b::Z`: no such variant here, a variant there",
    ],
    [
        "`Ping.c`: no such field here, a field of type u8 there",
        "`Ping.a`: u16 here, u8 there",
        "`Ping.b::Z`: a variant here, no such variant there",
    ];
}

#[test]
fn a_result_changed() {
    mod before {
        use super::*;

        #[derive(Message, Serialize, Deserialize)]
        #[rtype(result = "Pong")]
        pub(super) struct Ping;

        #[derive(Serialize, Deserialize)]
        pub(super) struct Pong {
            n: u32,
        }
    }
    mod after {
        use super::*;

        #[derive(Message, Serialize, Deserialize)]
        #[rtype(result = "Pong")]
        pub(super) struct Ping;

        #[derive(Serialize, Deserialize)]
        pub(super) struct Pong {
            n: u64,
        }
    }
    let differences = Shape::of::<before::Ping>().diff(&Shape::of::<after::Ping>());
    let [difference] = differences.as_slice() else { panic!("{differences:?}") };
    assert_eq!(difference.path, "Ping -> result.n");
    assert_eq!((difference.here.as_str(), difference.there.as_str()), ("u32", "u64"));
    let with_and_without = Shape::of::<before::Ping>().diff(&Shape::of_value::<before::Ping>());
    assert_eq!(
        with_and_without[0].to_string(),
        "`Ping -> result`: a message with a result here, a value without a result there"
    );
}

#[test]
fn differences_are_bounded_in_number() {
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Many<T> {
        all: [T; 32],
        more: (T, T, T, T),
    }
    let differences = Shape::of_value::<Many<u8>>().diff(&Shape::of_value::<Many<u16>>());
    assert_eq!(differences.len(), 32);
    assert_eq!(differences[31].to_string(), "`Many.all.31`: u8 here, u16 there");
}
