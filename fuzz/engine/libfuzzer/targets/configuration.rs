//! libFuzzer calls the body of `configuration`, see `fuzz-engine`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_engine::run("configuration", data));
