//! The algebra of scopes, and what a third party's grant covers.

use std::collections::BTreeMap;

use mcp_deputy::domain::{
    catalog::{McpServer, ScopeDefinition},
    resource::Resource,
    scope::ScopeSet,
};
use proptest::{collection::vec, prelude::*, sample::subsequence};

const MCP: [&str; 5] = ["a", "b", "c", "d", "e"];
const THIRD: [&str; 5] = ["user", "repo", "gist", "mail", "org"];

fn set(of: [&'static str; 5]) -> impl Strategy<Value = ScopeSet> {
    subsequence(of.to_vec(), 0..=5).prop_map(ScopeSet::from_iter)
}

fn covers() -> impl Strategy<Value = BTreeMap<String, Vec<String>>> {
    vec(set(MCP), 5).prop_map(|implied| {
        let implied = implied.iter().map(|set| set.iter().map(str::to_owned).collect());
        MCP.iter().map(|&name| name.to_owned()).zip(implied).collect()
    })
}

fn server() -> impl Strategy<Value = McpServer> {
    (covers(), vec(set(THIRD), 5)).prop_map(|(covers, needs)| McpServer {
        path: "/mcp".to_owned(),
        resource: Resource::at("https://mcp.example.com", "/mcp"),
        name: "M".to_owned(),
        provider: "third".to_owned(),
        identity_assertion: false,
        filter_tools: false,
        scopes: MCP
            .iter()
            .zip(needs)
            .map(|(&name, provider_scopes)| ScopeDefinition {
                name: name.to_owned(),
                description: String::new(),
                provider_scopes,
                default: false,
                optional: false,
                tools: None,
                implies: covers.get(name).cloned().unwrap_or_default(),
            })
            .collect(),
    })
}

fn both(one: &ScopeSet, other: &ScopeSet) -> ScopeSet {
    one.minus(&one.minus(other))
}

proptest! {
    #![proptest_config(crate::cases(500))]

    #[test]
    fn sets_are_sets(a in set(MCP), b in set(MCP), c in set(MCP)) {
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.union(&b).union(&c), a.union(&b.union(&c)));
        prop_assert_eq!(a.union(&a), a.clone());
        prop_assert_eq!(a.minus(&b).union(&b), a.union(&b));
        prop_assert!(both(&a.minus(&b), &b).is_empty());
        prop_assert_eq!(a.is_subset(&b), a.minus(&b).is_empty());
        prop_assert_eq!(both(&a, &b), both(&b, &a));
        prop_assert!(a.is_subset(&a.union(&b)) && a.minus(&b).is_subset(&a));
        prop_assert_eq!(ScopeSet::parse(&a.to_string()), Some(a.clone()));
        prop_assert!(MCP.iter().all(|name| a.contains(name) == a.iter().any(|known| known == *name)));
    }

    #[test]
    fn expansion_is_a_closure(a in set(MCP), b in set(MCP), covers in covers()) {
        let grown = a.expanded(&covers);
        prop_assert!(a.is_subset(&grown));
        prop_assert_eq!(grown.expanded(&covers), grown.clone());
        prop_assert_eq!(a.union(&b).expanded(&covers), grown.union(&b.expanded(&covers)));
    }

    #[test]
    fn more_from_the_third_party_never_covers_less(
        server in server(), scopes in set(MCP), more in set(MCP), granted in set(THIRD), extra in set(THIRD),
    ) {
        let covered = server.covered_by(&scopes, &granted);
        prop_assert!(covered.is_subset(&scopes));
        prop_assert!(covered.is_subset(&server.covered_by(&scopes, &granted.union(&extra))));
        prop_assert!(covered.is_subset(&server.covered_by(&scopes.union(&more), &granted)));
        // What is covered needs nothing that did not come back, and what is not does.
        prop_assert!(server.provider_scopes(&covered).is_subset(&granted));
        for left_out in scopes.minus(&covered).iter() {
            prop_assert!(!server.provider_scopes(&ScopeSet::from_iter([left_out])).is_subset(&granted));
        }
        // With everything that was asked for, everything is covered.
        prop_assert_eq!(server.covered_by(&scopes, &server.provider_scopes(&scopes)), scopes);
    }

    #[test]
    fn a_list_of_scopes_is_read_whole_or_not_at_all(text in "[ -~\\t]{0,24}") {
        let read = ScopeSet::parse(&text);
        let forbidden = text.contains(['"', '\\', '\t']);
        prop_assert_eq!(read.is_none(), forbidden, "{:?}", text);
        if let Some(read) = read {
            prop_assert!(text.split(' ').all(|token| token.is_empty() || read.contains(token)));
        }
    }
}
