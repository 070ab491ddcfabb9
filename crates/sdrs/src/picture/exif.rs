//! The infotext in EXIF data, as JPEG and WebP pictures carry it: a TIFF structure whose `UserComment` has the text.

/// The tag of the place of the EXIF fields, and that of the comment.
const EXIF_PLACE: u16 = 0x8769;
const USER_COMMENT: u16 = 0x9286;

/// The tag of the camera's name, where ComfyUI puts its graph.
const MODEL: u16 = 0x0110;

/// Types of fields: bytes of no type, and a 32-bit number.
const UNDEFINED: u16 = 7;
const LONG: u16 = 4;

/// What a comment in UTF-16 begins with.
const UNICODE: &[u8; 8] = b"UNICODE\0";

/// EXIF data with a comment, as piexif writes them for the WebUI: big-endian, the text in UTF-16.
pub(super) fn with_comment(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().flat_map(u16::to_be_bytes);
    let comment: Vec<u8> = UNICODE.iter().copied().chain(units).collect();
    // A directory of one field: their number, the field. Behind the first stands the place of the next one, which is none.
    let directory = |tag: u16, kind: u16, count: u32, value: u32| {
        let shorts = [1, tag, kind].map(u16::to_be_bytes).concat();
        [shorts, [count, value].map(u32::to_be_bytes).concat()].concat()
    };
    const FIRST: u32 = 8;
    const SECOND: u32 = FIRST + 14 + 4;
    let head = [b"MM\0*".as_slice(), &FIRST.to_be_bytes()].concat();
    let first = directory(EXIF_PLACE, LONG, 1, SECOND);
    let second = directory(USER_COMMENT, UNDEFINED, comment.len() as u32, SECOND + 14);
    [head, first, vec![0; 4], second, comment].concat()
}

/// The comment in EXIF data, if there is one that is no blank.
pub(super) fn comment(exif: &[u8]) -> Option<String> {
    let tiff = Tiff::of(exif)?;
    let (_, place) = tiff.field(tiff.u32(4)?, EXIF_PLACE)?;
    let value = tiff.value(tiff.u32(place)?, USER_COMMENT)?;
    let (code, text) = value.split_at_checked(8)?;
    let text = match code {
        b"UNICODE\0" => utf16(text, tiff.big),
        // "ASCII", "JIS" or nothing: whatever writers left there.
        _ => String::from_utf8_lossy(text).into_owned(),
    };
    let text = text.trim_end_matches('\0');
    (!text.trim().is_empty()).then(|| text.to_owned())
}

/// Text whose byte order writers disagree on: the data's own, or always the big-endian one. Prompts have many ASCII characters, which show it.
fn utf16(bytes: &[u8], big: bool) -> String {
    let units = |decode: fn([u8; 2]) -> u16| -> Vec<u16> {
        bytes.as_chunks().0.iter().map(|pair| decode(*pair)).collect()
    };
    let plain = |units: &[u16]| units.iter().filter(|unit| **unit < 0x80).count();
    let (be, le) = (units(u16::from_be_bytes), units(u16::from_le_bytes));
    let big = match plain(&be).cmp(&plain(&le)) {
        std::cmp::Ordering::Equal => big,
        order => order.is_gt(),
    };
    String::from_utf16_lossy(if big { &be } else { &le })
}

/// The camera's name in EXIF data.
pub(super) fn model(exif: &[u8]) -> Option<String> {
    let tiff = Tiff::of(exif)?;
    let value = tiff.value(tiff.u32(4)?, MODEL)?;
    Some(String::from_utf8_lossy(value).trim_end_matches('\0').to_owned())
}

struct Tiff<'a> {
    bytes: &'a [u8],
    big: bool,
}

impl<'a> Tiff<'a> {
    fn of(exif: &'a [u8]) -> Option<Self> {
        // Some writers leave the JPEG segment's mark in front.
        let bytes = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
        let big = match bytes.get(..4)? {
            b"MM\0*" => true,
            b"II*\0" => false,
            _ => return None,
        };
        Some(Self { bytes, big })
    }

    /// The bytes of a field in the directory at a place.
    fn value(&self, directory: u32, tag: u16) -> Option<&'a [u8]> {
        let (length, place) = self.field(directory, tag)?;
        // Up to four bytes stand in the field itself.
        let place = if length > 4 {
            self.u32(place)? as usize
        } else {
            place
        };
        self.bytes.get(place..place.checked_add(length as usize)?)
    }

    fn u16(&self, at: usize) -> Option<u16> {
        let bytes = self.bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if self.big {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    fn u32(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self.big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }

    /// The number of values of a field in the directory at a place, and where its four bytes stand.
    fn field(&self, directory: u32, tag: u16) -> Option<(u32, usize)> {
        let directory = directory as usize;
        let count = self.u16(directory)?;
        let mut fields = (0..usize::from(count)).map(|i| directory + 2 + 12 * i);
        let at = fields.find(|at| self.u16(*at) == Some(tag))?;
        Some((self.u32(at + 4)?, at + 8))
    }
}

#[cfg(test)]
mod tests {
    use goldens::Refs;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_are_piexifs() {
        let refs = Refs::open("pictures/files.safetensors");
        let text = String::from_utf8(refs.u8s("comment.text")).unwrap();
        let [piexif, pillow] = ["comment.piexif", "comment.pillow"].map(|name| refs.u8s(name));
        let own = with_comment(&text);
        assert_eq!(own, piexif.strip_prefix(b"Exif\0\0").unwrap());
        for exif in [&own, &piexif, &pillow] {
            assert_eq!(comment(exif).unwrap(), text);
        }
    }

    proptest! {
        #[test]
        fn comments_come_back(text in "[ -~äß赤🔴\n]{1,40}") {
            prop_assume!(!text.trim().is_empty() && text.is_ascii() || text.chars().filter(char::is_ascii).count() > 2);
            prop_assert_eq!(comment(&with_comment(&text)), Some(text));
        }

        #[test]
        fn damaged_data_never_panic(text in "[a-z]{1,9}", at in 0usize..60, value: u8, end in 0usize..60) {
            let mut exif = with_comment(&text);
            let (at, end) = (at % exif.len(), end % exif.len());
            exif[at] = value;
            let _ = comment(&exif);
            let _ = comment(&exif[..end]);
        }
    }
}
