//! The rows of `[branding]`.

use super::{Key, Kind, Section, Shape};

/// What pages look like.
pub(super) const BRANDING: Section = Section {
    path: "branding",
    shape: Shape::Table,
    doc: "What people see: docs/branding.md. `mcp-deputy check` renders every page with it and says what is wrong.",
    shown: false,
    keys: &[
        Key::with(
            "product_name",
            Kind::Text,
            r#""mcp-deputy""#,
            "How the gateway introduces itself: at `/`, in titles and at the foot of each page. Apps that register under \
             this name are not believed.",
        ),
        Key::maybe(
            "logo",
            Kind::Text,
            "no picture",
            r#""logo.svg""#,
            "File with a picture for the top of each page, PNG or SVG, at most 32 KiB. It is part of each page.",
        ),
        Key::maybe(
            "contact",
            Kind::Text,
            "no link",
            r#""mailto:help@example.com""#,
            "Where people find whoever runs the gateway: an address of https or mailto, linked at the foot of each page.",
        ),
        Key::maybe(
            "colors",
            Kind::Texts,
            "those of templates/style.css",
            r##"{ accent = "#6b21a8" }"##,
            "Colours as `#rrggbb`: `page`, `text`, `quiet`, `line`, `field`, `accent`, `on_accent`. What is read must have the \
             contrast of WCAG level AA. Those of warnings stay as they are.",
        ),
        Key::maybe(
            "colors_dark",
            Kind::Texts,
            "those of templates/style.css",
            r##"{ accent = "#d8b4fe" }"##,
            "The same for browsers that are set to a dark scheme.",
        ),
        Key::maybe(
            "texts",
            Kind::Text,
            "the texts of templates/texts.toml",
            r#""texts.toml""#,
            "File with texts that replace ours, or that speak another language.",
        ),
        Key::maybe(
            "templates",
            Kind::Text,
            "our templates",
            r#""pages""#,
            "Folder with templates that replace ours, by their file names (`home.html`).",
        ),
    ],
};
