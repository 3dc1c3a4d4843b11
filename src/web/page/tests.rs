//! The pages as strings: what is escaped, what is cut, what the snapshots hold.

use std::time::Duration;

use super::*;

fn pages() -> Pages {
    Pages::new(ProductName::new("Example gateway")).unwrap()
}

fn hostile() -> Consent {
    Consent::samples().remove(3)
}

#[test]
fn every_page_renders_with_every_sample() {
    assert!(pages().check().unwrap() > 25);
}

#[test]
fn pages_look_as_reviewed() {
    let pages = pages();
    let pages = pages.speaking(Language::default());
    for (index, sample) in Consent::samples().iter().enumerate() {
        insta::assert_snapshot!(format!("consent_{index}"), without_style(&pages.render(sample).unwrap()));
    }
    for (index, sample) in Arrival::samples().iter().enumerate() {
        insta::assert_snapshot!(format!("arrival_{index}"), without_style(&pages.render(sample).unwrap()));
    }
    for (index, sample) in Leave::samples().iter().enumerate() {
        insta::assert_snapshot!(format!("leave_{index}"), without_style(&pages.render(sample).unwrap()));
    }
    for (index, sample) in Connected::samples().iter().enumerate() {
        insta::assert_snapshot!(format!("connected_{index}"), without_style(&pages.render(sample).unwrap()));
    }
    for (index, sample) in SignedOut::samples().iter().enumerate() {
        insta::assert_snapshot!(format!("signed_out_{index}"), without_style(&pages.render(sample).unwrap()));
    }
    let errors: Vec<String> =
        ErrorPage::samples().iter().map(|sample| text_of(&pages.render(sample).unwrap())).collect();
    insta::assert_snapshot!("errors", errors.join("\n\n"));
    let missing = ErrorPage::samples().remove(5);
    insta::assert_snapshot!("error", without_style(&pages.render(&missing).unwrap()));
    for (index, sample) in Home::samples().iter().enumerate() {
        insta::assert_snapshot!(format!("home_{index}"), without_style(&pages.render(sample).unwrap()));
    }
}

#[test]
fn pages_read_well_in_german() {
    let pages = pages();
    let (german, tag) = pages.languages().nth(1).unwrap();
    assert_eq!(tag, "de");
    let voice = pages.speaking(german);
    let page = voice.render(&Home::samples().remove(0)).unwrap();
    assert!(page.contains("<html lang=\"de\">"), "{page}");
    let told = [
        read_aloud::<Consent>(voice),
        read_aloud::<Arrival>(voice),
        read_aloud::<Connected>(voice),
        read_aloud::<SignedOut>(voice),
        read_aloud::<ErrorPage>(voice),
        read_aloud::<Home>(voice),
        read_aloud::<Leave>(voice),
    ]
    .concat();
    insta::assert_snapshot!("german", told.join("\n\n"));
}

#[test]
fn no_field_becomes_markup() {
    const NASTY: &str = "<script>\"'&</script>";
    let name = || Label::new(NASTY);
    let verbatim = || Verbatim::new(NASTY);
    let asking = |destination| Asking {
        destination,
        client_name: Some(name()),
        named_by: NamedBy::App,
        name_warnings: vec![NameWarning::LooksLike { name: name() }],
        published_by: None,
        client_id: verbatim(),
        source: Source::configured(),
        redirect_uri: verbatim(),
        server: Server { name: name(), url: verbatim() },
        provider: name(),
        scopes: vec![ScopeLine { is_optional: true, is_new: true, ..ScopeLine::new(NASTY, Some(NASTY)) }],
        loopback_warning: true,
    };
    let scopes = || vec![ScopeLine { is_new: true, ..ScopeLine::new(NASTY, Some(NASTY)) }];
    let pages = Pages::new(ProductName::new(NASTY)).unwrap();
    let pages = pages.speaking(Language::default());
    let rendered = [
        pages.render(&Consent {
            asking: asking(Destination::Web { host: verbatim() }),
            provider_scopes: scopes(),
            missing_resource_warning: true,
            face: Face::Widened,
            account: Account::Known { login: name() },
            other_account: StartAgain::new(&format!("/{NASTY}")),
            everything: StartAgain::new(&format!("/{NASTY}")),
            request: NASTY.to_owned(),
        }),
        pages.render(&Consent {
            asking: asking(Destination::App { scheme: verbatim() }),
            provider_scopes: scopes(),
            missing_resource_warning: false,
            face: Face::Short,
            account: Account::Known { login: name() },
            other_account: StartAgain::new(&format!("/{NASTY}")),
            everything: StartAgain::new(&format!("/{NASTY}")),
            request: NASTY.to_owned(),
        }),
        pages.render(&Arrival {
            asking: asking(Destination::App { scheme: verbatim() }),
            account: name(),
            reason: ArrivalReason::Both { expected: name() },
            provider_scopes: scopes(),
            other_account: StartAgain::new(&format!("/{NASTY}")),
            id: NASTY.to_owned(),
        }),
        pages.render(&Leave {
            url: LeaveUrl::new(&format!("https://a.example/{NASTY}")).unwrap(),
            to: LeaveTo::ThirdParty { name: name() },
        }),
        pages.render(&ErrorPage::new(ErrorKind::Internal, NASTY, StartAgain::new(&format!("/{NASTY}")))),
        pages.render(&Connected {
            accounts: vec![SignedInAs {
                id: NASTY.to_owned(),
                title: name(),
                login: name(),
                chooses_account: true,
                apps: vec![ConnectedApp {
                    id: NASTY.to_owned(),
                    name: Some(name()),
                    named_by: Some(NamedBy::App),
                    published_by: Some(verbatim()),
                    client_id: verbatim(),
                    destination: Some(Destination::App { scheme: verbatim() }),
                    redirect_uri: Some(verbatim()),
                    server: Some(name()),
                    resource: verbatim(),
                    scopes: vec![ScopeLine::new(NASTY, Some(NASTY))],
                    since: Age::of(Duration::ZERO),
                    used: None,
                    grants: 2,
                }],
                page: 1,
                pages: 2,
                before: StartAgain::new(&format!("/{NASTY}")),
                after: StartAgain::new(&format!("/{NASTY}")),
                in_all: 2,
                is_cut: true,
            }],
            others: vec![SignInAt { id: NASTY.to_owned(), title: name() }],
            ended: Some(Ended::One { name: Some(name()) }),
            form: NASTY.to_owned(),
        }),
        pages.render(&SignedOut { providers: vec![name()] }),
        pages.render(&Home::new(
            [(Server { name: name(), url: verbatim() }, name())],
            AppsLetIn { which: WhichApps::All, hosted: true, cursor: true },
        )),
    ];
    for page in rendered {
        let page = page.unwrap();
        assert!(page.contains("&lt;script&gt;&quot;&#39;&amp;&lt;/script&gt;"), "{page}");
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains(NASTY), "{page}");
        assert!(!page.contains("&amp;lt;"), "escaped twice: {page}");
    }
}

#[test]
fn a_hostile_name_is_cut_and_keeps_the_reading_order() {
    let page = pages().speaking(Language::default()).render(&hostile()).unwrap();
    assert!(page.len() < 16_000, "{}", page.len());
    assert!(!page.contains('\u{202E}'));
    assert!(page.find("class=\"host\"").unwrap() < page.find("class=\"name\"").unwrap());
    assert!(page.contains("evil.example</bdi>"), "the end of the host is shown");
}

#[test]
fn deny_comes_first_and_nothing_is_focused_by_itself() {
    let pages = pages();
    let voice = pages.speaking(Language::default());
    let consent = voice.render(&Consent::samples().remove(0)).unwrap();
    let arrival = voice.render(&Arrival::samples().remove(0)).unwrap();
    for (page, action) in [(consent, "/consent"), (arrival, "/arrival")] {
        assert!(page.find("value=\"deny\"").unwrap() < page.find("value=\"approve\"").unwrap());
        assert!(page.contains(&format!("<form method=\"post\" action=\"{action}\">")));
        assert!(!page.contains("autofocus"));
        // An id would be a place for a link's fragment to scroll to.
        assert!(!page.contains(" id=\""));
        assert!(!page.contains(" style=\""));
    }
}

#[test]
fn the_policy_allows_exactly_the_style_that_is_sent() {
    let pages = pages();
    let page = pages.speaking(Language::default()).render(&Home::samples().remove(0)).unwrap();
    let (_, rest) = page.split_once("<style>").unwrap();
    let (style, rest) = rest.split_once("</style>").unwrap();
    assert!(!rest.contains("<style"));
    let hash = BASE64_STANDARD.encode(digest(&SHA256, style.as_bytes()));
    for kind in PageKind::ALL {
        let policy = pages.content_security_policy(kind).to_str().unwrap();
        assert!(policy.contains(&format!("style-src 'sha256-{hash}';")), "{policy}");
        assert!(policy.starts_with("default-src 'none'; script-src 'none';"), "{policy}");
        assert!(policy.ends_with("frame-ancestors 'none'"), "{policy}");
        let form = if kind.has_form() { "form-action 'self';" } else { "form-action 'none';" };
        assert!(policy.contains(form), "{policy}");
    }
}

#[test]
fn headers_deny_framing_caching_and_guessing_but_keep_the_opener() {
    let headers: HeaderMap = pages().security_headers(PageKind::Consent).into_iter().collect();
    let value = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(value("x-frame-options"), Some("DENY"));
    assert_eq!(value("vary"), Some("Accept-Language"));
    assert_eq!(value("cache-control"), Some("no-store"));
    assert_eq!(value("x-content-type-options"), Some("nosniff"));
    assert_eq!(value("referrer-policy"), Some("same-origin"));
    assert_eq!(value("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(value("cross-origin-opener-policy"), None);
}

#[test]
fn a_template_that_outgrows_its_context_is_an_error() {
    #[derive(Serialize)]
    struct Poor {}
    impl PageContext for Poor {
        const KIND: PageKind = PageKind::Error;
        fn samples() -> Vec<Self> {
            Vec::new()
        }
    }
    assert!(matches!(pages().speaking(Language::default()).render(&Poor {}), Err(PageError::Template(_))));
}

fn without_style(page: &str) -> String {
    let (before, rest) = page.split_once("<style>").unwrap();
    let (_, after) = rest.split_once("</style>").unwrap();
    format!("{before}<style></style>{after}")
}

/// What a person reads in the body of each sample.
fn read_aloud<C: PageContext>(voice: Voice<'_>) -> Vec<String> {
    C::samples().iter().map(|sample| text_of(&voice.render(sample).unwrap())).collect()
}

/// What a person reads in the body, one line per element.
fn text_of(page: &str) -> String {
    let (_, body) = page.split_once("<main>").unwrap();
    body.lines()
        .map(|line| line.split('<').map(|part| part.rsplit('>').next().unwrap()).collect::<String>())
        .filter(|line| !line.trim().is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn pages_wear_the_operators_colours_picture_and_address() {
    let drawing = b"<svg xmlns=\"http://www.w3.org/2000/svg\"><path d=\"M0 0h9v9z\"/></svg>";
    let branding = Branding {
        product: "Tools <of> ours".to_owned(),
        logo: Some(drawing.to_vec()),
        contact: Some("mailto:help@example.com?subject=\"x\"".to_owned()),
        colours: vec![("accent".to_owned(), "#6b21a8".to_owned())],
        ..Branding::default()
    };
    assert!(branding.needs_a_check() && !Branding::default().needs_a_check());
    let pages = Pages::branded(&branding).unwrap();
    assert!(pages.check().unwrap() > 50);
    let page = pages.speaking(Language::default()).render(&Consent::samples().remove(0)).unwrap();
    assert!(
        page.contains(
            "<footer>Tools &lt;of&gt; ours · <a href=\"mailto:help@example.com?subject=&quot;x&quot;\""
        ),
        "{page}"
    );
    assert!(page.contains("<img class=\"logo\" src=\"data:image/svg+xml;base64,PHN2"), "{page}");
    assert!(page.contains("--accent: #6b21a8;"), "{page}");
    let (_, rest) = page.split_once("<style>").unwrap();
    let (style, _) = rest.split_once("</style>").unwrap();
    let hash = BASE64_STANDARD.encode(digest(&SHA256, style.as_bytes()));
    for kind in PageKind::ALL {
        let policy = pages.content_security_policy(kind).to_str().unwrap();
        assert!(policy.contains(&format!("style-src 'sha256-{hash}'; img-src data:;")), "{policy}");
        assert!(policy.contains("script-src 'none'"), "{policy}");
    }
    let plain = Pages::new(ProductName::default()).unwrap();
    assert!(plain.content_security_policy(PageKind::Home).to_str().unwrap().contains("img-src 'none'"));
}
