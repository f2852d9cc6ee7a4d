//! libFuzzer calls the body of `record_batch`, see `fuzz-hot`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_hot::run("record_batch", data));
