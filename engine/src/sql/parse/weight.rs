//! How much memory a parser may need for a text, known before it is parsed: by its tokens, since a long
//! string is one of them and a short list of numbers many.
//!
//! It is never less. What tokenizers disagree on must not hide a text from the count: see [`is_doubtful`].

use crate::limits::{
    PARSED_BASE_BYTES, PARSED_BLANK_BYTES, PARSED_COPIES, PARSED_JSON_BYTES, PARSED_SELECT_BYTES,
    PARSED_TOKEN_BYTES,
};

/// Bytes that the tokens and the tree of a text may take, and the JSON that it has in strings.
#[must_use]
pub fn parsed_bytes(sql: &str) -> usize {
    let Counted {
        tokens,
        blanks,
        selects,
        json_bytes,
    } = counted(sql.as_bytes());
    [
        PARSED_BASE_BYTES,
        sql.len().saturating_mul(PARSED_COPIES),
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

fn counted(bytes: &[u8]) -> Counted {
    let has_strings = !is_doubtful(bytes);
    let mut counted = Counted::default();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let mut end = at + 1;
        match byte {
            b'\'' | b'"' | b'`' if has_strings => {
                counted.tokens += 1;
                end = end_of_quoted(bytes, at) + 1;
                if bytes[at..end].contains(&b'{') {
                    counted.json_bytes += end - at;
                }
            }
            _ if byte.is_ascii_whitespace() => counted.blanks += 1,
            _ if is_of_word(byte) => {
                let rest = &bytes[at..];
                let length = rest.iter().position(|byte| !is_of_word(*byte));
                end = length.map_or(bytes.len(), |length| at + length);
                counted.tokens += 1;
                counted.selects += usize::from(bytes[at..end].eq_ignore_ascii_case(b"SELECT"));
            }
            _ => counted.tokens += 1,
        }
        at = end;
    }
    counted
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Whether a quote may stand in a comment or in a string between dollars, or a backslash in a string that knows no
/// escapes (`b'\'`): then nothing is taken for a string, and what stands in one counts as it would outside.
fn is_doubtful(bytes: &[u8]) -> bool {
    let opens = |pair: &[u8]| matches!(pair, b"/*" | b"--" | b"$$");
    let is_bits =
        |three: &[u8]| matches!(three, [before, b'b' | b'B', b'\'' | b'"'] if !is_of_word(*before));
    bytes.contains(&b'#') || bytes.windows(2).any(opens) || bytes.windows(3).any(is_bits)
}

/// The place of the quote that closes the one at `at`, or the last byte. What is escaped by doubling is two
/// strings here, which only counts too much.
fn end_of_quoted(bytes: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while end < bytes.len() && bytes[end] != bytes[at] {
        end += if bytes[end] == b'\\' && bytes[at] != b'`' {
            2
        } else {
            1
        };
    }
    end.min(bytes.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_weigh_and_long_strings_do_not() {
        for (sql, tokens, blanks, selects, json_bytes) in [
            ("", 0, 0, 0, 0),
            ("select 1", 2, 1, 1, 0),
            ("(SELECT(select))", 6, 0, 2, 0),
            ("selects `select` _select", 3, 2, 0, 0),
            ("select 1,1,1", 6, 1, 1, 0),
            ("select 'a long one, with; everything'", 2, 1, 1, 0),
            (r"select 'it\'s', `a\`", 4, 2, 1, 0),
            ("select 'not closed", 2, 1, 1, 0),
            ("'\\", 1, 0, 0, 0),
            ("ä1_ + b", 3, 2, 0, 0),
            (r#"config '{"a":1}', 'web'"#, 4, 2, 0, 9),
            // Nothing here is taken for a string.
            ("/*'*/ 1,1", 8, 1, 0, 0),
            ("1 #'\n,1", 5, 2, 0, 0),
            ("1 -- '\n,1", 6, 3, 0, 0),
            ("$$'$$,1", 7, 0, 0, 0),
            (r" b'\',1", 6, 1, 0, 0),
            ("'b'", 3, 0, 0, 0),
        ] {
            let expected = Counted {
                tokens,
                blanks,
                selects,
                json_bytes,
            };
            assert_eq!(counted(sql.as_bytes()), expected, "{sql}");
        }
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
}
