//! The printable characters that stand for bytes in a vocabulary (GPT-2's table).

use std::sync::LazyLock;

/// The characters in the order of their ids: first those of bytes that are printable themselves, then the others, shifted to U+0100 and
/// up.
pub fn in_order() -> impl Iterator<Item = char> {
    bytes().zip(0..).map(|(byte, place)| symbol(byte, place))
}

/// The character of each byte.
pub static OF_BYTES: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut symbols = ['\0'; 256];
    for (byte, place) in bytes().zip(0..) {
        symbols[usize::from(byte)] = symbol(byte, place);
    }
    symbols
});

const PRINTABLE: u32 = 94 + 12 + 82;

fn bytes() -> impl Iterator<Item = u8> {
    let printable = (0x21..=0x7e).chain(0xa1..=0xac).chain(0xae..=0xff);
    printable.chain(0x00..=0x20).chain(0x7f..=0xa0).chain(0xad..=0xad)
}

fn symbol(byte: u8, place: u32) -> char {
    match place.checked_sub(PRINTABLE) {
        None => byte.into(),
        Some(other) => char::from_u32(0x100 + other).unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}
