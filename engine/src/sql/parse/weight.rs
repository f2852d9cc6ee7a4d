//! How much memory a parser may need for a text, known before it is parsed: by its tokens, since a long
//! string is one of them and a short list of numbers many.

use crate::limits::{PARSED_BLANK_BYTES, PARSED_TOKEN_BYTES};

/// Bytes that the tokens and the tree of a text may take. Never less than they do; comments count as what
/// stands in them.
#[must_use]
pub fn parsed_bytes(sql: &str) -> usize {
    let bytes = sql.as_bytes();
    let (mut tokens, mut blanks) = (0_usize, 0_usize);
    let (mut at, mut in_word) = (0, false);
    while at < bytes.len() {
        let byte = bytes[at];
        let is_word = byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        match byte {
            b'\'' | b'"' | b'`' => {
                tokens += 1;
                at = end_of_quoted(bytes, at);
            }
            _ if byte.is_ascii_whitespace() => blanks += 1,
            _ if is_word => tokens += usize::from(!in_word),
            _ => tokens += 1,
        }
        in_word = is_word;
        at += 1;
    }
    let tokens = tokens.saturating_mul(PARSED_TOKEN_BYTES);
    tokens.saturating_add(blanks.saturating_mul(PARSED_BLANK_BYTES))
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
        for (sql, tokens, blanks) in [
            ("", 0, 0),
            ("select 1", 2, 1),
            ("select 1,1,1", 6, 1),
            ("select 'a long one, with; everything'", 2, 1),
            (r"select 'it\'s', `a\`", 4, 2),
            ("select 'not closed", 2, 1),
            ("'\\", 1, 0),
            ("ä1_ + b", 3, 2),
        ] {
            let expected = tokens * PARSED_TOKEN_BYTES + blanks * PARSED_BLANK_BYTES;
            assert_eq!(parsed_bytes(sql), expected, "{sql}");
        }
    }
}
