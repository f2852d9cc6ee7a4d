//! MySQL's expressions as sqlparser should read them: its MySQL dialect with the precedences mended.
//!
//! What differs from `MySqlDialect`: `DIV` and `MOD` bind like `*` (there, DIV swallows all that
//! follows), `||` is OR and `XOR` stands between OR and AND, `^` binds tighter than `*`, `|`, `&` and
//! the shifts stand in MySQL's order, `IS`, `LIKE` and `IN` bind like `=`, and `!` is NOT.
//!
//! # Source
//! MySQL 8 manual, "Operator Precedence".

use std::any::TypeId;
use std::cell::Cell;

use sqlparser::ast::{BinaryOperator, DateTimeField, Expr, Interval, Statement};
use sqlparser::dialect::{Dialect, MySqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::height::{copied, is_too_high, nesting};
use crate::limits::{
    COPIED_TOKENS_MAX, PARSE_STEPS_PER_TOKEN_MAX, PARSE_STEPS_SPARE, QUERY_READS_MAX,
    STATEMENT_HEIGHT_MAX, STATEMENT_NESTING_MAX,
};
use crate::sql::error::{Code, SqlError};
use crate::sql::secret;

/// sqlparser's dialect for MySQL's text, of one parse.
#[derive(Clone, Debug, Default)]
pub struct MySql {
    /// How many operands may still be begun. sqlparser goes back and tries again where something can be read in two
    /// ways (`a.b.c`, `CAST(`), and what is nested in it once more each time: without a bound a hundred bytes with
    /// a mistake at their end keep it busy for good.
    steps_left: Cell<usize>,
    /// One more was begun. Whatever the parse made of it then is not what the text says.
    is_given_up: Cell<bool>,
}

const INNER: MySqlDialect = MySqlDialect {};

const OR: u8 = 5;
const XOR: u8 = 7;
const AND: u8 = 10;
const NOT: u8 = 15;
const BETWEEN: u8 = 18;
const COMPARE: u8 = 20;
const BIT_OR: u8 = 21;
const BIT_AND: u8 = 22;
const SHIFT: u8 = 23;
const ADD: u8 = 30;
const MULTIPLY: u8 = 40;
const BIT_XOR: u8 = 42;

/// Parses a text of one statement.
///
/// # Errors
/// 1064 with the text from the place that was not understood, as MySQL says it.
pub fn parse(sql: &str) -> Result<Statement, SqlError> {
    let tokens = Tokenizer::new(&MySql::default(), sql)
        .tokenize_with_location()
        .map_err(|fault| syntax(sql, fault.location))?;
    if is_too_high(&tokens) {
        return Err(SqlError::new(
            Code::LimitReached,
            format!(
                "The statement has more than {STATEMENT_HEIGHT_MAX} words and operators in a row, with those of the \
                 parentheses in it"
            ),
        ));
    }
    if is_read_too_often(&tokens) {
        return Err(SqlError::new(
            Code::LimitReached,
            format!(
                "The subqueries behind several parentheses can be read in more than {QUERY_READS_MAX} ways: \
                 write the joins around them without parentheses, or name the subqueries by WITH"
            ),
        ));
    }
    let copied = copied(&tokens);
    if copied > COPIED_TOKENS_MAX {
        return Err(SqlError::new(
            Code::LimitReached,
            format!(
                "AND, OR, DIV and MOD stand behind too much, in parentheses around each other: {copied} words would be \
                 copied, and at most {COPIED_TOKENS_MAX} are"
            ),
        ));
    }
    // What MySQL has not, and sqlparser reads for others: types behind `::`, names behind `:`, lists in brackets.
    if let Some(token) = tokens.iter().find(|token| {
        matches!(
            token.token,
            Token::DoubleColon | Token::Colon | Token::LBracket | Token::RBracket
        )
    }) {
        return Err(syntax(sql, token.span.start));
    }
    let nested = || {
        SqlError::new(
            Code::LimitReached,
            format!("The statement is nested deeper than {STATEMENT_NESTING_MAX} levels"),
        )
    };
    let nesting = nesting(&tokens);
    // Where sqlparser has no level left it takes NOT for a function and CASE for a column, and others for mistakes.
    if 2 * nesting.nots >= STATEMENT_NESTING_MAX || nesting.levels >= STATEMENT_NESTING_MAX - 8 {
        return Err(nested());
    }
    let steps = tokens.len() * PARSE_STEPS_PER_TOKEN_MAX + PARSE_STEPS_SPARE;
    let dialect = MySql {
        steps_left: Cell::new(steps),
        ..MySql::default()
    };
    let mut parser = Parser::new(&dialect)
        .with_recursion_limit(STATEMENT_NESTING_MAX)
        .with_tokens_with_locations(tokens);
    // Nothing behind it is read: sqlparser knows more statements than are ever asked of it here.
    let parsed = parser.parse_statement();
    if dialect.is_given_up.get() {
        return Err(SqlError::new(
            Code::LimitReached,
            format!(
                "The statement was not understood in {steps} steps: if no parenthesis or bracket is left open in it, \
                 write its joins without parentheses"
            ),
        ));
    }
    match parsed {
        Ok(statement) => {
            let mut is_behind = false;
            while parser.consume_token(&Token::SemiColon) {
                is_behind = true;
            }
            match &parser.peek_token_ref().token {
                Token::EOF => Ok(statement),
                _ if is_behind => Err(SqlError::new(
                    Code::Syntax,
                    "You have an error in your SQL syntax: one statement at a time, unless the client asked for several",
                )),
                _ => Err(syntax(sql, parser.peek_token_ref().span.start)),
            }
        }
        Err(ParserError::RecursionLimitExceeded) => Err(nested()),
        Err(_) if 2 * nesting.levels >= STATEMENT_NESTING_MAX => Err(nested()),
        Err(_) => {
            // The parser stands behind the token it could not use.
            let at = parser.get_current_token().span.start;
            Err(syntax(sql, at))
        }
    }
}

/// 1064 with the rest of the text from `at`, cut as MySQL cuts it, at 80 characters; not of a statement that
/// may hold a secret.
#[must_use]
pub fn syntax(sql: &str, at: Location) -> SqlError {
    // Behind the last token no place is told.
    let (line, near) = if at.line == 0 {
        (1 + sql.trim_end().matches('\n').count(), String::new())
    } else if secret::may_be_in(sql) {
        let near = "(not shown: it may hold a secret)";
        (as_index(at.line), near.to_owned())
    } else {
        let lines = sql.split_inclusive('\n');
        let before = lines.take(as_index(at.line - 1)).map(str::len);
        let rest = sql.get(before.sum()..).unwrap_or("");
        let rest = rest.chars().skip(as_index(at.column.saturating_sub(1)));
        (as_index(at.line), rest.take(80).collect())
    };
    SqlError::new(
        Code::Syntax,
        format!(
            "You have an error in your SQL syntax; check the manual that corresponds to your \
             Pinleaf version for the right syntax to use near '{near}' at line {line}"
        ),
    )
}

fn as_index(place: u64) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

macro_rules! as_mysql {
    ($($name:ident),* $(,)?) => {
        $(fn $name(&self) -> bool {
            INNER.$name()
        })*
    };
}

impl Dialect for MySql {
    fn dialect(&self) -> TypeId {
        TypeId::of::<MySqlDialect>()
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        INNER.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        INNER.is_identifier_part(ch)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        INNER.is_delimited_identifier_start(ch)
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        INNER.identifier_quote_style(identifier)
    }

    as_mysql!(
        supports_string_literal_backslash_escape,
        supports_string_literal_concatenation,
        ignores_wildcard_escapes,
        supports_numeric_prefix,
        supports_bitwise_shift_operators,
        supports_multiline_comment_hints,
        require_interval_qualifier,
        supports_limit_comma,
        supports_create_table_select,
        supports_insert_set,
        supports_user_host_grantee,
        supports_table_hints,
        requires_single_line_comment_whitespace,
        supports_match_against,
        supports_select_modifiers,
        supports_set_names,
        supports_comma_separated_set_assignments,
        supports_update_order_by,
        supports_data_type_signed_suffix,
        supports_cross_join_constraint,
        supports_double_ampersand_operator,
        supports_binary_kw_as_cast,
        supports_comment_optimizer_hint,
        supports_constraint_keyword_without_name,
        supports_key_column_option,
    );

    fn supports_bang_not_operator(&self) -> bool {
        true
    }

    fn supports_group_by_with_modifier(&self) -> bool {
        true
    }

    fn is_table_factor_alias(&self, explicit: bool, kw: &Keyword, parser: &mut Parser<'_>) -> bool {
        INNER.is_table_factor_alias(explicit, kw, parser)
    }

    fn parse_statement(&self, parser: &mut Parser<'_>) -> Option<Result<Statement, ParserError>> {
        INNER.parse_statement(parser)
    }

    // Each operand begins here. Of sqlparser's own INTERVAL the composite units are missing.
    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        let Some(left) = self.steps_left.get().checked_sub(1) else {
            self.is_given_up.set(true);
            return Some(Err(ParserError::RecursionLimitExceeded));
        };
        self.steps_left.set(left);
        if let Token::Word(word) = &parser.peek_token_ref().token
            && word.quote_style.is_none()
            && RESERVED_OPERANDS
                .iter()
                .any(|one| word.value.eq_ignore_ascii_case(one))
        {
            return Some(Err(no_operand(&word.value)));
        }
        if !parser.parse_keyword(Keyword::INTERVAL) {
            return None;
        }
        Some(parser.parse_expr().and_then(|value| {
            let unit = parser.parse_identifier()?;
            if RESERVED_OPERANDS
                .iter()
                .any(|word| unit.value.eq_ignore_ascii_case(word))
            {
                return Err(no_operand(&unit.value));
            }
            Ok(Expr::Interval(Interval {
                value: Box::new(value),
                leading_field: Some(DateTimeField::Custom(unit)),
                leading_precision: None,
                last_field: None,
                fractional_seconds_precision: None,
            }))
        }))
    }

    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        expr: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        if let Some(op) = logical(&parser.peek_token_ref().token) {
            return Some(chain(parser, expr, &op, precedence));
        }
        worded_product(&parser.peek_token_ref().token).map(|_| products(parser, expr, precedence))
    }

    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        let precedence = match &parser.peek_token_ref().token {
            Token::StringConcat => OR,
            Token::Overlap => AND,
            Token::Caret => BIT_XOR,
            Token::ShiftLeft | Token::ShiftRight => SHIFT,
            Token::Ampersand => BIT_AND,
            Token::Pipe => BIT_OR,
            Token::Word(word)
                if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("mod") =>
            {
                MULTIPLY
            }
            Token::Word(word) if word.keyword == Keyword::BETWEEN => BETWEEN,
            _ => return None,
        };
        Some(Ok(precedence))
    }

    fn prec_value(&self, prec: Precedence) -> u8 {
        match prec {
            Precedence::Or => OR,
            Precedence::Xor => XOR,
            Precedence::And => AND,
            Precedence::UnaryNot => NOT,
            Precedence::Is | Precedence::Like | Precedence::Eq => COMPARE,
            Precedence::Between => COMPARE,
            Precedence::PlusMinus => ADD,
            Precedence::MulDivModOp => MULTIPLY,
            other => INNER.prec_value(other),
        }
    }
}

/// AND and OR, however they are written.
fn logical(token: &Token) -> Option<BinaryOperator> {
    match token {
        Token::StringConcat => Some(BinaryOperator::Or),
        Token::Overlap => Some(BinaryOperator::And),
        Token::Word(word) if word.keyword == Keyword::OR => Some(BinaryOperator::Or),
        Token::Word(word) if word.keyword == Keyword::AND => Some(BinaryOperator::And),
        _ => None,
    }
}

/// DIV and MOD.
fn worded_product(token: &Token) -> Option<BinaryOperator> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => match word.keyword {
            Keyword::DIV => Some(BinaryOperator::MyIntegerDivide),
            _ if word.value.eq_ignore_ascii_case("mod") => Some(BinaryOperator::Modulo),
            _ => None,
        },
        _ => None,
    }
}

/// `a DIV b * c MOD d ...`, with one copy of what is to the left of all.
fn products(parser: &mut Parser<'_>, first: &Expr, precedence: u8) -> Result<Expr, ParserError> {
    let mut left = first.clone();
    loop {
        let op = match &parser.peek_token_ref().token {
            Token::Mul => BinaryOperator::Multiply,
            Token::Div => BinaryOperator::Divide,
            Token::Mod => BinaryOperator::Modulo,
            token => match worded_product(token) {
                Some(op) => op,
                None => return Ok(left),
            },
        };
        parser.next_token();
        left = Expr::BinaryOp {
            left: Box::new(left),
            op,
            right: Box::new(parser.parse_subexpr(precedence)?),
        };
    }
}

/// `a OR b OR c ...` as a tree of logarithmic height: a tree as high as the chain is long would
/// overflow the stack of whoever clones or drops it.
fn chain(
    parser: &mut Parser<'_>,
    first: &Expr,
    op: &BinaryOperator,
    precedence: u8,
) -> Result<Expr, ParserError> {
    let mut terms = vec![first.clone()];
    while logical(&parser.peek_token_ref().token).as_ref() == Some(op) {
        parser.next_token();
        terms.push(parser.parse_subexpr(precedence)?);
    }
    while terms.len() > 1 {
        let mut next = Vec::with_capacity(terms.len().div_ceil(2));
        let mut rest = terms.into_iter();
        while let Some(left) = rest.next() {
            next.push(match rest.next() {
                Some(right) => Expr::BinaryOp {
                    left: Box::new(left),
                    op: op.clone(),
                    right: Box::new(right),
                },
                None => left,
            });
        }
        terms = next;
    }
    // It began with one.
    Ok(terms.pop().unwrap_or_else(|| first.clone()))
}

/// Whether a query would be read too often: sqlparser reads what stands in FROM behind k parentheses once as a query
/// and once as a join for each of them, so k times, and what is nested in it as often again.
fn is_read_too_often(tokens: &[TokenWithSpan]) -> bool {
    // Of each parenthesis that is open, how often what is in it is read.
    let mut open = vec![1_usize];
    let mut row = 0;
    tokens.iter().any(|token| {
        let reads = open.last().copied().unwrap_or(1);
        match &token.token {
            Token::Whitespace(_) => return false,
            Token::LParen => {
                row += 1;
                open.push(reads);
                return false;
            }
            Token::RParen if open.len() > 1 => drop(open.pop()),
            Token::SemiColon => open.truncate(1),
            Token::Word(word) if row > 1 && begins_query(word.keyword) => {
                let reads = reads.saturating_mul(row);
                open.pop();
                open.push(reads);
            }
            _ => {}
        }
        row = 0;
        open.last().is_some_and(|reads| *reads > QUERY_READS_MAX)
    })
}

/// Reserved words that sqlparser reads as names where an operand or a unit should be.
const RESERVED_OPERANDS: [&str; 6] = ["and", "or", "xor", "when", "then", "else"];

fn no_operand(word: &str) -> ParserError {
    ParserError::ParserError(format!("{word} is no operand"))
}

fn begins_query(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::SELECT | Keyword::VALUES | Keyword::TABLE | Keyword::WITH
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(sql: &str) -> String {
        let statement = parse(&format!("SELECT {sql}")).expect("it parses");
        fn walk(expr: &Expr) -> String {
            match expr {
                Expr::BinaryOp { left, op, right } => {
                    format!("({} {op} {})", walk(left), walk(right))
                }
                other => other.to_string(),
            }
        }
        let Statement::Query(query) = &statement else {
            panic!("a query")
        };
        let sqlparser::ast::SetExpr::Select(select) = query.body.as_ref() else {
            panic!("a select")
        };
        match &select.projection[0] {
            sqlparser::ast::SelectItem::UnnamedExpr(expr) => walk(expr),
            other => other.to_string(),
        }
    }

    #[test]
    fn operators_bind_as_in_mysql() {
        for (sql, expected) in [
            ("7 DIV 2 + 1", "((7 DIV 2) + 1)"),
            ("1 + 7 DIV 2", "(1 + (7 DIV 2))"),
            ("7 MOD 4 * 2", "((7 % 4) * 2)"),
            ("1 || 0 AND 0", "(1 OR (0 AND 0))"),
            ("1 OR 1 XOR 1", "(1 OR (1 XOR 1))"),
            ("2 * 3 ^ 1", "(2 * (3 ^ 1))"),
            ("1 | 2 & 3 << 1", "(1 | (2 & (3 << 1)))"),
            ("1 && 0 || 1", "((1 AND 0) OR 1)"),
            ("1 = 1 = 2", "((1 = 1) = 2)"),
            ("8 DIV 3 * 2 MOD 3 + 1", "((((8 DIV 3) * 2) % 3) + 1)"),
            ("2 * 8 DIV 3 ^ 1", "((2 * 8) DIV (3 ^ 1))"),
        ] {
            assert_eq!(shown(sql), expected, "{sql}");
        }
    }

    #[test]
    fn a_syntax_error_shows_the_text_from_its_place() {
        let fault = parse("SELECT 1 FROM\n t WHERE )").expect_err("no expression");
        assert_eq!(fault.code, 1064);
        assert!(
            fault.message.ends_with("near ')' at line 2"),
            "{}",
            fault.message
        );
    }

    #[test]
    fn what_can_be_read_in_two_ways_at_each_level_is_given_up_and_not_tried_for_good() {
        let nested = |one: &str, times: usize| format!("SELECT {}x[", one.repeat(times));
        for times in [20, 60, 250] {
            for one in ["a.", "CAST(", "n.7@.", "POSITION(", "TRIM(", "a.f("] {
                let error = parse(&nested(one, times)).expect_err(one);
                let code = error.code;
                assert!([1064, 1104].contains(&code), "{one} {times}: {error:?}");
            }
            let whole = format!(
                "SELECT {}1{}",
                "CAST(".repeat(times),
                " AS SIGNED)".repeat(times)
            );
            let deep = parse(&whole).is_err_and(|error| error.message.contains("nested deeper"));
            assert!(parse(&whole).is_ok() || deep && times > 60, "{times}");
        }
        let error = parse(&format!("SELECT {}x", "CAST(".repeat(60))).unwrap_err();
        let words = "The statement was not understood in 3504 steps: if no parenthesis or bracket is left open";
        assert!(error.message.starts_with(words), "{error:?}");
        for query in ["SELECT * FROM ", "VALUES ROW(1) UNION SELECT * FROM "] {
            for whole in [true, false] {
                let joined = |times: usize| {
                    let end = if whole {
                        format!("t{}", ") a CROSS JOIN t)".repeat(times))
                    } else {
                        "x[".into()
                    };
                    format!("SELECT 1 FROM {}{end}", format!("(({query}").repeat(times))
                };
                let message = parse(&joined(60)).expect_err(query).message;
                assert!(message.contains("more than 128 ways"), "{message}");
                assert_eq!(parse(&joined(6)).is_ok(), whole, "{query}");
            }
        }
        // Parentheses in a row are no join where they are none around a query.
        let plain = format!("SELECT {}1{}", "((a + ".repeat(60), "))".repeat(60));
        parse(&plain).unwrap();
        // Left-nested joins read what is innermost once for each.
        let operands = vec!["a"; 2_000].join(", ");
        let left = format!(
            "SELECT 1 FROM {}(SELECT {operands} FROM t) x{}",
            "(".repeat(10),
            " JOIN t ON 1)".repeat(10)
        );
        parse(&left).unwrap();
    }
}
