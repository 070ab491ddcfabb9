//! What a file is, by its first bytes.

/// The number of bytes that show the kind of a file.
pub(crate) const HEAD: usize = 16;

/// The first bytes of a PNG file.
pub(super) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Kinds of pictures that carry EXIF data.
pub(super) const JPEG: &str = "a JPEG picture";
pub(super) const WEBP: &str = "a WebP picture";

const PNG_PICTURE: &str = "a PNG picture";

/// Marks of other files: the place in the file, the bytes, the kind.
const OTHERS: [(usize, &[u8], &str); 14] = [
    (0, b"\xff\xd8\xff", JPEG),
    (8, b"WEBPVP8", WEBP),
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftyphei", "a HEIC picture"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"II*\0", "a TIFF picture"),
    (0, b"MM\0*", "a TIFF picture"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%PDF", "a PDF file"),
    (0, b"<svg", "an SVG picture"),
    (0, b"\xff\xfe", "a text in UTF-16"),
    (0, b"\xfe\xff", "a text in UTF-16"),
];

/// The kind of a file that begins so, a PNG too, if it is known.
pub(crate) fn kind_of(head: &[u8]) -> Option<&'static str> {
    match head.starts_with(PNG) {
        true => Some(PNG_PICTURE),
        false => of_bytes(head),
    }
}

/// Whether files of this kind carry infotexts.
pub(crate) fn carries_infotext(kind: &str) -> bool {
    [PNG_PICTURE, JPEG, WEBP].contains(&kind)
}

/// The kind of a file that begins so, if it is one of those that people take for what is wanted; none is a PNG.
pub(super) fn of_bytes(head: &[u8]) -> Option<&'static str> {
    let shows = |at: usize, mark: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(mark));
    let found = OTHERS.iter().find(|(at, mark, _)| shows(*at, mark));
    found.map(|(.., kind)| *kind)
}
