//! libFuzzer calls the body of `fetch_response`, see `fuzz-hot`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_hot::run("fetch_response", data));
