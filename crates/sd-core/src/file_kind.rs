//! The kind of a file, by its first bytes: what people give in place of what is wanted.

/// The first bytes of a PNG file.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Marks of other files: the place in the file, the bytes, the kind.
const MARKS: [(usize, &[u8], FileKind); 24] = [
    (0, PNG, FileKind::Png),
    (0, b"\xff\xd8\xff", FileKind::Jpeg),
    (8, b"WEBPVP8", FileKind::WebP),
    (4, b"ftypavif", FileKind::Picture("an AVIF picture")),
    (4, b"ftyphei", FileKind::Picture("a HEIC picture")),
    (0, b"\0\0\0\x0cJXL ", FileKind::Picture("a JPEG XL picture")),
    (0, b"\xff\x0a", FileKind::Picture("a JPEG XL picture")),
    (0, b"GIF8", FileKind::Picture("a GIF picture")),
    (0, b"II*\0", FileKind::Picture("a TIFF picture")),
    (0, b"MM\0*", FileKind::Picture("a TIFF picture")),
    (0, b"8BPS", FileKind::Picture("a Photoshop file")),
    (0, b"PK\x03\x04", FileKind::Zip),
    (0, b"PK\x05\x06", FileKind::Other("an empty zip archive")),
    (0, b"\x1f\x8b", FileKind::Other("a gzip archive")),
    (0, b"7z\xbc\xaf\x27\x1c", FileKind::Other("a 7-Zip archive")),
    (0, b"Rar!\x1a\x07", FileKind::Other("a RAR archive")),
    (0, b"\x89HDF\r\n\x1a\n", FileKind::Other("an HDF5 file")),
    (0, b"%PDF", FileKind::Other("a PDF file")),
    (0, b"\x7fELF", FileKind::Other("a program")),
    (0, b"MZ\x90\0", FileKind::Other("a program")),
    (0, b"\xff\xfe", FileKind::Other("a text in UTF-16")),
    (0, b"\xfe\xff", FileKind::Other("a text in UTF-16")),
    (0, b"version https://git-lfs", FileKind::LfsPointer),
    (0, b"version https://hawser", FileKind::LfsPointer),
];

/// Beginnings of texts in capital letters or not, behind white space.
const MARKUP: [(&[u8], FileKind); 6] = [
    (b"<!doctype", FileKind::WebPage),
    (b"<html", FileKind::WebPage),
    (b"<head", FileKind::WebPage),
    (b"<svg", FileKind::Picture("an SVG picture")),
    (b"<?xml", FileKind::Xml),
    (b"<error", FileKind::Xml),
];

/// The kind of a file, as far as its first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// The length of a safetensors header, which isn't checked, and its first brace.
    Safetensors,
    /// GGUF, of any version.
    Gguf,
    /// A zip archive, as PyTorch's files are.
    Zip,
    /// A pickle, as PyTorch's older files are.
    Pickle,
    /// A PNG picture.
    Png,
    /// A JPEG picture.
    Jpeg,
    /// A WebP picture.
    WebP,
    /// Another picture, in words.
    Picture(&'static str),
    /// The text that Git has in a large file's place.
    LfsPointer,
    /// HTML.
    WebPage,
    /// XML, as servers answer in.
    Xml,
    /// A text that begins with a brace.
    Json,
    /// Any other text in UTF-8.
    Text,
    /// Another kind that is no weights, in words.
    Other(&'static str),
}

impl FileKind {
    /// As many bytes of a file's beginning tell all that can be told.
    pub const HEAD: usize = 64;

    /// The kind of a file that begins so; `None` if it isn't known, or there is nothing.
    pub fn of(head: &[u8]) -> Option<Self> {
        let head = &head[..head.len().min(Self::HEAD)];
        // The first bytes of a header's length may be anything; its last are 0.
        if matches!(head, [_, _, _, _, 0, 0, 0, 0, b'{', ..]) {
            return Some(Self::Safetensors);
        }
        match head {
            // A version follows, and no text.
            [b'G', b'G', b'U', b'F', ..] if head.len() < 8 || text(head).is_none() => {
                return Some(Self::Gguf);
            }
            [0x80, 2..=5, ..] => return Some(Self::Pickle),
            [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => return Some(Self::Picture("a BMP picture")),
            // A version, and the name of the program that wrote it.
            [8, 1..32, 0x12, 1..64, b'a'..=b'z' | b'A'..=b'Z', ..] => {
                return Some(Self::Other("an ONNX model"));
            }
            _ => {}
        }
        let shows = |at: usize, mark: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(mark));
        let marked = MARKS.iter().find(|(at, mark, _)| shows(*at, mark));
        marked.map(|(.., kind)| *kind).or_else(|| text(head))
    }

    /// Its name in sentences: "a PNG picture".
    pub fn words(self) -> &'static str {
        match self {
            Self::Safetensors => "a safetensors file",
            Self::Gguf => "a GGUF file",
            Self::Zip => "a zip archive",
            Self::Pickle => "a pickle",
            Self::Png => "a PNG picture",
            Self::Jpeg => "a JPEG picture",
            Self::WebP => "a WebP picture",
            Self::Picture(words) | Self::Other(words) => words,
            Self::LfsPointer => "a Git LFS pointer",
            Self::WebPage => "a web page",
            Self::Xml => "a text in XML",
            Self::Json => "a text that begins as JSON does",
            Self::Text => "a text",
        }
    }

    /// What to do about a file that should be of another kind and isn't by mistake of its download.
    pub fn remedy(self) -> Option<&'static str> {
        match self {
            Self::LfsPointer => Some("fetch the file itself with `git lfs pull`"),
            Self::WebPage | Self::Xml => Some("its download failed or needs a login: download it again"),
            _ => None,
        }
    }

    /// What it is where something else is wanted, and a remedy: "a PNG picture, not weights; ...".
    pub fn instead_of(self, wanted: &str, advice: &str) -> String {
        format!(
            "{}, not {wanted}; {}",
            self.words(),
            self.remedy().unwrap_or(advice)
        )
    }

    /// Whether files of this kind carry infotexts.
    pub fn carries_infotext(self) -> bool {
        matches!(self, Self::Png | Self::Jpeg | Self::WebP)
    }
}

/// The kind of a text, if it is one: its last character may be cut.
fn text(head: &[u8]) -> Option<FileKind> {
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(e) if e.error_len().is_none() => std::str::from_utf8(&head[..e.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let text = valid.trim_start_matches('\u{feff}').trim_start();
    if text.is_empty() || text.contains(|c: char| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    let begins = |mark: &[u8]| {
        let start = text.as_bytes().get(..mark.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(mark))
    };
    let markup = MARKUP.iter().find(|(mark, _)| begins(mark));
    Some(match markup {
        Some((_, kind)) => *kind,
        None if text.starts_with('{') => FileKind::Json,
        None => FileKind::Text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_first_bytes() {
        let long = [&b"a painting of "[..], "é".repeat(40).as_bytes()].concat();
        let cases: [(&[u8], Option<FileKind>); 24] = [
            (b"", None),
            (b" \n", None),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", Some(FileKind::Png)),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", Some(FileKind::Jpeg)),
            (b"RIFF\x10\0\0\0WEBPVP8L", Some(FileKind::WebP)),
            (b"GIF89a", Some(FileKind::Picture("a GIF picture"))),
            (b"BM\x46\0\0\0\0\0\0\0", Some(FileKind::Picture("a BMP picture"))),
            (b"BMW, a car", Some(FileKind::Text)),
            (b"PK\x03\x04\0\0\x08\x08", Some(FileKind::Zip)),
            (b"\x80\x02}q\0.", Some(FileKind::Pickle)),
            (b"GGUF\x03\0\0\0", Some(FileKind::Gguf)),
            (b"GGUF, a format", Some(FileKind::Text)),
            // Lengths that begin like a pickle and like a zip archive.
            (b"\x80\x02\0\0\0\0\0\0{\"a\":", Some(FileKind::Safetensors)),
            (b"PK\x03\x04\0\0\0\0{", Some(FileKind::Safetensors)),
            (b"\x80\x02\0\0\0\0\0\x01{", Some(FileKind::Pickle)),
            (
                b"version https://git-lfs.github.com/spec/v1\noid",
                Some(FileKind::LfsPointer),
            ),
            (b"\xef\xbb\xbf\r\n <!DocType HTML>", Some(FileKind::WebPage)),
            (b"<?xml version=\"1.0\"?><Error>", Some(FileKind::Xml)),
            (b"<lora:ink:0.5> a cat", Some(FileKind::Text)),
            (b" {\"error\": \"not found\"}", Some(FileKind::Json)),
            (b"\x08\x07\x12\x07pytorch", Some(FileKind::Other("an ONNX model"))),
            (b"\xff\xfea\0b\0", Some(FileKind::Other("a text in UTF-16"))),
            // Cut within a letter.
            (&long[..FileKind::HEAD + 1], Some(FileKind::Text)),
            (&[0; 100], None),
        ];
        for (head, kind) in cases {
            assert_eq!(FileKind::of(head), kind, "{:?}", String::from_utf8_lossy(head));
        }
    }
}
