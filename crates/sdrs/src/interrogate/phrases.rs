//! Phrases that pictures are ranked against: lists by category, one phrase a line.

use std::path::Path;

use sd_core::{shown, weights::files_below};

use crate::{Error, Result};

/// Lists of phrases by category, in the form of the WebUI and of clip-interrogator: a file `NAME.txt` for each, one phrase a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Phrases {
    pub(super) categories: Vec<PhraseCategory>,
}

/// A list of phrases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhraseCategory {
    /// The file's name without ".txt".
    pub name: String,
    /// The phrases, each once, in their order.
    pub phrases: Vec<String>,
}

/// Files of phrases aren't longer.
const MOST_BYTES: u64 = 64 << 20;
/// Longer lines are no phrases: a text has room for 77 tokens.
const LONGEST: usize = 4096;

macro_rules! lists {
    ($folder:literal: $($name:literal)*) => {
        [$(($name, include_str!(concat!("../../", $folder, $name, ".txt")))),*]
    };
}

/// The lists that come with the library.
static OWN: [(&str, &str); 8] =
    lists!("phrases/": "artists" "cameras" "flavors" "lights" "mediums" "movements" "negative" "sites");

impl PhraseCategory {
    /// How many of its phrases the WebUI's mode takes: 3 of "flavors.top3", 1 if the name says nothing. `original` is for the WebUI's own
    /// reading, which wants another dot behind the number.
    pub(super) fn top(&self, original: bool) -> usize {
        let name = if original {
            self.name.clone()
        } else {
            format!("{}.", self.name)
        };
        let number = name.split(".top").skip(1).find_map(|rest| {
            let (number, _) = rest.split_once('.')?;
            number.parse::<usize>().ok()
        });
        number.unwrap_or(1)
    }
}

impl Phrases {
    /// The lists that come with the library: artists, mediums, movements, flavors, lights, cameras, sites, and a negative one.
    pub fn own() -> Self {
        Self::compiled(&OWN)
    }

    /// The demo's lists, which name what it draws: mediums and flavors.
    #[cfg(feature = "demo")]
    pub fn demo() -> Self {
        Self::compiled(&lists!("../../models/demo/phrases/": "flavors" "mediums"))
    }

    fn compiled(lists: &[(&str, &str)]) -> Self {
        let category = |(name, text): &(&str, &str)| PhraseCategory {
            name: (*name).to_owned(),
            phrases: lines(text).map(str::to_owned).collect(),
        };
        Self {
            categories: lists.iter().map(category).collect(),
        }
    }

    /// All `.txt` files of a folder, in the order of their names.
    ///
    /// # Errors
    /// [`Error::Core`] if the folder or a file can't be read; [`Error::InvalidFile`] if it has none, or one that isn't UTF-8, is empty, or has
    /// lines that are no phrases.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let (files, unreadable) = files_below(folder)?;
        if let Some(error) = unreadable.into_iter().next() {
            return Err(error.into());
        }
        let mut phrases = Self::default();
        for path in files {
            let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
            let own = path.parent() == Some(folder);
            if let (true, Some("txt"), Some(name)) =
                (own, text(path.extension()).as_deref(), text(path.file_stem()))
            {
                phrases.categories.push(read(&path, name)?);
            }
        }
        match phrases.categories.is_empty() {
            false => Ok(phrases),
            true => Err(invalid(
                folder,
                "no phrases: a folder with files such as artists.txt is wanted, one phrase a line",
            )),
        }
    }

    /// These lists by name; empty phrases, and those that were there before, are left out.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] if a list is empty, or a phrase too long.
    pub fn of<N: Into<String>, P: AsRef<str>>(
        lists: impl IntoIterator<Item = (N, impl IntoIterator<Item = P>)>,
    ) -> Result<Self> {
        let mut phrases = Self::default();
        for (name, list) in lists {
            let mut category = PhraseCategory {
                name: name.into(),
                phrases: list
                    .into_iter()
                    .map(|phrase| phrase.as_ref().trim().to_owned())
                    .filter(|phrase| !phrase.is_empty())
                    .collect(),
            };
            check(&mut category).map_err(|reason| Error::parameter("phrases", reason))?;
            phrases.categories.push(category);
        }
        Ok(phrases)
    }

    /// The lists.
    pub fn categories(&self) -> &[PhraseCategory] {
        &self.categories
    }

    /// Those of a category, and of others that count as it; none if there is none.
    pub(super) fn of_names(&self, names: &[&str]) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for name in names {
            let of_name = |category: &&PhraseCategory| {
                let stem = category
                    .name
                    .split_once(".top")
                    .map_or(&*category.name, |(stem, _)| stem);
                stem == *name
            };
            let category = self.categories.iter().find(of_name);
            found.extend(
                category
                    .into_iter()
                    .flat_map(|category| category.phrases.iter().cloned()),
            );
        }
        unique(&mut found);
        found
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

fn unique(phrases: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    phrases.retain(|phrase| seen.insert(phrase.clone()));
}

fn check(category: &mut PhraseCategory) -> std::result::Result<(), String> {
    let name = shown(&category.name);
    if category.phrases.is_empty() {
        return Err(format!("'{name}' holds no phrase"));
    }
    if let Some(at) = category.phrases.iter().position(|phrase| phrase.len() > LONGEST) {
        let bytes = category.phrases[at].len();
        return Err(format!(
            "phrase {} of '{name}' has {bytes} bytes; one has {LONGEST} at most",
            at + 1
        ));
    }
    unique(&mut category.phrases);
    Ok(())
}

fn invalid(path: &Path, reason: impl Into<String>) -> Error {
    Error::InvalidFile {
        path: path.display().to_string(),
        reason: reason.into(),
    }
}

fn read(path: &Path, name: String) -> Result<PhraseCategory> {
    let bytes = sd_core::input::read(path, "a list of phrases", MOST_BYTES)?;
    if matches!(bytes[..], [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
        return Err(invalid(path, "is UTF-16; save it as UTF-8"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        invalid(path, format!("line {line} is not UTF-8; save it as UTF-8"))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some((at, line)) = text.lines().enumerate().find(|(_, line)| line.len() > LONGEST) {
        let reason = format!(
            "line {} has {} bytes; a phrase has {LONGEST} at most",
            at + 1,
            line.len()
        );
        return Err(invalid(path, reason));
    }
    let mut category = PhraseCategory {
        name,
        phrases: lines(text).map(str::to_owned).collect(),
    };
    check(&mut category).map_err(|reason| invalid(path, reason))?;
    Ok(category)
}
