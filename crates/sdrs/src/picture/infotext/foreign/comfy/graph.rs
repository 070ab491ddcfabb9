//! The graph, and the ways through it: each goes backwards from a node, a bounded number of steps.

use std::iter::successors;

use serde_json::{Map, Value};

use super::super::{number, words};

/// Steps on one way: graphs of people have some dozens.
const FAR: usize = 200;

/// Inputs that a picture or latents come through.
const PICTURES: [&str; 5] = ["images", "image", "samples", "pixels", "latent"];

pub(super) struct Graph<'a>(pub &'a Map<String, Value>);

impl<'a> Graph<'a> {
    pub fn class(&self, id: &str) -> &'a str {
        let node = self.0.get(id).and_then(|node| node.get("class_type"));
        node.and_then(Value::as_str).unwrap_or_default()
    }

    /// An input's value, which may be a link.
    pub fn input(&self, id: &str, name: &str) -> Option<&'a Value> {
        self.0.get(id)?.get("inputs")?.get(name)
    }

    /// The node that an input comes from.
    pub fn from(&self, id: &str, name: &str) -> Option<&'a str> {
        link(self.input(id, name)?)
    }

    /// A value that stands in a node, or in nodes that only hand a value on.
    pub fn value(&self, id: &str, name: &str) -> Option<&'a Value> {
        let mut value = self.input(id, name)?;
        for _ in 0..FAR {
            let Some(source) = link(value) else {
                return Some(value);
            };
            let held = [
                "value",
                "text",
                "string",
                "int",
                "float",
                "seed",
                "number",
                "ckpt_name",
                name,
            ];
            value = held.iter().find_map(|held| self.input(source, held))?;
        }
        None
    }

    pub fn number(&self, id: &str, name: &str) -> Option<String> {
        number(self.value(id, name))
    }

    pub fn words(&self, id: &str, name: &str) -> Option<String> {
        words(self.value(id, name))
    }

    /// A node and those before it, on the way through inputs of these names: of each node's the first that is a link.
    pub fn way(&self, from: Option<&'a str>, names: &[&str]) -> impl Iterator<Item = &'a str> {
        let before = |id: &&'a str| names.iter().find_map(|name| self.from(id, name));
        successors(from, before).take(FAR)
    }

    /// Whether a node samples, whichever class it is of.
    pub fn is_sampler(&self, id: &str) -> bool {
        let has = |name| self.input(id, name).is_some();
        has("latent_image") && (has("sampler_name") || has("sampler") || has("positive"))
    }

    /// A node and those before it, on the way that a picture or latents come.
    pub fn pictures(&self, from: Option<&'a str>) -> impl Iterator<Item = &'a str> {
        self.way(from, &PICTURES)
    }

    /// The nearest sampler on the way that a picture or latents come; what stands before it is passed over.
    pub fn sampler(&self, from: Option<&'a str>, passed: &mut Vec<&'a str>) -> Option<&'a str> {
        for id in self.pictures(from) {
            if self.is_sampler(id) {
                return Some(id);
            }
            passed.push(id);
        }
        None
    }

    /// The node before this one on the way that a picture or latents come.
    pub fn picture(&self, id: &str) -> Option<&'a str> {
        PICTURES.iter().find_map(|name| self.from(id, name))
    }

    /// The node of the latents that a sampler begins at.
    pub fn latents(&self, sampler: &str) -> Option<&'a str> {
        self.from(sampler, "latent_image")
    }

    /// A sampler's model, with all that changes it on the way from its loader: it is given to the guider, if there is one.
    pub fn models(&self, sampler: &'a str) -> impl Iterator<Item = &'a str> {
        let of_guider = self.from(self.guider(sampler), "model");
        self.way(of_guider.or_else(|| self.from(sampler, "model")), &["model"])
    }

    /// The checkpoint that a sampler's model comes from.
    pub fn checkpoint(&self, sampler: &'a str) -> Option<String> {
        const HELD: [&str; 3] = ["ckpt_name", "unet_name", "model_name"];
        self.models(sampler)
            .find_map(|id| HELD.iter().find_map(|name| self.words(id, name)))
    }

    /// The guider of a sampler whose parts are nodes, or the sampler itself.
    pub fn guider(&self, sampler: &'a str) -> &'a str {
        self.from(sampler, "guider").unwrap_or(sampler)
    }
}

/// The node that a value names, if it is a link.
fn link(value: &Value) -> Option<&str> {
    match value.as_array()?.as_slice() {
        [Value::String(id), Value::Number(_)] => Some(id),
        _ => None,
    }
}
