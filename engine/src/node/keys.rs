//! The configuration's keys: one table that the parser, its errors and `docs/configuration.md` go by.

/// What a key's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A path; relative ones start at the configuration file's folder.
    Path,
    /// `host:port`.
    Address,
    /// A whole number within bounds, both included.
    Number {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// `true` or `false`.
    Switch,
    /// One CPU's number, or `"auto"`.
    Cpu,
    /// A list of CPU numbers, or `"auto"`.
    Cpus,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its table; empty for the top.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it is where the file does not say, as TOML; `None`: it must be given.
    pub default: Option<&'static str>,
    /// What it does, and its unit.
    pub about: &'static str,
}

const fn key(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    about: &'static str,
) -> Key {
    Key {
        section,
        name,
        kind,
        default,
        about,
    }
}

const MIB: u64 = 1024 * 1024;
const HOUR_MS: u64 = 3_600_000;

/// Every key but those of `[users]` and `[variables]`, whose names are the user's and the engine's.
pub const KEYS: &[Key] = &[
    key(
        "",
        "data_dir",
        Kind::Path,
        None,
        "the directory that holds everything: catalog, segments, lock",
    ),
    key(
        "",
        "startup_sql",
        Kind::Path,
        Some("none"),
        "a file of SQL that runs at every start, so it must be idempotent",
    ),
    key(
        "cores",
        "control",
        Kind::Cpu,
        Some("\"auto\""),
        "the CPU of the aggregator and of client connections",
    ),
    key(
        "cores",
        "leaves",
        Kind::Cpus,
        Some("\"auto\""),
        "the CPUs of the leaves, one leaf each",
    ),
    key(
        "cores",
        "query",
        Kind::Cpus,
        Some("\"auto\""),
        "the CPUs that run queries",
    ),
    key(
        "cores",
        "spin",
        Kind::Switch,
        Some("false"),
        "leaves spin before they park: 40 µs of median freshness for a whole core",
    ),
    key(
        "listen",
        "mysql",
        Kind::Address,
        Some("\"127.0.0.1:3306\""),
        "where MySQL clients connect",
    ),
    key(
        "memory",
        "leaf_bytes",
        Kind::Number {
            min: 16 * MIB,
            max: 1 << 40,
        },
        Some("268435456"),
        "bytes of blocks and responses, per leaf",
    ),
    key(
        "memory",
        "query_bytes",
        Kind::Number {
            min: 16 * MIB,
            max: 1 << 44,
        },
        Some("1073741824"),
        "bytes that all queries share",
    ),
    key(
        "storage",
        "flush_age_ms",
        Kind::Number {
            min: 10,
            max: HOUR_MS,
        },
        Some("1000"),
        "ms after which visible rows are committed",
    ),
    key(
        "storage",
        "sync_age_ms",
        Kind::Number {
            min: 10,
            max: HOUR_MS,
        },
        Some("1000"),
        "ms after which committed rows are synced",
    ),
    key(
        "storage",
        "disk_reserve_bytes",
        Kind::Number {
            min: 0,
            max: 1 << 44,
        },
        Some("67108864"),
        "free bytes at which loading pauses",
    ),
    key(
        "server",
        "max_connections",
        Kind::Number {
            min: 1,
            max: 100_000,
        },
        Some("151"),
        "sessions at once; connections that have not logged in are bounded beside them",
    ),
    key(
        "server",
        "connect_timeout_s",
        Kind::Number { min: 1, max: 3_600 },
        Some("10"),
        "s for a whole login, beside what the server lets it wait after failures",
    ),
    key(
        "server",
        "wait_timeout_s",
        Kind::Number {
            min: 1,
            max: 31_536_000,
        },
        Some("28800"),
        "s without a command before a connection is closed; SET wait_timeout beats it",
    ),
    key(
        "server",
        "net_read_timeout_s",
        Kind::Number { min: 1, max: 3_600 },
        Some("30"),
        "s for the next piece of a packet that has begun, 64 KiB at most; SET net_read_timeout beats it",
    ),
    key(
        "server",
        "net_write_timeout_s",
        Kind::Number { min: 1, max: 3_600 },
        Some("60"),
        "s for a client to take the next piece of an answer, 64 KiB at most; SET net_write_timeout beats it",
    ),
    key(
        "server",
        "max_allowed_packet_bytes",
        Kind::Number {
            min: MIB,
            max: 1 << 30,
        },
        Some("67108864"),
        "bytes of one statement or parameter, and of one row of an answer",
    ),
    key(
        "log",
        "format",
        Kind::OneOf(&["text", "json"]),
        Some("\"text\""),
        "how a log line is written, to standard error",
    ),
    key(
        "log",
        "level",
        Kind::OneOf(&["error", "warn", "info", "debug"]),
        Some("\"info\""),
        "the least level that is logged",
    ),
];

/// The tables of the file, in the documentation's order.
pub const SECTIONS: &[&str] = &[
    "cores",
    "listen",
    "users",
    "memory",
    "storage",
    "variables",
    "server",
    "log",
];

/// The keys of one table.
pub fn of_section(section: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.section == section)
}

/// `docs/configuration.md`, whole; a test compares it with the file.
#[must_use]
pub fn documentation() -> String {
    let mut out = String::from(INTRODUCTION);
    out.push_str("\n| key | takes | default | what it is |\n|---|---|---|---|\n");
    for key in KEYS {
        let name = if key.section.is_empty() {
            key.name.into()
        } else {
            format!("[{}] {}", key.section, key.name)
        };
        let takes = match key.kind {
            Kind::Text => "a string".into(),
            Kind::Path => "a path".into(),
            Kind::Address => "`\"host:port\"`".into(),
            Kind::Number { min, max } => format!("{min} to {max}"),
            Kind::Switch => "`true` or `false`".into(),
            Kind::Cpu => "a CPU's number or `\"auto\"`".into(),
            Kind::Cpus => "a list of CPU numbers or `\"auto\"`".into(),
            Kind::OneOf(words) => words
                .iter()
                .map(|word| format!("`\"{word}\"`"))
                .collect::<Vec<_>>()
                .join(" or "),
        };
        let default = key
            .default
            .map_or("must be given".into(), |default| format!("`{default}`"));
        out.push_str(&format!(
            "| `{name}` | {takes} | {default} | {} |\n",
            key.about
        ));
    }
    out.push_str(VARIABLES_INTRODUCTION);
    out.push_str("\n| variable | default | what it is |\n|---|---|---|\n");
    for variable in crate::catalog::VARIABLES {
        out.push_str(&format!(
            "| `{}` | `{}` | {} |\n",
            variable.name, variable.default, variable.about
        ));
    }
    let mib = |bytes: u64| (bytes >> 20).to_string();
    out.push_str(
        &MEMORY
            .replace("{process}", &mib(crate::limits::PROCESS_BYTES))
            .replace("{leaf}", &mib(crate::limits::LEAF_BESIDE_BYTES))
            .replace("{query}", &mib(crate::limits::QUERY_CPU_BESIDE_BYTES)),
    );
    out.push_str(&format!(
        "\n{}",
        ENDING
            .replace(
                "{drain}",
                &(crate::limits::DRAIN_MS_MAX / 1_000).to_string()
            )
            .replace(
                "{second}",
                &crate::limits::SECOND_SIGNAL_AFTER_MS.to_string()
            )
    ));
    out
}

const MEMORY: &str = "
## Memory

What a configuration adds up to, `pinleaf check` prints. Segments that queries map are not in it: they are the
kernel's page cache.

```text
{process} MiB
+ leaves     x (leaf_bytes + {leaf} MiB)
+ query_bytes
+ query CPUs x {query} MiB        freed memory on its way back to the kernel, and the array an expression is just making
```

More than the machine or its container has is refused at the start: with the defaults some 1.4 GiB for one leaf.

`query_bytes` is what all queries hold together, and each reserves before it takes: a statement its parse tree, its
plan and what its batches in flight may take (it takes shorter batches rather than more than 16 MiB, or a 16th of
`query_bytes`); DataFusion what it groups, joins and sorts; a function each string before it makes it, until nobody
holds it; what functions make of constants four times, until the statement ends, of which it may have 64 MiB (error 1301);
a window over everything its input three times. What is not there to be reserved is error 1038 of that query. An eighth of
`query_bytes` is kept for single reservations of a 16th, or 16 MiB, at most: one large one does not have each small one
refused, but a query of dozens of operators has as many. Not reserved is what a pattern of LIKE or REGEXP is compiled to,
up to some 20 MB each: one at a time of a batch, 16 where those of LIKE differ from row to row. Rows of a filter's or
join's copies are sized by the mean of a sample of the table's parts: a few strings that are far longer than all others
can take more.

Beside it stands what is stored: of each commit its places, checksums and statistics, at most 2 KiB and 256 bytes a
column. Commits of fewer than 8,192 rows on the mean are merged, to 65,536 rows each: a thousand million rows of ten
columns take 70 to 570 MB.

Beside it stands what clients send too: of each connection a statement or parameters up to twice
`max_allowed_packet_bytes`, 16 MiB of user variables, 16 MiB of prepared texts and up to 32 MiB of their trees; and of
what it is answered one row, up to `max_allowed_packet_bytes`. One that sends none of these and asks for no such rows
takes less than 200 KiB.
";

const ENDING: &str = "\
## How `pinleaf run` ends

| exit code | when |
|---|---|
| 0 | SIGTERM or SIGINT, at any moment, also of the start: every row that was visible is durable |
| 1 | a start that cannot be; a stop whose drain took longer than {drain} s (a disk that stays full); a COMMIT of the \
catalog that failed (not for want of room); a leaf that ended. The last line on standard error says which and what to mend |
| 130, 143 | a second SIGINT or SIGTERM, {second} ms or more after the first: at once, like a kill |
| SIGABRT | a panic: a bug |

Nothing is lost in any of these: what is durable is there at the next start, and what was visible and is not durable
is fetched from Kafka again, with the same offsets. A supervisor may start it again after any code but 0.

A signal that comes sooner after the first is the same wish and changes nothing: a terminal's Ctrl-C reaches a whole
group of processes, and whoever supervises one of them passes on what it heard itself.
";

const INTRODUCTION: &str = "\
# The configuration file

One TOML file says all of it; `pinleaf check CONFIG.toml` validates it and prints what it would do, touching
nothing. A key that is not listed here, a value of another type and a value out of range are refused with file,
line and key. Relative paths start at the file's folder.

```toml
data_dir = \"/var/lib/pinleaf\"
startup_sql = \"startup.sql\"

[listen]
mysql = \"127.0.0.1:3306\"

[users]
root = \"\"
ann = \"secret\"
bob = { file = \"/etc/pinleaf/bob.password\" }
eve = { env = \"EVE_PASSWORD\" }
```

`[users]` is the only place where users are kept: name = password, or a table that names a file (its first line)
or an environment variable. Without it there is one user, `root`, with an empty password. An empty password is
refused when `[listen] mysql` is not a loopback address.
";

const VARIABLES_INTRODUCTION: &str = "
`[variables]` sets the engine variables below. SET GLOBAL is kept in the catalog and beats the file; a
difference is logged at start.
";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_documentation_lists_every_key() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        let written = std::fs::read_to_string(path).expect("docs/configuration.md");
        assert!(
            written == documentation(),
            "docs/configuration.md differs from the code; `pinleaf check --print-keys` prints what it should be:\n{}",
            documentation()
        );
    }
}
