//! SET: what is assigned, in which scope; a value is a word, or an expression's text.

use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::table::word_or_string;
use crate::sql::error::SqlError;

/// One assignment of a SET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// SET NAMES; the collation where one is given.
    Names {
        /// The character set; `None`: DEFAULT.
        charset: Option<String>,
        /// COLLATE.
        collation: Option<String>,
    },
    /// SET CHARACTER SET.
    CharacterSet(Option<String>),
    /// A system variable.
    System {
        /// GLOBAL.
        global: bool,
        /// Its name, in lower case.
        name: String,
        /// What it becomes.
        value: Assigned,
    },
    /// A user variable, without its @.
    User {
        /// Its name.
        name: String,
        /// What it becomes.
        value: Assigned,
    },
    /// SET [SESSION|GLOBAL] TRANSACTION.
    Transaction {
        /// The isolation level in lower case with blanks, where one is given.
        isolation: Option<String>,
        /// READ ONLY or READ WRITE, where one is given.
        read_only: Option<bool>,
        /// GLOBAL.
        global: bool,
    },
}

/// What a variable becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// DEFAULT.
    Default,
    /// A bare word: ON, utf8mb4, latest.
    Word(String),
    /// An expression's text.
    Expression(String),
}

/// Reads what follows SET.
///
/// # Errors
/// 1064; 1235 for SET PASSWORD and their like.
pub fn set(cursor: &mut Cursor<'_>) -> Result<Vec<Assignment>, SqlError> {
    for refused in [
        "PASSWORD",
        "ROLE",
        "DEFAULT ROLE",
        "RESOURCE GROUP",
        "PERSIST",
        "PERSIST_ONLY",
    ] {
        if cursor.are(refused)
            && !matches!(cursor.peek_at(refused.split(' ').count()), Token::Comma)
        {
            return Err(cursor.refuse(&format!("SET {refused}")));
        }
    }
    let mut assignments = Vec::new();
    loop {
        assignments.push(assignment(cursor)?);
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    cursor.end()?;
    Ok(assignments)
}

fn assignment(cursor: &mut Cursor<'_>) -> Result<Assignment, SqlError> {
    if cursor.take("NAMES") {
        let charset = charset(cursor)?;
        let collation = if cursor.take("COLLATE") {
            Some(word_or_string(cursor)?)
        } else {
            None
        };
        return Ok(Assignment::Names { charset, collation });
    }
    if cursor.take("CHARACTER SET") || cursor.take("CHARSET") {
        return Ok(Assignment::CharacterSet(charset(cursor)?));
    }
    let mut global = cursor.is("GLOBAL");
    if (global || cursor.is("SESSION") || cursor.is("LOCAL")) && !is_equals(cursor.peek_at(1)) {
        cursor.skip();
    } else {
        global = false;
    }
    if cursor.is("TRANSACTION") && !is_equals(cursor.peek_at(1)) {
        cursor.skip();
        return transaction(cursor, global);
    }
    if cursor.take_token(&Token::AtSign) {
        // @`a b` and @'a b' come as two tokens.
        let name = word_or_string(cursor)?.to_lowercase();
        let value = value(cursor)?;
        return Ok(Assignment::User { name, value });
    }
    let Token::Word(word) = cursor.peek().clone() else {
        return Err(cursor.syntax());
    };
    if word.quote_style.is_none() && word.value.starts_with('@') && !word.value.starts_with("@@") {
        cursor.skip();
        let name = word.value.trim_start_matches('@').to_owned();
        let value = value(cursor)?;
        return Ok(Assignment::User {
            name: name.to_lowercase(),
            value,
        });
    }
    let mut name = match word.value.strip_prefix("@@") {
        Some("") => {
            cursor.skip();
            cursor.ident()?
        }
        Some(name) if word.quote_style.is_none() => {
            let name = name.to_owned();
            cursor.skip();
            name
        }
        _ => cursor.ident()?,
    };
    if word.value.starts_with("@@")
        && ["global", "session", "local"]
            .iter()
            .any(|scope| scope.eq_ignore_ascii_case(&name))
        && cursor.take_token(&Token::Period)
    {
        global = name.eq_ignore_ascii_case("global");
        name = cursor.ident()?;
    }
    let value = value(cursor)?;
    Ok(Assignment::System {
        global,
        name: name.to_lowercase(),
        value,
    })
}

fn is_equals(token: &Token) -> bool {
    matches!(token, Token::Eq | Token::Assignment)
}

fn charset(cursor: &mut Cursor<'_>) -> Result<Option<String>, SqlError> {
    if cursor.take("DEFAULT") {
        Ok(None)
    } else {
        word_or_string(cursor).map(Some)
    }
}

fn value(cursor: &mut Cursor<'_>) -> Result<Assigned, SqlError> {
    if !is_equals(cursor.peek()) {
        return Err(cursor.syntax());
    }
    cursor.skip();
    let ends = |token: &Token| matches!(token, Token::Comma | Token::EOF | Token::SemiColon);
    if ends(cursor.peek()) {
        return Err(cursor.syntax());
    }
    if ends(cursor.peek_at(1)) {
        if cursor.take("DEFAULT") {
            return Ok(Assigned::Default);
        }
        if let Token::Word(word) = cursor.peek()
            && !word.value.starts_with('@')
            && !["null", "true", "false"]
                .iter()
                .any(|constant| constant.eq_ignore_ascii_case(&word.value))
        {
            return Ok(Assigned::Word(cursor.ident()?));
        }
    }
    let start = cursor.byte();
    let mut depth = 0_usize;
    loop {
        match cursor.peek() {
            Token::EOF | Token::SemiColon => break,
            Token::Comma if depth == 0 => break,
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        cursor.skip();
    }
    Ok(Assigned::Expression(
        cursor.text(start, cursor.byte_before()).to_owned(),
    ))
}

fn transaction(cursor: &mut Cursor<'_>, global: bool) -> Result<Assignment, SqlError> {
    let (mut isolation, mut read_only) = (None, None);
    loop {
        if cursor.take("ISOLATION LEVEL") {
            let levels = [
                "REPEATABLE READ",
                "READ COMMITTED",
                "READ UNCOMMITTED",
                "SERIALIZABLE",
            ];
            let Some(level) = levels.iter().find(|level| cursor.take(level)) else {
                return Err(cursor.syntax());
            };
            isolation = Some(level.to_lowercase());
        } else if cursor.take("READ ONLY") {
            read_only = Some(true);
        } else if cursor.take("READ WRITE") {
            read_only = Some(false);
        } else {
            return Err(cursor.syntax());
        }
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    Ok(Assignment::Transaction {
        isolation,
        read_only,
        global,
    })
}
