//! The rows of `[[resource_server]]`.

use super::{Key, Kind, Section, Shape};

/// Who may introspect.
pub(super) const RESOURCE_SERVER: Section = Section {
    path: "resource_server",
    shape: Shape::List,
    doc: "Who may ask what an access token is good for (`POST /introspect`, RFC 7662): docs/resource-servers.md.",
    shown: false,
    keys: &[
        Key::needed("id", Kind::Text, r#""tools""#, "Its name towards us."),
        Key::needed(
            "secret",
            Kind::Secret,
            r#"{ env = "TOOLS_INTROSPECTION_SECRET" }"#,
            "Its secret, at least 16 characters: by HTTP Basic, or in the form as `client_secret`.",
        ),
        Key::needed(
            "resources",
            Kind::TextList,
            r#"["/mcp"]"#,
            "Whose tokens it may see: paths or resources of MCP servers in this file. All others are not active for it.",
        ),
    ],
};
