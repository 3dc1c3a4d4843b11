//! Names that apps give themselves: do they pretend to be somebody else?
//!
//! Anybody may register under any name, so a name proves nothing, and the page says so. What is judged here is whether a
//! name is made to mislead: it hides characters or turns their order round, mixes alphabets whose letters look alike, or
//! is, to the eye, the name of a well-known app, of the third party, of this server, or one that the operator reserved.
//! Such a name gets a sentence of its own. Nothing is refused: the host that would get access leads the page anyway.
//!
//! **To the eye:** two names are the same when their skeletons are (UTS #39), without case, accents, blanks and
//! punctuation, and with `i`, `l`, `1` and the like as one letter.
//!
//! **Honest ones:** a well-known app that is sent to an address of its own maker is not suspected, and one on this
//! computer or device not either, as long as it writes its name plainly: that could never be told from an imitation, and
//! the page warns of such destinations already.

use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};
use unicode_security::skeleton;

/// Well-known names and the hosts that they belong to, hosts below those included.
const WELL_KNOWN: &[(&str, &[&str])] = &[
    ("Anthropic", &["anthropic.com", "claude.ai", "claude.com"]),
    ("ChatGPT", &["chatgpt.com", "openai.com"]),
    ("Claude", &["anthropic.com", "claude.ai", "claude.com"]),
    ("Codex", &["chatgpt.com", "openai.com"]),
    ("Copilot", &["github.com", "githubcopilot.com", "microsoft.com", "visualstudio.com", "vscode.dev"]),
    ("Cursor", &["cursor.com", "cursor.sh"]),
    ("Gemini", &["google.com"]),
    ("GitHub", &["github.com", "githubcopilot.com"]),
    (
        "GitHub Copilot",
        &["github.com", "githubcopilot.com", "microsoft.com", "visualstudio.com", "vscode.dev"],
    ),
    ("GitLab", &["gitlab.com"]),
    ("Google", &["google.com"]),
    ("Grok", &["grok.com", "x.ai"]),
    ("JetBrains", &["jetbrains.com"]),
    ("Le Chat", &["mistral.ai"]),
    ("MCP Inspector", &[]),
    ("Microsoft", &["microsoft.com", "visualstudio.com", "vscode.dev"]),
    ("Mistral", &["mistral.ai"]),
    ("OpenAI", &["chatgpt.com", "openai.com"]),
    ("Perplexity", &["perplexity.ai"]),
    ("Visual Studio Code", &["visualstudio.com", "vscode.dev"]),
    ("VS Code", &["visualstudio.com", "vscode.dev"]),
    ("Windsurf", &["codeium.com", "windsurf.com"]),
];

/// Names that an app is not simply believed.
#[derive(Clone, Debug)]
pub struct ReservedNames(Vec<Reserved>);

#[derive(Clone, Debug)]
struct Reserved {
    /// For the page.
    shown: String,
    /// To the eye.
    look: String,
    /// Without case, blanks and punctuation, otherwise as it is written.
    plain: String,
    /// Where it counts.
    place: Place,
    whose: Whose,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// Anywhere in a name.
    Within,
    /// As the whole name.
    Whole,
}

#[derive(Clone, Copy, Debug)]
enum Whose {
    /// An app that is known to live at these hosts.
    WellKnown(&'static [&'static str]),
    /// Nobody who registers.
    Nobody,
}

/// What is odd about a name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NameVerdict {
    /// It holds characters that nobody sees, or that change the order of others.
    pub hides: bool,
    /// A word of it mixes alphabets whose letters look alike.
    pub mixes: bool,
    /// It is, or contains, this name.
    pub looks_like: Option<String>,
}

impl Default for ReservedNames {
    fn default() -> Self {
        let known = WELL_KNOWN.iter();
        Self(known.map(|(name, hosts)| Reserved::new(name, Place::Within, Whose::WellKnown(hosts))).collect())
    }
}

impl ReservedNames {
    /// Adds names that no app may have in its own: those of the third parties, of the product, of the operator.
    #[must_use]
    pub fn and<'a>(self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.with(names, Place::Within)
    }

    /// Adds names that no app may have as its own, though as a part of it: those of the MCP servers, which may be everyday
    /// words.
    #[must_use]
    pub fn and_whole<'a>(self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.with(names, Place::Whole)
    }

    fn with<'a>(mut self, names: impl IntoIterator<Item = &'a str>, place: Place) -> Self {
        let added = names.into_iter().map(|name| Reserved::new(name, place, Whose::Nobody));
        self.0.extend(added.filter(|name| !name.look.is_empty()));
        self
    }

    /// Judges the name of an app that would be sent to `host`; `None`: to a program on this computer or device.
    pub fn judge(&self, name: &str, host: Option<&str>) -> NameVerdict {
        let seen: String = name.chars().filter(|c| !is_hidden(*c)).collect();
        NameVerdict {
            hides: hides(name),
            mixes: seen.split(|c: char| !c.is_alphabetic()).any(mixes_alphabets),
            looks_like: self.look_like(&seen, host),
        }
    }

    fn look_like(&self, name: &str, host: Option<&str>) -> Option<String> {
        let words = words(name);
        let looks: Vec<String> = words.iter().map(|word| look(word)).collect();
        let mut at = 0;
        while at < looks.len() {
            let Some((reserved, length)) = self.longest_at(&looks, at) else {
                at += 1;
                continue;
            };
            let written: String =
                words.iter().skip(at).take(length).map(|word| word.to_lowercase()).collect();
            if !reserved.may_be_used(written == reserved.plain, host) {
                return Some(reserved.shown.clone());
            }
            at += length;
        }
        None
    }

    /// The longest reserved name that begins with the word at `at`, and how many words it takes.
    fn longest_at(&self, looks: &[String], at: usize) -> Option<(&Reserved, usize)> {
        let longest = self.0.iter().map(|reserved| reserved.look.len()).max()?;
        let mut run = String::new();
        let mut found = None;
        for (length, word) in looks.iter().skip(at).enumerate() {
            run.push_str(word);
            if run.len() > longest {
                break;
            }
            let is_whole = at == 0 && length + 1 == looks.len();
            // Of two with one look, the one that nobody may use counts.
            let same = self.0.iter().filter(|it| it.look == run && (is_whole || it.place == Place::Within));
            let strictest = same.max_by_key(|reserved| matches!(reserved.whose, Whose::Nobody));
            found = strictest.map(|reserved| (reserved, length + 1)).or(found);
        }
        found
    }
}

impl NameVerdict {
    /// Whether there is nothing to say.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

impl Reserved {
    fn new(name: &str, place: Place, whose: Whose) -> Self {
        let words = words(name);
        Self {
            shown: name.to_owned(),
            look: words.iter().map(|word| look(word)).collect(),
            plain: words.iter().map(|word| word.to_lowercase()).collect(),
            place,
            whose,
        }
    }

    /// Whether an app that is sent to `host` may be called so. `plainly`: it does not only look so.
    fn may_be_used(&self, plainly: bool, host: Option<&str>) -> bool {
        let Whose::WellKnown(homes) = self.whose else { return false };
        plainly && host.is_none_or(|host| homes.iter().any(|home| is_at_or_below(host, home)))
    }
}

fn is_at_or_below(host: &str, home: &str) -> bool {
    let host = host.split(':').next().unwrap_or_default();
    host.strip_suffix(home).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The words of a name. A capital letter behind a small one begins a word too: `GitHubLogin`.
fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut small = false;
    // Compatibility forms (full width, mathematical letters) first, so that letters are letters.
    for c in name.nfkc() {
        // Vertical bars stand in for letters.
        let is_part = c.is_alphanumeric() || is_combining_mark(c) || c == '|';
        if (!is_part || (small && c.is_uppercase())) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if is_part {
            word.push(c);
        }
        small = c.is_lowercase();
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// What a word looks like.
fn look(word: &str) -> String {
    let bare: String = word.nfkd().filter(|c| !is_combining_mark(*c)).collect();
    let shape: String = skeleton(&bare).filter(|c| !is_combining_mark(*c)).collect();
    let shape = shape.to_lowercase().replace("rn", "m").replace("vv", "w");
    shape
        .chars()
        .map(|c| match c {
            'i' | '1' | '|' | '!' | 'ı' => 'l',
            '0' => 'o',
            c => c,
        })
        .collect()
}

/// Whether a name holds what nobody sees. Joiners and variants are part of emoji and of some scripts: they count only
/// behind letters that have no use for them.
fn hides(name: &str) -> bool {
    let mut before = ' ';
    name.trim().chars().any(|c| {
        let joins = matches!(c, '\u{200C}' | '\u{200D}' | '\u{FE0E}' | '\u{FE0F}');
        let is_odd = is_hidden(c) && (!joins || before == ' ' || before.is_ascii() || alphabet(before) != 0);
        before = c;
        is_odd
    })
}

/// Characters that show nothing, or that reorder what stands around them.
fn is_hidden(c: char) -> bool {
    (c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
            | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}')
}

/// Whether letters of more than one of the alphabets that look alike stand in one word.
fn mixes_alphabets(word: &str) -> bool {
    let alphabets = word.chars().fold(0, |seen, c| seen | alphabet(c));
    alphabets & (alphabets.wrapping_sub(1)) != 0
}

/// One bit for each alphabet that has letters in common with the Latin one, to the eye.
fn alphabet(c: char) -> u8 {
    match c {
        'a'..='z' | 'A'..='Z' | 'À'..='ɏ' | 'ɐ'..='ʯ' | 'Ḁ'..='ỿ' | 'Ꜣ'..='ꟿ' | 'ａ'..='ｚ' | 'Ａ'..='Ｚ' => {
            1
        }
        '\u{0370}'..='\u{03FF}' | '\u{1F00}'..='\u{1FFF}' => 2,
        '\u{0400}'..='\u{052F}'
        | '\u{1C80}'..='\u{1C8F}'
        | '\u{2DE0}'..='\u{2DFF}'
        | '\u{A640}'..='\u{A69F}' => 4,
        '\u{0530}'..='\u{058F}' => 8,
        '\u{13A0}'..='\u{13FF}' | '\u{AB70}'..='\u{ABBF}' => 16,
        '\u{A4D0}'..='\u{A4FF}' => 32,
        '\u{2C80}'..='\u{2CFF}' => 64,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserved() -> ReservedNames {
        ReservedNames::default().and(["Quarry", "mcp-deputy"]).and_whole(["Tools"])
    }

    fn like(name: &str, host: Option<&str>) -> Option<String> {
        reserved().judge(name, host).looks_like
    }

    #[test]
    fn a_name_that_is_elsewhere_at_home_is_flagged() {
        let evil = Some("evil.example");
        for (name, whose) in [
            ("Claude", "Claude"),
            ("CLAUDE desktop", "Claude"),
            ("claude-code (official)", "Claude"),
            ("MyClaude", "Claude"),
            ("C l a u d e", "Claude"),
            ("C.l.a.u.d.e", "Claude"),
            ("CIaude", "Claude"),
            ("C1aude", "Claude"),
            ("C|aude", "Claude"),
            ("Cláude", "Claude"),
            ("Сlаudе", "Claude"),
            ("Ｃｌａｕｄｅ", "Claude"),
            ("𝐂𝐥𝐚𝐮𝐝𝐞", "Claude"),
            ("Ⓒⓛⓐⓤⓓⓔ", "Claude"),
            ("Cl\u{200B}aude", "Claude"),
            ("Cl\u{00AD}aude", "Claude"),
            ("ChatGPT", "ChatGPT"),
            ("Chat GPT", "ChatGPT"),
            ("GlTHUB", "GitHub"),
            ("GitHubLogin", "GitHub"),
            ("GitHub Copilot", "GitHub Copilot"),
            ("Gernini", "Gemini"),
            ("G00gle", "Google"),
            ("Visual Studio Code", "Visual Studio Code"),
            ("VSCode", "VS Code"),
            ("Quarry", "Quarry"),
            ("Quаrry Security", "Quarry"),
            ("MCP Deputy", "mcp-deputy"),
            ("Tools", "Tools"),
        ] {
            assert_eq!(like(name, evil).as_deref(), Some(whose), "{name}");
        }
    }

    #[test]
    fn honest_names_are_left_alone() {
        let evil = Some("evil.example");
        for name in [
            "App",
            "An app",
            "Precursor",
            "Dev Tools",
            "Recursor",
            "日本語クライアント",
            "Клиент",
            "Ελληνικά",
            "עברית",
            "Café",
            "Mein Gerät",
            "Claudette",
            "Cloud",
            "Gitea",
            "",
        ] {
            assert!(reserved().judge(name, evil).is_plain(), "{name}: {:?}", reserved().judge(name, evil));
        }
        for (name, host) in [
            ("Claude", Some("claude.ai")),
            ("Claude", Some("www.claude.com")),
            ("Claude Code", None),
            ("Visual Studio Code", None),
            ("Visual Studio Code", Some("vscode.dev")),
            ("GitHub Copilot CLI", None),
            ("Cursor", None),
            ("MCP Inspector", None),
            ("ChatGPT", Some("chatgpt.com:8443")),
        ] {
            assert!(reserved().judge(name, host).is_plain(), "{name} {host:?}");
        }
    }

    #[test]
    fn an_imitation_is_flagged_wherever_it_leads() {
        for host in [None, Some("claude.ai"), Some("evil.example")] {
            assert_eq!(like("CIaude", host).as_deref(), Some("Claude"));
            assert_eq!(like("Quarry", host).as_deref(), Some("Quarry"), "nobody else is called that");
        }
        for host in ["claude.ai.evil.example", "evilclaude.ai", "xclaude.ai"] {
            assert_eq!(like("Claude", Some(host)).as_deref(), Some("Claude"), "{host}");
        }
        // The third party's own name counts, though it is the name of a well-known app as well.
        let github = ReservedNames::default().and(["GitHub"]);
        assert_eq!(github.judge("GitHub", Some("github.com")).looks_like.as_deref(), Some("GitHub"));
        assert_eq!(github.judge("GitHub Copilot", None).looks_like, None);
    }

    #[test]
    fn what_hides_or_mixes_is_told() {
        for name in [
            "a\u{202E}b",
            "a\u{2066}b",
            "a\u{200B}b",
            "a\u{200D}b",
            "\u{FEFF}a",
            "a\u{E0041}",
            "a\u{3164}b",
            "a\u{1b}[31m",
        ] {
            assert!(reserved().judge(name, None).hides, "{name:?}");
        }
        for name in ["👩‍💻 Dev", "❤️ App", "می‌خواهم", "a\tb", "a b"] {
            assert!(!reserved().judge(name, None).hides, "{name:?}");
        }
        for name in ["pаypal", "Αpp", "app Ꭺpp", "օpen"] {
            assert!(reserved().judge(name, None).mixes, "{name:?}");
        }
        for name in ["App Клиент", "Claude助手", "Straße"] {
            assert!(!reserved().judge(name, None).mixes, "{name:?}");
        }
    }
}
