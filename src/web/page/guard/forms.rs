//! Forms: where they post, what is in them, and what their buttons say.

use super::{super::markup::Token, Form, Made, collapsed, has_class, value};

/// Judges forms of which there may be any number.
pub(super) fn several(
    tokens: &[Token],
    action: &str,
    wanted: &[(&'static str, String)],
) -> Result<(), String> {
    let mut is_inside = false;
    let mut found = Vec::new();
    for token in tokens {
        match token {
            Token::Open { name, .. } if name == "form" => {
                let posts = value(token, "method").is_some_and(|method| method.eq_ignore_ascii_case("post"));
                if is_inside
                    || !posts
                    || value(token, "action") != Some(action)
                    || value(token, "target").is_some()
                {
                    return Err(format!("must have forms with method=\"post\" and action=\"{action}\" only"));
                }
                is_inside = true;
            }
            Token::Close(name) if name == "form" => is_inside = false,
            Token::Open { name, .. } if matches!(name.as_str(), "input" | "button") => {
                if !is_inside {
                    return Err("must have its fields in a form".to_owned());
                }
                if name == "input" && value(token, "type") != Some("hidden") {
                    return Err("must have no fields to fill in".to_owned());
                }
                found.push((
                    value(token, "name").unwrap_or_default(),
                    value(token, "value").unwrap_or_default(),
                ));
            }
            _ => {}
        }
    }
    match wanted.iter().find(|(name, value)| !found.contains(&(*name, value.as_str()))) {
        Some((name, _)) => Err(format!("lacks a field {name} in its forms")),
        None => Ok(()),
    }
}

/// Judges the only form there may be.
pub(super) fn only(tokens: &[Token], wanted: Option<&Form>, made: &Made<'_>) -> Result<(), String> {
    let named = |wanted: &'static str| move |token: &&Token| matches!(token, Token::Open { name, .. } if name == wanted);
    let fields = || tokens.iter().filter(|token| named("input")(token) || named("button")(token));
    let mut forms = tokens.iter().filter(named("form"));
    let (Some(wanted), form) = (wanted, forms.next()) else {
        let has_none = tokens.iter().find(named("form")).is_none() && fields().next().is_none();
        return if has_none { Ok(()) } else { Err("must have no form".to_owned()) };
    };
    let form = form.filter(|form| {
        value(form, "method").is_some_and(|method| method.eq_ignore_ascii_case("post"))
            && value(form, "action") == Some(wanted.action)
            && value(form, "target").is_none()
    });
    if form.is_none() || forms.next().is_some() {
        return Err(format!("must have one <form method=\"post\" action=\"{}\">", wanted.action));
    }
    let inside = tokens.iter().skip_while(|token| !named("form")(token));
    let inside: Vec<_> = inside.take_while(|token| **token != Token::Close("form".to_owned())).collect();
    let mut hidden = 0;
    let (mut boxes, mut decisions) = (Vec::new(), Vec::new());
    for field in fields() {
        if !inside.contains(&field) {
            return Err("must have its fields in its form".to_owned());
        }
        match (value(field, "type"), value(field, "name"), value(field, "value")) {
            (Some("hidden"), Some(name), Some(value))
                if (name, value) == (wanted.hidden.0, wanted.hidden.1.as_str()) =>
            {
                hidden += 1;
            }
            (Some("checkbox"), Some("scope"), Some(scope)) => boxes.push(scope.to_owned()),
            (None | Some("submit"), Some("decision"), Some(decision)) if named("button")(&field) => {
                decisions.push((decision, has_class(field, "approve")));
            }
            _ => return Err("must have no fields but ours in its form".to_owned()),
        }
    }
    if hidden != 1 {
        return Err(format!("must have the hidden field {} once", wanted.hidden.0));
    }
    if boxes != wanted.boxes {
        return Err("must have a box for each scope that can be left out".to_owned());
    }
    // Deny first; and Approve with the class that makes it appear only after a moment.
    if decisions != [("deny", false), ("approve", true)] {
        return Err(
            "must have the buttons deny and approve, in this order, the latter alone with class=\"approve\""
                .to_owned(),
        );
    }
    say_what_they_do(tokens, made)
}

/// The two buttons of an approval bear the texts of the catalogue, and not each other's.
fn say_what_they_do(tokens: &[Token], made: &Made<'_>) -> Result<(), String> {
    let mut inside: Option<(&str, String)> = None;
    for token in tokens {
        match (token, &mut inside) {
            (Token::Open { name, .. }, _) if name == "button" => {
                inside = Some((value(token, "value").unwrap_or_default(), String::new()));
            }
            (Token::Text(text), Some((_, said))) => said.push_str(text),
            (Token::Close(name), Some((decision, said))) if name == "button" => {
                let texts: [&str; 2] = match *decision {
                    "deny" => ["choice.deny", "short.deny"],
                    _ => ["choice.approve", "short.approve"],
                };
                let wordings = texts.iter().filter_map(|name| made.texts.wording(name, made.language));
                if !wordings.map(collapsed).any(|wording| wording == collapsed(said)) {
                    return Err(format!("must have the text {} on the button {decision}", texts[0]));
                }
                inside = None;
            }
            _ => {}
        }
    }
    Ok(())
}
