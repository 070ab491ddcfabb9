//! The directory of a zip archive whose entries are stored as they are, as `torch.save` writes it.
//!
//! Source: PKWARE's APPNOTE 6.3, sections 4.3 and 4.5.3 (zip64). Nothing is inflated, so no entry can grow.

use std::{collections::HashMap, ops::Range};

use crate::error::shown;

/// The entries of an archive, each with its bytes in the file.
pub(super) struct Archive<'a> {
    file: &'a [u8],
    entries: HashMap<&'a str, Entry>,
}

struct Entry {
    bytes: Range<usize>,
    compressed: bool,
}

const CUT: &str = "the archive's directory is missing or damaged: cut off; download or save it again";

impl<'a> Archive<'a> {
    /// Reads and checks the directory at the end of the file.
    pub fn read(file: &'a [u8]) -> Result<Self, String> {
        let (count, directory) = directory(file)?;
        let mut entries = HashMap::new();
        let mut places = Vec::new();
        let mut at = directory.start;
        while at < directory.end {
            let record = file
                .get(at..directory.end)
                .filter(|r| r.starts_with(b"PK\x01\x02"))
                .ok_or(CUT)?;
            let (name, extra, comment) = (u16_at(record, 28)?, u16_at(record, 30)?, u16_at(record, 32)?);
            let end = 46 + name + extra + comment;
            if record.len() < end {
                return Err(CUT.into());
            }
            let (name, extra) = (&record[46..46 + name], &record[46 + name..46 + name + extra]);
            let name = std::str::from_utf8(name).map_err(|_| "an entry's name in the archive is not text")?;
            let place = place(file, record, extra).map_err(|reason| fault(name, &reason))?;
            let method = u16_at(record, 10)?;
            if u16_at(record, 8)? & 1 != 0 {
                return Err(fault(name, "is encrypted"));
            }
            let entry = Entry {
                bytes: place.1.clone(),
                compressed: method != 0,
            };
            if entries.insert(name, entry).is_some() {
                return Err(fault(name, "is there twice"));
            }
            places.push((place.0, place.1.end, name));
            at += end;
        }
        if entries.len() as u64 != count {
            return Err(format!(
                "the archive's directory says {count} entries but has {}",
                entries.len()
            ));
        }
        places.sort_unstable();
        for pair in places.windows(2) {
            if pair[1].0 < pair[0].1 {
                return Err(fault(pair[1].2, "overlaps another entry"));
            }
        }
        if places.last().is_some_and(|last| last.1 > directory.start) {
            return Err(CUT.into());
        }
        Ok(Self { file, entries })
    }

    /// The names of all entries.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.entries.keys().copied()
    }

    /// The place of an entry's bytes in the file; `None` if there is no such entry.
    pub fn find(&self, name: &str) -> Result<Option<Range<usize>>, String> {
        match self.entries.get(name) {
            None => Ok(None),
            Some(entry) if entry.compressed => Err(fault(
                name,
                "is compressed, as torch.save never writes it; unpack the archive and pack it again with `zip -0`",
            )),
            Some(entry) => Ok(Some(entry.bytes.clone())),
        }
    }

    /// An entry's bytes.
    pub fn bytes(&self, name: &str) -> Result<Option<&'a [u8]>, String> {
        Ok(self.find(name)?.map(|range| &self.file[range]))
    }
}

fn fault(name: &str, reason: &str) -> String {
    format!("entry '{}' of the archive {reason}", shown(name))
}

/// The number of entries, and the place of the directory's records.
fn directory(file: &[u8]) -> Result<(u64, Range<usize>), String> {
    const RECORD: usize = 22;
    // A comment of up to 65535 bytes may follow the last record.
    let first = file.len().saturating_sub(RECORD + usize::from(u16::MAX));
    let last = file.len().checked_sub(RECORD).ok_or(CUT)?;
    let end = (first..=last)
        .rev()
        .find(|&at| file[at..].starts_with(b"PK\x05\x06"))
        .ok_or(CUT)?;
    let record = &file[end..];
    let (mut count, mut size, mut start) = (
        u16_at(record, 10)? as u64,
        u64::from(u32_at(record, 12)?),
        u64::from(u32_at(record, 16)?),
    );
    let mut behind = end;
    let locator = end.checked_sub(20).map(|at| &file[at..end]);
    if let Some(locator) = locator.filter(|l| l.starts_with(b"PK\x06\x07")) {
        let at = usize::try_from(u64_at(locator, 8)?).map_err(|_| CUT)?;
        let wide = file
            .get(at..end)
            .filter(|r| r.starts_with(b"PK\x06\x06"))
            .ok_or(CUT)?;
        (count, size, start) = (u64_at(wide, 32)?, u64_at(wide, 40)?, u64_at(wide, 48)?);
        behind = at;
    }
    let stop = start
        .checked_add(size)
        .filter(|&stop| stop <= behind as u64)
        .ok_or(CUT)?;
    Ok((count, start as usize..stop as usize))
}

/// The beginning of an entry, and the place of its bytes.
fn place(file: &[u8], record: &[u8], extra: &[u8]) -> Result<(usize, Range<usize>), String> {
    let mut packed = u64::from(u32_at(record, 20)?);
    let mut size = u64::from(u32_at(record, 24)?);
    let mut start = u64::from(u32_at(record, 42)?);
    // The wide fields are there only for those that don't fit, in this order.
    let mut wide = zip64(extra);
    for field in [&mut size, &mut packed, &mut start] {
        if *field == u64::from(u32::MAX) {
            let (value, rest) = wide.split_first_chunk::<8>().ok_or("lacks its size")?;
            (*field, wide) = (u64::from_le_bytes(*value), rest);
        }
    }
    let outside = "lies outside the file: cut off; download or save it again";
    let begin = usize::try_from(start).map_err(|_| outside)?;
    let local = file
        .get(begin..)
        .filter(|l| l.starts_with(b"PK\x03\x04"))
        .ok_or(outside)?;
    let data = begin + 30 + u16_at(local, 26)? + u16_at(local, 28)?;
    let end = usize::try_from(packed).ok().and_then(|n| data.checked_add(n));
    let end = end.filter(|&end| end <= file.len()).ok_or(outside)?;
    if u16_at(record, 10)? == 0 && size != packed {
        return Err(format!("says {size} bytes but has {packed}"));
    }
    Ok((begin, data..end))
}

/// The zip64 fields among an entry's extra ones.
fn zip64(mut extra: &[u8]) -> &[u8] {
    while let (Ok(id), Ok(size)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let Some(field) = extra.get(4..4 + size) else {
            break;
        };
        if id == 1 {
            return field;
        }
        extra = &extra[4 + size..];
    }
    &[]
}

fn at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], String> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
    Ok(*found.ok_or(CUT)?)
}

fn u16_at(bytes: &[u8], place: usize) -> Result<usize, String> {
    Ok(usize::from(u16::from_le_bytes(at(bytes, place)?)))
}

fn u32_at(bytes: &[u8], place: usize) -> Result<u32, String> {
    Ok(u32::from_le_bytes(at(bytes, place)?))
}

fn u64_at(bytes: &[u8], place: usize) -> Result<u64, String> {
    Ok(u64::from_le_bytes(at(bytes, place)?))
}
