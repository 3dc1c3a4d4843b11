//! The `mcp-deputy` binary: everything is in the library.

fn main() -> std::process::ExitCode {
    mcp_deputy::cli::run()
}
