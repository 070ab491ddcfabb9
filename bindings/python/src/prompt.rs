//! The passes of prompt reading, one by one, on plain texts.

use pyo3::prelude::*;
use sdrs::prompt::{Excerpt, Fragment, Part, Prompt, PromptOptions, Side, Steps, TimeRule, Tree, attention};

use crate::error::{argument, parameter};

/// Text and weight of each fragment.
#[pyfunction]
pub(crate) fn parse_attention(py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<Vec<(String, f64)>> {
    let text: String = argument("text", text)?;
    Ok(py.detach(|| {
        let fragments = attention(&Excerpt::new(text));
        let pair = |f: Fragment| (f.text.as_str().to_owned(), f.weight);
        fragments.into_iter().map(pair).collect()
    }))
}

/// The last step and the text of each variant.
#[pyfunction]
pub(crate) fn schedule(
    py: Python<'_>,
    text: &Bound<'_, PyAny>,
    steps: &Bound<'_, PyAny>,
    hires_steps: &Bound<'_, PyAny>,
    before_16: bool,
) -> PyResult<Vec<(usize, String)>> {
    let text: String = argument("text", text)?;
    let base: usize = argument("steps", steps)?;
    let hires: Option<usize> = argument("hires_steps", hires_steps)?;
    for (name, n) in [("steps", Some(base)), ("hires_steps", hires)] {
        if n.is_some_and(|n| !(1..=sd_sched::MAX_STEPS).contains(&n)) {
            return Err(parameter(name, format!("must be 1 to {}", sd_sched::MAX_STEPS)));
        }
    }
    let rule = if before_16 {
        TimeRule::Before16
    } else {
        TimeRule::Current
    };
    Ok(py.detach(|| {
        let tree = Tree::parse(Excerpt::new(text));
        let variants = tree.variants(&Steps { base, hires, rule });
        variants.map(|v| (v.end, v.text.as_str().to_owned())).collect()
    }))
}

/// Text and weight of each part that AND joins; tags are cut out.
#[pyfunction]
pub(crate) fn subprompts(py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<Vec<(String, f64)>> {
    let text: String = argument("text", text)?;
    Ok(py.detach(|| {
        let prompt = Prompt::parse(&text, Side::Positive, &PromptOptions::default());
        let pair = |part: &Part| (part.tree.text().as_str().to_owned(), part.weight);
        prompt.parts.iter().map(pair).collect()
    }))
}
