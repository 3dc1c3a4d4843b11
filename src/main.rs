//! The `mcp-deputy` binary: everything is in the library.

/// Memory that is not needed any longer goes back to the system, which glibc's allocator never does with what ten thousand
/// closed streams leave behind (docs/performance.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Marks what is compiled here: see [`mcp_deputy::gateway::desk`].
enum Here {}

fn main() -> std::process::ExitCode {
    // A thread of the allocator's own gives memory back while nothing else happens. Without it, that happens later.
    let _ = tikv_jemalloc_ctl::background_thread::write(true);
    mcp_deputy::cli::run(mcp_deputy::gateway::desk::<Here>)
}
