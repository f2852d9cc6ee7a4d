//! The `pinleaf` command: `quickstart`, `run`, `check`, `inspect`.
fn main() {}
