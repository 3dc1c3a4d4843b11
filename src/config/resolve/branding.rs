//! `[branding]`: what pages look like.

use std::{collections::BTreeMap, fs, path::PathBuf};

use url::Url;

use super::value::{self, parse};
use crate::config::{
    branding::{BRAND_COLORS, BrandingSettings},
    document::reason,
    error::Refused,
    file::{BrandingFile, Text, Written},
};

pub(super) fn resolve(file: &BrandingFile) -> Result<BrandingSettings, Refused> {
    let default = BrandingSettings::default();
    let named = |name: &str, written: &Text, read: fn(&str) -> std::io::Result<()>| {
        let path = |text: &str| match read(text) {
            Ok(()) => Ok(PathBuf::from(text)),
            Err(error) => Err(format!("cannot be read: {}", reason(&error))),
        };
        written.as_ref().map(|written| parse(name, written, path)).transpose()
    };
    let a_file = |path: &str| fs::File::open(path).map(|_| ());
    let a_folder = |path: &str| fs::read_dir(path).map(|_| ());
    Ok(BrandingSettings {
        product_name: match &file.product_name {
            Some(written) => parse("product_name", written, product_name)?,
            None => default.product_name,
        },
        logo: named("logo", &file.logo, a_file)?,
        contact: file.contact.as_ref().map(|written| parse("contact", written, contact)).transpose()?,
        colors: colors("colors", file.colors.as_ref())?,
        colors_dark: colors("colors_dark", file.colors_dark.as_ref())?,
        texts: named("texts", &file.texts, a_file)?,
        templates: named("templates", &file.templates, a_folder)?,
    })
}

/// A name that fits into a title.
fn product_name(text: &str) -> Result<String, &'static str> {
    let name = value::words(text)?;
    if name.chars().count() > 60 { Err("must have at most 60 characters") } else { Ok(name) }
}

/// An address that people can follow to a person.
fn contact(text: &str) -> Result<String, &'static str> {
    const MUST: &str =
        "must be an address such as \"https://example.com/help\" or \"mailto:help@example.com\"";
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(MUST);
    }
    match Url::parse(text) {
        Ok(url) if url.scheme() == "https" && url.username().is_empty() && url.password().is_none() => {
            Ok(text.to_owned())
        }
        Ok(url) if url.scheme() == "mailto" && url.path().contains('@') => Ok(text.to_owned()),
        _ => Err(MUST),
    }
}

fn colors(
    name: &str,
    written: Option<&Written<BTreeMap<String, String>>>,
) -> Result<Vec<(String, String)>, Refused> {
    let Some(Written { value, place }) = written else { return Ok(Vec::new()) };
    let mut colors = Vec::with_capacity(value.len());
    for (colour, text) in value {
        if !BRAND_COLORS.contains(&colour.as_str()) {
            let known = BRAND_COLORS.join(", ");
            return Err(Refused::at(*place, format!("{name} has no '{colour}'; there are {known}")));
        }
        let is_colour =
            |digits: &&str| digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let Some(digits) = text.strip_prefix('#').filter(is_colour) else {
            let sentence = format!("{colour} in {name} must be a colour such as \"#0b57d0\"");
            return Err(Refused::at(*place, sentence));
        };
        colors.push((colour.clone(), format!("#{}", digits.to_ascii_lowercase())));
    }
    Ok(colors)
}
