//! The data plane over real sockets: raw clients, misbehaving MCP servers, a server with workers between them.

mod listening;
mod proxying;
mod streaming;
mod support;
mod versions;
