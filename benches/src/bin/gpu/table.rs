//! The figures as tables of Markdown.

use serde_json::Value;

/// Programs in the order of their columns: their names in lines, and in the head.
const PROGRAMS: [(&str, &str); 3] = [
    ("sdrs", "sdrs"),
    ("eager", "PyTorch, eager"),
    ("compile", "PyTorch, torch.compile"),
];

/// A table for each model: a row for each type and thing measured, a column for each program.
pub fn table(lines: &[Value]) -> String {
    let mut text = String::new();
    for model in distinct(lines, "model") {
        let of_model: Vec<&Value> = lines.iter().filter(|line| line["model"] == model).collect();
        let side = of_model
            .iter()
            .find_map(|line| line["side"].as_u64())
            .unwrap_or(0);
        let there: Vec<(&str, &str)> = PROGRAMS
            .into_iter()
            .filter(|(name, _)| of_model.iter().any(|line| line["program"] == *name))
            .collect();
        text += &match there.is_empty() {
            true => format!("\n{}\n", text_of(&model)),
            false => format!("\n{}, {side}x{side}\n\n|", text_of(&model)),
        };
        for (_, head) in &there {
            text += &format!(" | {head}");
        }
        if !there.is_empty() {
            text += &format!(" |\n|{}\n", "---|".repeat(1 + there.len()));
        }
        let measured: Vec<&Value> = of_model
            .iter()
            .copied()
            .filter(|it| !it["dtype"].is_null())
            .collect();
        let mut rows: Vec<[&Value; 2]> = Vec::new();
        for line in &measured {
            let row = [&line["dtype"], &line["what"]];
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        for [dtype, what] in rows {
            text += &format!("| {}, {}", text_of(what), text_of(dtype));
            for (name, _) in &there {
                let found = measured.iter().find(|line| {
                    line["program"] == *name && line["dtype"] == *dtype && line["what"] == *what
                });
                text += &format!(" | {}", found.map_or_else(String::new, |line| cell(line)));
            }
            text += " |\n";
        }
        for line in of_model.iter().filter(|line| !line["failed"].is_null()) {
            text += &format!("\n{}: {}\n", text_of(&line["what"]), text_of(&line["failed"]));
        }
    }
    text
}

/// A measurement's figures.
fn cell(line: &Value) -> String {
    let mut words = Vec::new();
    if let Some(ms) = line["median_ms"].as_f64() {
        words.push(format!("{ms:.2} ms"));
    }
    if let Some(rate) = line["pictures_per_s"].as_f64() {
        words.push(format!("{rate:.3}/s"));
    }
    if let Some(seconds) = line["first_s"].as_f64() {
        words.push(format!("first {seconds:.1} s"));
    }
    if let Some(error) = line["error"].as_f64() {
        words.push(format!("error {error:.1e}"));
    }
    if let Some(memory) = line["memory_gb"].as_f64() {
        words.push(format!("{memory:.2} GB"));
    }
    words.join(", ")
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The values that lines have under a key, each once, in their order.
fn distinct(lines: &[Value], key: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for line in lines {
        if !line[key].is_null() && !found.contains(&line[key]) {
            found.push(line[key].clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_has_what_each_program_measured() {
        let lines = [
            json!({"model": "sd15", "program": "sdrs", "dtype": "f16", "side": 512, "what": "unet", "median_ms": 8.25, "first_s": 3.0, "error": 1.7e-3}),
            json!({"model": "sd15", "program": "eager", "dtype": "f16", "side": 512, "what": "unet", "median_ms": 31.0, "memory_gb": 2.5}),
            json!({"model": "sd15", "what": "PyTorch compile sd15 f16", "failed": "ended with an error"}),
        ];
        let text = table(&lines);
        assert_eq!(
            text,
            "\nsd15, 512x512\n\n| | sdrs | PyTorch, eager |\n|---|---|---|\n\
             | unet, f16 | 8.25 ms, first 3.0 s, error 1.7e-3 | 31.00 ms, 2.50 GB |\n\
             \nPyTorch compile sd15 f16: ended with an error\n"
        );
    }
}
