//! The project's own rules, as a test: what no compiler checks and every reader relies on.
//!
//! Each rule is a table here and a test below; a finding names file, line and rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Modules in the byte's order. A module imports only what stands to its left.
const INGEST_ORDER: &[&str] = &["kafka", "pipeline", "audit", "leaf"];
/// As [`INGEST_ORDER`], for what the control core decides.
const CONTROL_ORDER: &[&str] = &["catalog", "aggregator"];
/// As [`INGEST_ORDER`], for the engine.
const ENGINE_ORDER: &[&str] = &["sql", "server", "node"];

/// A word that may stand only below certain paths: one place knows each foreign thing.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("glommio", &["engine/ingest/src/leaf/port.rs"]),
    ("datafusion", &["engine/src/sql/"]),
    ("mysql_common", &["engine/src/server/"]),
    (
        "kafka_protocol",
        &["engine/ingest/src/kafka/", "engine/devbroker/src/"],
    ),
    ("memmap2", &["storage/src/map.rs"]),
    ("rusqlite", &["engine/control/src/catalog/"]),
];

/// What the aggregator may wait for by itself: nothing, so that the simulation owns its tasks, clock and disk.
const WAITS: &[&str] = &[
    "tokio::spawn",
    "tokio::task",
    "tokio::time",
    "tokio::net",
    "tokio::fs",
    "std::fs",
    "std::thread",
    "Instant",
    "SystemTime",
];
/// But here.
const WAITS_IN: &[&str] = &[
    "engine/control/src/aggregator/port.rs",
    "engine/control/src/aggregator/client/connection.rs",
];

/// Where `unsafe` may stand.
const UNSAFE_IN: &[&str] = &[
    "storage/src/map.rs",
    "storage/src/block.rs",
    "storage/src/block/tail.rs",
    "storage/src/block/writer.rs",
    "engine/src/main.rs",
    "bench/src/engines/batch.rs",
];

/// Lines of code a file may have, without comments, blank lines and tests. About 400 is the aim.
const CODE_LINES_MAX: usize = 500;

struct Source {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace's folder")
        .to_path_buf()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .to_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                walk(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

fn files(ending: &str) -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    found
        .into_iter()
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .map(|path| Source {
            text: fs::read_to_string(&path).expect("UTF-8 text"),
            path: path
                .strip_prefix(&root)
                .expect("below the root")
                .to_string_lossy()
                .into_owned(),
        })
        .collect()
}

/// The lines of code of a file up to its tests: comments and blank lines left out.
fn code(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    source
        .text
        .lines()
        .enumerate()
        .take_while(|(_, line)| {
            !line.starts_with("#[cfg(test)]") && !line.starts_with("#[cfg(all(test")
        })
        .map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default()))
        .filter(|(_, line)| !line.trim().is_empty())
}

fn is_test(source: &Source) -> bool {
    source.path.starts_with("tests/")
        || source.path.starts_with("fuzz/")
        || source.path.contains("/tests/")
        || source.path.ends_with("/tests.rs")
        || source.path.ends_with("_tests.rs")
        || source.path.contains("/benches/")
}

fn is_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|found| found == word)
}

fn refuse(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

#[test]
fn a_module_imports_only_what_stands_to_its_left() {
    let mut findings = Vec::new();
    for source in files(".rs") {
        for (prefix, order) in [
            ("engine/ingest/src/", INGEST_ORDER),
            ("engine/control/src/", CONTROL_ORDER),
            ("engine/src/", ENGINE_ORDER),
        ] {
            let Some(rest) = source.path.strip_prefix(prefix) else {
                continue;
            };
            let Some(own) = order
                .iter()
                .position(|module| rest.starts_with(&format!("{module}/")))
            else {
                continue;
            };
            for (at, line) in code(&source) {
                for right in &order[own + 1..] {
                    if line.contains(&format!("crate::{right}::")) {
                        findings.push(format!(
                            "{}:{at}: {} imports {right}",
                            source.path, order[own]
                        ));
                    }
                }
            }
        }
    }
    refuse(&findings);
}

#[test]
fn one_place_knows_each_foreign_thing() {
    let mut findings = Vec::new();
    for source in files(".rs").iter().filter(|source| !is_test(source)) {
        for (word, places) in ONLY_IN {
            if places.iter().any(|place| source.path.starts_with(place)) {
                continue;
            }
            for (at, line) in code(source) {
                if is_word(line, word) {
                    findings.push(format!(
                        "{}:{at}: {word} belongs in {}",
                        source.path,
                        places.join(", ")
                    ));
                }
            }
        }
    }
    refuse(&findings);
}

#[test]
fn the_aggregator_waits_through_its_port() {
    let mut findings = Vec::new();
    for source in files(".rs").iter().filter(|source| !is_test(source)) {
        let path = source.path.as_str();
        if !path.starts_with("engine/control/src/aggregator/") || WAITS_IN.contains(&path) {
            continue;
        }
        for (at, line) in code(source) {
            for word in WAITS.iter().filter(|word| line.contains(**word)) {
                findings.push(format!("{path}:{at}: {word} belongs in the port"));
            }
        }
    }
    refuse(&findings);
}

#[test]
fn unsafe_stands_where_it_is_allowed() {
    let mut findings = Vec::new();
    for source in files(".rs").iter().filter(|source| !is_test(source)) {
        if UNSAFE_IN.contains(&source.path.as_str()) {
            continue;
        }
        for (at, line) in code(source) {
            if is_word(line, "unsafe") {
                findings.push(format!(
                    "{}:{at}: unsafe outside {}",
                    source.path,
                    UNSAFE_IN.join(", ")
                ));
            }
        }
    }
    refuse(&findings);
}

/// docs/unsafe.md: a row for each block, with a test that is there.
#[test]
fn every_unsafe_block_has_its_reason_written_down() {
    let page = fs::read_to_string(root().join("docs/unsafe.md")).expect("docs/unsafe.md");
    let sources = files(".rs");
    let mut findings = Vec::new();
    let mut named = BTreeMap::<&str, usize>::new();
    for (at, line) in page.lines().enumerate() {
        let Some(row) = line.strip_prefix("| `") else {
            continue;
        };
        let cells: Vec<_> = row.trim_end_matches('|').split(" | ").collect();
        let [place, .., test, _] = &cells[..] else {
            panic!("docs/unsafe.md:{}: a row of six cells", at + 1);
        };
        *named
            .entry(place.split('`').next().unwrap_or_default())
            .or_default() += 1;
        let test = test.trim().trim_matches('`');
        let is_there = |source: &Source| source.text.contains(&format!("fn {test}("));
        if cells.len() != 6 || !sources.iter().any(is_there) {
            findings.push(format!("docs/unsafe.md:{}: no test named {test}", at + 1));
        }
    }
    for source in sources.iter().filter(|source| !is_test(source)) {
        let there = code(source)
            .filter(|(_, line)| is_word(line, "unsafe"))
            .count();
        let said = named.remove(source.path.as_str()).unwrap_or(0);
        if there != said {
            findings.push(format!(
                "{}: {there} lines with unsafe, docs/unsafe.md names {said}",
                source.path
            ));
        }
    }
    for path in named.keys() {
        findings.push(format!("docs/unsafe.md: there is no {path}"));
    }
    refuse(&findings);
}

#[test]
fn a_file_opens_with_what_it_promises() {
    let findings: Vec<_> = files(".rs")
        .iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| format!("{}:1: the first line is not a `//!` promise", source.path))
        .collect();
    refuse(&findings);
}

#[test]
fn a_file_is_one_thing() {
    let findings: Vec<_> = files(".rs")
        .iter()
        .filter(|source| !is_test(source))
        .map(|source| (source, code(source).count()))
        .filter(|(_, lines)| *lines > CODE_LINES_MAX)
        .map(|(source, lines)| {
            format!(
                "{}: {lines} lines of code, {CODE_LINES_MAX} at most",
                source.path
            )
        })
        .collect();
    refuse(&findings);
}

#[test]
fn nothing_is_put_off_and_no_test_is_ignored() {
    // Put together here, so that this file does not find itself.
    let words = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("db", "g!("),
        concat!("#[ig", "nore"),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
    ];
    let mut findings = Vec::new();
    for source in files(".rs") {
        for (at, line) in source.text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                findings.push(format!("{}:{}: {word}", source.path, at + 1));
            }
        }
    }
    refuse(&findings);
}

#[test]
fn every_crate_has_the_workspace_lints_which_deny_a_missing_docstring() {
    let findings: Vec<_> = files("Cargo.toml")
        .iter()
        // A libFuzzer binary is a workspace of its own.
        .filter(|source| source.path != "Cargo.toml" && !source.path.contains("/libfuzzer/"))
        .filter(|source| !source.text.contains("[lints]\nworkspace = true"))
        .map(|source| format!("{}: no `[lints] workspace = true`", source.path))
        .collect();
    refuse(&findings);
    let workspace =
        fs::read_to_string(root().join("Cargo.toml")).expect("the workspace's manifest");
    assert!(workspace.contains("missing_docs = \"deny\""));
}

/// docs/errors.md: every bad input, its exact message and its test; here, that the test exists.
/// Packages with their features, as one command builds them.
fn built(what: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree", "--locked", "--prefix", "none", "--format", "{p} {f}",
        ])
        .args(what)
        .current_dir(root())
        .output()
        .expect("cargo");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // A package that was listed before carries a mark.
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .collect()
}

#[test]
fn the_first_command_and_the_tests_share_one_build() {
    let run = built(&["--package", "engine", "--edges", "normal,build"]);
    let tests = built(&["--workspace", "--edges", "normal,build,dev"]);
    let findings: Vec<String> = run
        .difference(&tests)
        .map(|package| format!("{package}: the tests build it with other features"))
        .collect();
    refuse(&findings);
}

#[test]
fn every_bad_input_has_its_test() {
    let table = fs::read_to_string(root().join("docs/errors.md")).expect("docs/errors.md");
    let sources = files(".rs");
    let mut findings = Vec::new();
    let mut rows = 0;
    for (at, line) in table.lines().enumerate() {
        let cells: Vec<_> = line
            .trim()
            .trim_matches('|')
            .split(" | ")
            .map(str::trim)
            .collect();
        if !line.starts_with('|')
            || cells.len() != 3
            || cells[2] == "test"
            || cells[2].starts_with("---")
        {
            continue;
        }
        rows += 1;
        let test = cells[2].trim_matches('`');
        let test = test.rsplit("::").next().unwrap_or(test);
        if !sources
            .iter()
            .any(|source| source.text.contains(&format!("fn {test}(")))
        {
            findings.push(format!("docs/errors.md:{}: no test named {test}", at + 1));
        }
    }
    refuse(&findings);
    assert!(rows >= 20, "docs/errors.md lists {rows} bad inputs");
}
