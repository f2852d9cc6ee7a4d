//! A text of several statements into its statements, each with its place.
//!
//! Quotes (`'`, `"`, `` ` ``) and comments (`-- `, `#`, `/* */`) hide delimiters. `/*! ... */` is
//! text that MySQL runs, so it is kept, but a `;` inside it ends nothing either. A line that starts
//! with DELIMITER changes the delimiter, as in scripts for the `mysql` command line.

use super::error::{Code, SqlError};
use crate::limits::DELIMITER_BYTES_MAX;

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

/// The statements of `sql`, in order, each looked for when it is asked for: a text is read once, in time that grows as it
/// does, and nothing is kept of it. An error is the last that comes.
#[must_use]
pub fn split_statements(sql: &str) -> Pieces<'_> {
    Pieces {
        sql,
        at: 0,
        delimiter: ";",
        line: 1,
        is_line_blank: true,
    }
}

/// See [`split_statements`].
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    sql: &'a str,
    /// What has been read.
    at: usize,
    delimiter: &'a str,
    /// The line of `at`; the first is 1.
    line: u32,
    /// Whether nothing but blanks stands before `at` on its line.
    is_line_blank: bool,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<Piece<'a>, Unfinished>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.piece().transpose();
        if matches!(next, Some(Err(_))) {
            self.at = self.sql.len();
        }
        next
    }
}

impl<'a> Pieces<'a> {
    fn piece(&mut self) -> Result<Option<Piece<'a>>, Unfinished> {
        let (sql, bytes) = (self.sql, self.sql.as_bytes());
        // Where its first byte that is neither blank nor comment stands, and on which line.
        let mut start: Option<(usize, u32)> = None;
        while self.at < bytes.len() {
            let at = self.at;
            let unfinished = |what| Unfinished {
                what,
                line: self.line,
            };
            if start.is_none()
                && self.is_line_blank
                && let Some((word, next)) = delimiter_line(sql, at)
            {
                if word.is_empty() {
                    return Err(unfinished("DELIMITER must be followed by a delimiter"));
                }
                if word.len() > DELIMITER_BYTES_MAX {
                    const { assert!(DELIMITER_BYTES_MAX == 64) };
                    return Err(unfinished(
                        "the word behind DELIMITER has more than 64 bytes",
                    ));
                }
                self.delimiter = word;
                self.read_to(next);
                continue;
            }
            if bytes[at..].starts_with(self.delimiter.as_bytes()) {
                let delimiter = self.delimiter.as_bytes();
                let mut end = at + delimiter.len();
                while bytes[end..].starts_with(delimiter) {
                    end += delimiter.len();
                }
                self.read_to(end);
                match start {
                    Some(start) => return Ok(Some(piece(sql, start, at))),
                    None => continue,
                }
            }
            let here = Some((at, self.line));
            let next = match bytes[at] {
                b'\'' | b'"' | b'`' => {
                    start = start.or(here);
                    quoted_end(bytes, at).ok_or_else(|| unfinished("a quote is not closed"))?
                }
                b'#' => line_end(bytes, at),
                b'-' if starts_line_comment(bytes, at) => line_end(bytes, at),
                b'/' if bytes[at..].starts_with(b"/*") => {
                    if bytes[at..].starts_with(b"/*!") {
                        start = start.or(here);
                    }
                    let found = bytes[at + 2..].windows(2).position(|two| two == b"*/");
                    let found = found.ok_or_else(|| unfinished("a comment is not closed"))?;
                    at + 2 + found + 2
                }
                byte => {
                    if !is_blank(byte) {
                        start = start.or(here);
                    }
                    // Where anything else may begin, which is at no further byte of a character.
                    let first = self.delimiter.as_bytes()[0];
                    let goes_on = |next: &&u8| match start {
                        Some(_) => {
                            **next != first
                                && !matches!(**next, b'\'' | b'"' | b'`' | b'#' | b'-' | b'/')
                        }
                        None => is_blank(**next),
                    };
                    at + 1 + bytes[at + 1..].iter().take_while(goes_on).count()
                }
            };
            self.read_to(next);
        }
        Ok(start.map(|start| piece(sql, start, bytes.len())))
    }

    fn read_to(&mut self, next: usize) {
        let read = &self.sql[self.at..next];
        let line = match read.rfind('\n') {
            Some(end) => {
                let lines = read.bytes().filter(|byte| *byte == b'\n').count();
                let lines = u32::try_from(lines).unwrap_or(u32::MAX);
                self.line = self.line.saturating_add(lines);
                self.is_line_blank = true;
                &read[end..]
            }
            None => read,
        };
        self.is_line_blank = self.is_line_blank && line.trim_start().is_empty();
        self.at = next;
    }
}

fn piece(sql: &str, (start, line): (usize, u32), end: usize) -> Piece<'_> {
    Piece {
        text: sql[start..end].trim_end_matches(|last| u8::try_from(last).is_ok_and(is_blank)),
        line,
        at_byte: start,
    }
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
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b'\x0b'
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |found| at + found)
}

/// `DELIMITER word` at `at`, with nothing before it on its line: the word and where the line ends.
fn delimiter_line(sql: &str, at: usize) -> Option<(&str, usize)> {
    const WORD: &str = "delimiter";
    let bytes = sql.as_bytes();
    let named = bytes
        .get(at..at + WORD.len())
        .is_some_and(|text| text.eq_ignore_ascii_case(WORD.as_bytes()));
    let behind = bytes.get(at + WORD.len());
    if !(named && behind.is_none_or(u8::is_ascii_whitespace)) {
        return None;
    }
    let end = line_end(bytes, at);
    let word = sql[at + WORD.len()..end]
        .split_whitespace()
        .next()
        .unwrap_or("");
    Some((word, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<(&str, u32)> {
        split_statements(sql)
            .map(|piece| piece.expect("splits"))
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
            (
                &format!("\ndelimiter {}\nselect 1", "é".repeat(33)),
                "the word behind DELIMITER has more than 64 bytes, at line 2",
            ),
        ] {
            let mut pieces = split_statements(sql).skip_while(Result::is_ok);
            let error = SqlError::from(pieces.next().expect("an error").expect_err(sql));
            assert_eq!(pieces.next(), None);
            assert_eq!(error.code, 1064);
            assert!(error.message.ends_with(message), "{}", error.message);
        }
    }

    /// A look back from each byte, or from each statement, would take minutes.
    #[test]
    fn a_long_text_is_split_in_time_that_grows_as_it_does() {
        const TIMES: usize = 1 << 20;
        for (piece, statements) in [
            (" ", 0),
            ("\n", 0),
            ("/**/", 0),
            ("é;", TIMES),
            ("a;", TIMES),
            ("a\n;", TIMES),
            (";delimiter a", TIMES),
            ("delimiter ;\n", 0),
            ("'';", TIMES),
        ] {
            let sql = piece.repeat(TIMES);
            assert_eq!(split_statements(&sql).count(), statements, "{piece:?}");
        }
        let long = "a".repeat(DELIMITER_BYTES_MAX - 1);
        let sql = format!("delimiter {long}b\n{}", "a".repeat(TIMES));
        assert_eq!(split_statements(&sql).count(), 1);
    }
}
