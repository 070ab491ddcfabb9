//! `_settings.py` is what the library's table of settings says. `cargo xtask settings` writes it.

use std::{fs, path::Path};

use sdrs::{GenerateParams, Setting, SettingKind, SettingValue};

/// Characters of a line.
const WIDTH: usize = 140;

fn python_type(setting: &Setting) -> String {
    let name = match setting.kind {
        SettingKind::Flag => "bool",
        SettingKind::Count | SettingKind::Integer => "int",
        SettingKind::Number => "float",
        _ => "str",
    };
    match setting.optional || setting.recommended {
        true => format!("{name} | None"),
        false => name.to_owned(),
    }
}

fn literal(value: &SettingValue) -> String {
    match value {
        SettingValue::Open => "None".into(),
        SettingValue::Text(text) => format!("{text:?}"),
        SettingValue::Number(x) => format!("{x:?}"),
        other => other.to_string(),
    }
}

/// A paragraph in lines, indented but for the first.
fn wrapped(text: &str) -> String {
    let (mut out, mut column) = (String::new(), 0);
    for word in text.split(' ') {
        if column > 0 && column + 1 + word.chars().count() > WIDTH - 4 {
            out += "\n    ";
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out += word;
        column += word.chars().count();
    }
    out
}

#[test]
fn settings_are_current() {
    let (mut docs, mut fields, mut defaults) = (String::new(), String::new(), String::new());
    let params = GenerateParams::default();
    for setting in sdrs::settings().iter().filter(|setting| setting.name != "prompt") {
        let (name, default) = (setting.name, setting.get(&params));
        let mut doc = format!("`{name}`: {}", setting.doc());
        if setting.recommended {
            let default = literal(&default);
            doc += &format!(" None is what the checkpoint recommends, else {default}.");
        }
        docs += &format!("\n    {}", wrapped(&doc));
        fields += &format!("    {name}: {}\n", python_type(setting));
        let open = if setting.recommended {
            SettingValue::Open
        } else {
            default
        };
        defaults += &format!("    \"{name}\": {},\n", literal(&open));
    }
    let made = format!(
        "\"\"\"The settings of a run. Made from the library's table by `cargo xtask settings`.\"\"\"

from __future__ import annotations

from typing import Any, TypedDict


class Settings(TypedDict, total=False):
    \"\"\"The settings of a picture besides its prompt: keyword arguments of `Pipeline.txt2img` and its like.
{docs}
    \"\"\"

{fields}

DEFAULTS: dict[str, Any] = {{
{defaults}}}
"
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/sdrs/_settings.py");
    if std::env::var_os("SDRS_WRITE_SETTINGS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        made == committed,
        "_settings.py is not what the library says: run `cargo xtask settings`"
    );
}
