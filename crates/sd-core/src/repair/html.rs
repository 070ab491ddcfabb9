//! HTML's entities.

use std::borrow::Cow;

use super::{Char, tables::TABLES};

/// The longest name that is looked for.
const LONGEST: usize = 24;

/// The entity that a rest of a text begins with: by name, with its semicolon, or by number.
pub fn entity(rest: &[Char]) -> Option<(usize, Cow<'static, str>)> {
    if rest[0].c != '&' {
        return None;
    }
    let hash = usize::from(rest.get(1)?.c == '#');
    let name = rest[1 + hash..].iter().map(|char| char.c);
    let name: String = name
        .take_while(char::is_ascii_alphanumeric)
        .take(LONGEST + 1)
        .collect();
    let end = 1 + hash + name.len();
    if name.is_empty() || name.len() > LONGEST || rest.get(end)?.c != ';' {
        return None;
    }
    let by = match hash {
        0 => TABLES.entities.get(&name)?.as_str().into(),
        _ => numbered(&name)?,
    };
    Some((end + 1, by))
}

/// The character of a number by the rules of HTML5, as Python's `html.unescape` has them.
fn numbered(number: &str) -> Option<Cow<'static, str>> {
    let (digits, radix) = match number.strip_prefix(['x', 'X']) {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let code = u32::from_str_radix(digits, radix).unwrap_or(u32::MAX);
    let c = match code {
        0 => '\u{fffd}',
        // These are numbers of Windows-1252.
        0x80..=0x9f => super::encoding::windows_1252(code as u8),
        0x01..=0x08 | 0x0b | 0x0e..=0x1f | 0x7f | 0xfdd0..=0xfdef => return Some("".into()),
        _ if code & 0xfffe == 0xfffe && code <= 0x10_ffff => return Some("".into()),
        _ => char::from_u32(code).unwrap_or('\u{fffd}'),
    };
    // A semicolon looks like one that was left over, so it isn't taken.
    (c != ';').then(|| c.to_string().into())
}
