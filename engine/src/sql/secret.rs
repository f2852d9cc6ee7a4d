//! Statements that may hold a secret: their text is shown to nobody, not in the process list and not in an
//! error, which startup_sql would write into the log.
//!
//! No key of a secret is taken yet; what somebody tries all the same is one, also where it does not belong.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// What the text of such a statement has, in lower case: the clause, a key of TLS or SASL, or what stands before
/// a user's password in SQL. A column that is called so hides its statement too, which costs less.
const MARKS: &[&str] = &["credentials", "sasl.", "ssl.", "identified", "password"];

/// Whether a statement's text may hold one.
#[must_use]
pub fn may_be_in(sql: &str) -> bool {
    static FINDER: LazyLock<AhoCorasick> = LazyLock::new(|| {
        let mut builder = AhoCorasick::builder();
        let finder = builder.ascii_case_insensitive(true).build(MARKS);
        finder.expect("few short marks")
    });
    FINDER.is_match(sql)
}

/// What SHOW PROCESSLIST may show of a statement.
#[must_use]
pub fn shown(sql: &str) -> &str {
    if may_be_in(sql) {
        "(a statement with CREDENTIALS, a password, or keys of TLS or SASL)"
    } else {
        sql
    }
}
