//! The catalog: which MCP servers stand behind us, what their scopes mean, and which third party each one needs.
//!
//! Made once from the configuration, read by every step. Also the answer to "what does this request mean": which
//! resource, which scopes, which third-party scopes.

mod scopes;
mod servers;

use std::collections::{BTreeMap, BTreeSet};

pub use self::{scopes::Scopes, servers::Servers};

use super::{
    provider::Provider,
    refusal::{ErrorCode, Refusal},
    resource::Resource,
    scope::ScopeSet,
    secret::Digest,
    tools::ToolPattern,
};

/// An MCP scope, in words for people.
#[derive(Clone, Debug)]
pub struct ScopeDefinition {
    /// The scope token.
    pub name: String,
    /// What it allows, for the consent page.
    pub description: String,
    /// The third-party scopes that it needs.
    pub provider_scopes: ScopeSet,
    /// Whether it is in the challenge and in `scopes_supported`, and meant when a client names none.
    pub default: bool,
    /// Whether the person may leave it out on the consent page.
    pub optional: bool,
    /// Other MCP scopes that it includes.
    pub implies: Vec<String>,
    /// Tools that it opens; `None` where it says nothing about tools (see [`super::tools`]).
    pub tools: Option<Vec<ToolPattern>>,
}

/// An MCP server: one resource. Behind us, or elsewhere and only its tokens are ours.
#[derive(Clone, Debug)]
pub struct McpServer {
    /// Its path here, with the leading slash. Empty: it is served elsewhere and nothing is forwarded.
    pub path: String,
    /// Its identifier (RFC 8707).
    pub resource: Resource,
    /// Its name for people.
    pub name: String,
    /// The provider entry whose tokens it needs.
    pub provider: String,
    /// Its scopes; at least one.
    pub scopes: Scopes,
    /// Whether every request carries a signed assertion of who is asking.
    pub identity_assertion: bool,
    /// Whether lists of tools show only those that the token may call.
    pub filter_tools: bool,
}

/// Somebody who may introspect (RFC 7662).
#[derive(Clone, Debug)]
pub struct ResourceServer {
    /// Its name towards us.
    pub id: String,
    /// The hash of its secret.
    pub secret: Digest,
    /// The resources whose tokens it may see.
    pub resources: BTreeSet<Resource>,
}

impl McpServer {
    /// Whether requests to it come through us.
    pub fn is_behind_us(&self) -> bool {
        !self.path.is_empty()
    }

    /// The scopes that the challenge names and that are meant when a client names none.
    pub fn default_scopes(&self) -> ScopeSet {
        let defaults = self.scopes.iter().filter(|scope| scope.default);
        defaults.map(|scope| scope.name.clone()).collect()
    }

    /// The definitions of the named scopes, in the order of the configuration.
    pub fn definitions<'a>(&'a self, names: &'a ScopeSet) -> impl Iterator<Item = &'a ScopeDefinition> {
        self.scopes.iter().filter(|scope| names.contains(&scope.name))
    }

    /// What a client gets for the scopes that it asked for: those that exist here. Scopes of other servers or of other
    /// authorization servers (`openid`, `offline_access`) are left out, as RFC 6749 section 3.3 allows; the answer of the
    /// token endpoint says what was granted. Nothing asked, or nothing left: the defaults.
    pub fn meant_by(&self, asked: &ScopeSet) -> Result<ScopeSet, Refusal> {
        let known: ScopeSet = asked.iter().filter(|name| self.scopes.has(name)).collect();
        let meant = if known.is_empty() { self.default_scopes() } else { known };
        if meant.is_empty() {
            return Err(Refusal::new(
                ErrorCode::InvalidScope,
                "no_scope_left",
                "None of the scopes exists here.",
            ));
        }
        Ok(meant)
    }

    /// The scopes and everything that they imply.
    pub fn implied_by(&self, scopes: &ScopeSet) -> ScopeSet {
        let implied = scopes.iter().filter_map(|name| self.scopes.implied(name));
        implied.fold(scopes.clone(), |all, implied| all.union(implied))
    }

    /// Which of these scopes a person may leave out on the consent page: the optional ones, except those that one which
    /// stays would bring along.
    pub fn optional_among(&self, scopes: &ScopeSet) -> ScopeSet {
        let named = |optional: bool| {
            let named = self.definitions(scopes).filter(move |scope| scope.optional == optional);
            named.map(|scope| scope.name.clone()).collect::<ScopeSet>()
        };
        named(true).minus(&self.implied_by(&named(false)))
    }

    /// The scopes that are left when these are left out. Whatever includes one of them is left out too: otherwise it would
    /// bring back what the person does not want.
    pub fn without(&self, scopes: &ScopeSet, left_out: &ScopeSet) -> ScopeSet {
        let brings_back = |name: &str| {
            let all = self.implied_by(&std::iter::once(name).collect());
            all.iter().any(|implied| left_out.contains(implied))
        };
        scopes.iter().filter(|name| !brings_back(name)).collect()
    }

    /// The third-party scopes that MCP scopes need, those that they imply included.
    pub fn provider_scopes(&self, scopes: &ScopeSet) -> ScopeSet {
        let all = self.implied_by(scopes);
        self.definitions(&all).fold(ScopeSet::default(), |sum, scope| sum.union(&scope.provider_scopes))
    }

    /// The MCP scopes whose third-party scopes were all granted (after the provider's equivalents).
    pub fn covered_by(&self, scopes: &ScopeSet, granted: &ScopeSet) -> ScopeSet {
        let covered = self.definitions(scopes).filter(|scope| {
            self.provider_scopes(&std::iter::once(scope.name.clone()).collect()).is_subset(granted)
        });
        covered.map(|scope| scope.name.clone()).collect()
    }
}

/// Everything that is configured.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// The public URL: the issuer (RFC 8414), an origin without a trailing slash.
    pub public_url: String,
    /// The MCP servers, at least one.
    pub servers: Servers,
    /// The third parties, by name of their entry.
    pub providers: BTreeMap<String, Provider>,
    /// Who may introspect.
    pub resource_servers: Vec<ResourceServer>,
}

/// Which server a `resource` parameter means.
#[derive(Debug)]
pub struct Meant<'a> {
    /// The server.
    pub server: &'a McpServer,
    /// Whether the client named it, or it is the only one.
    pub named: bool,
}

impl Catalog {
    /// Whether anything is signed.
    pub fn signs(&self) -> bool {
        self.servers.iter().any(|server| server.identity_assertion)
    }

    /// The server at `path`.
    pub fn server_at(&self, path: &str) -> Option<&McpServer> {
        self.servers.at(path)
    }

    /// The server that is this resource.
    pub fn server_of(&self, resource: &Resource) -> Option<&McpServer> {
        self.servers.of(resource)
    }

    /// The server that the `resource` parameters of a request mean (RFC 8707 section 2, D4).
    pub fn meant_by(&self, named: &[String], missing_is_refused: bool) -> Result<Meant<'_>, Refusal> {
        let unknown =
            Refusal::new(ErrorCode::InvalidTarget, "resource_unknown", "The resource is not served here.");
        match (named, &*self.servers) {
            ([], [only]) if !missing_is_refused => Ok(Meant { server: only, named: false }),
            ([], _) => Err(Refusal::new(
                ErrorCode::InvalidTarget,
                "resource_missing",
                "The resource parameter is needed.",
            )),
            ([first, rest @ ..], _) => {
                let resource = Resource::parse(first).ok_or(unknown)?;
                if rest.iter().any(|other| Resource::parse(other).as_ref() != Some(&resource)) {
                    return Err(Refusal::new(
                        ErrorCode::InvalidTarget,
                        "resource_twice",
                        "Only one resource can be asked for.",
                    ));
                }
                self.server_of(&resource).map(|server| Meant { server, named: true }).ok_or(unknown)
            }
        }
    }

    /// The provider entry of a server. Every server has one: the configuration was checked.
    pub fn provider_of(&self, server: &McpServer) -> Option<&Provider> {
        self.providers.get(&server.provider)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(path: &str) -> McpServer {
        let scope = |name: &str, provider: &[&str], default: bool, implies: &[&str]| ScopeDefinition {
            name: name.to_owned(),
            description: name.to_owned(),
            provider_scopes: provider.iter().copied().collect(),
            default,
            optional: name.starts_with("maybe"),
            implies: implies.iter().map(|&name| name.to_owned()).collect(),
            tools: None,
        };
        McpServer {
            path: path.to_owned(),
            resource: Resource::at("https://m.example", path),
            name: "M".to_owned(),
            provider: "github".to_owned(),
            scopes: vec![scope("read", &["user"], true, &[]), scope("write", &["repo"], false, &["read"])]
                .into(),
            identity_assertion: false,
            filter_tools: false,
        }
    }

    fn catalog(paths: &[&str]) -> Catalog {
        Catalog {
            public_url: "https://m.example".to_owned(),
            servers: paths.iter().map(|path| server(path)).collect(),
            providers: BTreeMap::new(),
            resource_servers: Vec::new(),
        }
    }

    #[test]
    fn a_resource_is_found_or_refused() {
        let one = catalog(&["/mcp"]);
        assert!(one.meant_by(&["https://m.example/mcp".to_owned()], false).unwrap().named);
        assert!(!one.meant_by(&[], false).unwrap().named);
        assert_eq!(one.meant_by(&[], true).unwrap_err().code, ErrorCode::InvalidTarget);
        for foreign in ["https://evil.example/mcp", "https://m.example/other", "https://m.example", "x"] {
            assert_eq!(
                one.meant_by(&[foreign.to_owned()], false).unwrap_err().code,
                ErrorCode::InvalidTarget
            );
        }
        let two = catalog(&["/a", "/b"]);
        assert!(two.meant_by(&[], false).is_err());
        assert!(
            two.meant_by(&["https://m.example/a".to_owned(), "https://m.example/b".to_owned()], false)
                .is_err()
        );
        assert!(
            two.meant_by(&["https://m.example/a".to_owned(), "https://M.example/a/".to_owned()], false)
                .is_ok()
        );
    }

    #[test]
    fn scopes_mean_what_is_configured() {
        let server = server("/mcp");
        let meant = |text: &str| server.meant_by(&ScopeSet::parse(text).unwrap()).unwrap().to_string();
        assert_eq!(meant(""), "read");
        assert_eq!(meant("write openid"), "write");
        assert_eq!(meant("openid offline_access"), "read");
        let write = ScopeSet::from_iter(["write"]);
        assert_eq!(server.provider_scopes(&write).to_string(), "repo user");
        assert_eq!(server.covered_by(&write, &ScopeSet::from_iter(["repo"])).to_string(), "");
        assert_eq!(server.covered_by(&write, &ScopeSet::from_iter(["repo", "user"])).to_string(), "write");
    }

    #[test]
    fn leaving_out_takes_away_and_nothing_comes_back() {
        let mut server = server("/mcp");
        let scope = |name: &str, implies: &[&str]| ScopeDefinition {
            name: name.to_owned(),
            description: name.to_owned(),
            provider_scopes: ScopeSet::default(),
            default: false,
            optional: name.starts_with("maybe"),
            implies: implies.iter().map(|&name| name.to_owned()).collect(),
            tools: None,
        };
        server.scopes = vec![
            scope("must", &["maybe-fixed"]),
            scope("maybe-fixed", &[]),
            scope("maybe-broad", &["maybe-narrow"]),
            scope("maybe-narrow", &[]),
            scope("other", &[]),
        ]
        .into();
        let set = |text: &str| ScopeSet::parse(text).unwrap();
        let all = set("must maybe-fixed maybe-broad maybe-narrow other");
        assert_eq!(server.optional_among(&all), set("maybe-broad maybe-narrow"));
        assert_eq!(server.optional_among(&set("maybe-fixed other")), set("maybe-fixed"));
        assert_eq!(server.without(&all, &ScopeSet::default()), all);
        assert_eq!(server.without(&all, &set("maybe-broad")), set("must maybe-fixed maybe-narrow other"));
        assert_eq!(server.without(&all, &set("maybe-narrow")), set("must maybe-fixed other"));
        assert_eq!(server.without(&set("maybe-narrow"), &set("maybe-narrow")), ScopeSet::default());
    }
}
