//! ftfy's tables, made by tools/goldens/text_repair.py.

use std::{collections::HashMap, io::Read, sync::LazyLock};

use serde::{Deserialize, Deserializer};

pub static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let packed: &[u8] = include_bytes!("../../data/text_repair.json.gz");
    let mut json = String::new();
    let read = flate2::read::GzDecoder::new(packed).read_to_string(&mut json);
    read.expect("the tables are part of this crate");
    serde_json::from_str(&json).expect("the tables are part of this crate")
});

#[derive(Deserialize)]
pub struct Tables {
    /// In the order in which they are tried.
    pub encodings: Vec<Encoding>,
    /// Sequences that hardly any text means.
    pub unlikely: Vec<Pattern>,
    /// Bytes that are UTF-8 if a space among them was a no-break space's byte.
    pub altered: Vec<Pattern>,
    /// Bytes that were UTF-8 before some were lost.
    pub lossy: Vec<Pattern>,
    /// The first bytes of UTF-8's sequences as some encoding shows them: of those of 2, 3 and 4 bytes.
    pub leads: [Set; 3],
    /// The other bytes as some encoding shows them.
    pub continuation: Set,
    /// The same without what is common by itself.
    pub continuation_strict: Set,
    pub ligatures: HashMap<char, String>,
    pub widths: HashMap<char, String>,
    /// HTML's entities, by what stands between "&" and ";".
    pub entities: HashMap<String, String>,
}

/// An encoding with a character for each byte; bytes below 128 are ASCII.
#[derive(Deserialize)]
#[serde(from = "StoredEncoding")]
pub struct Encoding {
    pub name: String,
    /// Whether byte 0x1A stands for the replacement character.
    pub sloppy: bool,
    bytes: HashMap<char, u8>,
    chars: Vec<char>,
}

#[derive(Deserialize)]
struct StoredEncoding {
    name: String,
    upper: String,
    sloppy: bool,
}

impl From<StoredEncoding> for Encoding {
    fn from(stored: StoredEncoding) -> Self {
        let chars: Vec<char> = stored.upper.chars().collect();
        Self {
            bytes: chars.iter().copied().zip(128..=255).collect(),
            chars,
            name: stored.name,
            sloppy: stored.sloppy,
        }
    }
}

/// The byte that stands for the replacement character.
const LOST: u8 = 0x1a;

impl Encoding {
    /// The byte of a character, if the encoding has it.
    pub fn byte(&self, c: char) -> Option<u8> {
        match c {
            '\x1a' if self.sloppy => None,
            '\u{fffd}' if self.sloppy => Some(LOST),
            '\0'..='\x7f' => Some(c as u8),
            _ => self.bytes.get(&c).copied(),
        }
    }

    /// The character of a byte of 128 or more.
    pub fn upper(&self, byte: u8) -> Option<char> {
        self.chars.get(usize::from(byte).checked_sub(128)?).copied()
    }
}

/// A sequence of sets of characters.
#[derive(Deserialize)]
pub struct Pattern {
    /// Whether it stands at the beginning of a text only.
    #[serde(default)]
    pub start: bool,
    pub sets: Vec<Set>,
}

impl Pattern {
    /// Whether a rest of a text begins with it.
    pub fn begins<T>(&self, rest: &[T], c: impl Fn(&T) -> char) -> bool {
        rest.len() >= self.sets.len() && self.sets.iter().zip(rest).all(|(set, item)| set.has(c(item)))
    }
}

/// A set of characters as ranges, in order.
pub struct Set(Vec<(char, char)>);

impl Set {
    pub fn has(&self, c: char) -> bool {
        let at = self.0.partition_point(|&(_, last)| last < c);
        self.0.get(at).is_some_and(|&(first, _)| first <= c)
    }
}

impl<'de> Deserialize<'de> for Set {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let chars: Vec<char> = String::deserialize(deserializer)?.chars().collect();
        Ok(Self(
            chars.as_chunks::<2>().0.iter().map(|&[a, b]| (a, b)).collect(),
        ))
    }
}
