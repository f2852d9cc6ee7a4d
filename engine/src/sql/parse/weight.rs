//! How much memory a parser may need for a text, known before it is parsed: by its tokens, since a long
//! string is one of them and a short list of numbers many.
//!
//! It is never less. What tokenizers disagree on must not hide a text from the count: see [`is_doubtful`] and
//! [`tokens_in`].

use memchr::memchr2;

use crate::limits::{
    PARSED_BASE_BYTES, PARSED_BLANK_BYTES, PARSED_COPIES, PARSED_JSON_BYTES, PARSED_SELECT_BYTES,
    PARSED_TOKEN_BYTES,
};

/// Bytes that the tokens and the tree of a text may take, and the JSON that it has in strings.
#[must_use]
pub fn parsed_bytes(sql: &str) -> usize {
    parsed_bytes_of(sql, usize::MAX)
}

/// As [`parsed_bytes`]; where it is more than `most`, something that is more too, and found sooner.
#[must_use]
pub fn parsed_bytes_of(sql: &str, most: usize) -> usize {
    let copies = sql.len().saturating_mul(PARSED_COPIES);
    if copies > most {
        return copies;
    }
    let Counted {
        tokens,
        blanks,
        selects,
        json_bytes,
    } = counted(sql.as_bytes(), most / PARSED_TOKEN_BYTES);
    [
        PARSED_BASE_BYTES,
        copies,
        tokens.saturating_mul(PARSED_TOKEN_BYTES),
        blanks.saturating_mul(PARSED_BLANK_BYTES),
        selects.saturating_mul(PARSED_SELECT_BYTES),
        json_bytes.saturating_mul(PARSED_JSON_BYTES),
    ]
    .into_iter()
    .fold(0, usize::saturating_add)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    /// Words, strings and signs.
    tokens: usize,
    /// Spaces and their like.
    blanks: usize,
    /// Of the words, those that say SELECT.
    selects: usize,
    /// Bytes of strings that may be JSON.
    json_bytes: usize,
}

/// Up to one token more than `tokens_max`.
fn counted(bytes: &[u8], tokens_max: usize) -> Counted {
    let has_strings = !is_doubtful(bytes);
    let has_json = bytes.contains(&b'{');
    let mut counted = Counted::default();
    let mut at = 0;
    while at < bytes.len() && counted.tokens <= tokens_max {
        let byte = bytes[at];
        let mut end = at + 1;
        match byte {
            b'\'' | b'"' | b'`' if has_strings => {
                counted.tokens += 1;
                end = end_of_quoted(bytes, at) + 1;
                // A document may stand in several, which the parser makes one.
                counted.json_bytes += usize::from(has_json) * (end - at);
            }
            _ if byte.is_ascii_whitespace() => counted.blanks += 1,
            _ if is_of_word(byte) => {
                let rest = &bytes[at..];
                let length = rest.iter().position(|byte| !is_of_word(*byte));
                end = length.map_or(bytes.len(), |length| at + length);
                let word = &bytes[at..end];
                let selects = word.windows(SELECT.len());
                counted.tokens += tokens_in(word, &bytes[..at]);
                counted.selects += selects
                    .filter(|one| one.eq_ignore_ascii_case(SELECT))
                    .count();
            }
            // Further bytes of a character.
            0x80..=0xbf => {}
            _ => counted.tokens += 1,
        }
        at = end;
    }
    counted
}

const SELECT: &[u8] = b"SELECT";

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// How many tokens a word may be: one, but for what a number stands before (`1e5select`, `1L2L`, `0x1g`, and behind
/// `before`: `1.e5a`). There each further one begins at a letter, or behind one.
fn tokens_in(word: &[u8], before: &[u8]) -> usize {
    let is_exponent = before.ends_with(b".") && matches!(word, [b'e' | b'E', b'0'..=b'9', ..]);
    if !is_exponent && !word[0].is_ascii_digit() {
        return 1;
    }
    let rest = match word {
        [b'0', b'x' | b'X', rest @ ..] => {
            let end = rest.iter().position(|byte| !byte.is_ascii_hexdigit());
            &rest[end.unwrap_or(rest.len())..]
        }
        _ => word,
    };
    1 + rest.iter().filter(|byte| !byte.is_ascii_digit()).count()
}

/// Whether a quote may stand in a comment or behind an `@` that takes it for a letter, or a backslash in a string that
/// knows no escapes (`b'\'`): then nothing is taken for a string, and what stands in one counts as it would outside.
fn is_doubtful(bytes: &[u8]) -> bool {
    let (mut has_bits, mut has_backslash) = (false, false);
    for (at, byte) in bytes.iter().enumerate() {
        let next = bytes.get(at + 1);
        match (byte, next) {
            (b'#', _)
            | (b'/', Some(b'*'))
            | (b'-', Some(b'-'))
            | (b'@', Some(b'\'' | b'"' | b'`')) => return true,
            (b'b' | b'B', Some(b'\'' | b'"')) => has_bits = true,
            (b'\\', _) => has_backslash = true,
            _ => {}
        }
    }
    has_bits && has_backslash
}

/// The place of the quote that closes the one at `at`, or the last byte. What is escaped by doubling is two
/// strings here, which only counts too much.
fn end_of_quoted(bytes: &[u8], at: usize) -> usize {
    let quote = bytes[at];
    let escape = if quote == b'`' { quote } else { b'\\' };
    let mut end = at + 1;
    while let Some(rest) = bytes.get(end..)
        && let Some(found) = memchr2(quote, escape, rest)
    {
        end += found;
        if bytes[end] == quote {
            return end;
        }
        end += 2;
    }
    bytes.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::select::dialect::MySql;
    use sqlparser::keywords::Keyword;
    use sqlparser::tokenizer::{Token, Tokenizer};

    #[test]
    fn tokens_weigh_and_long_strings_do_not() {
        for (sql, tokens, blanks, selects, json_bytes) in [
            ("", 0, 0, 0, 0),
            ("select 1", 2, 1, 1, 0),
            ("(SELECT(select))", 6, 0, 2, 0),
            ("t1.selected `select`", 4, 1, 1, 0),
            ("select 1,1,1", 6, 1, 1, 0),
            ("select 'a long one, with; everything'", 2, 1, 1, 0),
            (r"select 'it\'s', `a\`", 4, 2, 1, 0),
            ("select 'not closed", 2, 1, 1, 0),
            ("'\\", 1, 0, 0, 0),
            ("äb_ + b", 4, 2, 0, 0),
            (r#"config '{"a":1}', 'web'"#, 4, 2, 0, 14),
            (r#"'{"''":' '[1]}'"#, 3, 1, 0, 14),
            ("b'01' 'its'", 3, 1, 0, 0),
            // What a number may stand before.
            ("1234 0xAf 1e5 t.e5 1.e5", 12, 4, 0, 0),
            ("1L2L3 0x1gg", 6, 1, 0, 0),
            ("1e5select", 8, 0, 1, 0),
            // Nothing here is taken for a string.
            ("/*'*/ 1,1", 8, 1, 0, 0),
            ("1 #'\n,1", 5, 2, 0, 0),
            ("1 -- '\n,1", 6, 3, 0, 0),
            ("@@' 1,1", 6, 1, 0, 0),
            (r"b'\',1", 6, 0, 0, 0),
            (r"'b' '\'", 6, 1, 0, 0),
        ] {
            let expected = Counted {
                tokens,
                blanks,
                selects,
                json_bytes,
            };
            assert_eq!(counted(sql.as_bytes(), usize::MAX), expected, "{sql}");
        }
        let long = "1,".repeat(1 << 20);
        let most = 64 << 20;
        assert!(parsed_bytes_of(&long, most) > most && parsed_bytes_of(&long, most) < 2 * most);
        assert_eq!(parsed_bytes_of(&long, usize::MAX), parsed_bytes(&long));
        assert_eq!(
            parsed_bytes("select 1,'{two'"),
            PARSED_BASE_BYTES
                + PARSED_SELECT_BYTES
                + 4 * PARSED_TOKEN_BYTES
                + PARSED_BLANK_BYTES
                + 15 * PARSED_COPIES
                + 6 * PARSED_JSON_BYTES
        );
    }

    /// Pieces of which texts are made that a tokenizer might read otherwise than this file does.
    const PIECES: &[&str] = &[
        "1",
        "1e5",
        "e5",
        "E+5",
        "L",
        "b'",
        "B\"",
        "'",
        "'",
        "\"",
        "`",
        "\\",
        "@",
        "@@",
        "$",
        "$$",
        "$t$",
        "?",
        ".",
        "_",
        "x'",
        "X",
        "n'",
        "q'[",
        "e'",
        "U&'",
        "r'",
        "0x",
        "1.e5",
        "ä",
        "²",
        "\u{a0}",
        "\u{201c}",
        "\u{1f600}",
        "%",
        "#",
        "\n",
        "\r",
        "\t",
        "\u{b}",
        "\u{c}",
        " ",
        "--",
        "-- ",
        "/*",
        "*/",
        "/*!",
        "//",
        "{",
        "}",
        "select",
        " select ",
        ",",
        ";",
        "(",
        "<@",
        "^@",
        "@>",
        "\0",
        "+",
        "-",
        "L1",
        "a",
        "b",
        "N",
        "nq'",
        "!",
        "&",
        "|",
        "~",
        ":",
        "=",
    ];

    /// A blank may count as a word, never the other way round.
    #[test]
    fn no_text_has_more_tokens_than_are_counted() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |bound: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).expect("31 bits") % bound
        };
        let (mut tokenized, mut doubtful) = (0, 0);
        for _ in 0..200_000 {
            let length = 1 + below(11);
            let sql: String = (0..length).map(|_| PIECES[below(PIECES.len())]).collect();
            let mut tokens = Vec::new();
            let read = Tokenizer::new(&MySql::default(), &sql)
                .tokenize_with_location_into_buf(&mut tokens);
            tokenized += usize::from(read.is_ok());
            doubtful += usize::from(is_doubtful(sql.as_bytes()));
            let tokens: Vec<Token> = tokens.into_iter().map(|one| one.token).collect();
            let blanks = tokens
                .iter()
                .filter(|one| matches!(one, Token::Whitespace(_)));
            let blanks = blanks.count();
            let is_select =
                |one: &&Token| matches!(one, Token::Word(word) if word.keyword == Keyword::SELECT);
            let selects = tokens.iter().filter(is_select).count();
            let counted = counted(sql.as_bytes(), usize::MAX);
            assert!(
                tokens.len() - blanks <= counted.tokens,
                "{sql:?}: {counted:?} {tokens:?}"
            );
            assert!(
                tokens.len() <= counted.tokens + counted.blanks,
                "{sql:?}: {counted:?} {tokens:?}"
            );
            assert!(
                selects <= counted.selects,
                "{sql:?}: {counted:?} {tokens:?}"
            );
        }
        assert!(
            tokenized > 40_000 && doubtful > 40_000,
            "{tokenized} {doubtful}"
        );
    }
}
