//! The names of functions: what a statement may call, and which of ours or of DataFusion's that is.

/// Those of the session or of the statement's instant.
pub(super) const OF_SESSION: &[&str] = &[
    "now",
    "current_timestamp",
    "localtime",
    "localtimestamp",
    "sysdate",
    "utc_timestamp",
    "curdate",
    "current_date",
    "utc_date",
    "unix_timestamp",
    "database",
    "schema",
    "version",
    "connection_id",
    "user",
    "current_user",
    "session_user",
    "system_user",
    "row_count",
    "last_insert_id",
    "found_rows",
];

/// Those that need OVER.
pub(super) const WINDOW: &[&str] = &[
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "lag",
    "lead",
    "first_value",
    "last_value",
    "nth_value",
];

/// Aggregates of MySQL's, each with DataFusion's name of it.
const AGGREGATES: &[(&str, &str)] = &[
    ("count", "count"),
    ("sum", "sum"),
    ("avg", "sum"),
    ("min", "min"),
    ("max", "max"),
    ("bit_and", "bit_and"),
    ("bit_or", "bit_or"),
    ("bit_xor", "bit_xor"),
    ("std", "stddev_pop"),
    ("stddev", "stddev_pop"),
    ("stddev_pop", "stddev_pop"),
    ("stddev_samp", "stddev"),
    ("variance", "var_pop"),
    ("var_pop", "var_pop"),
    ("var_samp", "var"),
];

/// DataFusion's name of an aggregate of MySQL's.
pub(super) fn aggregate_name(name: &str) -> Option<&'static str> {
    let mut pairs = AGGREGATES.iter();
    pairs.find(|pair| pair.0 == name).map(|pair| pair.1)
}

/// Other names of MySQL's, the one of our functions that each stands for, and arguments it implies.
const ALIASES: &[(&str, &str, &[&str])] = &[
    ("substr", "substring", &[]),
    ("mid", "substring", &[]),
    ("ucase", "upper", &[]),
    ("lcase", "lower", &[]),
    ("character_length", "char_length", &[]),
    ("octet_length", "length", &[]),
    ("ceiling", "ceil", &[]),
    ("power", "pow", &[]),
    ("mod", "%", &[]),
    ("day", "dayofmonth", &[]),
    ("ltrim", "trim", &[" ", "leading"]),
    ("rtrim", "trim", &[" ", "trailing"]),
];

/// The one of our functions that a name of MySQL's stands for, and arguments it implies.
pub(super) fn canonical(name: &str) -> (&str, &'static [&'static str]) {
    let mut aliases = ALIASES.iter();
    let alias = aliases.find(|alias| alias.0 == name);
    alias.map_or((name, &[]), |alias| (alias.1, alias.2))
}

/// Ours, and no functions of MySQL's: what operators, CASE, CAST and aggregates are made of.
const INNER: &[&str] = &[
    "truth",
    "xor",
    "case",
    "held",
    "same",
    "plain",
    "summand",
    "total",
    "cast",
    "literal_date",
    "neg",
    "between",
    "in",
    "like",
    "div",
];

/// Whether a function of that name is there for the binder alone, as operators are.
pub(super) fn is_inner(name: &str) -> bool {
    INNER.contains(&name) || !name.starts_with(char::is_alphabetic)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::sql::select::functions;

    /// What has a name of MySQL's and no entry in a table: the binder makes it of others.
    const MADE_OF_OTHERS: &[&str] = &[
        "if",
        "isnull",
        "position",
        "adddate",
        "subdate",
        "timestampadd",
    ];

    fn is_known(name: &str) -> bool {
        let ours = !is_inner(name) && functions::arity(canonical(name).0).is_some();
        let tables = [OF_SESSION, WINDOW, MADE_OF_OTHERS];
        ours || aggregate_name(name).is_some() || tables.iter().any(|table| table.contains(&name))
    }

    /// docs/sql.md, "Functions": its code spans.
    fn documented() -> BTreeSet<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sql.md");
        let text = std::fs::read_to_string(path).expect("docs/sql.md");
        let (_, rest) = text.split_once("\n## Functions\n").expect("a section");
        let (section, _) = rest.split_once("\n## ").expect("a next section");
        let words = section.split('`').skip(1).step_by(2);
        words.map(str::to_lowercase).collect()
    }

    #[test]
    fn the_documentation_names_every_function_and_no_other() {
        let documented = documented();
        for name in &documented {
            assert!(is_known(name), "docs/sql.md names {name}");
        }
        let mut known: BTreeSet<&str> = functions::names().filter(|name| !is_inner(name)).collect();
        known.extend(OF_SESSION.iter().chain(WINDOW).chain(MADE_OF_OTHERS));
        known.extend(AGGREGATES.iter().map(|pair| pair.0));
        known.extend(ALIASES.iter().map(|alias| alias.0));
        for name in known {
            assert!(documented.contains(name), "docs/sql.md lacks {name}");
        }
    }

    #[test]
    fn what_is_there_for_the_binder_alone_is_there() {
        for name in INNER {
            assert!(functions::arity(name).is_some(), "{name} is not there");
        }
    }
}
