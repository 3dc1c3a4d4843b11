//! MCP servers that are served elsewhere, and who may introspect.

use super::*;

const ELSEWHERE: &str = "[[mcp_server]]\nresource = \"https://tools.example.net/mcp\"\n";
const ASKER: &str = "id = \"tools\"\nsecret = \"0123456789abcdef\"\n";

fn asking(resources: &str) -> String {
    format!("{SMALLEST}{ELSEWHERE}[[resource_server]]\n{ASKER}resources = {resources}\n")
}

#[test]
fn a_server_elsewhere_has_a_resource_and_no_path() {
    let settings = good(&format!("{SMALLEST}{ELSEWHERE}"));
    assert_eq!((settings.servers.len(), settings.elsewhere.len()), (1, 1));
    let server = &settings.elsewhere[0];
    assert_eq!(server.resource.as_str(), "https://tools.example.net/mcp");
    assert_eq!((server.name.as_str(), server.provider.as_str()), ("tools.example.net/mcp", "github"));
    assert_eq!(server.scopes[0].name, "mcp");
    // It may be the only one.
    let alone = SMALLEST
        .replace("upstream_url = \"http://10.0.0.7:3000/mcp\"", "resource = \"https://t.example/mcp\"");
    assert_eq!(good(&alone).servers.len(), 0);
}

#[test]
fn a_server_elsewhere_is_written_in_one_way() {
    for resource in [
        "http://tools.example.net/mcp",
        "https://tools.example.net/mcp/",
        "https://Tools.example.net/mcp",
        "https://tools.example.net/mcp#x",
        "https://mcp.example.com/elsewhere",
        "tools",
        "",
    ] {
        let text = format!("{SMALLEST}[[mcp_server]]\nresource = {resource:?}\n");
        assert!(bad(&text).contains("resource must"), "{resource}: {}", bad(&text));
    }
    assert!(bad(&format!("{SMALLEST}{ELSEWHERE}{ELSEWHERE}")).contains("same resource"));
    for key in [
        "path = \"/x\"",
        "upstream_url = \"http://10.0.0.7/\"",
        "identity_assertion = true",
        "credential = \"none\"",
        "filter_tools = true",
        "[[mcp_server.scope]]\nname = \"a\"\ndescription = \"Do a\"\ntools = [\"x\"]",
    ] {
        assert!(bad(&format!("{SMALLEST}{ELSEWHERE}{key}\n")).contains("served elsewhere"), "{key}");
    }
}

#[test]
fn resource_servers_see_what_is_written() {
    let seen = |text: &str| {
        let settings = good(&asking(text));
        settings.resource_servers[0].resources.iter().map(|it| it.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(seen("[\"/mcp\"]"), ["https://mcp.example.com/mcp"]);
    assert_eq!(
        seen("[\"https://tools.example.net/mcp\", \"https://mcp.example.com/mcp\"]"),
        ["https://mcp.example.com/mcp", "https://tools.example.net/mcp"]
    );
    for unknown in ["[\"/other\"]", "[\"https://evil.example/mcp\"]", "[\"\"]"] {
        assert!(bad(&asking(unknown)).contains("resources must be"), "{unknown}");
    }
    assert!(bad(&asking("[]")).contains("at least one"));
    let short = asking("[\"/mcp\"]").replace("0123456789abcdef", "0123456789abcde");
    assert!(bad(&short).contains("at least 16 characters") && !bad(&short).contains("0123456789"));
    assert!(bad(&asking("[\"/mcp\"]").replace("\"tools\"", "\"a:b\"")).contains("id must be"));
    let twice = format!("{}[[resource_server]]\n{ASKER}resources = [\"/mcp\"]\n", asking("[\"/mcp\"]"));
    assert!(bad(&twice).contains("two resource servers"));
}
