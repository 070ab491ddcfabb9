//! Values of settings of any type, as files, options and other languages give and get them.

use std::fmt;

use sd_core::prompt::{Emphasis, PromptDialect, TimeRule};
use sd_sched::{Sampler, Schedule};

use super::{ClipSkipRule, EmptyNegativeRule, MaskedContent, ResizeMode, Rng, StrengthRule, TiledDiffusion};
use crate::{Error, Result};

/// A setting's value.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SettingValue {
    /// No value: the model or the sampler decides.
    Open,
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Integer(i128),
    /// A number.
    Number(f64),
    /// A text, or the name of a choice.
    Text(String),
}

/// A value as infotexts write it; an open one is empty.
impl fmt::Display for SettingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => Ok(()),
            Self::Flag(true) => f.write_str("True"),
            Self::Flag(false) => f.write_str("False"),
            Self::Integer(n) => n.fmt(f),
            Self::Number(x) => x.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// The kind of a setting's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingKind {
    /// Yes or no.
    Flag,
    /// A whole number from 0 on.
    Count,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// A name from a list.
    Choice,
    /// A text.
    Text,
}

/// A type of settings.
pub(crate) trait Scalar: Sized {
    const KIND: SettingKind;
    /// Whether it may be left open.
    const OPTIONAL: bool = false;

    fn value(&self) -> SettingValue;

    /// The value that is given to the setting of this name.
    fn take(name: &'static str, value: SettingValue) -> Result<Self>;
}

/// Types that a value holds as they are.
macro_rules! held {
    ($($type:ty: $kind:ident, $what:literal;)*) => {$(
        impl Scalar for $type {
            const KIND: SettingKind = SettingKind::$kind;

            fn value(&self) -> SettingValue {
                SettingValue::$kind(self.to_owned())
            }

            fn take(name: &'static str, value: SettingValue) -> Result<Self> {
                match value {
                    SettingValue::$kind(value) => Ok(value),
                    other => Err(Error::parameter(name, format!("must be {}, not {other:?}", $what))),
                }
            }
        }
    )*};
}

held! {
    bool: Flag, "a flag";
    i128: Integer, "a whole number";
    f64: Number, "a number";
    String: Text, "a text";
}

impl<T: Scalar> Scalar for Option<T> {
    const KIND: SettingKind = T::KIND;
    const OPTIONAL: bool = true;

    fn value(&self) -> SettingValue {
        self.as_ref().map_or(SettingValue::Open, T::value)
    }

    fn take(name: &'static str, value: SettingValue) -> Result<Self> {
        match value {
            SettingValue::Open => Ok(None),
            value => T::take(name, value).map(Some),
        }
    }
}

macro_rules! integers {
    ($($type:ty: $kind:ident;)*) => {$(
        impl Scalar for $type {
            const KIND: SettingKind = SettingKind::$kind;

            fn value(&self) -> SettingValue {
                SettingValue::Integer(*self as i128)
            }

            fn take(name: &'static str, value: SettingValue) -> Result<Self> {
                let n = i128::take(name, value)?;
                Self::try_from(n).map_err(|_| {
                    let reason = match n < 0 && Self::MIN == 0 {
                        true => format!("must be 0 or more, not {n}"),
                        false => format!("{n} is out of range"),
                    };
                    Error::parameter(name, reason)
                })
            }
        }
    )*};
}

integers! {
    u32: Count;
    usize: Count;
    i64: Integer;
}

/// Names that sd-sched knows, in the spelling of many programs.
macro_rules! scheduling {
    ($($type:ty),*) => {$(
        impl Scalar for $type {
            const KIND: SettingKind = SettingKind::Choice;

            fn value(&self) -> SettingValue {
                SettingValue::Text(self.to_string())
            }

            fn take(name: &'static str, value: SettingValue) -> Result<Self> {
                Ok(String::take(name, value)?.parse::<Self>()?)
            }
        }
    )*};
}

scheduling!(Sampler, Schedule);

/// Choices with their names. Where there are several names of one, the first is written.
macro_rules! choices {
    ($($type:ident, $what:literal: $($variant:ident $name:literal),*;)*) => {$(
        impl Scalar for $type {
            const KIND: SettingKind = SettingKind::Choice;

            fn value(&self) -> SettingValue {
                let known = [$(($type::$variant, $name)),*];
                let found = known.iter().find(|(value, _)| value == self);
                SettingValue::Text(found.map_or_else(String::new, |(_, name)| (*name).to_owned()))
            }

            fn take(name: &'static str, value: SettingValue) -> Result<Self> {
                named($what, &String::take(name, value)?, &[$(($name, $type::$variant)),*])
            }
        }
    )*};
}

choices! {
    Emphasis, "emphasis mode": Original "original", NoNorm "nonorm", Ignore "ignore", None "none";
    PromptDialect, "prompt dialect": WebUi "webui", Comfy "comfy", Comfy "comfyui";
    TimeRule, "time_rule": Current "current", Before16 "before-1.6";
    ClipSkipRule, "clip_skip_rule": WebUi "webui", Diffusers "diffusers";
    EmptyNegativeRule, "empty_negative_rule": WebUi "webui", Diffusers "diffusers", Comfy "comfy", Comfy "comfyui";
    Rng, "rng": Cpu "cpu", Nv "nv";
    StrengthRule, "strength_rule": WebUi "webui", Exact "exact", Diffusers "diffusers";
    ResizeMode, "resize_mode": Stretch "stretch", Stretch "just resize", Crop "crop", Crop "crop and resize", Fill "fill",
        Fill "resize and fill", Latent "latent", Latent "just resize (latent upscale)";
    TiledDiffusion, "tiled_diffusion": None "none", MultiDiffusion "multidiffusion", MixtureOfDiffusers "mixture of diffusers";
    MaskedContent, "masked_content": Original "original", Fill "fill", LatentNoise "latent noise", LatentNothing "latent nothing";
}

fn named<T: Copy>(what: &str, name: &str, known: &[(&str, T)]) -> Result<T> {
    let bare = |name: &str| name.replace([' ', '-', '_'], "").to_ascii_lowercase();
    let found = known.iter().find(|(known, _)| bare(known) == bare(name));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let name: String = name.chars().take(80).collect();
        Error::UnknownName(format!("unknown {what} '{name}'; known are {}", names.join(", ")))
    })
}

/// An emphasis mode by its name in the WebUI: "Original", "No norm", "Ignore", "None". Case, spaces and hyphens don't matter.
///
/// # Errors
/// [`Error::UnknownName`].
pub fn parse_emphasis(name: &str) -> Result<Emphasis> {
    Emphasis::take("emphasis", SettingValue::Text(name.to_owned()))
}

/// A prompt dialect by its name: "webui", "comfy". Case, spaces and hyphens don't matter.
///
/// # Errors
/// [`Error::UnknownName`].
pub fn parse_prompt_dialect(name: &str) -> Result<PromptDialect> {
    PromptDialect::take("prompt_dialect", SettingValue::Text(name.to_owned()))
}
