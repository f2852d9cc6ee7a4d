//! What the commands print. Whoever reads may go (`| head`): that is no fault, and nobody is told the rest.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Prints a line. Whether anybody reads.
///
/// # Errors
/// The kernel's, but for a reader that has gone: a disk that is full.
pub fn say(line: impl Display) -> io::Result<bool> {
    said(writeln!(io::stdout().lock(), "{line}"))
}

fn said(outcome: io::Result<()>) -> io::Result<bool> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        outcome => outcome.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_gone_is_no_fault() {
        assert!(said(Ok(())).unwrap());
        assert!(!said(Err(ErrorKind::BrokenPipe.into())).unwrap());
        let full = said(Err(ErrorKind::StorageFull.into()));
        assert_eq!(full.unwrap_err().kind(), ErrorKind::StorageFull);
    }
}
