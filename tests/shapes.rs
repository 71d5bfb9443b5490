//! x
use std::collections::*;
use actix_hermod::Shape;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

fn show<T: DeserializeOwned>() {
    let t = std::time::Instant::now();
    let s = Shape::of_value::<T>();
    eprintln!("--- {} {:?} {:?}\n{s}", std::any::type_name::<T>(), s, t.elapsed());
}

#[derive(Serialize, Deserialize)]
enum Expr { Add(Box<Expr>, Box<Expr>), Neg(Box<Expr>), Let { name: String, value: Option<Box<Expr>>, list: Vec<Expr> }, Lit(i64) }
#[derive(Serialize, Deserialize)]
struct Node { next: Option<Box<Node>>, map: HashMap<String, Node> }
#[derive(Serialize, Deserialize)]
struct Inf(Box<Inf>);
#[derive(Serialize, Deserialize)]
struct Flat { a: u32, #[serde(flatten)] b: Sub }
#[derive(Serialize, Deserialize)]
struct Sub { c: u8 }
#[derive(Serialize, Deserialize)]
struct Holder { before: u8, flat: Flat, after: Option<uuid::Uuid>, v: serde_json::Value, ip: std::net::IpAddr, r: std::ops::Range<u8> }
#[derive(Serialize, Deserialize)]
#[serde(try_from = "u32")]
struct Never(u32);
impl TryFrom<u32> for Never { type Error = String; fn try_from(_: u32) -> Result<Self, String> { Err("no".into()) } }
#[derive(Serialize, Deserialize)]
struct HasNever { a: u8, n: Never, b: Option<u16>, e: Result<u8, String> }

#[test]
fn look() {
    show::<u32>();
    show::<Vec<Option<(u8, String)>>>();
    show::<Expr>();
    show::<Node>();
    show::<Inf>();
    show::<Flat>();
    show::<Holder>();
    show::<HasNever>();
    show::<std::time::SystemTime>();
    show::<std::net::SocketAddr>();
    show::<chrono::DateTime<chrono::Utc>>();
    show::<url::Url>();
    show::<std::ffi::OsString>();
    show::<std::num::NonZeroU8>();
}
