//! The conditioning of a sampler: the way from it to the node that has the text.

use super::graph::Graph;

/// Inputs that hold a text; SDXL's node has two.
const TEXTS: [&str; 3] = ["text", "text_g", "text_l"];

/// One side of a sampler's conditioning.
pub(super) struct Conditioning<'a> {
    /// The node that the sampler, or its guider, is given.
    given: Option<&'a str>,
    /// Those before it that hand another one's on.
    passed: Vec<&'a str>,
    /// The node with the text.
    node: Option<&'a str>,
}

impl<'a> Conditioning<'a> {
    /// That of a side, "positive" or "negative".
    pub fn of(graph: &Graph<'a>, sampler: &'a str, side: &str) -> Self {
        let guider = graph.guider(sampler);
        let given = graph.from(guider, side);
        let only = || match side {
            "positive" => graph.from(guider, "conditioning"),
            _ => None,
        };
        let mut passed = Vec::new();
        // ControlNets hand on both sides.
        let onward = [side, "conditioning", "conditioning_1", "conditioning_to"];
        for id in graph.way(given.or_else(only), &onward) {
            if TEXTS.iter().any(|name| graph.input(id, name).is_some()) {
                return Self {
                    given,
                    passed,
                    node: Some(id),
                };
            }
            passed.push(id);
        }
        Self {
            given,
            passed,
            node: None,
        }
    }

    /// The text encoder that reads the text, and the nodes that change it.
    pub fn encoders(&self, graph: &Graph<'a>) -> impl Iterator<Item = &'a str> {
        let first = self.node.and_then(|node| graph.from(node, "clip"));
        graph.way(first, &["clip"])
    }

    /// The text, and a few words for each thing that was passed over.
    pub fn prompt(&self, graph: &Graph, side: &str) -> (String, Vec<String>) {
        let named = |id: &str| format!("{} (node {id})", graph.class(id));
        let Some(node) = self.node else {
            let told = self
                .given
                .map(|id| format!("the {side} conditioning of {}", named(id)));
            return (String::new(), told.into_iter().collect());
        };
        let mut told: Vec<String> = self.passed.iter().map(|id| named(id)).collect();
        let text = match TEXTS.map(|name| graph.words(node, name)) {
            [Some(text), ..] | [None, Some(text), None] | [None, None, Some(text)] => text,
            [None, Some(global), Some(local)] => {
                if global != local {
                    told.push(format!("the other text of {}: {local}", named(node)));
                }
                global
            }
            [None, None, None] => String::new(),
        };
        (text, told)
    }
}
