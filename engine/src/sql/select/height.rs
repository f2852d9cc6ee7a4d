//! How high the tree of a text may become, known before it is parsed.
//!
//! A parser builds `a + b + c ...` in a loop, as a tree as high as the row is long; who clones, compares or drops it
//! goes down by recursion, and a row of some hundred thousand would overflow any stack. So a text is refused by its
//! tokens. What [`is_too_high`] adds up is never less than the height of what is parsed of it:
//! - in parentheses: every token but numbers and strings, since the last that ends a row; a comma does, AND and OR do
//!   (their trees are balanced), and what begins a part of a CASE;
//! - XOR and the set operations, whose operands are such rows, one each;
//! - and around what stands in parentheses all of that again.
//!
//! A word ends a row only where it cannot be a name: not behind a dot, and as an operand no reserved word is read
//! ([`super::dialect::MySql`]).

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::limits::STATEMENT_HEIGHT_MAX;

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
}

impl Level {
    fn height(&self) -> usize {
        self.operators + self.ended.max(self.row + self.inner)
    }

    fn end_row(&mut self) {
        self.ended = self.ended.max(self.row + self.inner);
        (self.row, self.inner) = (0, 0);
    }

    /// Takes in what stood in parentheses.
    fn hold(&mut self, inner: &Level) {
        self.inner = self.inner.max(inner.height() + 1);
        self.row += 1;
    }
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
    for token in tokens {
        let word = match &token.token {
            Token::Whitespace(_) => continue,
            Token::Word(word) if word.quote_style.is_none() => word.keyword,
            _ => Keyword::NoKeyword,
        };
        nots = if word == Keyword::NOT { nots + 1 } else { 0 };
        match (&token.token, word) {
            (Token::LParen, _) | (_, Keyword::CASE) => levels += 1,
            (Token::RParen, _) | (_, Keyword::END) => levels = levels.saturating_sub(1),
            _ => {}
        }
        deepest.levels = deepest.levels.max(levels);
        deepest.nots = deepest.nots.max(nots);
    }
    deepest
}

/// Whether the tree of a text may become higher than a stack bears.
pub(super) fn is_too_high(tokens: &[TokenWithSpan]) -> bool {
    let mut outer: Vec<Level> = Vec::new();
    let mut level = Level::default();
    let mut is_behind_dot = false;
    for token in tokens {
        let word = match &token.token {
            Token::Word(word) if word.quote_style.is_none() && !is_behind_dot => word.keyword,
            _ => Keyword::NoKeyword,
        };
        match &token.token {
            Token::Whitespace(_) => continue,
            Token::Number(..) | Token::SingleQuotedString(_) => {}
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
            Token::Comma | Token::StringConcat => level.end_row(),
            Token::Overlap => level.end_row(),
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
                Keyword::XOR
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
                | Keyword::MINUS => {
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
        is_behind_dot = token.token == Token::Period;
        if level.height() > STATEMENT_HEIGHT_MAX {
            return true;
        }
    }
    while let Some(around) = outer.pop() {
        let inner = std::mem::replace(&mut level, around);
        level.hold(&inner);
    }
    level.height() > STATEMENT_HEIGHT_MAX
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
                !is_refused(&format!("SELECT {}1", one.repeat(10_000))),
                "{one}"
            );
        }
        let case = format!(
            "SELECT CASE a {} ELSE 1 END",
            "WHEN 1 THEN b ".repeat(10_000)
        );
        assert!(!is_refused(&case));
    }
}
