//! `sdrs upscale`, and pictures that are written in other formats than PNG.

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

fn network(name: &str) -> String {
    goldens::root().join("upscalers").join(name).display().to_string()
}

/// Width and height of a PNG.
fn size(png: &[u8]) -> [u32; 2] {
    let reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    [reader.info().width, reader.info().height]
}

#[test]
fn pictures_are_drawn_and_enlarged() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = goldens::root().join("tiny-sd1").display().to_string();
    let args = [
        "txt2img", "a cat", "--model", &tiny, "--width", "32", "--height", "40", "--steps", "1", "--seed",
        "5",
    ];
    let drawn = |name: &str, more: &[&str]| {
        let output = sdrs(folder.path(), &[&args[..], &["-o", name], more].concat());
        assert!(output.status.success(), "{}", told(&output));
        std::fs::read(folder.path().join(name)).unwrap()
    };
    let (low, high) = (
        drawn("low.jpg", &["--quality", "10"]),
        drawn("high.jpeg", &["--quality", "95"]),
    );
    assert!(low.starts_with(b"\xff\xd8\xff") && low.len() < high.len());
    assert!(drawn("a.webp", &[])[8..].starts_with(b"WEBP"));
    // Its settings draw it again, from whichever format.
    let png = drawn("a.png", &[]);
    for name in ["high.jpeg", "a.webp"] {
        let again = [
            "txt2img",
            "--from-infotext",
            name,
            "--model",
            &tiny,
            "-o",
            "again.png",
        ];
        let output = sdrs(folder.path(), &again);
        assert!(output.status.success(), "{}", told(&output));
        assert!(
            std::fs::read(folder.path().join("again.png")).unwrap() == png,
            "{name}"
        );
    }

    let upscale = |more: &[&str]| {
        let output = sdrs(folder.path(), &[&["upscale", "a.png"], more].concat());
        assert!(output.status.success(), "{}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let (x4, compact) = (network("esrgan-x4.pth"), network("compact-x2.safetensors"));
    let cases: [(&[&str], [u32; 2], &str); 4] = [
        (
            &["--upscaler", &x4],
            [128, 160],
            "RRDBNet x4, 1 blocks of width 4",
        ),
        (&["--upscaler", &compact, "--scale", "3"], [96, 120], "compact x2"),
        (&["--upscaler", "Bicubic", "--size", "50x60"], [50, 60], "Bicubic"),
        (&[], [128, 160], "Lanczos"),
    ];
    for (args, expected, about) in cases {
        let said = upscale(args);
        let [width, height] = expected;
        assert!(
            said.starts_with(&format!("out.png ({width}x{height}, {about}")),
            "{said}"
        );
        let large = std::fs::read(folder.path().join("out.png")).unwrap();
        assert_eq!(size(&large), expected);
        // The settings of the small picture are still there.
        let text = |name: &str| sdrs::infotext::of_file(folder.path().join(name)).unwrap();
        assert_eq!(text("out.png"), text("a.png"));
    }
    let output = sdrs(folder.path(), &["upscale", "a.png", "-o", "-"]);
    assert_eq!(size(&output.stdout), [128, 160]);
    assert_eq!(told(&output), "standard output (128x160, Lanczos)\n");
}

#[test]
fn mistakes_are_told_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("text.png"), "hello").unwrap();
    let black = {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 2);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(&[0; 4]).unwrap();
        bytes
    };
    std::fs::write(folder.path().join("a.png"), black).unwrap();
    let cases: [(&[&str], i32, &str); 10] = [
        (&["none.png"], 3, "cannot read none.png"),
        (&["text.png"], 4, "text.png: a text, not a picture; PNG, JPEG"),
        (&["a.png", "-o", "a.gif"], 2, "written as PNG, JPEG or WebP"),
        (&["a.png", "-o", "none/a.png"], 3, "there is no folder none"),
        (
            &["a.png", "--upscaler", "lanczos4"],
            2,
            "there is no upscaler 'lanczos4'",
        ),
        (&["a.png", "--upscaler", "none.pth"], 3, "cannot read none.pth"),
        (
            &["a.png", "--size", "12"],
            2,
            "--size: '12' is no width and height",
        ),
        (&["a.png", "--scale=-2"], 2, "scale: -2"),
        (&["a.png", "--scale=1e9"], 2, "over 0 and 65535 at most"),
        (&["a.png", "--scale=2", "--size", "4x4"], 2, "cannot be used with"),
    ];
    for (args, code, expected) in cases {
        let output = sdrs(folder.path(), &[&["upscale"], args].concat());
        assert!(told(&output).contains(expected), "{args:?}: {}", told(&output));
        assert_eq!(output.status.code(), Some(code), "{args:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}
