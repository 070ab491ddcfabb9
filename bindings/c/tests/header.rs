//! `include/sdrs.h` is what cbindgen makes of this crate. `cargo xtask header` writes it.

use std::{fs, path::Path};

#[test]
fn header_is_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).unwrap();
    let rules = fs::read_to_string(folder.join("header.txt")).unwrap();
    let version: Vec<&str> = env!("CARGO_PKG_VERSION").split('.').collect();
    config.header = Some(rules.trim_end().to_owned());
    config.after_includes = Some(format!(
        "
/** The version that this header is of; `sdrs_version` tells the library's. */
#define SDRS_VERSION \"{}\"
#define SDRS_VERSION_MAJOR {}
#define SDRS_VERSION_MINOR {}
#define SDRS_VERSION_PATCH {}

/** For a text's length: the text ends at its first zero byte. */
#define SDRS_NUL_TERMINATED SIZE_MAX",
        env!("CARGO_PKG_VERSION"),
        version[0],
        version[1],
        version[2]
    ));
    let mut made = Vec::new();
    let builder = cbindgen::Builder::new().with_crate(folder).with_config(config);
    builder.generate().unwrap().write(&mut made);
    let made = String::from_utf8(made).unwrap();
    let path = folder.join("../../include/sdrs.h");
    if std::env::var_os("SDRS_WRITE_HEADER").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let same = made
        .lines()
        .zip(committed.lines())
        .take_while(|(a, b)| a == b)
        .count();
    assert!(
        made == committed,
        "include/sdrs.h is not what the crate says, from line {}: run `cargo xtask header`",
        same + 1
    );
}
