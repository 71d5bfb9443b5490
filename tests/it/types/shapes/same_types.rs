//! Types that are equal have equal shapes, wherever they are, however often they are used, and whoever looks first.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::LinkedList;
use std::sync::Arc;
use std::sync::Barrier;

use actix_hermod::Shape;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The same types in a module that stands for a crate.
macro_rules! a_crate {
    ($name:ident) => {
        #[expect(dead_code)]
        mod $name {
            use super::*;

            #[derive(Deserialize)]
            pub(super) struct Order {
                id: uuid::Uuid,
                kind: Kind,
                lines: Vec<Line>,
                note: Option<Box<Order>>,
                tags: HashMap<String, Kind>,
            }

            #[derive(Deserialize)]
            pub(super) enum Kind {
                Plain,
                Express { until: std::time::SystemTime },
                Bundle(Vec<Order>, Box<Kind>),
            }

            #[derive(Deserialize)]
            pub(super) struct Line(pub u32, pub String);

            #[derive(Deserialize)]
            pub(super) struct Small {
                n: u8,
            }
        }
    };
}

a_crate!(shop);
a_crate!(warehouse);

fn same<A: DeserializeOwned, B: DeserializeOwned>() {
    let (a, b) = (Shape::of_value::<A>(), Shape::of_value::<B>());
    assert_eq!(a, b);
    assert_eq!(a.fingerprint(), b.fingerprint());
    assert_eq!(a.to_string(), b.to_string());
    assert_eq!(a.diff(&b), []);
    let bytes = postcard::to_stdvec(&a).unwrap();
    assert_eq!(bytes, postcard::to_stdvec(&b).unwrap());
}

fn different<A: DeserializeOwned, B: DeserializeOwned>() {
    let (a, b) = (Shape::of_value::<A>(), Shape::of_value::<B>());
    assert_ne!(a, b);
    assert_ne!(a.fingerprint(), b.fingerprint());
    assert_ne!(a.diff(&b), []);
}

#[test]
fn equal_types_in_two_crates_are_equal() {
    same::<shop::Order, warehouse::Order>();
    same::<shop::Kind, warehouse::Kind>();
    same::<(shop::Order, shop::Kind), (warehouse::Order, shop::Kind)>();
}

#[test]
fn a_type_of_the_library_and_its_copy_here_are_equal() {
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Difference {
        path: String,
        here: String,
        there: String,
    }
    same::<actix_hermod::Difference, Difference>();

    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct BoxStats {
        name: String,
        type_name: String,
        depth: u64,
        capacity: u64,
        received: u64,
        with_actor: u64,
        dropped: BTreeMap<actix_hermod::DropReason, u64>,
    }
    same::<Vec<actix_hermod::BoxStats>, LinkedList<BoxStats>>();
}

#[test]
fn one_type_used_twice_is_equal_to_two_equal_types() {
    same::<(shop::Small, shop::Small), (shop::Small, warehouse::Small)>();
    same::<(shop::Kind, shop::Order), (shop::Kind, warehouse::Order)>();
    same::<HashMap<u8, (shop::Kind, warehouse::Kind)>, HashMap<u8, (shop::Kind, shop::Kind)>>();
}

#[test]
fn types_that_are_read_alike_are_equal() {
    same::<Vec<u8>, LinkedList<u8>>();
    same::<Vec<u8>, HashSet<u8>>();
    same::<HashMap<String, u8>, BTreeMap<Box<str>, u8>>();
    same::<String, std::path::PathBuf>();
    same::<usize, u64>();
    same::<Box<(u8, Box<u16>)>, (u8, u16)>();
    same::<[u8; 3], (u8, u8, u8)>();
    same::<bytes::Bytes, serde_bytes::ByteBuf>();
    same::<std::cell::Cell<u8>, std::num::NonZeroU8>();
}

#[test]
fn a_type_that_is_unrolled_is_equal_to_itself() {
    mod rolled {
        use super::*;

        #[derive(Deserialize)]
        #[expect(dead_code)]
        pub(super) struct Chain {
            n: u8,
            next: Option<Box<Chain>>,
        }
    }
    mod unrolled {
        use super::*;

        #[derive(Deserialize)]
        #[serde(rename = "Chain")]
        #[expect(dead_code)]
        pub(super) struct First {
            n: u8,
            next: Option<Box<Second>>,
        }

        #[derive(Deserialize)]
        #[serde(rename = "Chain")]
        #[expect(dead_code)]
        pub(super) struct Second {
            n: u8,
            next: Option<Box<Third>>,
        }

        #[derive(Deserialize)]
        #[serde(rename = "Chain")]
        #[expect(dead_code)]
        pub(super) struct Third {
            n: u8,
            next: Option<Box<Second>>,
        }
    }
    same::<rolled::Chain, unrolled::First>();
    same::<rolled::Chain, unrolled::Third>();
    same::<(rolled::Chain, u8, unrolled::Third), (unrolled::Second, u8, rolled::Chain)>();
}

#[test]
fn generic_types_of_one_name_are_told_apart() {
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Wrap<T> {
        value: T,
    }
    different::<Wrap<u8>, Wrap<String>>();
    different::<(Wrap<u8>, Wrap<u16>), (Wrap<u16>, Wrap<u8>)>();
    different::<(Wrap<u8>, Wrap<u8>), (Wrap<u8>, Wrap<u16>)>();
}

#[test]
fn local_types_of_one_path_are_told_apart() {
    fn first() -> Shape {
        #[derive(Deserialize)]
        #[expect(dead_code)]
        struct Local {
            n: u8,
        }
        type First = Local;
        {
            #[derive(Deserialize)]
            #[expect(dead_code)]
            struct Local {
                n: String,
            }
            assert_eq!(std::any::type_name::<First>(), std::any::type_name::<Local>());
            different::<First, Local>();
            Shape::of_value::<(First, Local)>()
        }
    }
    assert!(first().to_string().contains("(Local#1, Local#2)"));
}

#[test]
fn lookalikes_are_different() {
    different::<(u8,), u8>();
    different::<Vec<u8>, bytes::Bytes>();
    different::<Option<()>, bool>();
    different::<i32, u32>();
    different::<Vec<(u8, u8)>, BTreeMap<u8, u8>>();
    different::<Option<Option<u8>>, Option<u8>>();
    different::<(u8, (u16, u32)), ((u8, u16), u32)>();
}

#[test]
fn many_threads_find_one_shape() {
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Fresh(shop::Order, warehouse::Order, Vec<Fresh>);

    let barrier = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            std::thread::spawn(move || {
                barrier.wait();
                Shape::of_value::<Fresh>()
            })
        })
        .collect();
    let shapes: Vec<Shape> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(shapes.iter().all(|shape| *shape == shapes[0] && shape.to_string() == shapes[0].to_string()));
}
