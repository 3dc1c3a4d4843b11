//! `[branding]`: what is taken, and the exact sentence for what is not.

use super::{SMALLEST, bad, good, with};
use crate::config::BrandingSettings;

#[test]
fn branding_is_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let logo = folder.path().join("logo.png");
    std::fs::write(&logo, "").unwrap();
    let more = format!(
        "product_name = \"Our tools\"\nlogo = {logo:?}\ncontact = \"https://example.com/help\"\n\
         colors = {{ accent = \"#6B21a8\", on_accent = \"#ffffff\" }}\ntemplates = {:?}",
        folder.path()
    );
    let branding = good(&with("[branding]", &more)).branding;
    assert_eq!(branding.product_name, "Our tools");
    assert_eq!((branding.logo, branding.templates), (Some(logo), Some(folder.path().to_owned())));
    assert_eq!(branding.contact.as_deref(), Some("https://example.com/help"));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(branding.colors, [pair("accent", "#6b21a8"), pair("on_accent", "#ffffff")]);
    assert_eq!(good(SMALLEST).branding, BrandingSettings::default());
}

#[test]
fn mistakes_in_branding() {
    const COLOURS: &str = "there are page, text, quiet, line, field, accent, on_accent";
    const CONTACT: &str =
        "contact must be an address such as \"https://example.com/help\" or \"mailto:help@example.com\"";
    for (more, sentence) in [
        ("product_name = \"\"", "product_name must be one line of 1 to 200 characters".to_owned()),
        (
            &format!("product_name = \"{}\"", "x".repeat(61)),
            "product_name must have at most 60 characters".to_owned(),
        ),
        ("logo = \"/nowhere/logo.png\"", "logo cannot be read: there is no such file".to_owned()),
        ("templates = \"/nowhere\"", "templates cannot be read: there is no such file".to_owned()),
        ("colors = { accent = \"red\" }", "accent in colors must be a colour such as \"#0b57d0\"".to_owned()),
        (
            "colors = { accent = \"#12345\" }",
            "accent in colors must be a colour such as \"#0b57d0\"".to_owned(),
        ),
        (
            "colors = { accent = \"#12345g\" }",
            "accent in colors must be a colour such as \"#0b57d0\"".to_owned(),
        ),
        (
            "colors_dark = { accent = \"#123456;}\" }",
            "accent in colors_dark must be a colour such as \"#0b57d0\"".to_owned(),
        ),
        // What warns looks the same everywhere.
        ("colors = { warn = \"#ffffff\" }", format!("colors has no 'warn'; {COLOURS}")),
        ("colors = { on-warn = \"#ffffff\" }", format!("colors has no 'on-warn'; {COLOURS}")),
        ("contact = \"javascript:alert(1)\"", CONTACT.to_owned()),
        ("contact = \"http://example.com\"", CONTACT.to_owned()),
        ("contact = \"mailto:nobody\"", CONTACT.to_owned()),
        ("contact = \"https://me:secret@example.com\"", CONTACT.to_owned()),
        ("contact = \"help@example.com\"", CONTACT.to_owned()),
    ] {
        assert_eq!(bad(&with("[branding]", more)), format!("proxy.toml:9: {sentence}"), "{more}");
    }
}
