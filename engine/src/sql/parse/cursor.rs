//! A statement's tokens, each with its place, read from left to right.
//!
//! Tokens are sqlparser's, read as MySQL's. Whatever is not understood is named with the text from
//! its place on; whatever is understood and not done is named with its line and column.

use sqlparser::tokenizer::{Location, Token, Tokenizer};

use crate::sql::error::{Code, SqlError};
use crate::sql::select::dialect::{MySql, syntax};

/// A name in a database, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// What stands before the dot.
    pub database: Option<String>,
    /// The name.
    pub name: String,
}

/// A place in a statement's tokens.
pub struct Cursor<'a> {
    sql: &'a str,
    tokens: Vec<Spanned>,
    at: usize,
    /// Behind the last token that is no `;`.
    content_end: usize,
}

struct Spanned {
    token: Token,
    start: Location,
    start_byte: usize,
    end_byte: usize,
}

impl<'a> Cursor<'a> {
    /// The tokens of `sql` without blanks and comments.
    ///
    /// # Errors
    /// 1064 where the text does not fall into tokens.
    pub fn new(sql: &'a str) -> Result<Cursor<'a>, SqlError> {
        let tokens = Tokenizer::new(&MySql::default(), sql)
            .tokenize_with_location()
            .map_err(|fault| syntax(sql, fault.location))?;
        let mut places = Places {
            sql,
            byte: 0,
            line: 1,
            column: 1,
        };
        let tokens = tokens
            .into_iter()
            .filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF))
            .map(|token| Spanned {
                start_byte: places.byte_of(token.span.start),
                end_byte: places.byte_of(token.span.end),
                start: token.span.start,
                token: token.token,
            })
            .collect::<Vec<_>>();
        let last = tokens.iter().rposition(|one| one.token != Token::SemiColon);
        Ok(Cursor {
            sql,
            tokens,
            at: 0,
            content_end: last.map_or(0, |last| last + 1),
        })
    }

    /// The next token; EOF behind the last.
    #[must_use]
    pub fn peek(&self) -> &Token {
        self.peek_at(0)
    }

    /// The token `ahead` of the next one.
    #[must_use]
    pub fn peek_at(&self, ahead: usize) -> &Token {
        self.tokens
            .get(self.at + ahead)
            .map_or(&Token::EOF, |found| &found.token)
    }

    /// Steps over the next token.
    pub fn skip(&mut self) {
        self.at += 1;
    }

    /// Whether nothing is left, but for a `;`.
    #[must_use]
    pub fn at_end(&self) -> bool {
        self.at >= self.content_end
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// 1064.
    pub fn end(&self) -> Result<(), SqlError> {
        if self.at_end() {
            Ok(())
        } else {
            Err(self.syntax())
        }
    }

    /// Whether the next token is this keyword.
    #[must_use]
    pub fn is(&self, keyword: &str) -> bool {
        self.is_at(0, keyword)
    }

    /// Whether the token `ahead` of the next one is this keyword.
    #[must_use]
    pub fn is_at(&self, ahead: usize, keyword: &str) -> bool {
        matches!(self.peek_at(ahead), Token::Word(word)
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(keyword))
    }

    /// Whether the next tokens are these keywords.
    #[must_use]
    pub fn are(&self, keywords: &str) -> bool {
        keywords
            .split(' ')
            .enumerate()
            .all(|(ahead, keyword)| self.is_at(ahead, keyword))
    }

    /// Takes these keywords if they are next, all or none.
    pub fn take(&mut self, keywords: &str) -> bool {
        let found = self.are(keywords);
        if found {
            self.at += keywords.split(' ').count();
        }
        found
    }

    /// Takes these keywords.
    ///
    /// # Errors
    /// 1064 at the first that is not there.
    pub fn expect(&mut self, keywords: &str) -> Result<(), SqlError> {
        for keyword in keywords.split(' ') {
            if !self.take(keyword) {
                return Err(self.syntax());
            }
        }
        Ok(())
    }

    /// Takes this token if it is next.
    pub fn take_token(&mut self, token: &Token) -> bool {
        let found = self.peek() == token;
        self.at += usize::from(found);
        found
    }

    /// Takes this token.
    ///
    /// # Errors
    /// 1064.
    pub fn expect_token(&mut self, token: &Token) -> Result<(), SqlError> {
        if self.take_token(token) {
            Ok(())
        } else {
            Err(self.syntax())
        }
    }

    /// A name: bare or in backticks.
    ///
    /// # Errors
    /// 1064.
    pub fn ident(&mut self) -> Result<String, SqlError> {
        match self.peek() {
            Token::Word(word)
                if word.quote_style == Some('`')
                    || (word.quote_style.is_none() && !word.value.starts_with('@')) =>
            {
                let name = word.value.clone();
                if name.is_empty() {
                    return Err(self.syntax());
                }
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.syntax()),
        }
    }

    /// `[database.]name`.
    ///
    /// # Errors
    /// 1064.
    pub fn object_name(&mut self) -> Result<ObjectName, SqlError> {
        let first = self.ident()?;
        if self.take_token(&Token::Period) {
            return Ok(ObjectName {
                database: Some(first),
                name: self.ident()?,
            });
        }
        Ok(ObjectName {
            database: None,
            name: first,
        })
    }

    /// A string in either quote; strings side by side are one, as in MySQL.
    ///
    /// # Errors
    /// 1064.
    pub fn string(&mut self) -> Result<String, SqlError> {
        let mut text = match self.peek_string() {
            Some(text) => text.to_owned(),
            None => return Err(self.syntax()),
        };
        self.at += 1;
        while let Some(more) = self.peek_string() {
            text.push_str(more);
            self.at += 1;
        }
        Ok(text)
    }

    /// The next token's text where it is a string.
    #[must_use]
    pub fn peek_string(&self) -> Option<&str> {
        match self.peek() {
            Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number without a sign.
    ///
    /// # Errors
    /// 1064, also for one beyond 64 bits.
    pub fn number(&mut self) -> Result<u64, SqlError> {
        match self.peek() {
            Token::Number(text, _) => {
                let number = text.parse().map_err(|_| self.syntax())?;
                self.at += 1;
                Ok(number)
            }
            _ => Err(self.syntax()),
        }
    }

    /// `[IF EXISTS]`, `[IF NOT EXISTS]` and their like.
    pub fn take_if(&mut self, keywords: &str) -> bool {
        self.take(keywords)
    }

    /// The next token's start, in bytes of the text; the text's end behind the last token.
    #[must_use]
    pub fn byte(&self) -> usize {
        self.tokens
            .get(self.at)
            .map_or(self.sql.len(), |found| found.start_byte)
    }

    /// The end of the token before the next one, in bytes of the text.
    #[must_use]
    pub fn byte_before(&self) -> usize {
        self.at
            .checked_sub(1)
            .and_then(|before| self.tokens.get(before))
            .map_or(0, |found| found.end_byte)
    }

    /// The text between two places.
    #[must_use]
    pub fn text(&self, from_byte: usize, to_byte: usize) -> &'a str {
        self.sql.get(from_byte..to_byte).unwrap_or("")
    }

    /// The whole text.
    #[must_use]
    pub fn sql(&self) -> &'a str {
        self.sql
    }

    /// Where the next token stands.
    #[must_use]
    pub fn location(&self) -> Location {
        match self.tokens.get(self.at) {
            Some(found) => found.start,
            None => Places {
                sql: self.sql,
                byte: 0,
                line: 1,
                column: 1,
            }
            .last(),
        }
    }

    /// 1064 at the next token.
    #[must_use]
    pub fn syntax(&self) -> SqlError {
        syntax(self.sql, self.location())
    }

    /// 1235 at the next token: understood, and not done.
    #[must_use]
    pub fn refuse(&self, what: &str) -> SqlError {
        self.refuse_at(self.location(), what, "")
    }

    /// As [`Cursor::refuse`], with what to do instead.
    #[must_use]
    pub fn refuse_because(&self, what: &str, because: &str) -> SqlError {
        self.refuse_at(self.location(), what, because)
    }

    fn refuse_at(&self, at: Location, what: &str, because: &str) -> SqlError {
        let because = if because.is_empty() {
            String::new()
        } else {
            format!(": {because}")
        };
        SqlError::new(
            Code::NotSupported,
            format!(
                "This version of Pinleaf doesn't yet support '{what}' (line {}, column {}){because}",
                at.line, at.column
            ),
        )
    }
}

/// Walks a text once, from locations that only grow to bytes.
struct Places<'a> {
    sql: &'a str,
    byte: usize,
    line: u64,
    column: u64,
}

impl Places<'_> {
    fn byte_of(&mut self, wanted: Location) -> usize {
        while (self.line, self.column) < (wanted.line, wanted.column) && self.step() {}
        self.byte
    }

    fn last(mut self) -> Location {
        while self.step() {}
        Location::new(self.line, self.column)
    }

    fn step(&mut self) -> bool {
        let Some(next) = self.sql[self.byte..].chars().next() else {
            return false;
        };
        self.byte += next.len_utf8();
        if next == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bytes_lines_and_columns() {
        let sql = "select 'é' -- x\n  , `b`";
        let mut cursor = Cursor::new(sql).expect("tokens");
        assert!(cursor.take("SELECT"));
        assert_eq!(cursor.byte(), 7);
        assert_eq!(cursor.string().expect("a string"), "é");
        assert_eq!(cursor.text(7, cursor.byte_before()), "'é'");
        let comma = cursor.location();
        assert_eq!((comma.line, comma.column), (2, 3));
        cursor.skip();
        assert_eq!(cursor.ident().expect("a name"), "b");
        assert!(cursor.at_end());
        assert!(cursor.syntax().message.ends_with("near '' at line 2"));
    }
}
