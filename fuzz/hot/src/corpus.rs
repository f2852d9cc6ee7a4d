//! The corpora that are kept, `fuzz/corpus/<target>/`: small, minimised, replayed by a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::bounds;

/// A file of a corpus is no larger, so that the tree stays small.
pub const FILE_BYTES_MAX: u64 = 64 << 10;
/// Nor is a corpus.
pub const CORPUS_BYTES_MAX: u64 = 256 << 10;

/// A fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: of the libFuzzer binary and of the corpus's folder.
    pub name: &'static str,
    /// What is done with an input.
    pub body: fn(&[u8]),
}

impl Target {
    /// The target of that name.
    ///
    /// # Panics
    /// If there is none: a libFuzzer binary is named after its target.
    #[must_use]
    pub fn named(targets: &[Target], name: &str) -> Target {
        let found = targets.iter().find(|target| target.name == name);
        *found.unwrap_or_else(|| panic!("no target {name}"))
    }

    /// Hands an input to the body.
    ///
    /// # Panics
    /// If a promise is broken, or it took longer than [`bounds::INPUT_MS_MAX`] on the CPU, twice.
    pub fn check(&self, data: &[u8]) {
        let began = Instant::now();
        (self.body)(data);
        // A busy machine makes any input slow: what counts is the time on the CPU, and that is asked
        // for where there is a doubt.
        if began.elapsed() > Duration::from_millis(bounds::INPUT_MS_MAX) {
            let before = bounds::cpu_ms();
            (self.body)(data);
            let took_ms = bounds::cpu_ms().saturating_sub(before);
            assert!(
                took_ms <= bounds::INPUT_MS_MAX,
                "{}: {took_ms} ms on the CPU",
                self.name
            );
        }
    }

    /// Where its corpus is kept.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        root().join("corpus").join(self.name)
    }

    /// Replays its corpus; returns how many inputs it has.
    ///
    /// # Panics
    /// If an input breaks a promise, or the corpus its own bounds.
    #[must_use]
    pub fn replay(&self) -> usize {
        let mut paths: Vec<_> = fs::read_dir(self.folder())
            .unwrap_or_else(|error| panic!("{}: {error}", self.folder().display()))
            .map(|entry| entry.expect("a readable folder").path())
            .collect();
        paths.sort();
        let mut all = 0;
        for path in &paths {
            let bytes = fs::read(path).expect("a readable file");
            let size = bytes.len() as u64;
            assert!(size <= FILE_BYTES_MAX, "{} is too large", path.display());
            all += size;
            let _named = Named(path);
            self.check(&bytes);
        }
        assert!(
            all <= CORPUS_BYTES_MAX,
            "{}: {all} bytes, {CORPUS_BYTES_MAX} at most",
            self.name
        );
        paths.len()
    }
}

/// Says which input it was, when a body panics.
struct Named<'a>(&'a Path);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input: {}", self.0.display());
        }
    }
}

/// Writes one seed of a target into its folder below `out`.
///
/// # Panics
/// If it cannot be written.
pub fn put(out: &Path, target: &str, name: &str, bytes: &[u8]) {
    let folder = out.join(target);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(name), bytes).expect("written");
}

/// The project's tree.
///
/// # Panics
/// Where `fuzz/` lies nowhere.
#[must_use]
pub fn tree() -> PathBuf {
    root().parent().expect("the tree").to_path_buf()
}

/// `fuzz/`.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("fuzz/")
        .to_path_buf()
}
