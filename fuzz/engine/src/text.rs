//! `sql_text`: a text of statements, split, parsed and, where it is a query, bound to names.
//!
//! Input: the text. One that is not UTF-8 never reaches the parser.

use std::sync::Once;

use engine::sql::parse::{self, Statement};
use engine::sql::select::bind::bind;
use engine::sql::{SqlError, split_statements};
use fuzz_hot::bounds::within;

use crate::world;

/// An input beyond it tells nothing new.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// Tokens, a tree and another that is bound, each with its places.
const HELD_PER_BYTE: usize = 4_096;

/// The body.
pub fn sql_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if text.len() > TEXT_BYTES_MAX {
        return;
    }
    let ctx = world::context();
    within((1 << 20) + HELD_PER_BYTE * text.len(), "a text", || {
        statement(&ctx, text);
        let mut end = 0;
        for piece in split_statements(text) {
            let piece = match piece {
                Ok(piece) => piece,
                Err(unfinished) => return said(&unfinished.into()),
            };
            assert!(end <= piece.at_byte && !piece.text.is_empty());
            end = piece.at_byte + piece.text.len();
            assert_eq!(&text[piece.at_byte..end], piece.text);
            let line = 1 + text[..piece.at_byte].matches('\n').count();
            assert_eq!(piece.line as usize, line);
            if piece.text.len() < text.len() {
                statement(&ctx, piece.text);
            }
        }
    });
}

fn statement(ctx: &engine::sql::select::SelectContext, text: &str) {
    // What is made by the first mistake of all and kept is no statement's.
    static FIRST: Once = Once::new();
    FIRST.call_once(|| assert!(parse::parse("no statement").is_err()));
    // A server reserves so much before it reads a text.
    let most = parse::parsed_bytes(text);
    match within(most, "reading it", || parse::parse(text)) {
        Ok(Statement::Query(query) | Statement::Explain(_, query)) => {
            // It is parsed once more for each execution that is not kept.
            assert!(parse::parse(text).is_ok());
            match bind(ctx, &query, None) {
                Ok(bound) => assert!(!bound.outputs.is_empty()),
                Err(error) => said(&error),
            }
        }
        Ok(_) => {}
        Err(error) => said(&error),
    }
    let marks = || parse::parameters(text);
    if let Err(error) = within(most, "looking for marks", marks) {
        said(&error);
    }
}

/// An error has a number, a state of five and a message that a packet can hold.
pub fn said(error: &SqlError) {
    assert!(error.code >= 1_000 && error.state.len() == 5, "{error}");
    assert!(!error.message.is_empty() && error.message.len() < 64 << 10);
    // Behind its first words may stand the statement's own.
    let inside = error
        .message
        .starts_with("The query failed inside the server");
    assert!(!inside, "{error}");
}
