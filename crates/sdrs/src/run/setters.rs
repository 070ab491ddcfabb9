//! A setter of [`Request`] for each setting of the table.

use sd_core::prompt::{Emphasis, PromptDialect, TimeRule};
use sd_sched::{Sampler, Schedule};

use super::Request;
use crate::{
    ClipSkipRule, EmptyNegativeRule, MaskedContent, ResizeMode, Rng, StrengthRule, TiledDiffusion,
    params::table,
};

macro_rules! setter {
    ([$($doc:literal)*] $group:ident $name:ident $type:ty => $value:expr) => {
        $(#[doc = $doc])*
        pub fn $name(mut self, $name: $type) -> Self {
            self.params.$group.$name = $value;
            self.given.insert(stringify!($name));
            self
        }
    };
    ($docs:tt $group:ident $name:ident String) => {
        setter! { $docs $group $name impl Into<String> => $name.into() }
    };
    ($docs:tt $group:ident $name:ident i128) => {
        setter! { $docs $group $name impl Into<i128> => $name.into() }
    };
    ($docs:tt $group:ident $name:ident Option $inner:ident) => {
        setter! { $docs $group $name $inner => Some($name) }
    };
    ($docs:tt $group:ident $name:ident $type:ident) => {
        setter! { $docs $group $name $type => $name }
    };
}

macro_rules! setters {
    ($($(#[$about:meta])* $group:ident: $Group:ident {$(
        $(#[doc = $doc:literal])*
        $name:ident: $type:ident $(<$inner:ident>)? = $default:expr, $range:expr, $pair:expr $(, $recommended:ident)?;
    )*})*) => {
        impl Request<'_> {
            $($(setter! { [$($doc)*] $group $name $type $($inner)? })*)*
        }
    };
}
table!(setters);
