//! The `mcp-deputy` binary.
fn main() {}
