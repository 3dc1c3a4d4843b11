//! Pages with more on them than anybody planned: forty scopes, names as long as they get, other scripts, faces for letters.

use std::time::Duration;

use http::Response;
use mcp_deputy::web::page::{
    Account, Age, AppsLetIn, Arrival, ArrivalReason, Connected, ConnectedApp, Consent, Destination, Face,
    Home, Label, Leave, LeaveTo, LeaveUrl, PageContext as _, ScopeLine, Server, SignedInAs, Verbatim, Voice,
    WhichApps,
};

use crate::site::page;

/// What there is, and whether something can be approved there.
pub(crate) const NAMES: [(&str, bool); 12] = [
    ("forty-scopes", true),
    ("forty-boxes", true),
    ("forty-new", true),
    ("long", true),
    ("long-short", true),
    ("long-arrival", true),
    ("right-to-left", true),
    ("emoji", true),
    ("ten-apps", false),
    ("long-app", false),
    ("ten-servers", false),
    ("long-leave", false),
];

/// The page of that name.
pub(crate) fn answer(voice: Voice<'_>, name: &str) -> Response<String> {
    let forty = |mark: fn(&mut ScopeLine)| {
        let mut asked = consent(0);
        asked.asking.scopes = scopes(40);
        asked.asking.scopes.iter_mut().for_each(mark);
        asked
    };
    match name {
        "forty-scopes" => page(voice, &Consent { provider_scopes: scopes(40), ..forty(|_| {}) }, ""),
        "forty-boxes" => page(voice, &forty(|line| line.is_optional = true), ""),
        "forty-new" => page(voice, &Consent { face: Face::Widened, ..forty(|line| line.is_new = true) }, ""),
        "long" => page(voice, &long(Face::Full), ""),
        "long-short" => page(voice, &long(Face::Short), ""),
        "long-arrival" => {
            let Consent { asking, provider_scopes, other_account, .. } = long(Face::Full);
            let reason = ArrivalReason::Both { expected: Label::new(&"w".repeat(80)) };
            let account = Label::new(&"W".repeat(80));
            let id = Arrival::samples().remove(0).id;
            page(voice, &Arrival { asking, account, reason, provider_scopes, other_account, id }, "")
        }
        "right-to-left" => page(voice, &right_to_left(), ""),
        "emoji" => {
            let mut asked = consent(1);
            asked.asking.client_name = Label::seen("🦊🔥 Füchse & Co. 👩\u{200D}💻 café\u{301}s 🇩🇪 漢字");
            asked.account = Account::Known { login: Label::new("🦊.fox") };
            page(voice, &asked, "")
        }
        "ten-apps" => page(voice, &connected((1..=10).map(app).collect()), ""),
        "long-app" => {
            let Consent { asking, .. } = long(Face::Full);
            let long = ConnectedApp {
                name: asking.client_name,
                client_id: asking.client_id,
                destination: Some(asking.destination),
                redirect_uri: Some(asking.redirect_uri),
                server: Some(asking.server.name),
                resource: asking.server.url,
                scopes: scopes(40),
                ..app(1)
            };
            page(voice, &connected(vec![long]), "")
        }
        "ten-servers" => {
            let servers = (1..=10).map(|number| {
                let name = format!("Tools of department {number} and all who work there");
                let url = format!("https://mcp.example.com/departments/{number}/mcp");
                (Server { name: Label::new(&name), url: Verbatim::new(&url) }, Label::new("GitHub"))
            });
            page(
                voice,
                &Home::new(servers, AppsLetIn { which: WhichApps::Some, hosted: true, cursor: true }),
                "",
            )
        }
        "long-leave" => {
            let host = host();
            let url = LeaveUrl::new(&format!("https://{host}/cb?code=c")).unwrap();
            page(voice, &Leave { url, to: LeaveTo::Client { host: Verbatim::new(&host) } }, "stay")
        }
        _ => Response::builder().status(404).body(String::new()).unwrap(),
    }
}

fn consent(index: usize) -> Consent {
    Consent::samples().remove(index)
}

/// With and without words, long ones and names without a place to break among them.
fn scopes(count: usize) -> Vec<ScopeLine> {
    let words = |number: usize| match number % 4 {
        0 => None,
        1 => Some("See who you are"),
        2 => Some(
            "Read and change issues, pull requests and discussions in every repository that you can reach",
        ),
        _ => Some("Verwaltung der Donaudampfschifffahrtsgesellschaftskapitänsmützenverordnungsdokumente"),
    };
    (1..=count)
        .map(|number| {
            ScopeLine::new(
                &format!("https://scopes.example/auth/repository.{number}.readwrite"),
                words(number),
            )
        })
        .collect()
}

/// As long as a host can be, nearly.
fn host() -> String {
    format!("{}example.com", "an-app-with-a-long-name.".repeat(9))
}

/// Everything as long as it gets.
fn long(face: Face) -> Consent {
    let mut asked = consent(0);
    let asking = &mut asked.asking;
    asking.client_name = Label::seen(&"Supercalifragilisticexpialidocious".repeat(4));
    asking.client_id = Verbatim::new(&"c".repeat(512));
    asking.destination = Destination::Web { host: Verbatim::new(&host()) };
    asking.redirect_uri = Verbatim::new(&format!("https://{}/{}", host(), "callback".repeat(60)));
    asking.server.name = Label::new("The tools of everybody in the department of long names, all of them");
    asking.server.url = Verbatim::new(&format!("https://mcp.example.com/{}", "tools".repeat(40)));
    asking.provider = Label::new("The identity provider of the department of long names");
    asked.missing_resource_warning = face == Face::Full;
    Consent { face, account: Account::Known { login: Label::new(&"l".repeat(80)) }, ..asked }
}

/// Names that are read from the right, and one that tries to turn what is around it.
fn right_to_left() -> Consent {
    let mut asked = consent(9);
    let server = &mut asked.asking.server;
    server.name = Label::new("כלים של GitHub");
    asked.asking.client_name = Label::seen("تطبيق المثال \u{202E}(claude.ai)\u{202C}");
    asked.asking.scopes = vec![
        ScopeLine::new("repo:read", Some("קריאת המאגרים שלך (repo)")),
        ScopeLine {
            is_optional: true, ..ScopeLine::new("repo:write", Some("تعديل الملفات في مستودعاتك"))
        },
    ];
    asked.asking.provider = Label::new("جيت هب");
    Consent { face: Face::Full, account: Account::Known { login: Label::new("مستخدم-7") }, ..asked }
}

fn connected(apps: Vec<ConnectedApp>) -> Connected {
    let mut shown = Connected::samples().remove(2);
    let account = shown.accounts.remove(0);
    shown.accounts = vec![SignedInAs { in_all: apps.len(), apps, ..account }];
    shown
}

/// One of ten apps: no two say the same of themselves.
fn app(number: usize) -> ConnectedApp {
    let Connected { accounts, .. } = Connected::samples().remove(2);
    let apps = accounts.into_iter().flat_map(|account| account.apps);
    let like = apps.cycle().nth(number).unwrap();
    let hours = 7 * u64::try_from(number).unwrap();
    ConnectedApp {
        id: format!("{number}"),
        name: (number != 4).then(|| Label::new(&format!("Assistant {number}"))),
        scopes: scopes(number),
        since: Age::of(Duration::from_hours(30 * hours)),
        used: (number > 1).then(|| Age::of(Duration::from_hours(hours))),
        ..like
    }
}
