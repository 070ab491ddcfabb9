//! Texts that were read in a wrong encoding. A heuristic of ftfy's recognises them by sequences of characters that hardly any text means,
//! and that UTF-8's bytes become in older encodings.

use std::{borrow::Cow, str};

use super::{
    Char, ROUNDS, replaced, same,
    tables::{Encoding, Pattern, Set, TABLES},
};

/// The most repairs that may lie within one another.
const DEEPEST: usize = 8;

/// A byte of an encoded text, with the bytes of the original that it stands for.
#[derive(Clone, Copy)]
struct Byte {
    byte: u8,
    start: usize,
    end: usize,
}

/// The text as it was meant, `depth` repairs deep.
pub fn repaired(mut text: Vec<Char>, depth: usize) -> Vec<Char> {
    for _ in 0..ROUNDS {
        match step(&text, depth) {
            Some(next) if !same(&next, &text) => text = next,
            _ => break,
        }
    }
    text
}

fn step(text: &[Char], depth: usize) -> Option<Vec<Char>> {
    if text.iter().all(|char| char.c.is_ascii()) || !is_unlikely(text) {
        return None;
    }
    let read = |encoding: &Encoding| decoded(&prepared(encoded(text, encoding)?, encoding));
    if let Some(fixed) = TABLES.encodings.iter().find_map(read) {
        return Some(fixed);
    }
    let fixed = embedded(text, depth);
    if !same(&fixed, text) {
        return Some(fixed);
    }
    // Latin-1 that was Windows-1252, and C1 controls in other texts: the same characters are meant.
    Some(replaced(text, c1_control))
}

fn is_unlikely(text: &[Char]) -> bool {
    let begins = |at: usize, pattern: &Pattern| {
        !(pattern.start && at > 0) && pattern.begins(&text[at..], |char| char.c)
    };
    (0..text.len()).any(|at| TABLES.unlikely.iter().any(|pattern| begins(at, pattern)))
}

/// The bytes of a text in an encoding that has all of its characters.
fn encoded(text: &[Char], encoding: &Encoding) -> Option<Vec<Byte>> {
    let byte = |char: &Char| {
        Some(Byte {
            byte: encoding.byte(char.c)?,
            start: char.start,
            end: char.end,
        })
    };
    text.iter().map(byte).collect()
}

/// Bytes with those put back that are known to be changed on such ways.
fn prepared(mut bytes: Vec<Byte>, encoding: &Encoding) -> Vec<Byte> {
    // In Mac Roman it would be an en dash before a space.
    if encoding.name != "macroman" && found(&TABLES.altered, &bytes) {
        bytes = with_no_break_spaces(&bytes);
    }
    if encoding.sloppy {
        // What can't be read any more is one replacement character.
        bytes = substituted(&bytes, |rest| {
            let length = matched(&TABLES.lossy, rest)?;
            Some((length, b"\xef\xbf\xbd".to_vec()))
        });
    }
    bytes
}

fn with_no_break_spaces(bytes: &[Byte]) -> Vec<Byte> {
    // "à" that stands alone keeps the space after it, but for Portuguese words that begin with it.
    let alone = substituted(bytes, |rest| {
        let rest: Vec<u8> = rest.iter().take(8).map(|byte| byte.byte).collect();
        let after = rest.strip_prefix(b"\xc3 ")?;
        let words: [&[u8]; 5] = [b" ", b"quele", b"quela", b"quilo", b"s "];
        let word = words.iter().any(|word| after.starts_with(word));
        (!word).then(|| (2, b"\xc3\xa0 ".to_vec()))
    });
    substituted(&alone, |rest| {
        let length = matched(&TABLES.altered, rest)?;
        let byte = |byte: &Byte| if byte.byte == b' ' { 0xa0 } else { byte.byte };
        Some((length, rest[..length].iter().map(byte).collect()))
    })
}

/// The length of the first pattern that a rest begins with.
fn matched(patterns: &[Pattern], rest: &[Byte]) -> Option<usize> {
    let found = patterns
        .iter()
        .find(|pattern| pattern.begins(rest, |byte| byte.byte.into()));
    found.map(|pattern| pattern.sets.len())
}

fn found(patterns: &[Pattern], bytes: &[Byte]) -> bool {
    (0..bytes.len()).any(|at| matched(patterns, &bytes[at..]).is_some())
}

/// Replaces what `find` finds at the beginning of a rest.
fn substituted(bytes: &[Byte], find: impl Fn(&[Byte]) -> Option<(usize, Vec<u8>)>) -> Vec<Byte> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&first) = bytes.get(at) {
        let Some((length, by)) = find(&bytes[at..]) else {
            out.push(first);
            at += 1;
            continue;
        };
        let of = &bytes[at..at + length];
        for (i, byte) in by.iter().enumerate() {
            // Bytes that only change keep their places.
            let (start, end) = match by.len() == length {
                true => (of[i].start, of[i].end),
                false => (first.start, of[length - 1].end),
            };
            out.push(Byte {
                byte: *byte,
                start,
                end,
            });
        }
        at += length;
    }
    out
}

/// Bytes as UTF-8, or as one of its variants: surrogates in three bytes each (CESU-8), and Java's null.
fn decoded(bytes: &[Byte]) -> Option<Vec<Char>> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let mut head = [0; 6];
        let known = rest.len().min(head.len());
        head.iter_mut().zip(rest).for_each(|(to, byte)| *to = byte.byte);
        let (c, length) = match head {
            [0xc0, 0x80, ..] => ('\0', 2),
            [0xed, a @ 0xa0..=0xaf, b, 0xed, c @ 0xb0..=0xbf, d]
                if [b, d].iter().all(|b| b & 0xc0 == 0x80) =>
            {
                let six = |byte: u8| u32::from(byte & 0x3f);
                let high = u32::from(a & 0x0f) << 6 | six(b);
                let low = u32::from(c & 0x0f) << 6 | six(d);
                (char::from_u32(0x1_0000 + (high << 10 | low))?, 6)
            }
            _ => plain(&head[..known.min(4)])?,
        };
        let last = rest.get(length - 1)?;
        out.push(Char {
            c,
            start: first.start,
            end: last.end,
        });
        rest = &rest[length..];
    }
    Some(out)
}

/// The first character of UTF-8, and its length.
fn plain(head: &[u8]) -> Option<(char, usize)> {
    let valid = match str::from_utf8(head) {
        Ok(text) => text,
        Err(e) => str::from_utf8(&head[..e.valid_up_to()]).ok()?,
    };
    let c = valid.chars().next()?;
    Some((c, c.len_utf8()))
}

/// The text with those parts repaired that look like UTF-8 by themselves.
fn embedded(text: &[Char], depth: usize) -> Vec<Char> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let garbled = at > 0 && TABLES.continuation_strict.has(text[at - 1].c);
        let length = if garbled { 0 } else { utf8_like(&text[at..]) };
        let part = &text[at..at + length.max(1)];
        if length > 0 && length < text.len() && depth < DEEPEST && is_unlikely(part) {
            out.extend(repaired(part.to_vec(), depth + 1));
        } else {
            out.extend_from_slice(part);
        }
        at += part.len();
    }
    out
}

/// Number of characters at the beginning of a rest that look like sequences of UTF-8.
fn utf8_like(rest: &[Char]) -> usize {
    let mut length = 0;
    let sequence = |rest: &[Char]| {
        let mut leads = TABLES.leads.iter().zip(2..);
        let fits = |lead: &Set, count: usize| {
            rest.len() >= count
                && lead.has(rest[0].c)
                && rest[1..count].iter().all(|char| TABLES.continuation.has(char.c))
        };
        leads.find_map(|(lead, count)| fits(lead, count).then_some(count))
    };
    while let Some(more) = sequence(&rest[length..]) {
        length += more;
    }
    length
}

/// The C1 control that a rest of a text begins with, and what it is in Windows-1252.
pub fn c1_control(rest: &[Char]) -> Option<(usize, Cow<'static, str>)> {
    match rest[0].c {
        c @ '\u{80}'..='\u{9f}' => Some((1, windows_1252(c as u8).to_string().into())),
        _ => None,
    }
}

/// The character of a byte from 0x80 to 0x9F; bytes without one are control characters.
pub fn windows_1252(byte: u8) -> char {
    let encoding = TABLES.encodings.iter().find(|e| e.name == "sloppy-windows-1252");
    encoding.and_then(|e| e.upper(byte)).unwrap_or(byte.into())
}
