//! Fingerprints that must never change: two builds of this crate, whatever their versions, compare them.
//!
//! A line here changes only together with the version of the encoding, which is its first byte.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::time::Duration;
use std::time::SystemTime;

use actix::Message;
use actix_hermod::Address;
use actix_hermod::Shape;
use serde::Deserialize;
use serde::Serialize;

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Ping {
    return_to: Address<Pong>,
    n: u32,
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Pong(u32);

#[derive(Deserialize)]
#[expect(dead_code)]
struct Wrap<T> {
    value: T,
}

#[derive(Deserialize)]
enum Either<L, R> {
    Left(L),
    Right(R),
}

#[derive(Deserialize)]
#[expect(dead_code)]
struct Tree {
    left: Option<Box<Tree>>,
    right: Option<Box<Tree>>,
    label: String,
}

#[derive(Deserialize)]
#[expect(dead_code)]
enum Expr {
    Add(Box<Expr>, Box<Expr>),
    Call { name: String, arguments: Vec<Expr> },
    Literal(i64),
    Nothing,
}

#[derive(Deserialize)]
#[expect(dead_code)]
enum Event {
    Started,
    Moved { x: f64, y: f64, z: Option<f64> },
    Renamed(String),
    Coloured(u8, u8, u8, u8),
    Grouped(Vec<Event>),
    Tagged(HashMap<String, Expr>),
    Timed { at: SystemTime, took: Duration },
    From(std::net::SocketAddr),
    Stopped(Result<(), String>),
}

#[derive(Deserialize)]
struct Unit;

macro_rules! golden {
    ($($type:ty = $fingerprint:literal,)*) => {
        #[test]
        fn fingerprints_stay_what_they_are() {
            let found = [$((stringify!($type), Shape::of_value::<$type>().fingerprint(), $fingerprint)),*];
            let changed = found.iter().filter(|(_, found, pinned)| found != pinned);
            let changed: Vec<_> = changed.map(|(name, found, _)| format!("    {name} = 0x{found:016x},")).collect();
            assert!(changed.is_empty(), "these have changed:\n{}", changed.join("\n"));
            assert!(found.len() >= 40);
        }
    };
}

golden! {
    () = 0x210e_d6e8_4c56_0b6f,
    bool = 0xa3c6_3cb9_2bc1_1075,
    i8 = 0x35cc_b159_9f52_3635,
    i16 = 0xe00e_f61f_7ee8_85d0,
    i32 = 0xe91f_9d99_21f7_5c24,
    i64 = 0xef2d_626f_0242_2e4e,
    i128 = 0x189f_5c3a_c043_2473,
    u8 = 0xd3d1_d45e_e92d_3ad6,
    u16 = 0xaaae_456a_793a_b322,
    u32 = 0x6f2e_a6ff_a547_5d60,
    u64 = 0x7180_4a2e_b182_0215,
    u128 = 0x8d38_41ea_b0e8_c70b,
    usize = 0x7180_4a2e_b182_0215,
    f32 = 0xac5f_184c_6d52_47b6,
    f64 = 0xc7e0_4a67_1bb0_d237,
    char = 0xf988_baa1_1d55_caee,
    String = 0x33b1_d767_c726_980e,
    Cow<'static, str> = 0x33b1_d767_c726_980e,
    Box<str> = 0x33b1_d767_c726_980e,
    std::path::PathBuf = 0x33b1_d767_c726_980e,
    Vec<u8> = 0x27cc_5dbc_a790_64ad,
    Vec<String> = 0xbc3e_c68e_24b0_7f9d,
    Option<u8> = 0xb2ec_03b5_f252_dc63,
    Option<Option<Vec<()>>> = 0x4ece_ecbd_e54f_2080,
    (u8,) = 0xe7c5_6044_ab99_da2d,
    (u8, String, f32) = 0x8cd5_dfa8_2768_91d3,
    [u8; 16] = 0xf45b_a3e9_e766_54f3,
    [String; 2] = 0xccce_d0de_5d49_a4e1,
    HashMap<String, u64> = 0x1bc3_624b_7268_edcb,
    BTreeMap<u8, Vec<(char, bool)>> = 0xd43b_81cd_96d6_63b8,
    HashSet<i32> = 0x6979_02b0_6929_50a6,
    Box<(u8, u8)> = 0x5585_c04f_ad82_5cd4,
    Duration = 0x9983_0357_31fc_74a0,
    SystemTime = 0xfd63_57f1_693f_72ad,
    std::net::IpAddr = 0x5a52_295c_037f_8676,
    std::net::SocketAddr = 0xb6df_b635_5593_1521,
    std::ops::Range<u32> = 0x7a11_77da_de8e_f66f,
    std::ops::RangeInclusive<i64> = 0xe62b_e152_6ceb_b56c,
    std::ops::Bound<u8> = 0x5dec_ee7b_a8ab_397d,
    std::num::NonZeroU32 = 0x6f2e_a6ff_a547_5d60,
    std::num::Wrapping<u16> = 0xaaae_456a_793a_b322,
    Result<u8, String> = 0x2430_e666_c3d4_0002,
    std::marker::PhantomData<u8> = 0x8e7f_fad9_fe31_9b9b,
    uuid::Uuid = 0xa3d5_cb0f_4a7a_e2b3,
    chrono::DateTime<chrono::Utc> = 0x33b1_d767_c726_980e,
    chrono::NaiveDate = 0x33b1_d767_c726_980e,
    url::Url = 0x33b1_d767_c726_980e,
    bytes::Bytes = 0xa3d5_cb0f_4a7a_e2b3,
    serde_bytes::ByteBuf = 0xa3d5_cb0f_4a7a_e2b3,
    serde_json::Value = 0x7cb3_d035_9df7_b23a,
    actix_hermod::NodeId = 0x4052_c2b8_2c54_c891,
    actix_hermod::Shape = 0xa3d5_cb0f_4a7a_e2b3,
    Unit = 0x3b4d_b2fd_0a9d_a2c7,
    Pong = 0x7172_b887_ea9a_5994,
    Ping = 0x29a1_3b4c_d18d_f59d,
    Wrap<u8> = 0x2408_404d_52a6_f727,
    Wrap<Wrap<String>> = 0x35a0_2ea2_9f89_7095,
    Either<u8, Either<(), Tree>> = 0xbcc3_b211_bb26_82f5,
    Tree = 0x9b07_8cb8_c47c_598b,
    Expr = 0xfb31_a935_9467_f7f5,
    Event = 0xd6ac_4e1f_dc8e_11f4,
}

#[test]
fn fingerprints_of_messages_with_their_results_stay_what_they_are() {
    let found = [Shape::of::<Ping>().fingerprint(), Shape::of::<Pong>().fingerprint()];
    assert_eq!(found, [0x4752_3f31_550c_4d54, 0x25f5_e3d8_dbf1_3846], "{found:x?}");
}

#[test]
fn the_bytes_are_those_of_the_documentation() {
    let bytes = postcard::to_stdvec(&Shape::of::<Ping>()).unwrap();
    #[rustfmt::skip]
    let expected = [
        // Version 1; the result is part 3; four parts.
        1, 4, 4,
        // Part 0: a struct, its name, two fields with their parts.
        36, 4, b'P', b'i', b'n', b'g', 3, 2,
        9, b'r', b'e', b't', b'u', b'r', b'n', b'_', b't', b'o', 1,
        1, b'n', 2,
        // Part 1: an address of Pong; part 2: u32; part 3: ().
        38, 4, b'P', b'o', b'n', b'g',
        8,
        16,
    ];
    let (length, bytes) = bytes.split_first().unwrap();
    assert_eq!((usize::from(*length), bytes), (expected.len(), expected.as_slice()));
}
