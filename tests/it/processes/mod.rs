//! Several real processes, those of the examples among them.

mod fresh_example;
mod handoff_example;
mod killed_peer;
mod overload_example;
mod pub_sub_example;
mod soak_example;
