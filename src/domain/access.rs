//! Who may sign in: the operator's rules, held against what the third party says of a person.
//!
//! Without rules everybody is let in whom the third party lets in. With rules somebody is let in whom at least one of them
//! names. A rule names what cannot change hands (D19): an immutable user id, an organization's id; an e-mail address
//! only where the third party says that it is verified. Never a login name.
//!
//! The rules are asked at the callback, at every refresh, whenever facts are asked for again, and when a session is read
//! from the store: after a restart with narrower rules nobody is served on the old ones.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::refusal::{ErrorCode, Refusal};

/// The operator's rules.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Access {
    /// Subjects ([`super::person::subject`]).
    pub users: BTreeSet<String>,
    /// E-mail addresses, as [`Email::parse`] writes them.
    pub emails: BTreeSet<String>,
    /// Domains of e-mail addresses, in lower case. A subdomain is another domain.
    pub email_domains: BTreeSet<String>,
    /// Ids of organizations, as the third party lists them.
    pub organizations: BTreeSet<String>,
}

/// What the third party says of a person that the rules may ask for. Empty where nobody asked.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Membership {
    /// Verified e-mail addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emails: Vec<String>,
    /// Ids of organizations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub organizations: Vec<String>,
}

/// Somebody who may not sign in.
pub const NOT_ADMITTED: Refusal = Refusal::new(
    ErrorCode::AccessDenied,
    "person_not_admitted",
    "This account may not be used here. Ask whoever runs this server.",
);

impl Access {
    /// Whether there is no rule.
    pub fn is_open(&self) -> bool {
        self.users.is_empty() && !self.asks_for_emails() && !self.asks_for_organizations()
    }

    /// Whether a rule is about e-mail addresses.
    pub fn asks_for_emails(&self) -> bool {
        !self.emails.is_empty() || !self.email_domains.is_empty()
    }

    /// Whether a rule is about organizations.
    pub fn asks_for_organizations(&self) -> bool {
        !self.organizations.is_empty()
    }

    /// Whether the person may sign in, or stay.
    pub fn admits(&self, subject: &str, membership: &Membership) -> bool {
        self.is_open()
            || self.users.contains(subject)
            || membership.organizations.iter().any(|id| self.organizations.contains(id))
            || membership.emails.iter().filter_map(|email| Email::parse(email)).any(|email| {
                self.emails.contains(&email.whole()) || self.email_domains.contains(&email.domain)
            })
    }
}

/// An e-mail address, strictly: one local part, one domain. What is unusual is none, since two readers of an unusual one
/// may see two different domains in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Email {
    local: String,
    /// The domain, in lower case.
    pub domain: String,
}

impl Email {
    /// Reads an address.
    pub fn parse(text: &str) -> Option<Self> {
        let (local, domain) = text.split_once('@')?;
        let is_atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
        let good = !local.is_empty() && local.len() <= 64 && local.bytes().all(is_atom) && is_domain(domain);
        good.then(|| Self { local: local.to_ascii_lowercase(), domain: domain.to_ascii_lowercase() })
    }

    /// The address in lower case, in which two of them are compared.
    pub fn whole(&self) -> String {
        format!("{}@{}", self.local, self.domain)
    }
}

/// Whether it is the name of a host with at least two labels.
pub fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (1..=63).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && text.contains('.') && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(users: &[&str], emails: &[&str], domains: &[&str], organizations: &[&str]) -> Access {
        let set = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Access {
            users: set(users),
            emails: set(emails),
            email_domains: set(domains),
            organizations: set(organizations),
        }
    }

    fn member(emails: &[&str], organizations: &[&str]) -> Membership {
        let list = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Membership { emails: list(emails), organizations: list(organizations) }
    }

    #[test]
    fn without_rules_everybody_is_admitted_and_with_rules_whoever_one_names() {
        assert!(Access::default().admits("x", &Membership::default()));
        let all = rules(&["i|1"], &["ada@example.com"], &["corp.example"], &["42"]);
        assert!(all.admits("i|1", &Membership::default()));
        assert!(all.admits("i|2", &member(&["Ada@EXAMPLE.com"], &[])));
        assert!(all.admits("i|2", &member(&["x@y.example", "bob@Corp.Example"], &[])));
        assert!(all.admits("i|2", &member(&[], &["7", "42"])));
        assert!(!all.admits("i|2", &Membership::default()));
        assert!(!all.admits("j|1", &member(&["ada@example.org", "ada@sub.corp.example"], &["4", "421"])));
    }

    #[test]
    fn attack_address_with_two_domains() {
        let rules = rules(&[], &[], &["corp.example"], &[]);
        for address in [
            "evil@evil.example@corp.example",
            "\"evil@evil.example\"@corp.example",
            "evil@corp.example@evil.example",
            "evil@evil.example,x@corp.example",
            "<x@corp.example>",
            "x@corp.example.",
            "x@corp.example\n",
            "x @corp.example",
            "@corp.example",
            "x@",
            "x@corp.example evil.example",
            "x@xn--corp.example.evil.example",
            "x@c\u{43e}rp.example",
        ] {
            assert!(!rules.admits("s", &member(&[address], &[])), "{address}");
        }
    }
}
