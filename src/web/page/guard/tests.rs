//! Templates that an operator could write, by mistake or on purpose, and what is said about them.

use crate::flow::fault;
use crate::web::page::{Branding, Pages, Written, templates::TEMPLATES};

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
        super::forms(&super::tokens(page), "/account", &wanted)
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
