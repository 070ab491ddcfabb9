//! NovelAI: the prompt as the picture's description, the rest as JSON in its comment.

use serde_json::{Map, Value};

use super::{Foreign, SAMPLER, float, number, words};

/// What a brace multiplies a weight with.
const STEP: f64 = 1.05;

pub(super) fn translate(
    description: Option<&str>,
    comment: &Map<String, Value>,
    [width, height]: [u32; 2],
) -> Foreign {
    let mut found = Foreign::new("NovelAI");
    let get = |key: &str| comment.get(key);
    let prompt = words(get("prompt")).or_else(|| description.map(str::to_owned));
    found.prompt = weights(&prompt.unwrap_or_default());
    found.negative_prompt = weights(&words(get("uc")).unwrap_or_default());
    found.set("steps", number(get("steps")));
    let schedule = words(get("noise_schedule")).filter(|name| name != "native");
    let sampler = words(get("sampler")).map(|name| match name.as_str() {
        "ddim_v3" => "ddim".into(),
        _ => name,
    });
    found.sampler(SAMPLER, sampler, schedule);
    found.set("cfg_scale", number(get("scale")));
    found.set(
        "guidance_rescale",
        number(get("cfg_rescale")).filter(|value| value != "0"),
    );
    found.set("seed", number(get("seed")));
    found.size(
        number(get("width")).or_else(|| Some(width.to_string())),
        number(get("height")).or_else(|| Some(height.to_string())),
    );
    for (key, harmless) in [
        ("sm", 0.0),
        ("sm_dyn", 0.0),
        ("uncond_scale", 1.0),
        ("dynamic_thresholding", 0.0),
    ] {
        let value = get(key).filter(|value| match value {
            Value::Bool(on) => *on,
            _ => float(Some(value)).is_some_and(|value| value != harmless),
        });
        if let Some(value) = value {
            found.left.push(format!("{key} {value}"));
        }
    }
    for key in [
        "v4_prompt",
        "image",
        "mask",
        "reference_image_multiple",
        "controlnet_condition",
    ] {
        if get(key).is_some_and(|value| !value.is_null()) {
            found.left.push(key.replace('_', " "));
        }
    }
    found
}

/// Braces, which strengthen, and square brackets, which weaken, as the WebUI's weights. Parentheses mean nothing there.
fn weights(prompt: &str) -> String {
    let (mut out, mut depth, mut piece) = (String::new(), 0i32, String::new());
    let mut flush = |piece: &mut String, depth: i32| {
        match depth == 0 || piece.trim().is_empty() {
            true => out.push_str(piece),
            false => out.push_str(&format!("({piece}:{})", rounded(STEP.powi(depth)))),
        }
        piece.clear();
    };
    for c in prompt.chars() {
        let change = match c {
            '{' | ']' => 1,
            '}' | '[' => -1,
            '(' | ')' => {
                piece.push('\\');
                0
            }
            _ => 0,
        };
        match change {
            0 => piece.push(c),
            _ => {
                flush(&mut piece, depth);
                depth += change;
            }
        }
    }
    flush(&mut piece, depth);
    out
}

fn rounded(weight: f64) -> f64 {
    (weight * 1e6).round() / 1e6
}
