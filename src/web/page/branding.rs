//! What an operator may change of the pages: name, picture, colours, texts, templates.
//!
//! Owns the judgement of what is given: pictures and colours here and in [`super::palette`], texts in [`super::texts`],
//! templates by [`super::guard`] on what they render. Whatever is wrong is one sentence that names it. What cannot be
//! changed is in the program: the headers, the style beyond its colours, the texts of warnings, and what a page of
//! approval must show.

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::markup::{self, Token};

/// What an operator changed. Made of nothing else than what was read from files and the configuration.
#[derive(Clone, Debug, Default)]
pub struct Branding {
    /// How the gateway introduces itself; empty: as mcp-deputy.
    pub product: String,
    /// A picture: PNG or SVG.
    pub logo: Option<Vec<u8>>,
    /// Where people find the operator: an address of https or mailto.
    pub contact: Option<String>,
    /// Names and values (`#rrggbb`) of colours.
    pub colours: Vec<(String, String)>,
    /// The same for dark schemes.
    pub colours_dark: Vec<(String, String)>,
    /// A catalogue of texts, over ours.
    pub texts: Option<Written>,
    /// Templates instead of ours of the same names.
    pub templates: Vec<Written>,
}

/// A file that an operator wrote.
#[derive(Clone, Debug)]
pub struct Written {
    /// As it is called: for templates the file name alone.
    pub name: String,
    /// What is in it.
    pub text: String,
}

impl Branding {
    /// Whether something was given that can break pages, so that all of them should be looked at before they are used.
    pub fn needs_a_check(&self) -> bool {
        self.texts.is_some() || !self.templates.is_empty() || self.logo.is_some()
    }
}

/// The largest picture, in bytes: it is sent with each page.
pub const MAX_LOGO: usize = 32 * 1024;

/// The most pixels in one direction: a small file can unpack into a very large picture.
const MAX_PIXELS: u32 = 2048;

/// A picture as a `data:` address. In an `<img>` neither scripts of an SVG run nor does it load anything; that it holds
/// nothing of the kind is judged all the same.
pub(super) fn picture(bytes: &[u8]) -> Result<String, &'static str> {
    if bytes.len() > MAX_LOGO {
        return Err("the logo must have at most 32 KiB");
    }
    let kind = if is_png(bytes)? {
        "png"
    } else {
        let text = std::str::from_utf8(bytes).map_err(|_| NEITHER)?;
        judge_svg(text)?;
        "svg+xml"
    };
    Ok(format!("data:image/{kind};base64,{}", BASE64_STANDARD.encode(bytes)))
}

const NEITHER: &str = "the logo must be a PNG or an SVG";

/// Whether this is a PNG, by its first chunk.
fn is_png(bytes: &[u8]) -> Result<bool, &'static str> {
    let Some(rest) = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n") else { return Ok(false) };
    let header = rest.strip_prefix(b"\0\0\0\rIHDR").ok_or(NEITHER)?;
    let number = |at: usize| {
        let bytes = header.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    };
    let (Some(width), Some(height)) = (number(0), number(4)) else { return Err(NEITHER) };
    if (1..=MAX_PIXELS).contains(&width) && (1..=MAX_PIXELS).contains(&height) {
        Ok(true)
    } else {
        Err("the logo must have at most 2048 pixels in each direction")
    }
}

/// A drawing and nothing else: no scripts, no other documents, nothing from elsewhere.
fn judge_svg(text: &str) -> Result<(), &'static str> {
    const ACTIVE: &str = "the logo must be a plain SVG: no scripts, animations, other documents or entities";
    const FOREIGN: &str = "the logo must be a plain SVG: nothing that is loaded from elsewhere";
    const PARTS: [&str; 25] = [
        "circle",
        "clippath",
        "defs",
        "desc",
        "ellipse",
        "g",
        "line",
        "lineargradient",
        "marker",
        "mask",
        "metadata",
        "path",
        "pattern",
        "polygon",
        "polyline",
        "radialgradient",
        "rect",
        "stop",
        "style",
        "svg",
        "symbol",
        "text",
        "title",
        "tspan",
        "use",
    ];
    let mut has_root = false;
    for token in markup::tokens(text) {
        match token {
            Token::Open { name, attributes } => {
                let plain = name.rsplit(':').next().unwrap_or_default();
                if !has_root && name != "svg" {
                    return Err(NEITHER);
                }
                has_root = true;
                if !PARTS.contains(&plain) && !name.contains(':') {
                    return Err(ACTIVE);
                }
                for (attribute, value) in attributes {
                    if attribute.starts_with("on") {
                        return Err(ACTIVE);
                    }
                    if attribute.ends_with("href") && !value.starts_with('#') {
                        return Err(FOREIGN);
                    }
                    judge_css(&value).map_err(|()| FOREIGN)?;
                }
            }
            Token::Text(text) => judge_css(&text).map_err(|()| FOREIGN)?,
            Token::Declaration(text) if !text.starts_with("?xml ") => return Err(ACTIVE),
            Token::Close(_) | Token::Comment | Token::Declaration(_) => {}
        }
    }
    if has_root { Ok(()) } else { Err(NEITHER) }
}

/// Only references within the drawing.
fn judge_css(text: &str) -> Result<(), ()> {
    let text = text.to_ascii_lowercase();
    let stays = |rest: &str| rest.trim_start_matches([' ', '\'', '"']).starts_with('#');
    let loads = text.split("url(").skip(1).any(|rest| !stays(rest))
        || text.contains("@import")
        || text.contains('\\');
    if loads { Err(()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes.extend([8, 6, 0, 0, 0]);
        bytes
    }

    #[test]
    fn pictures_are_png_or_svg_and_small() {
        assert!(picture(&png(64, 64)).unwrap().starts_with("data:image/png;base64,iVBOR"));
        assert!(picture(&png(4096, 1)).is_err() && picture(&png(0, 1)).is_err());
        let mut large = png(64, 64);
        large.resize(MAX_LOGO + 1, 0);
        assert!(picture(&large).is_err());
        let drawing = "<?xml version=\"1.0\"?>\n<!-- made by hand -->\n<svg xmlns=\"http://www.w3.org/2000/svg\" \
                       viewBox=\"0 0 9 9\"><defs><linearGradient id=\"a\"><stop offset=\"0\"/></linearGradient></defs>\
                       <style>.b { fill: url(#a) }</style><path class='b' d=\"M0 0h9v9z\"/><use href=\"#a\"/></svg>";
        assert!(picture(drawing.as_bytes()).unwrap().starts_with("data:image/svg+xml;base64,"));
        for other in
            [&b"GIF89a"[..], b"", b"<html></html>", b"\xff\xd8\xff\xe0", b"plain text", b"\x89PNG\r\n\x1a\n"]
        {
            assert_eq!(picture(other), Err(NEITHER));
        }
    }

    #[test]
    fn attack_a_logo_that_does_something() {
        for inside in [
            "<script>alert(1)</script>",
            "<SCRIPT/>",
            "<g onload='alert(1)'/>",
            "<foreignObject><p>x</p></foreignObject>",
            "<image href='https://evil.example/x.png'/>",
            "<use xlink:href='https://evil.example/x.svg#a'/>",
            "<animate attributeName='href' to='javascript:x'/>",
            "<style>@import 'https://evil.example/x.css';</style>",
            "<style>g { fill: url(https://evil.example/x) }</style>",
            "<style>g { fill: \\75rl(https://evil.example/x) }</style>",
            "<rect style='fill: URL( \"https://evil.example/x\" )'/>",
            "<a href='https://evil.example'/>",
            "<iframe/>",
        ] {
            let drawing = format!("<svg>{inside}</svg>");
            assert!(picture(drawing.as_bytes()).is_err(), "{inside}");
        }
        let entity = "<!DOCTYPE svg [<!ENTITY x \"y\">]><svg>&x;</svg>";
        assert!(picture(entity.as_bytes()).is_err());
        assert!(picture(b"<?xml-stylesheet href='x'?><svg/>").is_err());
    }
}
