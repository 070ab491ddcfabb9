//! Spaces, digits and letters, as Python's regular expressions see them.

use std::ops::Range;

/// The zero of every run of decimal digits in Unicode 14.0.0; nine follow each.
const ZEROS: &[u32] = &[
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50,
    0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40,
    0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066,
    0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950,
    0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6,
    0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];

/// Python's `\s`: Unicode's white space and four more control characters.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Python's `\w`.
pub(super) fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// The value of Python's `\d`.
pub(super) fn digit(c: char) -> Option<u8> {
    let zero = ZEROS[ZEROS.partition_point(|&zero| zero <= c as u32).checked_sub(1)?];
    u8::try_from(c as u32 - zero).ok().filter(|&d| d < 10)
}

/// The bytes of `text` that `test` accepts, from its beginning.
pub(super) fn run(text: &str, test: impl Fn(char) -> bool) -> usize {
    text.find(|c| !test(c)).unwrap_or(text.len())
}

/// A number as Python's `float` reads it, of digits of any script: no exponent, infinity or nan.
pub(super) fn decimal(text: &str) -> Option<f64> {
    let plain = |c| digit(c).map_or(c, |d| char::from(b'0' + d));
    let text: String = text.chars().map(plain).collect();
    let fits = |c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-');
    text.parse().ok().filter(|_| text.chars().all(fits))
}

/// The place of a word that is no part of a longer one.
pub(super) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
    text.match_indices(word).filter_map(move |(at, found)| {
        let end = at + found.len();
        let before = text[..at].chars().next_back().is_some_and(is_word);
        let after = text[end..].chars().next().is_some_and(is_word);
        (!before && !after).then_some(at..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_any_script() {
        assert_eq!(
            ['0', '9', '３', '٣', '߉', 'a', '²', '½', '一'].map(digit),
            [
                Some(0),
                Some(9),
                Some(3),
                Some(3),
                Some(9),
                None,
                None,
                None,
                None
            ]
        );
        assert_eq!(decimal("+１.５"), Some(1.5));
        assert_eq!(
            ["1.", ".5", "-2"].map(decimal),
            [Some(1.0), Some(0.5), Some(-2.0)]
        );
        assert_eq!(
            ["", ".", "1.2.3", "1e3", "inf", "nan", "1 "].map(decimal),
            [None; 7]
        );
    }

    #[test]
    fn words_stand_alone() {
        let found = |text| words(text, "AND").map(|r| r.start).collect::<Vec<_>>();
        assert_eq!(found("AND a AND(b) xAND AND_ ANDAND éAND, AND"), [0, 6, 37]);
    }
}
