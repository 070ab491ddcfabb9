//! The ways to a prompt: clip-interrogator's (MIT, pharmapsychotic) and the WebUI's.

use std::{collections::HashMap, sync::Arc};

use serde::Serialize;

use super::{
    Interrogator,
    params::InterrogateParams,
    vectors::{Table, Vectors, rounded, top},
    watch::{InterrogateStage, Watch},
};
use crate::Result;

/// A phrase that was found, and how well it fits.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RankedPhrase {
    /// The list that it is from.
    pub category: String,
    /// The phrase.
    pub phrase: String,
    /// The cosine of its vector and the picture's, -1 to 1; in the WebUI's mode its probability among its list, 0 to 1.
    pub score: f32,
}

/// The lists of clip-interrogator, in the order in which they are merged.
const MERGED: [&str; 5] = ["artists", "flavors", "mediums", "movements", "trending"];

/// What separates a prompt's parts.
const COMMA: &str = ", ";

/// An interrogation that goes on.
pub(super) struct Run<'r, 'a> {
    pub interrogator: &'r Interrogator,
    pub params: &'r InterrogateParams,
    /// The picture's vector.
    pub image: Vec<f32>,
    pub watch: &'r mut Watch<'a>,
    pub ranks: Vec<RankedPhrase>,
    /// Cosines of texts that were asked for.
    pub known: HashMap<String, f32>,
}

impl Run<'_, '_> {
    /// A list's phrases as clip-interrogator has them.
    fn phrases(&self, name: &str) -> Vec<String> {
        let phrases = &self.interrogator.phrases;
        let prefixed = |list: &[String], forms: &[(&str, &str)]| {
            let of_form = |(before, after): &(&str, &str)| -> Vec<String> {
                list.iter()
                    .map(|phrase| format!("{before}{phrase}{after}"))
                    .collect()
            };
            forms.iter().flat_map(of_form).collect()
        };
        match name {
            "artists" => prefixed(
                &phrases.of_names(&["artists"]),
                &[("by ", ""), ("inspired by ", "")],
            ),
            "flavors" => phrases.of_names(&["flavors", "lights", "cameras"]),
            "trending" => prefixed(
                &phrases.of_names(&["sites"]),
                &[
                    ("", ""),
                    ("trending on ", ""),
                    ("featured on ", ""),
                    ("", " contest winner"),
                ],
            ),
            name => phrases.of_names(&[name]),
        }
    }

    fn table(&mut self, name: &str) -> Result<Arc<Table>> {
        let phrases = self.phrases(name);
        self.interrogator.table(name, phrases, self.watch)
    }

    /// All lists as one.
    fn merged(&mut self) -> Result<Table> {
        let (mut phrases, mut values) = (Vec::new(), Vec::new());
        for name in MERGED {
            let table = self.table(name)?;
            phrases.extend(table.phrases.iter().cloned());
            values.extend_from_slice(&table.vectors.values);
        }
        let width = self.image.len();
        Ok(Table {
            phrases,
            vectors: Vectors { width, values },
        })
    }

    /// The phrases of a table that fit best, or least in reverse, with their cosines.
    fn rank(&self, table: &Table, count: usize, reverse: bool) -> Vec<(String, f32)> {
        let sign = if reverse { -1.0 } else { 1.0 };
        let original = self.params.original;
        let vectors = original.then(|| rounded(&table.vectors));
        let cosines = vectors.as_ref().unwrap_or(&table.vectors).cosines(&self.image);
        let signed: Vec<f32> = cosines.iter().map(|cosine| sign * cosine).collect();
        let chunk = self.params.chunk_size;
        let places = match original && signed.len() > chunk {
            false => top(&signed, count),
            true => {
                // Each chunk keeps its best, and among those the direction is forgotten.
                let share = chunk / signed.len().div_ceil(chunk);
                let chunks = signed.chunks(chunk).enumerate();
                let kept: Vec<usize> = chunks
                    .flat_map(|(i, part)| top(part, share).into_iter().map(move |at| i * chunk + at))
                    .collect();
                let again: Vec<f32> = kept.iter().map(|at| cosines[*at]).collect();
                top(&again, count).into_iter().map(|at| kept[at]).collect()
            }
        };
        places
            .into_iter()
            .map(|at| (table.phrases[at].clone(), cosines[at]))
            .collect()
    }

    /// The same of a list by name, which is told of in the result.
    fn ranked(&mut self, name: &str, count: usize) -> Result<Vec<String>> {
        let table = self.table(name)?;
        let found = self.rank(&table, count, false);
        Ok(self.told(name, found))
    }

    fn told(&mut self, category: &str, found: Vec<(String, f32)>) -> Vec<String> {
        let phrases = found.iter().map(|(phrase, _)| phrase.clone()).collect();
        self.ranks
            .extend(found.into_iter().map(|(phrase, score)| RankedPhrase {
                category: category.to_owned(),
                phrase,
                score,
            }));
        phrases
    }

    /// The cosines of texts with the picture.
    fn similarities(&mut self, texts: &[String]) -> Result<Vec<f32>> {
        let new: Vec<String> = texts
            .iter()
            .filter(|text| !self.known.contains_key(*text))
            .cloned()
            .collect();
        if !new.is_empty() {
            let vectors = self.interrogator.eyes()?.texts(&new, None, self.watch)?;
            self.known
                .extend(new.into_iter().zip(vectors.cosines(&self.image)));
        }
        Ok(texts.iter().map(|text| self.known[text]).collect())
    }

    fn similarity(&mut self, text: &str) -> Result<f32> {
        Ok(self.similarities(&[text.to_owned()])?[0])
    }

    fn best_of(&mut self, texts: &[String], reverse: bool) -> Result<usize> {
        let mut similarities = self.similarities(texts)?;
        if reverse {
            similarities.iter_mut().for_each(|value| *value = -*value);
        }
        Ok(top(&similarities, 1)[0])
    }

    /// As many parts of a prompt as CLIP has room for.
    fn cut(&self, prompt: &str) -> Result<String> {
        let mut parts = prompt.split(COMMA);
        let mut out = parts.next().unwrap_or_default().to_owned();
        let between = if self.params.original { "" } else { COMMA };
        for part in parts {
            if self
                .interrogator
                .eyes()?
                .is_full(&format!("{out}{between}{part}"))?
            {
                break;
            }
            out = format!("{out}{COMMA}{part}");
        }
        Ok(out)
    }

    pub fn classic(&mut self, caption: &str, flavors: usize) -> Result<String> {
        let mut one = |name: &str| Ok::<_, crate::Error>(self.ranked(name, 1)?.pop());
        let (medium, artist) = (one("mediums")?, one("artists")?);
        let (trending, movement) = (one("trending")?, one("movements")?);
        let flavors = self.ranked("flavors", flavors)?;
        let begins = medium
            .as_ref()
            .is_none_or(|medium| caption.starts_with(medium.as_str()));
        let mut start = match medium {
            Some(medium) if !begins => format!("{caption}{COMMA}{medium}"),
            _ => caption.to_owned(),
        };
        if let Some(artist) = artist {
            start = format!("{start} {artist}");
        }
        let parts = std::iter::once(start)
            .chain(trending)
            .chain(movement)
            .chain(flavors);
        self.cut(&parts.collect::<Vec<_>>().join(COMMA))
    }

    pub fn fast(&mut self, caption: &str, flavors: usize) -> Result<String> {
        let merged = self.merged()?;
        let found = self.rank(&merged, flavors, false);
        let phrases = self.told("merged", found);
        let parts: Vec<String> = std::iter::once(caption.to_owned()).chain(phrases).collect();
        self.cut(&parts.join(COMMA))
    }

    pub fn negative(&mut self) -> Result<String> {
        let flavors = self.table("flavors")?;
        let least = self.rank(&flavors, self.params.intermediate_count, true);
        let mut phrases: Vec<String> = least.into_iter().map(|(phrase, _)| phrase).collect();
        phrases.extend(self.phrases("negative"));
        self.chain(phrases, None, true)
    }

    pub fn best(&mut self, caption: &str) -> Result<String> {
        let merged = self.merged()?;
        let found = self.rank(&merged, self.params.intermediate_count, false);
        let phrases = found.into_iter().map(|(phrase, _)| phrase).collect();
        let chain = self.chain(phrases, Some(caption), false)?;
        let most = self.params.max_flavors();
        let (classic, fast) = (self.classic(caption, most)?, self.fast(caption, most)?);
        let mut candidates = vec![caption.to_owned(), classic, fast, chain];
        let best = self.best_of(&candidates, false)?;
        Ok(candidates.swap_remove(best))
    }

    /// Adds in each step the phrase with which the text comes nearest to the picture, or farthest in reverse; the best text on the way.
    fn chain(&mut self, mut phrases: Vec<String>, prompt: Option<&str>, reverse: bool) -> Result<String> {
        let sign = if reverse { -1.0 } else { 1.0 };
        let mut seen = std::collections::HashSet::new();
        phrases.retain(|phrase| seen.insert(phrase.clone()));
        let (least, most) = (self.params.min_flavors(), self.params.max_flavors());
        let (mut prompt, mut score) = match prompt {
            Some(prompt) => (prompt.to_owned(), sign * self.similarity(prompt)?),
            None => {
                if phrases.is_empty() {
                    return Ok(String::new());
                }
                let first = self.best_of(&phrases, reverse)?;
                let first = phrases.remove(first);
                // clip-interrogator compares this one with others of the opposite sign.
                let sign = if self.params.original { 1.0 } else { sign };
                let score = sign * self.similarity(&first)?;
                (first, score)
            }
        };
        let (mut best, mut best_score) = (prompt.clone(), score);
        for step in 0..most {
            self.watch.tell(InterrogateStage::Chain, step, most)?;
            if phrases.is_empty() {
                break;
            }
            let candidates: Vec<String> = phrases
                .iter()
                .map(|phrase| format!("{prompt}{COMMA}{phrase}"))
                .collect();
            let at = self.best_of(&candidates, reverse)?;
            let longer = candidates[at].clone();
            let new = sign * self.similarity(&longer)?;
            if new > best_score {
                (best, best_score) = (longer.clone(), new);
            }
            if !(new > score || step < least) {
                break;
            }
            (prompt, score) = (longer, new);
            if self.interrogator.eyes()?.is_full(&prompt)? {
                break;
            }
            phrases.remove(at);
        }
        self.watch.tell(InterrogateStage::Chain, most, most)?;
        Ok(best)
    }

    /// The best phrases of each list by `softmax(100 cosine)`.
    pub fn webui(&mut self, caption: &str) -> Result<String> {
        let mut text = caption.to_owned();
        let mut categories = self.interrogator.phrases.categories.clone();
        categories.retain(|category| !self.params.skipped.contains(&category.name));
        categories.sort_by(|a, b| a.name.cmp(&b.name));
        for category in categories {
            let count = category.top(self.params.original);
            let mut phrases = category.phrases;
            if self.params.limit > 0 {
                phrases.truncate(self.params.limit);
            }
            let table = self
                .interrogator
                .table(&format!("webui.{}", category.name), phrases, self.watch)?;
            let cosines = table.vectors.cosines(&self.image);
            let most = cosines.iter().copied().fold(f32::MIN, f32::max);
            let weights: Vec<f64> = cosines
                .iter()
                .map(|cosine| (100.0 * f64::from(cosine - most)).exp())
                .collect();
            let sum: f64 = weights.iter().sum();
            for at in top(&cosines, count) {
                let (phrase, score) = (&table.phrases[at], (weights[at] / sum) as f32);
                text += &match self.params.ranks {
                    true => format!("{COMMA}({phrase}:{score:.3})"),
                    false => format!("{COMMA}{phrase}"),
                };
                self.ranks.push(RankedPhrase {
                    category: category.name.clone(),
                    phrase: phrase.clone(),
                    score,
                });
            }
        }
        Ok(text)
    }
}
