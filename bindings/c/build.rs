//! Gives the shared library its name for linkers. The number is the ABI's: `SDRS_ABI_VERSION`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let name = match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux" | "freebsd" | "android") => "-Wl,-soname,libsdrs.so.0",
        Ok("macos") => "-Wl,-install_name,@rpath/libsdrs.0.dylib",
        _ => return,
    };
    println!("cargo::rustc-cdylib-link-arg={name}");
}
