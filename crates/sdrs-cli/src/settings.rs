//! Options of settings, made from the library's table.

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use sdrs::{GenerateParams, Given, Setting, SettingKind, SettingValue};

use crate::Failure;

/// Settings that options give, each with its value. `ALL` says whether there are options for all of them, or for those alone that prompts
/// are read by.
pub struct Settings<const ALL: bool>(Vec<(&'static Setting, SettingValue)>);

/// Choices of two that are flags: setting, option, its value, help.
const FLAGS: [(&str, &str, &str, &str); 2] = [
    (
        "clip_skip_rule",
        "diffusers-clip-skip",
        "diffusers",
        "Count --clip-skip as diffusers does: 0 is the last layer",
    ),
    (
        "time_rule",
        "old-prompt-times",
        "before-1.6",
        "Read the numbers of prompt edits as before version 1.6 of the WebUI",
    ),
];

/// The settings that have options. The prompt is no option.
fn optional<const ALL: bool>() -> impl Iterator<Item = &'static Setting> {
    let reads = |setting: &Setting| setting.group == "text" || ["steps", "sampler"].contains(&setting.name);
    sdrs::settings()
        .iter()
        .filter(move |setting| setting.name != "prompt" && (ALL || reads(setting)))
}

fn argument(setting: &'static Setting) -> Arg {
    let argument = Arg::new(setting.name).help_heading(heading(setting.group));
    if let Some((_, option, _, help)) = FLAGS.iter().find(|(name, ..)| *name == setting.name) {
        let argument = argument.long(*option).action(ArgAction::SetTrue).help(*help);
        return match setting.name {
            "clip_skip_rule" => argument.requires("clip_skip"),
            _ => argument,
        };
    }
    let argument = argument.long(setting.name.replace('_', "-")).help(help(setting));
    match setting.kind {
        SettingKind::Flag => argument.action(ArgAction::SetTrue),
        kind => argument
            .value_name(setting.placeholder())
            .value_parser(move |text: &str| parse(kind, text)),
    }
}

fn parse(kind: SettingKind, text: &str) -> Result<SettingValue, String> {
    match kind {
        SettingKind::Count | SettingKind::Integer => {
            text.parse().map(SettingValue::Integer).map_err(|e| e.to_string())
        }
        SettingKind::Number => text.parse().map(SettingValue::Number).map_err(|e| e.to_string()),
        _ => Ok(SettingValue::Text(text.into())),
    }
}

/// A group's name as a heading.
fn heading(group: &str) -> String {
    if group == "speed" {
        return "Speed, for another picture".into();
    }
    let (first, rest) = group.split_at(1);
    first.to_uppercase() + rest
}

/// The first sentence of a setting's doc comment, and its default.
fn help(setting: &Setting) -> String {
    let doc = setting.doc();
    let mut ends = doc.match_indices(". ").map(|(at, _)| at);
    let end = ends.find(|at| doc[at + 2..].starts_with(char::is_uppercase));
    let mut help = doc[..end.unwrap_or(doc.len())].trim_end_matches('.').to_owned();
    for other in sdrs::settings() {
        let option = format!("--{}", other.name.replace('_', "-"));
        help = help.replace(&format!("`{}`", other.name), &option);
    }
    let default = match setting.get(&GenerateParams::default()) {
        SettingValue::Open | SettingValue::Flag(_) => return help,
        SettingValue::Text(text) if text.is_empty() => return help,
        default => default,
    };
    match setting.recommended {
        true => format!("{help} [default: what the model recommends, else {default}]"),
        false => format!("{help} [default: {default}]"),
    }
}

impl<const ALL: bool> clap::Args for Settings<ALL> {
    fn augment_args(command: Command) -> Command {
        command.args(optional::<ALL>().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const ALL: bool> FromArgMatches for Settings<ALL> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let value = |setting: &'static Setting| {
            let flag = FLAGS.iter().find(|(name, ..)| *name == setting.name);
            let value = match (flag, setting.kind) {
                (Some((_, _, value, _)), _) => matches
                    .get_flag(setting.name)
                    .then(|| SettingValue::Text((*value).into())),
                (None, SettingKind::Flag) => {
                    matches.get_flag(setting.name).then_some(SettingValue::Flag(true))
                }
                (None, _) => matches.get_one(setting.name).cloned(),
            };
            Some((setting, value?))
        };
        Ok(Self(optional::<ALL>().filter_map(value).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<const ALL: bool> Settings<ALL> {
    /// Writes the options' values to the parameters.
    pub fn apply(&self, params: &mut GenerateParams, given: &mut Given) -> Result<(), Failure> {
        for (setting, value) in &self.0 {
            let usage = |e: sdrs::Error| Failure::Usage(e.to_string());
            setting.set(params, value.clone()).map_err(usage)?;
            given.insert(setting.name);
        }
        Ok(())
    }
}
