//! libFuzzer calls the body of `segments`, see `fuzz-hot`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_hot::run("segments", data));
