//! libFuzzer calls the body of `sql_text`, see `fuzz-engine`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_engine::run("sql_text", data));
