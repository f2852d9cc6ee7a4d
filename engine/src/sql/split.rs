//! A text of several statements into its statements, each with its place.
//!
//! Quotes (`'`, `"`, `` ` ``) and comments (`-- `, `#`, `/* */`) hide delimiters. `/*! ... */` is
//! text that MySQL runs, so it is kept, but a `;` inside it ends nothing either. A line that starts
//! with DELIMITER changes the delimiter, as in scripts for the `mysql` command line.

use super::error::{Code, SqlError};

/// One statement of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The statement without its delimiter, blanks trimmed; never empty, never comments alone.
    pub text: &'a str,
    /// The line on which `text` starts; the first is 1.
    pub line: u32,
    /// The byte at which `text` starts.
    pub at_byte: usize,
}

/// Why a text has no statements: a quote or comment that is not closed, DELIMITER without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// What is.
    pub what: &'static str,
    /// The line on which it begins; the first is 1.
    pub line: u32,
}

impl From<Unfinished> for SqlError {
    fn from(Unfinished { what, line }: Unfinished) -> SqlError {
        SqlError::new(
            Code::Syntax,
            format!("You have an error in your SQL syntax: {what}, at line {line}"),
        )
    }
}

/// The statements of `sql`, in order.
///
/// # Errors
/// [`Unfinished`]: 1064.
pub fn split_statements(sql: &str) -> Result<Vec<Piece<'_>>, Unfinished> {
    let bytes = sql.as_bytes();
    let mut pieces = Vec::new();
    let mut delimiter = ";";
    // The current statement: where its first byte that is neither blank nor comment stands.
    let mut start: Option<usize> = None;
    let mut at = 0;
    while at < bytes.len() {
        if start.is_none()
            && let Some((word, next)) = delimiter_line(sql, at)
        {
            if word.is_empty() {
                return Err(unfinished(
                    sql,
                    at,
                    "DELIMITER must be followed by a delimiter",
                ));
            }
            delimiter = word;
            at = next;
            continue;
        }
        if sql[at..].starts_with(delimiter) {
            push(sql, start.take(), at, &mut pieces);
            at += delimiter.len();
            continue;
        }
        match bytes[at] {
            b'\'' | b'"' | b'`' => {
                start.get_or_insert(at);
                at = quoted_end(bytes, at)
                    .ok_or_else(|| unfinished(sql, at, "a quote is not closed"))?;
            }
            b'#' => at = line_end(bytes, at),
            b'-' if starts_line_comment(bytes, at) => at = line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => {
                if bytes[at..].starts_with(b"/*!") {
                    start.get_or_insert(at);
                }
                at = sql[at + 2..]
                    .find("*/")
                    .map(|found| at + 2 + found + 2)
                    .ok_or_else(|| unfinished(sql, at, "a comment is not closed"))?;
            }
            byte => {
                if !is_blank(char::from(byte)) {
                    start.get_or_insert(at);
                }
                // A delimiter is looked for at characters' starts alone, never inside one.
                at += 1;
                while !sql.is_char_boundary(at) {
                    at += 1;
                }
            }
        }
    }
    push(sql, start.take(), bytes.len(), &mut pieces);
    Ok(pieces)
}

/// Whether `--` at `at` starts a comment: MySQL wants a blank, a control character or the end behind it.
pub(super) fn starts_line_comment(bytes: &[u8], at: usize) -> bool {
    bytes[at..].starts_with(b"--")
        && bytes
            .get(at + 2)
            .is_none_or(|next| next.is_ascii_whitespace() || next.is_ascii_control())
}

/// Behind the quote that closes the one at `at`. `\` escapes in `'` and `"`; a doubled quote is one.
pub(super) fn quoted_end(bytes: &[u8], at: usize) -> Option<usize> {
    let quote = bytes[at];
    let mut next = at + 1;
    while let Some(&byte) = bytes.get(next) {
        if byte == b'\\' && quote != b'`' {
            next += 2;
        } else if byte == quote {
            if bytes.get(next + 1) != Some(&quote) {
                return Some(next + 1);
            }
            next += 2;
        } else {
            next += 1;
        }
    }
    None
}

/// MySQL's blanks: ASCII's, with the vertical tab.
fn is_blank(character: char) -> bool {
    character.is_ascii_whitespace() || character == '\x0b'
}

fn push<'a>(sql: &'a str, start: Option<usize>, end: usize, pieces: &mut Vec<Piece<'a>>) {
    if let Some(start) = start {
        pieces.push(Piece {
            text: sql[start..end].trim_end_matches(is_blank),
            line: line_of(sql, start),
            at_byte: start,
        });
    }
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |found| at + found)
}

/// `DELIMITER word` at the start of a line: the word and where the next line starts.
fn delimiter_line(sql: &str, at: usize) -> Option<(&str, usize)> {
    const WORD: &str = "delimiter";
    let bytes = sql.as_bytes();
    let fresh = sql[..at]
        .rsplit('\n')
        .next()
        .is_some_and(|before| before.trim().is_empty());
    let named = bytes
        .get(at..at + WORD.len())
        .is_some_and(|text| text.eq_ignore_ascii_case(WORD.as_bytes()));
    let ends = bytes
        .get(at + WORD.len())
        .is_none_or(u8::is_ascii_whitespace);
    if !(fresh && named && ends) {
        return None;
    }
    let end = line_end(bytes, at);
    let word = sql[at + WORD.len()..end]
        .split_whitespace()
        .next()
        .unwrap_or("");
    Some((word, end))
}

fn unfinished(sql: &str, at: usize, what: &'static str) -> Unfinished {
    let line = line_of(sql, at);
    Unfinished { what, line }
}

/// The line of a byte; the first is 1.
fn line_of(sql: &str, at: usize) -> u32 {
    let before = sql.as_bytes()[..at].iter();
    let line = 1 + before.filter(|byte| **byte == b'\n').count();
    u32::try_from(line).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<(&str, u32)> {
        split_statements(sql)
            .expect("splits")
            .iter()
            .map(|piece| (piece.text, piece.line))
            .collect()
    }

    #[test]
    fn a_text_splits_at_its_delimiters_and_not_inside_quotes_or_comments() {
        let cases: &[(&str, &[(&str, u32)])] = &[
            ("", &[]),
            (" ; ;\n; -- x\n # y ; z\n/* a;b */", &[]),
            (
                "\x0b;\x0b\x0c select\x0b1\x0b;\u{a0}",
                &[("select\x0b1", 1), ("\u{a0}", 1)],
            ),
            ("select 1", &[("select 1", 1)]),
            ("select 1;select 2;", &[("select 1", 1), ("select 2", 1)]),
            (
                "select ';';\nselect \"a;\\\";\", `;`;",
                &[("select ';'", 1), ("select \"a;\\\";\", `;`", 2)],
            ),
            (
                "select 'it''s;' ; select 2",
                &[("select 'it''s;'", 1), ("select 2", 1)],
            ),
            (
                "-- one;\nselect 1 -- two;\n;\n\nselect 2",
                &[("select 1 -- two;", 2), ("select 2", 5)],
            ),
            (
                "select 1--2;select 3",
                &[("select 1--2", 1), ("select 3", 1)],
            ),
            (
                "/*! set names utf8 ; */;select 1",
                &[("/*! set names utf8 ; */", 1), ("select 1", 1)],
            ),
            ("select /* ; */ 1", &[("select /* ; */ 1", 1)]),
            (
                "DELIMITER //\nselect 1; select 2 //\ndelimiter ;\nselect 'é';select 4",
                &[
                    ("select 1; select 2", 2),
                    ("select 'é'", 4),
                    ("select 4", 4),
                ],
            ),
            (
                "select delimiter from t;",
                &[("select delimiter from t", 1)],
            ),
        ];
        for (sql, expected) in cases {
            assert_eq!(texts(sql), *expected, "{sql}");
        }
    }

    #[test]
    fn what_is_not_closed_is_an_error_with_its_line() {
        for (sql, message) in [
            ("select 1;\nselect 'a", "a quote is not closed, at line 2"),
            ("select 1;\n\nselect `a", "a quote is not closed, at line 3"),
            ("/* a", "a comment is not closed, at line 1"),
            (
                "delimiter \nselect 1",
                "DELIMITER must be followed by a delimiter, at line 1",
            ),
            ("select '\\", "a quote is not closed, at line 1"),
        ] {
            let error = SqlError::from(split_statements(sql).expect_err(sql));
            assert_eq!(error.code, 1064);
            assert!(error.message.ends_with(message), "{}", error.message);
        }
    }
}
