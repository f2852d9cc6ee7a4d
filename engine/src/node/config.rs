//! The configuration file: from TOML to validated settings, or one line that says what to mend.
//!
//! Every error names file, line and key, and stands alone on one line. Nothing is written, bound or
//! locked here; passwords are read from where the file says.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, Key, Kind, SECTIONS, of_section};
use super::text_file;
use crate::catalog::Variable;
use crate::limits::{CONFIG_BYTES_MAX, LOGIN_NAME_BYTES_MAX, PASSWORD_FILE_BYTES_MAX};

/// What is wrong with a configuration, in one line: where, what, and the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", one_line(place), one_line(what))]
pub struct ConfigError {
    /// `FILE` or `FILE:LINE`.
    pub place: String,
    /// What is wrong and what to do.
    pub what: String,
}

/// A name of a file or a variable may hold any character.
fn one_line(text: &str) -> String {
    let shown = |character: char| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    text.chars().map(shown).collect()
}

/// CPUs as the file asks for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cpus {
    /// To be decided from the machine.
    Auto,
    /// These.
    These(Vec<usize>),
}

/// A password, which no log and no `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() {
            "(empty)"
        } else {
            "(kept)"
        })
    }
}

/// A configuration that was found valid.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// The data directory.
    pub data_dir: PathBuf,
    /// SQL to run at each start.
    pub startup_sql: Option<PathBuf>,
    /// The control core.
    pub control: Cpus,
    /// The leaves' cores.
    pub leaves: Cpus,
    /// The query cores.
    pub query: Cpus,
    /// Spin before parking.
    pub spin: bool,
    /// Where MySQL clients connect.
    pub mysql: SocketAddr,
    /// Names and passwords.
    pub users: HashMap<String, Password>,
    /// `[memory]`, `[storage]` and `[server]`: every number by `section.name`.
    numbers: HashMap<(&'static str, &'static str), u64>,
    /// The lines of what the file sets, from 1.
    lines: HashMap<(&'static str, &'static str), usize>,
    /// The engine variables the file sets.
    pub variables: BTreeMap<String, String>,
    /// Whether log lines are JSON.
    pub log_json: bool,
    /// The least level that is logged.
    pub log_level: String,
}

impl Config {
    /// A number of `[memory]`, `[storage]` or `[server]`.
    ///
    /// # Panics
    /// For a key that is not in [`KEYS`]: our own bug.
    #[must_use]
    pub fn number(&self, section: &'static str, name: &'static str) -> u64 {
        self.numbers[&(section, name)]
    }

    /// What is wrong with a key that the file may set.
    #[must_use]
    pub fn wrong(&self, section: &'static str, name: &'static str, what: String) -> ConfigError {
        let line = self.lines.get(&(section, name)).copied();
        wrong_at(&self.path, line, what)
    }

    /// Reads and validates a file. `env` looks an environment variable up.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let text = text_file::read(path, CONFIG_BYTES_MAX).map_err(|error| ConfigError {
            place: path.display().to_string(),
            what: format!("cannot be read: {error}; give the path of a configuration file"),
        })?;
        Config::parse(path, &text, env)
    }

    /// Validates a file's text.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn parse(
        path: &Path,
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        let file = File { path, text };
        let top = DeTable::parse(text).map_err(|error| {
            let message = error.message().lines().collect::<Vec<_>>().join(", ");
            file.error(error.span(), format!("not TOML: {message}"))
        })?;
        let given = file.values(top.get_ref())?;
        let folder = path.parent().unwrap_or(Path::new("."));

        let text_of = |section, name| {
            given
                .get(&(section, name))
                .and_then(|value| value.get_ref().as_str())
        };
        let path_of = |section, name| text_of(section, name).map(|path| folder.join(path));
        let Some(data_dir) = path_of("", "data_dir") else {
            return Err(file.error(
                None,
                "data_dir is missing: name the directory that is to hold the data".into(),
            ));
        };
        let mut numbers = HashMap::new();
        for key in KEYS {
            if let Kind::Number { .. } = key.kind {
                let default = key.default.and_then(|default| default.parse().ok());
                let value = given
                    .get(&(key.section, key.name))
                    .and_then(|value| whole(value.get_ref()));
                numbers.insert(
                    (key.section, key.name),
                    value.or(default).expect("a default in the table"),
                );
            }
        }
        let mysql = file.address(given.get(&("listen", "mysql")))?;
        let users = file.users(top.get_ref(), folder, env)?;
        if !mysql.ip().is_loopback()
            && let Some((name, _)) = users.iter().find(|(_, password)| password.0.is_empty())
        {
            let at = given.get(&("listen", "mysql")).map(|value| value.span());
            let what = format!(
                "[listen] mysql = \"{mysql}\" is beyond loopback and user {name} has an empty password; give \
                     [users] {name} a password or listen on 127.0.0.1"
            );
            return Err(file.error(at, what));
        }
        Ok(Config {
            path: path.to_path_buf(),
            data_dir,
            startup_sql: path_of("", "startup_sql"),
            control: cpus(given.get(&("cores", "control"))),
            leaves: cpus(given.get(&("cores", "leaves"))),
            query: cpus(given.get(&("cores", "query"))),
            spin: given
                .get(&("cores", "spin"))
                .and_then(|value| value.get_ref().as_bool())
                .unwrap_or(false),
            mysql,
            users,
            numbers,
            lines: given
                .iter()
                .map(|(key, value)| (*key, file.line(value.span().start)))
                .collect(),
            variables: file.variables(top.get_ref())?,
            log_json: text_of("log", "format") == Some("json"),
            log_level: text_of("log", "level").unwrap_or("info").into(),
        })
    }
}

fn wrong_at(path: &Path, line: Option<usize>, what: String) -> ConfigError {
    let path = path.display();
    let place = match line {
        Some(line) => format!("{path}:{line}"),
        None => path.to_string(),
    };
    ConfigError { place, what }
}

type Given<'a> = HashMap<(&'static str, &'static str), &'a Spanned<DeValue<'a>>>;

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    /// The line of a byte, from 1.
    fn line(&self, at_byte: usize) -> usize {
        let before = &self.text.as_bytes()[..at_byte.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    fn error(&self, at: Option<Range<usize>>, what: String) -> ConfigError {
        wrong_at(self.path, at.map(|at| self.line(at.start)), what)
    }

    /// Every value that is given, checked against its key's kind.
    fn values<'t>(&self, top: &'t DeTable<'t>) -> Result<Given<'t>, ConfigError> {
        let mut given = HashMap::new();
        for (name, value) in top {
            let section = SECTIONS
                .iter()
                .find(|section| **section == name.get_ref().as_ref());
            match (section, value.get_ref()) {
                (Some(&("users" | "variables")), DeValue::Table(_)) => {}
                (Some(section), DeValue::Table(table)) => {
                    for (name, value) in table {
                        let key = self.key(section, name)?;
                        self.check(key, value)?;
                        given.insert((key.section, key.name), value);
                    }
                }
                (Some(section), other) => {
                    let what = format!(
                        "{section} is a table and not {}: write [{section}]",
                        found_value(other)
                    );
                    return Err(self.error(Some(value.span()), what));
                }
                (None, _) => {
                    let key = self.key("", name)?;
                    self.check(key, value)?;
                    given.insert((key.section, key.name), value);
                }
            }
        }
        Ok(given)
    }

    fn key(
        &self,
        section: &str,
        name: &Spanned<std::borrow::Cow<'_, str>>,
    ) -> Result<&'static Key, ConfigError> {
        let known = of_section(section).find(|key| key.name == name.get_ref().as_ref());
        known.ok_or_else(|| {
            let mut names: Vec<_> = of_section(section).map(|key| key.name.to_owned()).collect();
            if section.is_empty() {
                names.extend(SECTIONS.iter().map(|section| format!("[{section}]")));
            }
            let place = if section.is_empty() {
                "at the top".into()
            } else {
                format!("in [{section}]")
            };
            let what = format!(
                "unknown key {} {place}; known are {}",
                name.get_ref(),
                names.join(", ")
            );
            self.error(Some(name.span()), what)
        })
    }

    fn check(&self, key: &Key, value: &Spanned<DeValue<'_>>) -> Result<(), ConfigError> {
        let name = if key.section.is_empty() {
            key.name.into()
        } else {
            format!("[{}] {}", key.section, key.name)
        };
        let wanted = match (key.kind, value.get_ref()) {
            (Kind::Path, DeValue::String(path)) => match path_fault(key, path) {
                None => return Ok(()),
                Some(what) => {
                    return Err(self.error(Some(value.span()), format!("{name} {what}")));
                }
            },
            (Kind::Text | Kind::Address, DeValue::String(_)) => return Ok(()),
            (Kind::Switch, DeValue::Boolean(_)) => return Ok(()),
            (Kind::Number { min, max }, found) => match whole(found) {
                Some(number) if (min..=max).contains(&number) => return Ok(()),
                Some(number) => {
                    let what = format!("{name} = {number} is out of range: {min} to {max}");
                    return Err(self.error(Some(value.span()), what));
                }
                None => format!("a whole number from {min} to {max}"),
            },
            (Kind::Cpu, found) if is_auto(found) || whole(found).is_some() => return Ok(()),
            (Kind::Cpus, found)
                if is_auto(found) || cpu_list(found).is_some_and(|list| !list.is_empty()) =>
            {
                return Ok(());
            }
            (Kind::OneOf(words), DeValue::String(word)) if words.contains(&word.as_ref()) => {
                return Ok(());
            }
            (Kind::Text | Kind::Path, _) => "a string".into(),
            (Kind::Address, _) => "a string such as \"127.0.0.1:3306\"".into(),
            (Kind::Switch, _) => "true or false".into(),
            (Kind::Cpu, _) => "a CPU's number or \"auto\"".into(),
            (Kind::Cpus, _) => "a list of CPU numbers such as [1, 2], or \"auto\"".into(),
            (Kind::OneOf(words), _) => words
                .iter()
                .map(|word| format!("\"{word}\""))
                .collect::<Vec<_>>()
                .join(" or "),
        };
        let found = match (key.kind, value.get_ref()) {
            (Kind::OneOf(_), DeValue::String(word)) => format!("{word:?}"),
            (_, other) => found_value(other),
        };
        Err(self.error(
            Some(value.span()),
            format!("{name} must be {wanted}, found {found}"),
        ))
    }

    fn address(&self, value: Option<&&Spanned<DeValue<'_>>>) -> Result<SocketAddr, ConfigError> {
        let text = value
            .and_then(|value| value.get_ref().as_str())
            .unwrap_or("127.0.0.1:3306");
        let wrong = |what: String| {
            let what = format!("[listen] mysql = \"{text}\" {what}, e.g. \"127.0.0.1:3306\"");
            self.error(value.map(|value| value.span()), what)
        };
        let (name, port) = text.rsplit_once(':').unwrap_or_default();
        if name.is_empty() || port.parse::<u16>().is_err() {
            return Err(wrong("is no address; write host:port".to_owned()));
        }
        let found = text.to_socket_addrs().map(|mut found| found.next());
        match found {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(wrong(
                "names a host without an address; name another".to_owned(),
            )),
            Err(error) => Err(wrong(format!(
                "names a host that cannot be resolved ({error}); name another, or write its address"
            ))),
        }
    }

    fn users(
        &self,
        top: &DeTable<'_>,
        folder: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<HashMap<String, Password>, ConfigError> {
        let Some(users) = top
            .get("users")
            .and_then(|value| value.get_ref().as_table())
        else {
            return Ok(HashMap::from([("root".into(), Password(String::new()))]));
        };
        let mut found = HashMap::new();
        for (name, value) in users {
            let wrong = |what: String| {
                self.error(
                    Some(value.span()),
                    format!("[users] {}: {what}", name.get_ref()),
                )
            };
            if name.get_ref().is_empty() || name.get_ref().contains('\0') {
                return Err(self.error(
                    Some(name.span()),
                    "[users] has a name that is empty or has a NUL in it: no client can log in with it"
                        .into(),
                ));
            }
            if name.get_ref().len() > LOGIN_NAME_BYTES_MAX {
                return Err(self.error(
                    Some(name.span()),
                    format!(
                        "[users] has a name of more than {LOGIN_NAME_BYTES_MAX} bytes: no client can log in with it"
                    ),
                ));
            }
            // The one key of a table, and its value: a text that is not empty.
            let from = |key: &str, what: &str| match value.get_ref() {
                DeValue::Table(from) if from.len() == 1 && from.contains_key(key) => {
                    let text = from[key].get_ref().as_str().filter(|text| !text.is_empty());
                    let text = text.ok_or_else(|| wrong(format!("{key} must be {what}")));
                    text.map(|text| Some(text.to_owned()))
                }
                _ => Ok(None),
            };
            let password = if let DeValue::String(password) = value.get_ref() {
                password.to_string()
            } else if let Some(path) = from("file", "a path")? {
                let path = folder.join(path);
                let text = text_file::read(&path, PASSWORD_FILE_BYTES_MAX).map_err(|error| {
                    wrong(format!(
                        "{} cannot be read: {error}; name a file whose first line is the password",
                        path.display()
                    ))
                })?;
                let line = text.lines().next().filter(|line| !line.is_empty());
                let empty = || {
                    wrong(format!(
                        "the first line of {} is empty: write the password into it",
                        path.display()
                    ))
                };
                line.ok_or_else(empty)?.to_owned()
            } else if let Some(name) = from("env", "a name")? {
                let missing = || wrong(format!("the environment has no {name}, or an empty one"));
                env(&name)
                    .filter(|text| !text.is_empty())
                    .ok_or_else(missing)?
            } else {
                return Err(wrong(
                    "must be a password, { file = \"path\" } or { env = \"NAME\" }".into(),
                ));
            };
            found.insert(name.get_ref().to_string(), Password(password));
        }
        if found.is_empty() {
            return Err(self.error(
                None,
                "[users] is empty: nobody could connect; name a user or leave it out".into(),
            ));
        }
        Ok(found)
    }

    fn variables(&self, top: &DeTable<'_>) -> Result<BTreeMap<String, String>, ConfigError> {
        let mut found = BTreeMap::new();
        let Some(variables) = top
            .get("variables")
            .and_then(|value| value.get_ref().as_table())
        else {
            return Ok(found);
        };
        for (name, value) in variables {
            let text = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Boolean(switch) => if *switch { "ON" } else { "OFF" }.into(),
                other => whole(other).map(|number| number.to_string()).ok_or_else(|| {
                    let what = format!(
                        "[variables] {} must be a whole number, a string, true or false, found {}",
                        name.get_ref(),
                        found_value(other)
                    );
                    self.error(Some(value.span()), what)
                })?,
            };
            let checked = Variable::named(name.get_ref())
                .and_then(|variable| Ok((variable.name, variable.normalise(&text)?)));
            let (name, text) = checked
                .map_err(|error| self.error(Some(name.span()), format!("[variables] {error}")))?;
            if found.insert(name.to_owned(), text).is_some() {
                let what = format!("[variables] {name} stands there twice; write it once");
                return Err(self.error(Some(value.span()), what));
            }
        }
        Ok(found)
    }
}

/// What is wrong with a path before anybody looks where it leads.
fn path_fault(key: &Key, path: &str) -> Option<&'static str> {
    match path {
        "" if key.default.is_none() => Some("is empty: give a path"),
        "" => Some("is empty: give a path, or leave it out"),
        _ if path.contains('\0') => Some("has a NUL in it, which no path may have"),
        _ => None,
    }
}

/// A value as an error shows it.
fn found_value(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(_) => "a string".into(),
        DeValue::Integer(number) => format!("the number {}", number.as_str()),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(switch) => switch.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(list) if list.is_empty() => "an empty list".into(),
        DeValue::Array(_) => "a list of something else".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

fn whole(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn is_auto(value: &DeValue<'_>) -> bool {
    value.as_str() == Some("auto")
}

fn cpu_list(value: &DeValue<'_>) -> Option<Vec<usize>> {
    value
        .as_array()?
        .iter()
        .map(|cpu| usize::try_from(whole(cpu.get_ref())?).ok())
        .collect()
}

fn cpus(value: Option<&&Spanned<DeValue<'_>>>) -> Cpus {
    let Some(value) = value.map(|value| value.get_ref()) else {
        return Cpus::Auto;
    };
    match (whole(value), cpu_list(value)) {
        (Some(cpu), _) => usize::try_from(cpu).map_or(Cpus::Auto, |cpu| Cpus::These(vec![cpu])),
        (_, Some(list)) => Cpus::These(list),
        _ => Cpus::Auto,
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
