//! Fetches and builds what peers need, each once, into the cache: PyPI into a virtual environment of its own,
//! Go modules into a built program, jars from Maven Central. Nothing is installed outside the cache.
//!
//! What a package registry does not give, or a tool that is not there, is [`Fault::Missing`] with the tool's own
//! last words, and the peer is left out by name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::program::Runner;
use crate::fault::Fault;
use crate::process;

/// What fetching and building a peer may take.
const TOOL_TIMEOUT: Duration = Duration::from_secs(3_600);
/// Of a tool's output, what a reason shows.
const COMPLAINT_CHARS_MAX: usize = 400;

/// How to run a peer's file, by its ending.
///
/// # Errors
/// [`Fault::Missing`]; [`Fault::Usage`] on an ending that nobody knows.
pub fn runner(
    file: &Path,
    engine: &str,
    needs: &[String],
    jars: &[String],
    cache: &Path,
) -> Result<Runner, Fault> {
    let jars = match jars {
        [] => None,
        jars => Some(maven(&cache.join(format!("bench-{engine}-jars")), jars)?),
    };
    let home = cache.join(format!("bench-{engine}"));
    let (program, arguments) = match file.extension().and_then(|ending| ending.to_str()) {
        // Isolated: a file is not to be found as the package of the same name.
        Some("py") => {
            let arguments = vec!["-I".into(), super::serve(), file.to_owned()];
            (python(&home, needs)?, arguments)
        }
        Some("go") => (go(&home, file, needs)?, Vec::new()),
        _ => {
            let said = format!("{}: a peer is a .py or a .go file", file.display());
            return Err(Fault::Usage(said));
        }
    };
    Ok(Runner {
        program,
        arguments,
        jars,
    })
}

/// Done once for the same `what`.
fn once(home: &Path, what: &str, make: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
    let complete = home.join("complete");
    if fs::read_to_string(&complete).is_ok_and(|made| made == what) {
        return Ok(());
    }
    let io = |path: &Path| Fault::io(format!("writing {}", path.display()));
    if home.exists() {
        fs::remove_dir_all(home).map_err(io(home))?;
    }
    fs::create_dir_all(home).map_err(io(home))?;
    make()?;
    fs::write(&complete, what).map_err(io(&complete))
}

fn python(home: &Path, needs: &[String]) -> Result<PathBuf, Fault> {
    let program = home.join("bin/python");
    once(home, &needs.join(" "), || {
        tool(Command::new("python3").args(["-m", "venv"]).arg(home))?;
        let mut pip = Command::new(&program);
        pip.args(["-m", "pip", "install", "-q", "--disable-pip-version-check"]);
        tool(pip.args(needs))
    })?;
    Ok(program)
}

fn go(home: &Path, file: &Path, needs: &[String]) -> Result<PathBuf, Fault> {
    let text =
        fs::read_to_string(file).map_err(Fault::io(format!("reading {}", file.display())))?;
    let program = home.join("peer");
    once(home, &format!("{} {text}", needs.join(" ")), || {
        let main = home.join("main.go");
        fs::write(&main, &text).map_err(Fault::io(format!("writing {}", main.display())))?;
        let run = |arguments: &[&str]| tool(Command::new("go").args(arguments).current_dir(home));
        run(&["mod", "init", "peer"])?;
        for need in needs {
            run(&["get", need])?;
        }
        run(&["mod", "tidy"])?;
        run(&["build", "-trimpath", "-o", "peer", "."])
    })?;
    Ok(program)
}

fn maven(home: &Path, jars: &[String]) -> Result<PathBuf, Fault> {
    let libs = home.join("libs");
    once(home, &jars.join(" "), || {
        let mut dependencies = String::new();
        for jar in jars {
            let [group, name, version] = jar.split(':').collect::<Vec<_>>()[..] else {
                return Err(Fault::Usage(format!("{jar}: GROUP:NAME:VERSION is wanted")));
            };
            dependencies.push_str(&format!(
                "<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId>\
                 <version>{version}</version></dependency>"
            ));
        }
        let pom = home.join("pom.xml");
        let text = format!(
            "<project><modelVersion>4.0.0</modelVersion><groupId>p</groupId><artifactId>p</artifactId>\
             <version>1</version><dependencies>{dependencies}</dependencies></project>"
        );
        fs::write(&pom, text).map_err(Fault::io(format!("writing {}", pom.display())))?;
        let mut mvn = Command::new("mvn");
        mvn.args(["-q", "-B", "-f"]).arg(&pom);
        mvn.arg("dependency:copy-dependencies");
        tool(mvn.arg(format!("-DoutputDirectory={}", libs.display())))
    })?;
    Ok(libs)
}

/// Runs a tool to its end.
fn tool(command: &mut Command) -> Result<(), Fault> {
    let name = command.get_program().to_string_lossy().into_owned();
    let ran = process::run(command, TOOL_TIMEOUT);
    let (status, said) =
        ran.map_err(|fault| Fault::Missing(format!("{name} does not run: {fault}")))?;
    if status.success() {
        return Ok(());
    }
    let said = said.trim();
    let from = said.char_indices().rev().nth(COMPLAINT_CHARS_MAX);
    let said = &said[from.map_or(0, |(at, _)| at)..];
    Err(Fault::Missing(format!("{command:?} failed: {said}")))
}
