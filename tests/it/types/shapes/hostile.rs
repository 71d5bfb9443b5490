//! Types whose `Deserialize` does what it likes: a shape is made all the same, soon and without a fall.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use actix_hermod::Shape;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;

/// A type read by a function.
macro_rules! reads {
    ($name:ident, $deserializer:ident => $body:expr) => {
        struct $name;

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>($deserializer: D) -> Result<$name, D::Error> {
                $body
            }
        }
    };
}

/// The shape, without the Rust types that unchecked parts are of.
fn shape<T: serde::de::DeserializeOwned>() -> String {
    let mut text = Shape::of_value::<T>().to_string();
    for why in ["(not reached", "(varies"] {
        while let Some(at) = text.find(&format!("{why}: ")) {
            let begin = at + why.len();
            let mut open = 1;
            let end = text[begin..].find(|c| {
                open += i32::from(c == '(') - i32::from(c == ')');
                open == 0
            });
            text.replace_range(begin..begin + end.unwrap(), "");
        }
    }
    text
}

#[test]
fn a_panic_is_a_refusal() {
    reads!(Panics, _deserializer => panic!("on purpose"));
    reads!(PanicsLater, deserializer => {
        let n = u32::deserialize(deserializer)?;
        assert_eq!(n, 3, "on purpose");
        Ok(PanicsLater)
    });
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Holder {
        before: u8,
        panics: Panics,
        later: PanicsLater,
        after: Option<u16>,
    }
    assert_eq!(shape::<Panics>(), "opaque(not reached)");
    assert_eq!(shape::<(PanicsLater, u8)>(), "(u32, u8)");
    let fields = "{\n    before: u8,\n    panics: opaque(not reached),\n    later: u32,\n    after: Option<u16>,\n}";
    assert_eq!(shape::<Holder>(), format!("Holder\n\nstruct Holder {fields}"));
}

#[test]
fn a_panic_in_a_destructor_is_a_refusal() {
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Bomb(u8);

    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "on purpose");
        }
    }
    assert_eq!(shape::<(Bomb, String)>(), "(Bomb, String)\n\nstruct Bomb(u8)");
}

#[test]
fn what_always_refuses_is_shown_as_far_as_it_asks() {
    reads!(Refuses, _deserializer => Err(D::Error::custom("no")));
    reads!(RefusesTexts, deserializer => {
        String::deserialize(deserializer)?;
        Err(D::Error::custom("no"))
    });
    reads!(RefusesPairs, deserializer => {
        <(u8, Option<u16>)>::deserialize(deserializer)?;
        Err(D::Error::custom("no"))
    });
    assert_eq!(shape::<Refuses>(), "opaque(not reached)");
    assert_eq!(shape::<(u8, Refuses, u8)>(), "(u8, opaque(not reached), opaque(not reached))");
    assert_eq!(shape::<Vec<RefusesTexts>>(), "Vec<String>");
    assert_eq!(shape::<(Option<RefusesPairs>, bool)>(), "(Option<(u8, Option<u16>)>, bool)");
}

/// Accepts nothing of what it asks for.
struct Stubborn<T>(PhantomData<T>);

impl<T> Visitor<'_> for Stubborn<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something else")
    }
}

#[test]
fn a_visitor_that_rejects_all_gives_the_kind_that_it_asked_for() {
    reads!(NoText, deserializer => deserializer.deserialize_str(Stubborn(PhantomData)));
    reads!(NoSeq, deserializer => deserializer.deserialize_seq(Stubborn(PhantomData)));
    reads!(NoAny, deserializer => deserializer.deserialize_any(Stubborn(PhantomData)));
    reads!(NoStruct, deserializer => deserializer.deserialize_struct("NoStruct", &["a", "b"], Stubborn(PhantomData)));
    reads!(NoEnum, deserializer => deserializer.deserialize_enum("NoEnum", &["A", "B"], Stubborn(PhantomData)));
    reads!(NoTuple, deserializer => deserializer.deserialize_tuple(usize::MAX, Stubborn(PhantomData)));
    assert_eq!(shape::<NoText>(), "String");
    assert_eq!(shape::<NoSeq>(), "Vec<opaque(not reached)>");
    assert_eq!(shape::<NoAny>(), "any");
    let fields = "{\n    a: opaque(not reached),\n    b: opaque(not reached),\n}";
    assert_eq!(shape::<NoStruct>(), format!("NoStruct\n\nstruct NoStruct {fields}"));
    assert!(shape::<NoEnum>().contains("A(opaque(not reached)),\n    B(opaque(not reached)),"));
    assert_eq!(shape::<NoTuple>(), "[opaque(not reached); 1024]");
}

#[test]
fn types_that_describe_themselves_are_named() {
    assert_eq!(shape::<(u8, serde_json::Value, u8)>(), "(u8, any, u8)");
    assert_eq!(shape::<(u8, IgnoredAny)>(), "(u8, any)");
}

#[test]
fn a_type_that_contains_nothing_but_itself_ends() {
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Endless(Box<Endless>);
    #[derive(Deserialize)]
    #[expect(dead_code)]
    struct Two {
        a: Box<Two>,
        n: u8,
    }
    #[derive(Deserialize)]
    #[expect(dead_code)]
    enum Loop {
        A(Box<Loop>),
        B { next: Box<Loop>, other: Box<Two> },
    }
    assert_eq!(shape::<Endless>(), "Endless\n\nstruct Endless(Endless)");
    assert!(shape::<Two>().starts_with("Two\n\nstruct Two {\n    a: Two,\n    n: "), "{}", shape::<Two>());
    assert!(shape::<Loop>().contains("A(Loop),\n    B {\n        next: Loop,"), "{}", shape::<Loop>());
    assert!(shape::<(u8, Option<Endless>, Vec<Loop>, u16)>().starts_with("(u8, Option<Endless>, Vec<Loop>, u16)"));
}

/// Asks for as many elements as it likes, whatever it is told.
struct Greedy(usize);

impl<'de> Visitor<'de> for Greedy {
    type Value = usize;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("many")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<usize, A::Error> {
        let mut count = 0;
        for _ in 0..self.0 {
            match elements.next_element::<u8>() {
                Ok(element) => count += usize::from(element.is_some()),
                Err(error) if self.0 < 100_000_000 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(count)
    }
}

#[test]
fn wrong_numbers_of_parts_are_bounded() {
    reads!(Endless, deserializer => {
        deserializer.deserialize_tuple(usize::MAX, Greedy(usize::MAX))?;
        Ok(Endless)
    });
    reads!(TooMany, deserializer => {
        deserializer.deserialize_tuple(2, Greedy(5))?;
        Ok(TooMany)
    });
    reads!(TooFew, deserializer => {
        deserializer.deserialize_tuple(5, Greedy(2))?;
        Ok(TooFew)
    });
    reads!(ManyInSeq, deserializer => {
        deserializer.deserialize_seq(Greedy(1000))?;
        Ok(ManyInSeq)
    });
    assert!(shape::<Endless>().len() < 10_000);
    assert_eq!(shape::<TooMany>(), "(u8, u8)");
    assert_eq!(shape::<TooFew>(), "(u8, u8)");
    assert_eq!(shape::<ManyInSeq>(), "Vec<u8>");
}

#[test]
fn what_depends_on_what_was_read_is_said_to_vary() {
    struct Tagged;
    struct TaggedVisitor;

    impl<'de> Visitor<'de> for TaggedVisitor {
        type Value = Tagged;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a tag and what it says")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Tagged, A::Error> {
            thread_local!(static TURN: Cell<u8> = const { Cell::new(0) });
            parts.next_element::<u8>()?;
            match TURN.replace(TURN.get() + 1) % 2 {
                0 => parts.next_element::<u8>().map(drop)?,
                _ => parts.next_element::<String>().map(drop)?,
            }
            if TURN.get() < 4 { Err(A::Error::custom("once more")) } else { Ok(Tagged) }
        }
    }

    impl<'de> Deserialize<'de> for Tagged {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tagged, D::Error> {
            deserializer.deserialize_tuple(2, TaggedVisitor)
        }
    }
    assert_eq!(shape::<(Tagged, u8)>(), "((u8, opaque(varies)), u8)");
}

#[test]
fn errors_that_are_swallowed_do_not_go_on_for_ever() {
    reads!(Swallows, deserializer => {
        let _ = Vec::<Never>::deserialize(deserializer);
        Ok(Swallows)
    });
    reads!(Never, deserializer => {
        u8::deserialize(deserializer)?;
        Err(D::Error::custom("no"))
    });
    struct Keys;
    impl<'de> Visitor<'de> for Keys {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("keys")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
            while let Some(u8::MAX) = entries.next_key::<u8>()? {}
            Ok(())
        }
    }
    reads!(OnlyKeys, deserializer => deserializer.deserialize_map(Keys).map(|()| OnlyKeys));
    assert_eq!(shape::<(Swallows, u8)>(), "(Vec<u8>, u8)");
    assert_eq!(shape::<(OnlyKeys, u8)>(), "(Map<u8, opaque(not reached)>, u8)");
}

#[test]
fn a_deserialize_that_takes_nothing_takes_no_bytes() {
    reads!(Absent, _deserializer => Ok(Absent));
    assert_eq!(shape::<(Absent, u8)>(), "((), u8)");
}

#[test]
fn a_shape_may_be_asked_for_while_one_is_made() {
    reads!(Asks, deserializer => {
        assert_eq!(Shape::of_value::<u8>().to_string(), "u8");
        u16::deserialize(deserializer).map(|_| Asks)
    });
    assert_eq!(shape::<Asks>(), "u16");
}
