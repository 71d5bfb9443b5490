#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| actix_hermod::fuzzing::control(bytes, actix_hermod_fuzz::meter));
