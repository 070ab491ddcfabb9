//! Makes what tests outside of Rust read and prints its path.

fn main() {
    println!("{}", goldens::tiny_sd1_ldm().display());
}
