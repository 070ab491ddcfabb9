//! Captions token by token, as transformers 5 generates them: always the likeliest token, or the best of several beams.

use super::{
    EncodedImage,
    decoder::{Cache, TextDecoder},
};
use crate::{Error, Result};

/// Added to the score of a text that is not to be chosen.
const NEVER: f32 = -1.0e9;

/// How a caption is made. The defaults are those of transformers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CaptionOptions {
    /// The caption doesn't end with fewer tokens than that, those of the prompt and the first one included.
    pub min_length: usize,
    /// It ends with so many at the latest, counted alike.
    pub max_length: usize,
    /// Texts that are followed at a time; 1 takes the likeliest token in each step.
    pub beams: usize,
    /// The exponent of a text's length, by which its score is divided: over 0 for longer captions, below for shorter ones.
    pub length_penalty: f64,
    /// When beams end.
    pub early_stopping: EarlyStopping,
    /// Divides the scores of tokens that are there already (Keskar et al. 2019, arXiv:1909.05858); 1 changes nothing.
    pub repetition_penalty: f64,
}

/// When a search with beams ends before its longest text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EarlyStopping {
    /// When a better text is unlikely, judged at the present length.
    #[default]
    Likely,
    /// As soon as there is a whole text for each beam.
    Full,
    /// When no better text is possible.
    Never,
}

impl Default for CaptionOptions {
    fn default() -> Self {
        Self {
            min_length: 0,
            max_length: 20,
            beams: 1,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::Likely,
            repetition_penalty: 1.0,
        }
    }
}

/// A text and the sum of its tokens' logarithmic probabilities.
#[derive(Clone)]
struct Text {
    tokens: Vec<u32>,
    score: f32,
    whole: bool,
}

/// A caption that is being made.
pub struct Captioning<'a> {
    decoder: &'a TextDecoder,
    image: EncodedImage,
    options: CaptionOptions,
    prompt: usize,
    cache: Cache,
    running: Vec<Text>,
    finished: Vec<Text>,
    /// Whether a better text than those that are finished is thought possible.
    improvable: bool,
    done: bool,
}

/// More beams are of no use.
const MOST_BEAMS: usize = 64;

impl<'a> Captioning<'a> {
    pub(super) fn new(
        decoder: &'a TextDecoder,
        image: &EncodedImage,
        prompt: &[u32],
        options: CaptionOptions,
    ) -> Result<Self> {
        let mut tokens = prompt.to_vec();
        match tokens.first_mut() {
            Some(first) => *first = decoder.first,
            None => tokens.push(decoder.first),
        }
        decoder.check(&tokens, options.max_length.max(tokens.len()))?;
        if !(1..=MOST_BEAMS).contains(&options.beams) {
            return Err(Error::Shape {
                name: "beams",
                expected: format!("1 to {MOST_BEAMS}"),
                got: vec![options.beams],
            });
        }
        let prompt = tokens.len();
        let text = |score| Text {
            tokens: tokens.clone(),
            score,
            whole: false,
        };
        // The first step goes on from one text alone: the others are the same.
        let running = (0..options.beams).map(|beam| text(if beam == 0 { 0.0 } else { NEVER }));
        Ok(Self {
            decoder,
            image: image.clone(),
            options,
            prompt,
            cache: Cache::default(),
            running: running.collect(),
            finished: vec![text(NEVER); options.beams],
            improvable: true,
            done: prompt >= options.max_length,
        })
    }

    /// Whether the caption is whole.
    pub fn done(&self) -> bool {
        self.done
    }

    /// Tokens that were made so far.
    pub fn made(&self) -> usize {
        self.running[0].tokens.len() - self.prompt
    }

    /// The best text so far, behind the prompt; the token that closes texts may be its last.
    pub fn tokens(&self) -> &[u32] {
        let texts = if self.options.beams == 1 {
            &self.running
        } else {
            &self.finished
        };
        &texts[0].tokens[self.prompt..]
    }

    /// Makes one more token.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    pub fn step(&mut self) -> Result<()> {
        if self.done {
            return Ok(());
        }
        let scores = self.scores()?;
        match self.options.beams {
            1 => self.step_alone(&scores[0]),
            _ => self.step_beams(scores),
        }
        Ok(())
    }

    /// The scores of the next token, for each text or for the one that all are.
    fn scores(&mut self) -> Result<Vec<Vec<f32>>> {
        let rows: Vec<Vec<u32>> = match self.made() {
            0 => vec![self.running[0].tokens.clone()],
            _ => {
                let last = |text: &Text| text.tokens.last().copied().into_iter().collect();
                self.running.iter().map(last).collect()
            }
        };
        self.decoder.next(&self.image, &rows, &mut self.cache)
    }

    /// Changes the scores of tokens that were said, and of the end while it may not come.
    fn processed(&self, mut scores: Vec<f32>, tokens: &[u32]) -> Vec<f32> {
        let CaptionOptions {
            repetition_penalty,
            min_length,
            ..
        } = self.options;
        if repetition_penalty != 1.0 {
            let penalty = repetition_penalty as f32;
            let mut said = tokens.to_vec();
            said.sort_unstable();
            said.dedup();
            for id in said {
                let score = &mut scores[id as usize];
                *score = if *score < 0.0 {
                    *score * penalty
                } else {
                    *score / penalty
                };
            }
        }
        if tokens.len() < min_length {
            scores[self.decoder.end as usize] = f32::NEG_INFINITY;
        }
        scores
    }

    fn step_alone(&mut self, scores: &[f32]) {
        let scores = self.processed(scores.to_vec(), &self.running[0].tokens);
        let best = best(&scores, 1)[0] as u32;
        let tokens = &mut self.running[0].tokens;
        tokens.push(best);
        self.done = best == self.decoder.end || tokens.len() >= self.options.max_length;
    }

    fn step_beams(&mut self, scores: Vec<Vec<f32>>) {
        let CaptionOptions {
            beams,
            max_length,
            length_penalty,
            early_stopping,
            ..
        } = self.options;
        let length = self.running[0].tokens.len();
        let vocabulary = scores[0].len();
        let mut all = Vec::with_capacity(beams * vocabulary);
        for (beam, text) in self.running.iter().enumerate() {
            // In the first step there is one row for all.
            let row = log_softmax(&scores[beam.min(scores.len() - 1)]);
            let row = self.processed(row, &text.tokens);
            all.extend(row.iter().map(|score| score + text.score));
        }
        let candidates: Vec<(Text, usize)> = best(&all, 2 * beams)
            .into_iter()
            .map(|at| {
                let (beam, id) = (at / vocabulary, (at % vocabulary) as u32);
                let mut tokens = self.running[beam].tokens.clone();
                tokens.push(id);
                let text = Text {
                    whole: id == self.decoder.end || tokens.len() >= max_length,
                    tokens,
                    score: all[at],
                };
                (text, beam)
            })
            .collect();
        self.finish(&candidates, length);
        let going: Vec<f32> = candidates
            .iter()
            .map(|(text, _)| text.score + if text.whole { NEVER } else { 0.0 })
            .collect();
        let next = best(&going, beams);
        let parents: Vec<usize> = next.iter().map(|&at| candidates[at].1).collect();
        match scores.len() {
            1 => self.cache.select(&vec![0; beams]),
            _ => self.cache.select(&parents),
        }
        self.running = next
            .iter()
            .map(|&at| Text {
                score: going[at],
                whole: false,
                tokens: candidates[at].0.tokens.clone(),
            })
            .collect();
        let hypothetical = match early_stopping {
            EarlyStopping::Never if length_penalty > 0.0 => max_length - self.prompt,
            _ => length + 1 - self.prompt,
        };
        let possible = self.running[0].score / power(hypothetical, length_penalty);
        let least = self
            .finished
            .iter()
            .map(|text| text.score)
            .fold(f32::MAX, f32::min);
        let mut bounds = self
            .finished
            .iter()
            .map(|text| if text.whole { least } else { NEVER });
        self.improvable &= bounds.any(|bound| possible > bound);
        let full = self.finished.iter().all(|text| text.whole) && early_stopping == EarlyStopping::Full;
        let ended = candidates.iter().all(|(text, _)| text.whole);
        self.done = !self.improvable || full || ended;
    }

    /// Takes up those of the best candidates that are whole.
    fn finish(&mut self, candidates: &[(Text, usize)], length: usize) {
        let CaptionOptions {
            beams,
            length_penalty,
            early_stopping,
            ..
        } = self.options;
        let full = self.finished.iter().all(|text| text.whole) && early_stopping == EarlyStopping::Full;
        let divisor = power(length + 1 - self.prompt, length_penalty);
        let mut all = self.finished.clone();
        for (i, (text, _)) in candidates.iter().enumerate() {
            let whole = text.whole && i < beams;
            let mut score = text.score / divisor;
            for never in [full, !self.improvable, !whole] {
                score += if never { NEVER } else { 0.0 };
            }
            all.push(Text {
                tokens: text.tokens.clone(),
                score,
                whole,
            });
        }
        let scores: Vec<f32> = all.iter().map(|text| text.score).collect();
        self.finished = best(&scores, beams)
            .into_iter()
            .map(|at| all[at].clone())
            .collect();
    }
}

fn power(length: usize, exponent: f64) -> f32 {
    (length as f64).powf(exponent) as f32
}

/// The places of the greatest values, the greatest first, of equal ones the first.
fn best(values: &[f32], count: usize) -> Vec<usize> {
    let before = |a: &usize, b: &usize| values[*b].total_cmp(&values[*a]).then(a.cmp(b));
    let mut places: Vec<usize> = (0..values.len()).collect();
    let count = count.min(places.len());
    if count < places.len() && count > 0 {
        places.select_nth_unstable_by(count - 1, before);
        places.truncate(count);
    }
    places.sort_unstable_by(before);
    places
}

fn log_softmax(scores: &[f32]) -> Vec<f32> {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = scores.iter().map(|score| f64::from((score - most).exp())).sum();
    let log = sum.ln() as f32;
    scores.iter().map(|score| score - most - log).collect()
}
