//! libFuzzer calls the body of `query`, see `fuzz-engine`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_engine::run("query", data));
