//! What a Markdown file holds: headings, links, code.

use std::collections::BTreeSet;

use markdown::{ParseOptions, mdast::Node, to_mdast};

/// A block of code.
#[derive(Debug, Clone)]
pub struct Block {
    /// The line of its first line of code, from 1.
    pub line: usize,
    /// The words behind the fence; none for an indented block.
    pub info: String,
    /// Whether it stands within something else, such as a list.
    pub is_nested: bool,
    /// The code.
    pub code: String,
}

impl Block {
    /// Its language: the first word behind the fence.
    pub fn language(&self) -> &str {
        self.info.split([' ', ',']).next().unwrap_or_default()
    }
}

/// A Markdown file.
#[derive(Debug, Default)]
pub struct Page {
    /// Names that links may end in.
    pub anchors: BTreeSet<String>,
    /// Targets of links and pictures with their lines.
    pub links: Vec<(usize, String)>,
    /// Blocks of code, in order.
    pub blocks: Vec<Block>,
}

impl Page {
    /// Reads a file, with tables as GitHub and mdBook have them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let root = to_mdast(text, &ParseOptions::gfm()).map_err(|e| e.to_string())?;
        let mut page = Self::default();
        page.add(&root);
        Ok(page)
    }

    fn add(&mut self, node: &Node) {
        let start = node.position().map(|position| &position.start);
        let (line, column) = start.map_or((0, 1), |start| (start.line, start.column));
        match node {
            Node::Heading(_) => self.add_anchor(&node.to_string()),
            Node::Link(link) => self.links.push((line, link.url.clone())),
            Node::Image(image) => self.links.push((line, image.url.clone())),
            Node::Definition(link) => self.links.push((line, link.url.clone())),
            Node::Html(html) => self.add_html(line, &html.value),
            Node::Code(code) => {
                let words = [&code.lang, &code.meta];
                let words: Vec<&str> = words.iter().filter_map(|word| word.as_deref()).collect();
                self.blocks.push(Block {
                    line: line + usize::from(code.lang.is_some()),
                    info: words.join(" "),
                    is_nested: column > 1,
                    code: format!("{}\n", code.value),
                });
            }
            _ => {}
        }
        for child in node.children().into_iter().flatten() {
            self.add(child);
        }
    }

    /// A heading's name, as mdBook and GitHub make it; the second of a name gets a number.
    fn add_anchor(&mut self, heading: &str) {
        let kept = heading
            .trim()
            .chars()
            .filter(|c| c.is_alphanumeric() || c.is_whitespace() || matches!(c, '_' | '-'));
        let name: String = kept
            .map(|c| if c.is_whitespace() { '-' } else { c })
            .flat_map(char::to_lowercase)
            .collect();
        let numbered = (1..).map(|n| format!("{name}-{n}"));
        let free = std::iter::once(name.clone())
            .chain(numbered)
            .find(|name| !self.anchors.contains(name));
        self.anchors.extend(free);
    }

    fn add_html(&mut self, line: usize, html: &str) {
        for name in ["href", "src"] {
            let found = attributes(html, name).map(|value| (line, value.to_owned()));
            self.links.extend(found);
        }
        self.anchors.extend(attributes(html, "id").map(str::to_owned));
    }
}

/// The values of an attribute in HTML, where they stand in double quotes.
pub fn attributes<'a>(html: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let begin = format!(" {name}=\"");
    let starts: Vec<usize> = html
        .match_indices(&begin)
        .map(|(at, begin)| at + begin.len())
        .collect();
    starts
        .into_iter()
        .filter_map(|at| html[at..].split_once('"').map(|(value, _)| value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read() {
        let text = "# One `two`, three!\n\n# One two three\n\n[a](b.md#c) ![d](e.png)\n<p id=\"f\"><a href=\"g\">h</a></p>\n\n\
                    ```python no_run\ni = 1\n```\n\n    j\n\n```sh\n# [k](l)\n```\n";
        let page = Page::parse(text).unwrap();
        let anchors: Vec<&str> = page.anchors.iter().map(String::as_str).collect();
        assert_eq!(anchors, ["f", "one-two-three", "one-two-three-1"]);
        let links: Vec<(usize, &str)> = page
            .links
            .iter()
            .map(|(line, link)| (*line, link.as_str()))
            .collect();
        assert_eq!(links[..2], [(5, "b.md#c"), (5, "e.png")]);
        assert!(links[2..].iter().all(|(_, link)| *link == "g"), "{links:?}");
        let blocks: Vec<_> = page
            .blocks
            .iter()
            .map(|block| {
                (
                    block.line,
                    block.language(),
                    block.info.as_str(),
                    block.code.as_str(),
                )
            })
            .collect();
        assert_eq!(
            blocks,
            [
                (9, "python", "python no_run", "i = 1\n"),
                (12, "", "", "j\n"),
                (15, "sh", "sh", "# [k](l)\n")
            ]
        );
    }
}
