//! `sdrs interrogate` on tiny random models.

use std::{
    path::Path,
    process::{Command, Output},
};

fn sdrs(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sdrs"));
    command.args(args).current_dir(folder).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", told(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn path(name: &str) -> String {
    goldens::root().join(name).display().to_string()
}

/// The models that every call names.
fn models() -> Vec<String> {
    let (clip, blip, tokenizer) = (
        path("interrogation/clip"),
        path("interrogation/blip"),
        path("../models/demo/base/tokenizer"),
    );
    let args = [
        "--clip",
        &clip,
        "--clip-tokenizer",
        &tokenizer,
        "--blip",
        &blip,
        "--device",
        "cpu",
        "--max-flavors",
        "2",
    ];
    args.map(str::to_owned).to_vec()
}

/// A folder with phrases and pictures, one of which is none.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, text) in [
        ("artists", "Ada\nBea"),
        ("mediums", "a photo\na print"),
        ("movements", "cubism\nop art"),
        ("flavors", "red\nblue\ngreen"),
        ("sites", "Flickr"),
        ("negative", "bad"),
    ] {
        std::fs::create_dir_all(at("phrases")).unwrap();
        std::fs::write(at("phrases").join(format!("{name}.txt")), text).unwrap();
    }
    std::fs::create_dir(at("pictures")).unwrap();
    let png = |value: u8| {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 9, 7);
        encoder.set_color(png::ColorType::Rgb);
        let pixels: Vec<u8> = (0..9 * 7 * 3).map(|i| (i as u8).wrapping_mul(value)).collect();
        encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
        bytes
    };
    std::fs::write(at("one.png"), png(3)).unwrap();
    std::fs::write(at("pictures/b.png"), png(5)).unwrap();
    std::fs::write(at("pictures/a.PNG"), png(7)).unwrap();
    std::fs::write(at("pictures/notes.md"), "x").unwrap();
    folder
}

#[test]
fn pictures_say_what_is_in_them() {
    let folder = folder();
    let models = models();
    let call = |args: &[&str]| {
        let models: Vec<&str> = models.iter().map(String::as_str).collect();
        sdrs(
            folder.path(),
            &[&["interrogate"][..], args, &models, &["--phrases", "phrases"]].concat(),
        )
    };
    for mode in ["caption", "classic", "fast", "negative", "best", "webui"] {
        let text = printed(&call(&["one.png", "--mode", mode]));
        assert!(
            text.ends_with('\n') && text.lines().count() == 1,
            "{mode}: {text:?}"
        );
    }
    let text = printed(&call(&[
        "one.png",
        "--mode",
        "classic",
        "--caption",
        "a cat",
        "--json",
    ]));
    let object: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(object["picture"], "one.png");
    assert_eq!(object["caption"], "a cat");
    assert!(
        object["text"].as_str().unwrap().starts_with("a cat, a p"),
        "{object}"
    );
    assert_eq!(object["ranks"].as_array().unwrap().len(), 6);
    assert!(object["ranks"][0]["score"].is_number());

    // A folder's pictures have their texts beside them, which are left alone afterwards.
    let listed = printed(&call(&["pictures", "--mode", "fast"]));
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let read = |name: &str| std::fs::read_to_string(folder.path().join("pictures").join(name)).unwrap();
    assert!(listed.starts_with("pictures/a.txt: ") && listed.contains(read("a.txt").trim()));
    std::fs::write(folder.path().join("pictures/a.txt"), "mine").unwrap();
    let output = call(&["pictures", "--mode", "fast"]);
    assert!(told(&output).contains("a.txt: is there already"));
    assert_eq!(
        (printed(&output), read("a.txt").as_str()),
        (String::new(), "mine")
    );

    // One that is none is told of, and the others are done.
    std::fs::write(folder.path().join("pictures/c.jpg"), "no picture").unwrap();
    let output = call(&["pictures", "--mode", "fast", "--overwrite"]);
    assert_eq!(output.status.code(), Some(4), "{}", told(&output));
    assert!(told(&output).contains("c.jpg") && told(&output).contains("2 of 3 pictures"));
    assert_ne!(read("b.txt"), "");

    // Nor does a picture take the text of another one of its name.
    std::fs::copy(
        folder.path().join("one.png"),
        folder.path().join("pictures/a.webp"),
    )
    .unwrap();
    std::fs::remove_file(folder.path().join("pictures/c.jpg")).unwrap();
    let output = call(&["pictures", "--mode", "fast", "--overwrite"]);
    assert_eq!(printed(&output).lines().count(), 2);
    assert!(told(&output).contains("a.webp: pictures/a.txt is of pictures/a.PNG already"));
}

#[test]
fn mistakes_are_told() {
    let folder = folder();
    let models = models();
    let models: Vec<&str> = models.iter().map(String::as_str).collect();
    for (args, code, says) in [
        (
            &["one.png", "--mode", "slow"][..],
            2,
            "'slow' is not one of caption, classic",
        ),
        (&["none.png"], 3, "none.png"),
        (&["one.png", "--phrases", "pictures"], 4, "no phrases"),
        (&["one.png", "--max-length", "1"], 2, "max_length"),
        (&["phrases"], 2, "no picture is in this folder (png, jpg, "),
    ] {
        let output = sdrs(folder.path(), &[&["interrogate"][..], args, &models].concat());
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", told(&output));
        assert!(told(&output).contains(says), "{args:?}: {}", told(&output));
    }
}
