//! How high the tree of a text may become, known before it is parsed.
//!
//! A parser builds `a + b + c ...` in a loop, as a tree as high as the row is long; who clones, compares or drops it
//! goes down by recursion, and a row of some hundred thousand would overflow any stack. So a text is refused by its
//! tokens. [`is_too_high`] adds up what may make a tree higher:
//! - in parentheses: every token but numbers and strings, since the last that ends a row; a comma does, AND and OR do
//!   (their trees are balanced), and what begins a part of a CASE;
//! - XOR and the set operations, whose operands are such rows, one each;
//! - and around what stands in parentheses all of that again.
//!
//! A word ends a row only where it cannot be a name: not behind a dot or what a name follows, and as an operand no
//! reserved word is read ([`super::dialect::MySql`]). Should sqlparser read one as a name all the same, there is a second
//! bound, on all tokens between two commas of a parenthesis, or of one with a set operation: a stack bears that height.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::limits::{STATEMENT_HEIGHT_MAX, STATEMENT_TOKENS_MAX};

/// What stands between two parentheses, or between CASE and its END.
#[derive(Default)]
struct Level {
    is_case: bool,
    /// Tokens since the last that ended a row.
    row: usize,
    /// The highest of what stands in parentheses in that row.
    inner: usize,
    /// The highest row that was ended.
    ended: usize,
    /// XOR and set operations.
    operators: usize,
    /// BETWEEN that want their AND.
    betweens: usize,
    /// Tokens since the last comma.
    tokens: usize,
}

impl Level {
    fn height(&self) -> usize {
        self.operators + self.ended.max(self.row + self.inner)
    }

    fn end_row(&mut self) {
        self.ended = self.ended.max(self.row + self.inner);
        (self.row, self.inner) = (0, 0);
    }

    fn is_too_high(&self) -> bool {
        self.height() > STATEMENT_HEIGHT_MAX || self.tokens > STATEMENT_TOKENS_MAX
    }

    /// Takes in what stood in parentheses.
    fn hold(&mut self, inner: &Level) {
        self.inner = self.inner.max(inner.height() + 1);
        self.row += 1;
    }
}

/// The reserved word that a token is, behind `previous`: none where it is a name.
fn reserved(token: &Token, previous: Option<&Token>) -> Keyword {
    let Token::Word(word) = token else {
        return Keyword::NoKeyword;
    };
    let is_name = match previous {
        Some(Token::Period) => true,
        Some(Token::Word(before)) if before.quote_style.is_none() => matches!(
            before.keyword,
            Keyword::OVER
                | Keyword::COLLATE
                | Keyword::AS
                | Keyword::USING
                | Keyword::SET
                | Keyword::ZONE
                | Keyword::WINDOW
        ),
        _ => false,
    };
    match is_name || word.quote_style.is_some() {
        true => Keyword::NoKeyword,
        false => word.keyword,
    }
}

/// The tokens of a text but blanks, each with its number and the reserved word that it is.
fn words(tokens: &[TokenWithSpan]) -> impl Iterator<Item = (usize, &Token, Keyword)> {
    let mut previous = None;
    let tokens = tokens.iter().map(|token| &token.token).enumerate();
    let tokens = tokens.filter(|(_, token)| !matches!(token, Token::Whitespace(_)));
    tokens.map(move |(at, token)| {
        let word = reserved(token, previous);
        previous = Some(token);
        (at, token, word)
    })
}

/// How deep a text nests what a parser goes down for.
pub(super) struct Nesting {
    /// Levels of parentheses and CASE.
    pub(super) levels: usize,
    /// NOTs before each other.
    pub(super) nots: usize,
}

/// The deepest of a text.
pub(super) fn nesting(tokens: &[TokenWithSpan]) -> Nesting {
    let mut deepest = Nesting { levels: 0, nots: 0 };
    let (mut levels, mut nots) = (0_usize, 0);
    for (_, token, word) in words(tokens) {
        nots = if word == Keyword::NOT { nots + 1 } else { 0 };
        match (token, word) {
            (Token::LParen, _) | (_, Keyword::CASE) => levels += 1,
            (Token::RParen, _) | (_, Keyword::END) => levels = levels.saturating_sub(1),
            _ => {}
        }
        deepest.levels = deepest.levels.max(levels);
        deepest.nots = deepest.nots.max(nots);
    }
    deepest
}

fn is_set_operator(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS
    )
}

/// Whether the tree of a text may become higher than a stack bears.
pub(super) fn is_too_high(tokens: &[TokenWithSpan]) -> bool {
    let mut outer: Vec<Level> = Vec::new();
    let mut level = Level::default();
    for (_, token, word) in words(tokens) {
        match token {
            Token::Number(..) | Token::SingleQuotedString(_) => continue,
            Token::LParen => outer.push(std::mem::take(&mut level)),
            Token::RParen => {
                // A CASE that is not ended ends here; so does what no parenthesis opened.
                while let Some(around) = outer.pop() {
                    let inner = std::mem::replace(&mut level, around);
                    level.hold(&inner);
                    if !inner.is_case {
                        break;
                    }
                }
            }
            Token::SemiColon => {
                outer.clear();
                level = Level::default();
            }
            Token::Comma => {
                level.end_row();
                // Of a set operation's branches the lists follow each other.
                if level.operators == 0 {
                    level.tokens = 0;
                }
            }
            // Whatever stands before: as a name it is counted too much.
            Token::Word(word) if word.quote_style.is_none() && is_set_operator(word.keyword) => {
                level.end_row();
                level.operators += 1;
            }
            Token::StringConcat | Token::Overlap => level.end_row(),
            _ => match word {
                Keyword::OR => level.end_row(),
                Keyword::AND if level.betweens == 0 => level.end_row(),
                Keyword::WHEN | Keyword::THEN | Keyword::ELSE if level.is_case => level.end_row(),
                Keyword::AND => {
                    level.betweens -= 1;
                    level.row += 1;
                }
                Keyword::BETWEEN => {
                    level.betweens += 1;
                    level.row += 1;
                }
                Keyword::XOR => {
                    level.end_row();
                    level.operators += 1;
                }
                Keyword::CASE => {
                    let case = Level {
                        is_case: true,
                        ..Level::default()
                    };
                    outer.push(std::mem::replace(&mut level, case));
                }
                Keyword::END if level.is_case => {
                    if let Some(around) = outer.pop() {
                        let inner = std::mem::replace(&mut level, around);
                        level.hold(&inner);
                    }
                }
                _ => level.row += 1,
            },
        }
        level.tokens += usize::from(*token != Token::Comma);
        if level.is_too_high() {
            return true;
        }
    }
    while let Some(around) = outer.pop() {
        let inner = std::mem::replace(&mut level, around);
        level.hold(&inner);
    }
    level.is_too_high()
}

/// Where the operands of a parenthesis begin, by the number of their first token.
#[derive(Default)]
struct Operands {
    comma: usize,
    or: usize,
    /// Of what is neither AND nor OR.
    other: usize,
    is_behind_or: bool,
    is_behind_and: bool,
    is_behind_product: bool,
}

/// How many tokens a parser copies: with the first AND, OR, DIV or MOD of a row, what stands to the left of it, and in a
/// parenthesis around it that once more.
pub(super) fn copied(tokens: &[TokenWithSpan]) -> usize {
    let mut outer: Vec<Operands> = Vec::new();
    let mut level = Operands::default();
    let mut copied = 0_usize;
    for (at, token, word) in words(tokens) {
        let begins = |comma| Operands {
            comma,
            or: comma,
            other: comma,
            ..Operands::default()
        };
        match (token, word) {
            (Token::LParen, _) => outer.push(std::mem::replace(&mut level, begins(at))),
            (Token::RParen, _) => level = outer.pop().unwrap_or_else(|| begins(at)),
            (Token::Comma | Token::SemiColon, _) => level = begins(at),
            (Token::StringConcat, _) | (_, Keyword::OR) => {
                if !level.is_behind_or {
                    copied = copied.saturating_add(at - level.comma);
                }
                level = Operands {
                    comma: level.comma,
                    is_behind_or: true,
                    ..begins(at)
                };
            }
            (Token::Overlap, _) | (_, Keyword::AND) => {
                if !level.is_behind_and {
                    copied = copied.saturating_add(at - level.or);
                }
                (level.is_behind_and, level.is_behind_product, level.other) = (true, false, at);
            }
            (_, Keyword::DIV) => {
                if !level.is_behind_product {
                    copied = copied.saturating_add(at - level.other);
                }
                level.is_behind_product = true;
            }
            (Token::Word(word), _) if word.value.eq_ignore_ascii_case("mod") => {
                if !level.is_behind_product {
                    copied = copied.saturating_add(at - level.other);
                }
                level.is_behind_product = true;
            }
            (
                Token::Plus
                | Token::Minus
                | Token::Eq
                | Token::Lt
                | Token::Gt
                | Token::Neq
                | Token::LtEq
                | Token::GtEq
                | Token::Spaceship,
                _,
            )
            | (_, Keyword::XOR) => (level.is_behind_product, level.other) = (false, at),
            _ => {}
        }
    }
    copied
}

#[cfg(test)]
mod tests {
    use sqlparser::dialect::MySqlDialect;
    use sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn is_refused(sql: &str) -> bool {
        let tokens = Tokenizer::new(&MySqlDialect {}, sql).tokenize_with_location();
        is_too_high(&tokens.expect("tokens"))
    }

    #[test]
    fn what_grows_with_its_length_is_refused_however_it_is_interrupted() {
        for (first, one) in [
            ("1", " + 1"),
            ("1", " + (1)"),
            ("1", " + ABS(1)"),
            ("1", " + ABS(1, 2)"),
            ("a", " IS NULL"),
            ("a", " BETWEEN 0 AND 1"),
            ("a", " BETWEEN (0) AND (1)"),
            ("a", " XOR a"),
            ("a", " XOR a AND a"),
            ("a", " + t.or"),
            ("a", " + t.`or`"),
            ("a", " + CASE WHEN a THEN a ELSE a END"),
            ("a", " + CASE WHEN end THEN a END"),
            ("a", " COLLATE or"),
            ("SELECT 1, zone", " UNION SELECT 1, zone"),
            ("SELECT 1 over", " UNION SELECT 1 over"),
            ("SELECT 1, window", " EXCEPT SELECT 1, window"),
            ("a", " + a() OVER or"),
            ("SELECT 1", " UNION SELECT 1"),
            ("SELECT 1, 1", " UNION ALL SELECT 1, 1"),
            ("SELECT 1 OR 1", " EXCEPT SELECT 1 OR 1"),
            ("(SELECT 1)", " INTERSECT (SELECT 1)"),
        ] {
            let of = |times: usize| format!("SELECT {first}{}", one.repeat(times));
            assert!(!is_refused(&of(120)), "{one}");
            assert!(is_refused(&of(STATEMENT_HEIGHT_MAX + 1)), "{one}");
        }
        let tall = format!("1{}", " + 1".repeat(STATEMENT_HEIGHT_MAX / 4));
        let nested = |times: usize, tail: &str| {
            format!("SELECT {}1{}", "(".repeat(times), tail.repeat(times))
        };
        assert!(!is_refused(&nested(1, &format!(" + {tall})"))));
        assert!(is_refused(&nested(8, &format!(" + {tall})"))));
        assert!(is_refused(&nested(8, &format!(" + {tall}"))), "left open");
    }

    #[test]
    fn what_is_copied_is_counted_once_a_row_and_once_a_parenthesis() {
        let of = |sql: &str| {
            let tokens = Tokenizer::new(&MySqlDialect {}, sql).tokenize_with_location();
            copied(&tokens.expect("tokens"))
        };
        let row = |one: &str, times: usize| format!("a{}", one.repeat(times));
        for one in [
            " OR a",
            " AND a",
            " DIV a",
            " MOD a",
            " + a DIV a",
            " OR a AND a",
        ] {
            let (few, many) = (of(&row(one, 10)), of(&row(one, 1_000)));
            assert!(many <= 200 * few.max(10), "{one}: {few}, {many}");
        }
        let nested = |times: usize| {
            format!(
                "{}{}{}",
                "(".repeat(times),
                row(" + a", 500),
                " OR a)".repeat(times)
            )
        };
        assert!(of(&nested(100)) > 90 * of(&nested(1)));
    }

    #[test]
    fn what_is_long_and_flat_is_not() {
        for one in [
            "1, ",
            "a + b, ",
            "(1), ",
            "(SELECT 1 UNION SELECT 2), ",
            "a = 1 AND ",
            "a BETWEEN 1 AND 2 AND ",
            "NOT a = 1 OR b = 2 AND c = 3 || ",
            "CASE WHEN a THEN b END, ",
            "a = 1; SELECT ",
        ] {
            assert!(
                !is_refused(&format!("SELECT {}1", one.repeat(4_000))),
                "{one}"
            );
        }
        let case = format!(
            "SELECT CASE a {} ELSE 1 END",
            "WHEN 1 THEN b ".repeat(4_000)
        );
        assert!(!is_refused(&case));
    }
}
