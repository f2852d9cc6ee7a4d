//! libFuzzer calls the body of `mysql_packets`, see `fuzz-engine`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_engine::run("mysql_packets", data));
