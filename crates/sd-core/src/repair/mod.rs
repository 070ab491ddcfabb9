//! Repair of texts as ftfy's `fix_text` makes it (Speer 2019, doi:10.5281/zenodo.2591652; version 6.3.1): quotes are straightened,
//! ligatures, widths and ends of lines made plain, control characters dropped, HTML's entities and texts that were read in a wrong
//! encoding decoded. OpenAI's CLIP was trained on texts that went through it. Every character knows where it comes from.

mod encoding;
mod html;
mod tables;

use std::borrow::Cow;

use unicode_normalization_alignments::UnicodeNormalization;

use tables::TABLES;

/// A character of a repaired text, with the bytes of the original that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Char {
    pub c: char,
    pub start: usize,
    pub end: usize,
}

/// Repairs are repeated until nothing changes. Texts that want more than this are made to cost time, and ftfy would spend it.
const ROUNDS: usize = 32;
/// The longest stretch that is looked at as one, in characters; lines usually end before.
const LONGEST: usize = 1_000_000;

/// The characters of a repaired text.
pub(crate) fn repaired(text: &str) -> Vec<Char> {
    let mut out = Vec::with_capacity(text.len());
    let (mut at, mut entities) = (0, true);
    for line in text.split_inclusive('\n') {
        let mut chars = Vec::with_capacity(line.len());
        chars.extend(line.char_indices().map(|(i, c)| Char {
            c,
            start: at + i,
            end: at + i + c.len_utf8(),
        }));
        at += line.len();
        for segment in chars.chunks(LONGEST) {
            // A text with tags may mean its entities.
            entities &= !segment.iter().any(|char| char.c == '<');
            match is_plain(segment, entities) {
                true => out.extend_from_slice(segment),
                false => out.extend(segment_repaired(segment.to_vec(), entities)),
            }
        }
    }
    out
}

/// Whether there is surely nothing to repair.
fn is_plain(text: &[Char], entities: bool) -> bool {
    let plain = |c: char| matches!(c, '\t' | '\n' | '\x0c' | ' '..='~') && !(entities && c == '&');
    text.iter().all(|char| plain(char.c))
}

fn segment_repaired(mut text: Vec<Char>, entities: bool) -> Vec<Char> {
    for _ in 0..ROUNDS {
        let before = text.clone();
        if entities {
            text = replaced(&text, html::entity);
        }
        text = encoding::repaired(text, 0);
        text = replaced(&text, encoding::c1_control);
        text = mapped(&text, |c| TABLES.ligatures.get(&c).map(String::as_str));
        text = mapped(&text, |c| TABLES.widths.get(&c).map(String::as_str));
        text = mapped(&text, quote);
        text = replaced(&text, line_break);
        text = replaced(&text, terminal_escape);
        text = mapped(&text, control);
        text = composed(&text);
        if same(&text, &before) {
            break;
        }
    }
    text
}

fn same(a: &[Char], b: &[Char]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.c == b.c)
}

/// Replaces what `find` finds at the beginning of a rest: its length, at least 1, and what takes its place.
fn replaced(text: &[Char], find: impl Fn(&[Char]) -> Option<(usize, Cow<'static, str>)>) -> Vec<Char> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&char) = text.get(at) {
        match find(&text[at..]) {
            Some((length, by)) => {
                let (start, end) = (char.start, text[at + length - 1].end);
                out.extend(by.chars().map(|c| Char { c, start, end }));
                at += length;
            }
            None => {
                out.push(char);
                at += 1;
            }
        }
    }
    out
}

fn mapped(text: &[Char], by: impl Fn(char) -> Option<&'static str>) -> Vec<Char> {
    replaced(text, |rest| Some((1, by(rest[0].c)?.into())))
}

fn quote(c: char) -> Option<&'static str> {
    match c {
        '\u{2bc}' | '\u{2018}'..='\u{201b}' => Some("'"),
        '\u{201c}'..='\u{201f}' => Some("\""),
        _ => None,
    }
}

fn line_break(rest: &[Char]) -> Option<(usize, Cow<'static, str>)> {
    let length = match rest[0].c {
        '\r' if rest.get(1).is_some_and(|next| next.c == '\n') => 2,
        '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => 1,
        _ => return None,
    };
    Some((length, "\n".into()))
}

/// The sequences that set colours in a terminal.
fn terminal_escape(rest: &[Char]) -> Option<(usize, Cow<'static, str>)> {
    let ['\x1b', '['] = [rest[0].c, rest.get(1)?.c] else {
        return None;
    };
    let arguments = rest[2..]
        .iter()
        .take_while(|char| char.c.is_ascii_digit() || char.c == ';');
    let length = 2 + arguments.count() + 1;
    let letter = rest.get(length - 1)?.c.is_ascii_alphabetic();
    letter.then_some((length, "".into()))
}

/// Control characters that show nothing; the byte-order mark is among them.
fn control(c: char) -> Option<&'static str> {
    let dropped = matches!(c, '\0'..='\x08' | '\x0b' | '\x0e'..='\x1f' | '\x7f')
        || matches!(c, '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}');
    dropped.then_some("")
}

/// Normalization form C.
fn composed(text: &[Char]) -> Vec<Char> {
    let mut rest = text.iter();
    let mut span = (0, 0);
    let string: String = text.iter().map(|char| char.c).collect();
    let mut out = Vec::with_capacity(text.len());
    // Each character comes with how many more there are now: 1 is a new one, -1 one that took in the next.
    for (c, more) in string.nfc() {
        if more <= 0
            && let Some(first) = rest.next()
        {
            let last = rest.by_ref().take(more.unsigned_abs()).last().unwrap_or(first);
            span = (first.start, last.end);
        }
        let (start, end) = span;
        out.push(Char { c, start, end });
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Read;

    use super::*;

    #[derive(serde::Deserialize)]
    pub(crate) struct Golden {
        pub text: String,
        pub fixed: Option<String>,
        pub ids: Vec<u32>,
    }

    pub(crate) fn unpacked(name: &str) -> String {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens/tokenizer/");
        let file = std::fs::File::open(format!("{folder}{name}")).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    pub(crate) fn goldens() -> Vec<Golden> {
        let lines = unpacked("repaired.jsonl.gz");
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn text(chars: &[Char]) -> String {
        chars.iter().map(|char| char.c).collect()
    }

    #[test]
    fn agrees_with_ftfy() {
        let goldens = goldens();
        assert!(goldens.len() >= 2000);
        let mut wrong = Vec::new();
        for golden in &goldens {
            let (got, want) = (
                text(&repaired(&golden.text)),
                golden.fixed.as_ref().unwrap_or(&golden.text),
            );
            if got != *want {
                wrong.push(format!("{:?}: {got:?}, should be {want:?}", golden.text));
            }
        }
        let count = wrong.len();
        wrong.truncate(20);
        assert!(
            wrong.is_empty(),
            "{count} of {}:\n{}",
            goldens.len(),
            wrong.join("\n")
        );
    }

    #[test]
    fn characters_know_their_origin() {
        // Start and end of what each character was.
        let origins = |source: &str| -> Vec<(char, String)> {
            let chars = repaired(source);
            chars
                .iter()
                .map(|char| (char.c, source[char.start..char.end].to_owned()))
                .collect()
        };
        let pairs = |pairs: &[(char, &str)]| -> Vec<(char, String)> {
            pairs.iter().map(|&(c, source)| (c, source.to_owned())).collect()
        };
        assert_eq!(
            origins("it\u{2019}s"),
            pairs(&[('i', "i"), ('t', "t"), ('\'', "\u{2019}"), ('s', "s")])
        );
        assert_eq!(
            origins("a&amp;b"),
            pairs(&[('a', "a"), ('&', "&amp;"), ('b', "b")])
        );
        assert_eq!(
            origins("\u{feff}\u{fb01}"),
            pairs(&[('f', "\u{fb01}"), ('i', "\u{fb01}")])
        );
        assert_eq!(origins("e\u{301}x"), pairs(&[('\u{e9}', "e\u{301}"), ('x', "x")]));
        // UTF-8 that was read as Windows-1252, twice.
        assert_eq!(
            origins("x\u{c3}\u{b3}"),
            pairs(&[('x', "x"), ('\u{f3}', "\u{c3}\u{b3}")])
        );
        let chars = repaired("s\u{c3}\u{192}\u{c2}\u{b3}n");
        assert_eq!(
            (text(&chars), chars[1].start, chars[1].end),
            ("s\u{f3}n".into(), 1, 9)
        );
    }

    #[test]
    fn costs_are_bounded() {
        // Each round unescapes one of these, and ftfy goes on until none is left.
        let deep = format!("&{}", "amp;".repeat(20_000));
        let start = std::time::Instant::now();
        assert!(!repaired(&deep).is_empty());
        let odd = "\u{c3}\u{a2}\u{e2}\u{201a}\u{ac} ".repeat(20_000);
        assert!(!repaired(&odd).is_empty());
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }
}
