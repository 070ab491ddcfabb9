//! `a AND b :0.5`: several prompts whose guidance is added up (composable diffusion, Liu et al. 2022, arXiv:2206.01714).

use super::{
    Excerpt,
    chars::{decimal, digit, is_space, words},
};

/// The prompts that AND joins, each with its weight. A weight at the end counts without an AND as well, and white space there is
/// dropped.
pub(super) fn split(prompt: &Excerpt) -> Vec<(Excerpt, f64)> {
    let text = prompt.as_str();
    let mut parts = Vec::new();
    let mut begin = 0;
    for word in words(text, "AND") {
        parts.push(weighted(prompt.slice(begin..word.start)));
        begin = word.end;
    }
    parts.push(weighted(prompt.slice(begin..text.len())));
    parts
}

fn weighted(part: Excerpt) -> (Excerpt, f64) {
    let text = part.as_str().trim_end_matches(is_space);
    let found = text.rfind(':').and_then(|colon| {
        let weight = text[colon + 1..].trim_start_matches(is_space);
        let digits = weight.strip_prefix(['+', '-']).unwrap_or(weight);
        let fits = !digits.is_empty() && digits.chars().all(|c| c == '.' || digit(c).is_some());
        let end = text[..colon].trim_end_matches(is_space).len();
        decimal(weight).filter(|_| fits).map(|weight| (end, weight))
    });
    let (end, weight) = found.unwrap_or((text.len(), 1.0));
    (part.slice(0..end), weight)
}
