//! The lines of code that docs/how/mathematics.md cites stand in the files that it names.

use std::{
    fs,
    path::{Path, PathBuf},
};

#[test]
fn cited_lines_are_there() {
    let page = root().join("docs/how/mathematics.md");
    let text = fs::read_to_string(&page).unwrap();
    let mut cited = 0;
    for paragraph in text
        .split("\n\n")
        .filter(|paragraph| paragraph.starts_with("Code: "))
    {
        let paragraph = paragraph.replace('\n', " ");
        let (line, rest) = paragraph["Code: `".len()..]
            .split_once("` in [")
            .expect(&paragraph);
        let (_, link) = rest.split_once("](").expect(&paragraph);
        let (link, _) = link.split_once(')').expect(&paragraph);
        let file = page.parent().unwrap().join(link);
        let code = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{link}: {e}"));
        assert!(
            code.lines().any(|at| at.trim().contains(line)),
            "{link} has no line `{line}`"
        );
        cited += 1;
    }
    assert!(cited >= 20, "{cited} lines are cited");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
