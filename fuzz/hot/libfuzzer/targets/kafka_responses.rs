//! libFuzzer calls the body of `kafka_responses`, see `fuzz-hot`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_hot::run("kafka_responses", data));
