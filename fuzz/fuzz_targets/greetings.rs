#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| actix_hermod::fuzzing::greetings(bytes, actix_hermod_fuzz::meter));
