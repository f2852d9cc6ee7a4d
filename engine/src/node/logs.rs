//! Logs: `tracing` to standard error, as text or JSON; and what a panic does.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The name of threads whose panics are one query's error and not the process's end.
pub const QUERY_THREAD: &str = "query";

/// Starts logging for this process, at `level` (error, warn, info or debug) for our own lines and
/// at warn for the libraries'. A second call changes nothing.
pub fn start(json: bool, level: &str) {
    let filter = EnvFilter::new(format!(
        "warn,engine={level},ingest={level},storage={level},devbroker={level}"
    ));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // An error says that logging was started before: by a test, in the same process.
    let _ = if json {
        lines.json().try_init()
    } else {
        lines.try_init()
    };
}

/// From here on a panic on any thread but a query's ends the process with its message: what a leaf,
/// the control core or storage left half done is for recovery, not for a supervisor inside.
pub fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        tracing::error!(thread = name, "panic: {panic}");
        if !name.starts_with(QUERY_THREAD) {
            eprintln!("pinleaf: a bug ended the process; start it again and it recovers");
            std::process::abort();
        }
    }));
}
