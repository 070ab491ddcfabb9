//! The `sdrs` command.
fn main() {}
