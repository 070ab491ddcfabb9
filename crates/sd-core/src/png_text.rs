//! Texts in PNG pictures.

use std::io::Cursor;

/// Longer than any text: as embeddings, a thousand vectors take a tenth of this.
const MAX_TEXT: usize = 64 << 20;

/// More bytes than any picture's row buffers and texts take together.
const LIMITS: png::Limits = png::Limits { bytes: 256 << 20 };

/// The text under a keyword in a PNG file's bytes, whichever of PNG's three kinds it is, before the pixels or behind them; `None` if there
/// is none.
///
/// # Errors
/// A sentence with the file's fault.
pub fn png_text(bytes: &[u8], keyword: &str) -> Result<Option<String>, String> {
    let mut texts = png_texts(bytes, &[keyword])?;
    Ok(texts.pop().flatten())
}

/// The same for several keywords; what stands behind the pixels is only looked for where none of them stands before.
///
/// # Errors
/// As [`png_text`].
pub fn png_texts(bytes: &[u8], keywords: &[&str]) -> Result<Vec<Option<String>>, String> {
    let fail = |e: png::DecodingError| format!("not a usable PNG picture: {e}");
    let mut reader = png::Decoder::new_with_limits(Cursor::new(bytes), LIMITS)
        .read_info()
        .map_err(fail)?;
    let all = |info: &png::Info| -> Result<Vec<_>, String> {
        keywords.iter().map(|keyword| of_info(info, keyword)).collect()
    };
    let before = all(reader.info())?;
    if before.iter().any(Option::is_some) {
        return Ok(before);
    }
    reader.finish().map_err(fail)?;
    all(reader.info())
}

/// The text under a keyword among those that were read so far.
pub(crate) fn of_info(info: &png::Info, keyword: &str) -> Result<Option<String>, String> {
    let fail = |_| format!("its text '{keyword}' can't be unpacked");
    if let Some(chunk) = info
        .uncompressed_latin1_text
        .iter()
        .find(|c| c.keyword == keyword)
    {
        return Ok(Some(chunk.text.clone()));
    }
    if let Some(chunk) = info.compressed_latin1_text.iter().find(|c| c.keyword == keyword) {
        let mut chunk = chunk.clone();
        chunk.decompress_text_with_limit(MAX_TEXT).map_err(fail)?;
        return chunk.get_text().map(Some).map_err(fail);
    }
    if let Some(chunk) = info.utf8_text.iter().find(|c| c.keyword == keyword) {
        let mut chunk = chunk.clone();
        chunk.decompress_text_with_limit(MAX_TEXT).map_err(fail)?;
        return chunk.get_text().map(Some).map_err(fail);
    }
    Ok(None)
}
