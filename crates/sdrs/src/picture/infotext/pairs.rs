//! The lines of an infotext: prompts, and pairs of a key and a value.

/// The fewest pairs that make a last line one of settings.
pub const FEWEST_PAIRS: usize = 3;

/// Settings before the last line, which the WebUI takes for the prompt that they follow.
pub fn misplaced(prompts: &str) -> Option<String> {
    let lines: Vec<&str> = prompts.lines().collect();
    let settings = |line: &&str| {
        let pairs = pairs(line);
        pairs.len() >= FEWEST_PAIRS && pairs.iter().any(|(key, _)| key == "Steps")
    };
    let at = lines.iter().rposition(|line| settings(&line.trim()))?;
    let negative = lines[..=at]
        .iter()
        .any(|line| line.trim().starts_with("Negative prompt:"));
    let side = if negative { "negative prompt" } else { "prompt" };
    let settings: String = lines[at].trim().chars().take(60).collect();
    Some(format!(
        "line {}, '{settings}', looks like settings, but only the last line is read as such, as in the WebUI: it is part of the {side}; \
         delete what follows it",
        at + 1
    ))
}

/// Joins lines, each without white space around it, as long as nothing stood before them.
pub fn both_prompts(text: &str) -> (String, String) {
    let (mut prompts, mut side) = ([String::new(), String::new()], 0);
    for line in text.lines() {
        let mut line = line.trim();
        if let Some(negative) = line.strip_prefix("Negative prompt:") {
            (side, line) = (1, negative.trim());
        }
        let prompt = &mut prompts[side];
        if !prompt.is_empty() {
            prompt.push('\n');
        }
        prompt.push_str(line);
    }
    let [prompt, negative] = prompts;
    (prompt, negative)
}

/// The pairs of a line: a key of word characters, spaces, hyphens and slashes, a colon, and a value up to a comma, or a JSON string, or, as
/// extensions and civitai write it, a JSON object or array.
pub fn pairs(line: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = line.trim_start_matches(|c| !word(c));
    while let Some(end) = rest.find(|c| !(word(c) || matches!(c, ' ' | '-' | '/'))) {
        let (key, after) = rest.split_at(end);
        let Some(after) = after.strip_prefix(':').filter(|_| key.chars().nth(1).is_some()) else {
            rest = after.trim_start_matches(|c| !word(c));
            continue;
        };
        let after = after.trim_start();
        let quoted = quoted(after)
            .or_else(|| json(after))
            .filter(|end| matches!(after.as_bytes().get(*end), None | Some(b',')));
        let end = quoted.unwrap_or_else(|| after.find(',').unwrap_or(after.len()));
        pairs.push((key.trim_end().to_owned(), unquoted(&after[..end])));
        rest = after[end..].trim_start_matches(|c| !word(c));
    }
    pairs
}

fn word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where a JSON string that begins here ends.
fn quoted(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = inner.find(|c| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    })?;
    (end > 0).then_some(end + 2)
}

/// Where a JSON object or array that begins here ends.
fn json(text: &str) -> Option<usize> {
    text.starts_with(['{', '[']).then_some(())?;
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
    values.next()?.ok()?;
    Some(values.byte_offset())
}

fn unquoted(value: &str) -> String {
    let value = value.trim();
    match serde_json::from_str(value) {
        Ok(text) if value.starts_with('"') => text,
        _ => value.to_owned(),
    }
}
