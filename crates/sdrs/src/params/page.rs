//! docs/settings.md: the table of settings as a page of the book. `cargo xtask settings` writes it.

use std::{fs, path::Path};

use super::{
    GenerateParams, MAX_SIDE, Setting, SettingKind, SettingValue,
    setting::{Pair, Range},
    settings,
};

const HEAD: &str = "\
# Settings

Every setting of a picture, with its type, its range and its default. The page is made from the library's table by
`cargo xtask settings`.

- The name is the same in Rust, C and Python. An option of the command has hyphens: `cfg_scale` is `--cfg-scale`.
- *Key* is the name in infotexts. Where the WebUI knows the setting, it is the WebUI's name.
- A default with a star is the WebUI's. A checkpoint may [recommend](files.md#recommended-settings) another one.
- *Open* means that the setting has no value unless one is given; the text says what holds then.
";

/// A group's heading.
fn heading(group: &str) -> String {
    let title = match group {
        "text" => "Prompts",
        "size" => "Size",
        "noise" => "Noise",
        "sampling" => "Sampling",
        "guidance" => "Guidance",
        "network" => "Changes to the networks",
        "tiles" => "Tiles",
        "image" => "Pictures to begin at",
        "hires" => "Second pass",
        "conditioning" => "Conditions of SDXL",
        "speed" => "Shortcuts",
        other => other,
    };
    format!("\n## {title}\n\n| setting | values | default | key | meaning |\n|---|---|---|---|---|\n")
}

/// A number with its thousands apart, as in 10,000.
fn grouped(n: impl ToString) -> String {
    let digits = n.to_string();
    let (first, rest) = digits.split_at((digits.len() - 1) % 3 + 1);
    let rest = rest.as_bytes().chunks(3);
    rest.fold(first.to_owned(), |text, three| {
        text + "," + &String::from_utf8_lossy(three)
    })
}

fn values(setting: &Setting) -> String {
    match (setting.range, setting.kind) {
        (Range::Whole(min, max), _) => format!("whole number, {} to {}", grouped(min), grouped(max)),
        (Range::Within(min, max), _) => format!("number, {min} to {max}"),
        (Range::Share, _) => "number, 0 to 1".into(),
        (Range::Level, _) => "number, 0 or more".into(),
        (Range::Seed, _) => "whole number, -1 to 2^64-1".into(),
        (Range::Side, _) => format!("whole number, a multiple of 8 up to {}", grouped(MAX_SIDE)),
        (Range::Layer, _) => "whole number, 1 to the number of layers".into(),
        (Range::Branch, _) => "whole number, 0 to the number of branches less 1".into(),
        (Range::Any, SettingKind::Flag) => "yes or no".into(),
        (Range::Any, SettingKind::Count | SettingKind::Integer) => "whole number".into(),
        (Range::Any, SettingKind::Number) => "number".into(),
        (Range::Any, SettingKind::Choice) => names(setting),
        (Range::Any, SettingKind::Text) => "text".into(),
    }
}

/// The names of a choice, as the message about a wrong one lists them.
fn names(setting: &Setting) -> String {
    if setting.name.ends_with("sampler") {
        return "a [sampler](command.md#samplers)".into();
    }
    if setting.name.ends_with("schedule") {
        return "a [schedule](command.md#schedules)".into();
    }
    let wrong = setting.set(&mut GenerateParams::default(), SettingValue::Text("?".into()));
    let message = wrong.unwrap_err().to_string();
    let (_, known) = message.split_once("known are ").unwrap();
    known
        .split(", ")
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn default(setting: &Setting) -> String {
    match setting.get(&GenerateParams::default()) {
        SettingValue::Open => "open".into(),
        SettingValue::Flag(true) => "yes".into(),
        SettingValue::Flag(false) => "no".into(),
        SettingValue::Text(text) if text.is_empty() => "empty".into(),
        value if setting.recommended => format!("{value}\\*"),
        value => value.to_string(),
    }
}

fn key(setting: &Setting) -> String {
    match setting.pair {
        // These stand in infotexts in another way than one pair each.
        Pair::Unwritten => match setting.name {
            "width" | "height" => "Size".into(),
            "hires_width" | "hires_height" => "Hires resize".into(),
            "seed_resize_width" | "seed_resize_height" => "Seed resize from".into(),
            "negative_prompt" => "Negative prompt".into(),
            name if name.starts_with("tile") => "Tiled Diffusion".into(),
            _ => String::new(),
        },
        Pair::Always(key) | Pair::Changed(key) | Pair::ChangedIf(key, _) | Pair::Refined(key) => key.into(),
    }
}

#[test]
fn the_page_of_settings_is_current() {
    let (mut made, mut group) = (HEAD.to_owned(), "");
    for setting in settings() {
        if setting.group != group {
            group = setting.group;
            made += &heading(group);
        }
        let columns = [
            format!("`{}`", setting.name),
            values(setting),
            default(setting),
            key(setting),
            setting.doc().to_owned(),
        ];
        made += &format!(
            "| {} |\n",
            columns.map(|text| text.replace('|', "\\|")).join(" | ")
        );
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
    if std::env::var_os("SDRS_WRITE_SETTINGS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        made == committed,
        "docs/settings.md is not what the table says: run `cargo xtask settings`"
    );
}
