//! Hands single files to a target, without a fuzzer: `cargo run --release -p fuzz-hot --example replay -- TARGET FILE...`

fn main() {
    let mut arguments = std::env::args().skip(1);
    let target = arguments.next().expect("which target?");
    for path in arguments {
        let bytes = std::fs::read(&path).expect("readable");
        println!("{path}: {} bytes", bytes.len());
        fuzz_hot::run(&target, &bytes);
    }
}
