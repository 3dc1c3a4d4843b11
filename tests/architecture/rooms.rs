//! Who may import whom. Rules inside, steps around them, everything dangerous at the edge.

use crate::source::{Source, read, sources, test_only};

/// What may be imported by a room: other rooms, or modules of them where a path is given.
struct Room {
    name: &'static str,
    may: May,
}

enum May {
    Import(&'static [&'static str]),
    Everything,
}

/// The rings. A room may always import itself.
const ROOMS: [Room; 14] = [
    Room { name: "domain", may: May::Import(&[]) },
    // Work that goes on in another task is still about its request.
    Room { name: "flow", may: May::Import(&["domain", "observe::request"]) },
    Room { name: "store", may: May::Import(&["domain", "flow"]) },
    Room { name: "upstream", may: May::Import(&["domain", "flow", "net"]) },
    Room { name: "net", may: May::Import(&[]) },
    // Of the steps, the data plane knows who was admitted and how to have a session id sealed; it takes no step.
    Room { name: "proxy", may: May::Import(&["domain", "flow::admit", "flow::ports", "net"]) },
    Room { name: "observe", may: May::Import(&["domain"]) },
    Room { name: "web", may: May::Import(&["domain", "flow", "observe", "proxy"]) },
    Room { name: "config", may: May::Import(&["domain"]) },
    Room { name: "sandbox", may: May::Import(&["config", "domain", "gateway", "net", "serve"]) },
    Room { name: "gateway", may: May::Everything },
    Room { name: "serve", may: May::Everything },
    Room { name: "cli", may: May::Everything },
    Room { name: "main", may: May::Everything },
];

/// What is named in one place only, test code aside: the text, the paths that may have it, and why.
const DOORS: [(&str, &[&str], &str); 7] = [
    (".departure(", &["src/flow/depart.rs"], "nobody else sends a browser to the third party"),
    ("oauth2::", &["src/upstream/provider.rs"], "its errors carry bodies, which may be tokens"),
    ("redb::", &["src/store/disk/tree.rs"], "the tree is written in one place"),
    ("sled::", &["src/store/disk/takeover.rs"], "it is read once, to take over what it kept"),
    ("minijinja::", &["src/web/page"], "pages are rendered in one place"),
    (
        "opentelemetry",
        &["src/gateway/traces/export.rs"],
        "what leaves in a trace is written down in one place",
    ),
    ("mcp_deputy::journal", &["src/flow/journal.rs"], "audit events have one shape"),
];

#[test]
fn rooms_import_only_what_they_may() {
    let sources = sources("src");
    let tests = test_only(&sources);
    let mut forbidden = Vec::new();
    for source in &sources {
        let room = room_of(&source.path);
        // Tests may look around; those of the innermost ring have no reason to.
        let in_tests = tests.contains(&source.path);
        for (line, path) in imports(source, room == "domain") {
            if !(in_tests && room != "domain" || may_import(room, &path)) {
                forbidden.push(format!("{}:{line}: `{room}` must not import `{path}`", source.path));
            }
        }
    }
    assert!(forbidden.is_empty(), "\n{}\n", forbidden.join("\n"));
}

#[test]
fn every_room_is_in_the_table_and_in_the_tour() {
    let tour = read("src/lib.rs").expect("src/lib.rs is there");
    for source in sources("src") {
        let room = room_of(&source.path);
        if room != "lib" {
            assert!(ROOMS.iter().any(|known| known.name == room), "{} belongs to no room", source.path);
            assert!(
                room == "main" || tour.contains(&format!("`{room}`")),
                "the tour in src/lib.rs does not show `{room}`"
            );
        }
    }
}

#[test]
fn what_is_dangerous_has_one_door() {
    let sources = sources("src");
    let tests = test_only(&sources);
    let mut elsewhere = Vec::new();
    for source in sources.iter().filter(|source| !tests.contains(&source.path)) {
        for (line, code) in source.product_lines() {
            for (text, allowed, why) in DOORS {
                if names(code, text) && !allowed.iter().any(|path| source.path.starts_with(path)) {
                    elsewhere.push(format!(
                        "{}:{line}: `{text}` belongs into {allowed:?} only: {why}",
                        source.path
                    ));
                }
            }
        }
    }
    assert!(elsewhere.is_empty(), "\n{}\n", elsewhere.join("\n"));
}

#[test]
fn a_forbidden_import_is_found_however_it_is_written() {
    let code = "use crate::flow::ports;\nuse crate::{\n    domain::{scope, time},\n    store::memory,\n};\nfn f() { crate::web::x() }\n#[cfg(test)]\nmod tests {\n    use crate::gateway;\n}\n";
    let source = |path: &str| Source { path: path.into(), text: String::new(), code: code.into() };
    let found: Vec<String> =
        imports(&source("src/flow/x.rs"), false).into_iter().map(|(_, path)| path).collect();
    assert_eq!(found, ["flow::ports", "domain::scope", "domain::time", "store::memory", "web::x"]);
    assert_eq!(
        imports(&source("src/domain/x.rs"), true).last().map(|(_, path)| path.as_str()),
        Some("gateway")
    );
    assert!(
        may_import("flow", "domain")
            && may_import("flow", "flow::ports")
            && may_import("proxy", "flow::admit::Permit")
    );
    assert!(
        !may_import("flow", "store::memory")
            && !may_import("proxy", "flow::redeem")
            && !may_import("domain", "flow")
    );
    assert!(!may_import("proxy", "flow::admittance") && !may_import("web", "Surprise"));

    let out = Source {
        path: "src/web/page/x.rs".into(),
        text: String::new(),
        code: "use super::super::super::flow;".into(),
    };
    assert_eq!(imports(&out, false)[0].1, "flow");
    let stays = Source {
        path: "src/web/page/x.rs".into(),
        text: String::new(),
        code: "use super::super::reply;".into(),
    };
    assert!(imports(&stays, false).is_empty());
}

/// The first folder below `src`, or the name of the file there.
fn room_of(path: &str) -> &str {
    let below = path.strip_prefix("src/").unwrap_or(path);
    below.split_once('/').map_or(below.trim_end_matches(".rs"), |(room, _)| room)
}

fn may_import(room: &str, path: &str) -> bool {
    let leads_into = |allowed: &str| {
        path.strip_prefix(allowed).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    if leads_into(room) || room == "lib" {
        return true;
    }
    ROOMS.iter().find(|known| known.name == room).is_some_and(|known| match known.may {
        May::Everything => true,
        May::Import(rooms) => rooms.iter().any(|allowed| leads_into(allowed)),
    })
}

/// Every path from the root of the crate that the file names, with its line: `crate::…`, or enough `super::` to get there.
fn imports(source: &Source, with_tests: bool) -> Vec<(usize, String)> {
    let lines: Vec<(usize, &str)> = if with_tests {
        source.code.lines().enumerate().map(|(index, line)| (index + 1, line)).collect()
    } else {
        source.product_lines().collect()
    };
    let code = lines.iter().map(|(_, line)| *line).collect::<Vec<_>>().join("\n");
    let climb = "super::".repeat(depth(&source.path));
    let mut found = Vec::new();
    for (marker, step) in [("crate::", 7), (climb.as_str(), climb.len())] {
        for (at, _) in code.match_indices(marker).filter(|_| step > 0) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let line = code[..at].lines().count().max(1);
            found.extend(heads(&code[at + step..]).into_iter().map(|path| (line, path)));
        }
    }
    found.retain(|(_, path)| !path.starts_with("super"));
    found
}

/// How many modules lie between the file and the root of the crate.
fn depth(path: &str) -> usize {
    let below = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs").trim_end_matches("/mod");
    if below == "lib" || below == "main" { 0 } else { below.split('/').count() }
}

/// The paths that follow `crate::`, groups opened: two segments of each where they are written.
fn heads(rest: &str) -> Vec<String> {
    let name: String = rest.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let rest = &rest.trim_start()[name.len()..];
    if let Some(group) = rest.strip_prefix('{') {
        return members(group).into_iter().flat_map(heads).collect();
    }
    let Some(below) = rest.strip_prefix("::").filter(|_| !name.is_empty()) else {
        return Some(name).filter(|name| !name.is_empty()).into_iter().collect();
    };
    let first =
        |path: &str| path.split("::").next().map_or_else(String::new, |segment| format!("{name}::{segment}"));
    heads(below).iter().map(|path| first(path)).collect()
}

/// What stands between the commas of a group, up to its closing brace.
fn members(group: &str) -> Vec<&str> {
    let mut level = 0;
    let mut start = 0;
    let mut found = Vec::new();
    for (at, c) in group.char_indices() {
        match c {
            '{' => level += 1,
            '}' if level > 0 => level -= 1,
            ',' | '}' if level == 0 => {
                found.push(&group[start..at]);
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

/// Whether `code` has `text` where a name may begin.
fn names(code: &str, text: &str) -> bool {
    code.match_indices(text).any(|(at, _)| {
        !text.starts_with(char::is_alphanumeric)
            || !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
    })
}
