//! What a string array is made over is checked first: nothing that passes reads beyond its bytes or is no UTF-8.

use super::*;

fn check(offsets: &[i32], data: &[u8]) -> Result<(), StringFault> {
    let bytes: Vec<u8> = offsets.iter().flat_map(|at| at.to_le_bytes()).collect();
    check_strings(&bytes, data)
}

#[test]
fn strings_are_what_an_array_must_be_given() {
    let long = "größe".as_bytes();
    for (offsets, data) in [
        (&[0][..], &b""[..]),
        (&[0, 0], b""),
        (&[0, 1, 1, 3], b"abc"),
        (&[0, 2, 4, 7], long),
    ] {
        assert_eq!(check(offsets, data), Ok(()), "{offsets:?}");
    }
    for (offsets, data) in [
        // None, one too few, not from 0, falling, beyond the bytes and short of them.
        (&[][..], &b""[..]),
        (&[], b"a"),
        (&[1, 1], b"a"),
        (&[1], b"a"),
        (&[0, 2, 1, 3], b"abc"),
        (&[0, -1, 3], b"abc"),
        (&[-1, 3], b"abc"),
        (&[0, 4], b"abc"),
        (&[0, 2], b"abc"),
        (&[0, i32::MAX], b"abc"),
    ] {
        assert_eq!(
            check(offsets, data),
            Err(StringFault::Offsets),
            "{offsets:?}"
        );
    }
    // No UTF-8, and an offset in the midst of a character.
    assert_eq!(check(&[0, 2], b"a\xff"), Err(StringFault::Utf8));
    assert_eq!(check(&[0, 3, 7], long), Err(StringFault::Utf8));
}

#[test]
fn each_column_passes_by_itself() {
    let checked = Checked::none_of(130);
    let passed = [0, 1, 63, 64, 129];
    for (number, column) in passed.into_iter().enumerate() {
        assert!(!checked.has(column));
        checked.pass(column);
        let now = (0..130).filter(|&column| checked.has(column));
        assert!(now.eq(passed[..=number].iter().copied()));
    }
}
