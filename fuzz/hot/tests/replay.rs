//! Every kept input again, on stable Rust and without a fuzzer; segments on a real disk too.

use fuzz_hot::TARGETS;

#[test]
fn every_kept_input_keeps_its_promises() {
    for target in TARGETS {
        let inputs = target.replay();
        assert!(inputs > 0, "{} has no corpus", target.name);
    }
}
