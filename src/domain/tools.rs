//! Tool policy: which scopes a tool call needs.
//!
//! A scope of an MCP server may name tools, by patterns. As soon as one scope does, the server has a policy: a call needs
//! every scope that names its tool, and a tool that no scope names cannot be called at all. Of scopes that imply one
//! another only the narrowest counts, since whoever holds the broad one holds the narrow one too: so a scope with `*`
//! above narrow ones is how a hierarchy is written, and two scopes side by side that name the same tool are both needed.
//!
//! Pure: names in, scopes out. Called by the data plane for the body that it judged, and for lists of tools.

use super::{
    catalog::{McpServer, ScopeDefinition},
    scope::ScopeSet,
};

/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 256;

/// Names of tools: a text in which `*` stands for any number of any characters. Everything else stands for itself, upper
/// and lower case included.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ToolPattern(String);

impl ToolPattern {
    /// Reads a pattern. `None` when it is empty, too long, or has a character that no tool's name has (spaces and control
    /// characters).
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |c: char| !c.is_whitespace() && !c.is_control();
        (!text.is_empty() && text.len() <= MAX_PATTERN && text.chars().all(fits))
            .then(|| Self(text.to_owned()))
    }

    /// Whether it stands for `name`. In time linear in both: each piece between two `*` is looked for once, from where the
    /// one before it ended.
    pub fn matches(&self, name: &str) -> bool {
        let mut pieces = self.0.split('*');
        let first = pieces.next().unwrap_or_default();
        let Some(rest) = name.strip_prefix(first) else { return false };
        let Some(last) = pieces.next_back() else { return rest.is_empty() };
        let Some(mut rest) = rest.strip_suffix(last) else { return false };
        pieces.all(|piece| match rest.split_once(piece) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
    }

    /// What every name begins with that it stands for; `None`: it is a name itself.
    pub(super) fn beginning(&self) -> Option<&str> {
        self.0.split_once('*').map(|(beginning, _)| beginning)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a tool may be called.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ToolCall {
    /// Yes.
    Allowed,
    /// With all of these scopes, of which at least one is not held.
    Needs(ScopeSet),
    /// No scope of the server names it: nobody may.
    Unnamed,
}

impl McpServer {
    /// Whether calls of tools are judged here: a scope says which tools it opens, even if none.
    pub fn has_tool_policy(&self) -> bool {
        self.scopes.say_something_about_tools()
    }

    /// Whether a token with the scopes `held` may call `tool`. A server without a policy allows everything.
    pub fn judge_call(&self, held: &ScopeSet, tool: &str) -> ToolCall {
        if !self.has_tool_policy() {
            return ToolCall::Allowed;
        }
        let needed = self.needed_for(tool);
        let is_held = |needed: &str| {
            let brings = |held| self.scopes.implied(held).is_some_and(|implied| implied.contains(needed));
            held.contains(needed) || held.iter().any(brings)
        };
        if needed.is_empty() {
            ToolCall::Unnamed
        } else if needed.iter().all(|needed| is_held(needed)) {
            ToolCall::Allowed
        } else {
            ToolCall::Needs(needed.into_iter().collect())
        }
    }

    /// All scopes that a call needs: those that name the tool, without those that imply another one of them.
    fn needed_for(&self, tool: &str) -> Vec<&str> {
        let naming = self.scopes.naming(tool);
        let implies_another = |name: &str| {
            let implied = self.scopes.implied(name);
            naming
                .iter()
                .any(|other| *other != name && implied.is_some_and(|implied| implied.contains(other)))
        };
        naming.iter().copied().filter(|name| !implies_another(name)).collect()
    }

    /// The scopes that would bring what the third party wanted and did not find in the token: for each missing
    /// third-party scope the MCP scope that needs it and as little else as possible. `None` where nothing is missing, or
    /// where no scope of this server brings it: then asking for more scopes cannot help.
    ///
    /// `has` are the token's scopes where the third party told them; otherwise those that `held` stands on.
    /// `with_equivalents` adds to third-party scopes what they include.
    pub fn scopes_bringing(
        &self,
        wanted: &Wanted,
        has: Option<&ScopeSet>,
        held: &ScopeSet,
        with_equivalents: impl Fn(&ScopeSet) -> ScopeSet,
    ) -> Option<ScopeSet> {
        let stands_on = self.provider_scopes(held);
        let has = with_equivalents(has.unwrap_or(&stands_on));
        let bringing = |missing: &str| {
            let cost = |scope: &&ScopeDefinition| self.provider_scopes(&only(scope)).iter().count();
            let brings = |scope: &&ScopeDefinition| {
                with_equivalents(&self.provider_scopes(&only(scope))).contains(missing)
            };
            self.scopes.iter().filter(brings).min_by_key(cost).map(|scope| scope.name.clone())
        };
        let found: ScopeSet = match wanted {
            Wanted::AllOf(scopes) => {
                let missing = scopes.iter().filter(|scope| !has.contains(scope));
                missing.map(bringing).collect::<Option<ScopeSet>>()?
            }
            Wanted::AnyOf(scopes) if scopes.iter().any(|scope| has.contains(scope)) => return None,
            Wanted::AnyOf(scopes) => scopes.iter().find_map(bringing).into_iter().collect(),
        };
        // What is held already did not help; to ask for it again would lead in a circle.
        let new = !found.is_subset(&self.implied_by(held));
        new.then_some(found)
    }
}

/// What the third party or an MCP server says that a token would have needed, in third-party scopes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// All of them (RFC 6750 section 3, `scope` of a challenge).
    AllOf(ScopeSet),
    /// Any of them (GitHub, `X-Accepted-OAuth-Scopes`).
    AnyOf(ScopeSet),
}

fn only(scope: &ScopeDefinition) -> ScopeSet {
    ScopeSet::from_iter([scope.name.as_str()])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::resource::Resource;

    fn pattern(text: &str) -> ToolPattern {
        ToolPattern::parse(text).unwrap()
    }

    #[test]
    fn a_star_stands_for_anything_and_the_rest_for_itself() {
        for (text, yes, no) in [
            ("get_x", &["get_x"][..], &["get_", "get_xy", "GET_X", "aget_x", ""][..]),
            ("get_*", &["get_", "get_x", "get_*", "get_x\u{e9}"], &["get", "Get_x", "xget_x"]),
            ("*_read", &["_read", "a_read", "_read_read"], &["read", "_read_", "_Read"]),
            ("a*b*c", &["abc", "a1b2c", "abbcc", "abcbc"], &["ac", "acb", "ab", "abca"]),
            ("a*a", &["aa", "aba"], &["a", "ab"]),
            ("*", &["", "x", "a/b.c"], &[]),
            ("**", &["", "x"], &[]),
            ("*x*", &["x", "axb"], &["", "ab"]),
            ("a.c", &["a.c"], &["abc"]),
            ("[ab]?", &["[ab]?"], &["a", "ax"]),
        ] {
            for name in yes {
                assert!(pattern(text).matches(name), "{text} {name}");
            }
            for name in no {
                assert!(!pattern(text).matches(name), "{text} {name}");
            }
        }
        for text in ["", " ", "a b", "a\n", "a\0", &"x".repeat(MAX_PATTERN + 1)] {
            assert_eq!(ToolPattern::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_is_no_trap() {
        let stars = pattern(&"*a".repeat(100));
        let name = "a".repeat(1 << 20);
        assert!(stars.matches(&name));
        assert!(!pattern(&format!("{}b", "*a".repeat(100))).matches(&name));
    }

    fn slow(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                slow(rest, name) || matches!(name, [_, left @ ..] if slow(pattern, left))
            }
            ([p, rest @ ..], [n, left @ ..]) => p == n && slow(rest, left),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_the_definition_says(text in "[ab*]{1,8}", name in "[ab]{0,10}") {
            prop_assert_eq!(pattern(&text).matches(&name), slow(text.as_bytes(), name.as_bytes()));
        }
    }

    type Row<'a> = (&'a str, &'a [&'a str], Option<&'a [&'a str]>, &'a [&'a str]);

    /// Scopes as (name, implied, tools, third-party scopes).
    fn server(scopes: &[Row<'_>]) -> McpServer {
        let scope = |(name, implies, tools, provider_scopes): &Row<'_>| ScopeDefinition {
            name: (*name).to_owned(),
            description: String::new(),
            provider_scopes: provider_scopes.iter().copied().collect(),
            default: true,
            implies: implies.iter().map(|&name| name.to_owned()).collect(),
            optional: false,
            tools: tools.map(|tools| tools.iter().map(|text| pattern(text)).collect()),
        };
        McpServer {
            path: "/mcp".to_owned(),
            resource: Resource::at("https://m.example", "/mcp"),
            name: "M".to_owned(),
            provider: "p".to_owned(),
            scopes: scopes.iter().map(scope).collect(),
            filter_tools: false,
            identity_assertion: false,
        }
    }

    fn needs(server: &McpServer, held: &str, tool: &str) -> String {
        match server.judge_call(&ScopeSet::parse(held).unwrap(), tool) {
            ToolCall::Allowed => "allowed".to_owned(),
            ToolCall::Needs(scopes) => scopes.to_string(),
            ToolCall::Unnamed => "unnamed".to_owned(),
        }
    }

    #[test]
    fn a_call_needs_every_scope_that_names_its_tool() {
        let server = server(&[
            ("read", &[], Some(&["get_*", "copy_*"]), &[]),
            ("write", &[], Some(&["set_*", "copy_*"]), &[]),
            ("other", &[], None, &[]),
        ]);
        for (held, tool, expected) in [
            ("read", "get_x", "allowed"),
            ("write", "get_x", "read"),
            ("other", "get_x", "read"),
            ("read", "set_x", "write"),
            // Both at once, whatever of it is held.
            ("read", "copy_x", "read write"),
            ("write", "copy_x", "read write"),
            ("", "copy_x", "read write"),
            ("read write", "copy_x", "allowed"),
            // Nobody may.
            ("read write other", "drop_x", "unnamed"),
            ("read write other", "", "unnamed"),
            ("read", "GET_x", "unnamed"),
        ] {
            assert_eq!(needs(&server, held, tool), expected, "{held}: {tool}");
        }
    }

    #[test]
    fn a_broad_scope_passes_for_the_narrow_ones_and_is_not_asked_for_in_their_place() {
        let server = server(&[
            ("admin", &["write"], Some(&["*"]), &[]),
            ("write", &["read"], Some(&["set_*", "get_secret"]), &[]),
            ("read", &[], Some(&["get_*"]), &[]),
        ]);
        for (held, tool, expected) in [
            ("read", "get_x", "allowed"),
            ("write", "get_x", "allowed"),
            ("admin", "get_x", "allowed"),
            ("", "get_x", "read"),
            // Named by all three, and the narrowest is enough.
            ("read", "get_secret", "allowed"),
            ("read", "set_x", "write"),
            ("admin", "set_x", "allowed"),
            ("write", "drop_x", "admin"),
        ] {
            assert_eq!(needs(&server, held, tool), expected, "{held}: {tool}");
        }
    }

    #[test]
    fn without_a_policy_everything_is_allowed_and_an_empty_one_allows_nothing() {
        let without = server(&[("mcp", &[], None, &[])]);
        assert!(!without.has_tool_policy());
        assert_eq!(needs(&without, "", "drop_x"), "allowed");
        let empty = server(&[("mcp", &[], Some(&[]), &[])]);
        assert!(empty.has_tool_policy());
        assert_eq!(needs(&empty, "mcp", "get_x"), "unnamed");
    }

    /// At this third party `repo` includes `public_repo`.
    fn with_equivalents(scopes: &ScopeSet) -> ScopeSet {
        let included = scopes.contains("repo").then_some("public_repo");
        scopes.union(&included.into_iter().collect())
    }

    #[test]
    fn what_the_third_party_misses_is_said_in_our_scopes() {
        let server = server(&[
            ("read", &[], None, &["read:user"]),
            ("all", &["write"], None, &["repo", "gist"]),
            ("write", &[], None, &["repo"]),
            ("gist", &[], None, &["gist"]),
        ]);
        let bringing = |wanted: &Wanted, has: Option<&str>, held: &str| {
            let has = has.map(|has| ScopeSet::parse(has).unwrap());
            let held = ScopeSet::parse(held).unwrap();
            server
                .scopes_bringing(wanted, has.as_ref(), &held, with_equivalents)
                .map(|scopes| scopes.to_string())
        };
        let all = |scopes: &str| Wanted::AllOf(ScopeSet::parse(scopes).unwrap());
        let any = |scopes: &str| Wanted::AnyOf(ScopeSet::parse(scopes).unwrap());
        let some = |scopes: &str| Some(scopes.to_owned());
        assert_eq!(bringing(&all("repo"), None, "read"), some("write"), "the narrowest");
        assert_eq!(bringing(&all("repo gist read:user"), None, "read"), some("gist write"));
        assert_eq!(bringing(&all("public_repo"), None, "read"), some("write"), "what includes it");
        assert_eq!(bringing(&any("public_repo repo"), None, "read"), some("write"));
        assert_eq!(bringing(&any("nonsense gist"), None, "read"), some("gist"));
        // The token has what is wanted: scopes are not what is missing.
        assert_eq!(bringing(&all("repo"), None, "write"), None);
        assert_eq!(bringing(&any("admin:org public_repo"), None, "write"), None);
        assert_eq!(bringing(&any("gist"), Some("gist"), "read"), None);
        // Nothing here brings it, or what would is held and did not help.
        assert_eq!(bringing(&all("admin:org"), None, "read"), None);
        assert_eq!(bringing(&all("repo admin:org"), None, "read"), None);
        assert_eq!(bringing(&any("repo"), Some("read:user"), "all"), None);
        assert_eq!(bringing(&any(""), None, "read"), None);
    }
}
