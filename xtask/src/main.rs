//! `cargo xtask`: the workspace's front door.
fn main() {}
