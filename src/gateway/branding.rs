//! The pages as the operator wants them: reads the files that the configuration names, and judges what they make of the
//! pages before anybody sees one.

use std::{fs, io::Read as _, path::Path};

use crate::{
    config::{BrandingSettings, Settings},
    flow::fault::Fault,
    web::page::{Branding, MAX_LOGO, Pages, Written},
};

/// The largest template or catalogue of texts, in bytes.
const MAX_TEXT: usize = 256 * 1024;
/// The most templates in a folder: there are not even as many of ours.
const MAX_TEMPLATES: usize = 100;

/// The pages of this installation.
///
/// # Errors
/// What is wrong with the operator's changes. Nothing was bound or written.
pub fn pages(settings: &Settings) -> Result<Pages, Fault> {
    let branding = read(&settings.branding)?;
    let unusable = |error| Fault::caused("use the pages of [branding]", error);
    let pages = Pages::branded(&branding).map_err(unusable)?;
    if branding.needs_a_check() {
        pages.check().map_err(unusable)?;
    }
    Ok(pages)
}

fn read(settings: &BrandingSettings) -> Result<Branding, Fault> {
    Ok(Branding {
        product: settings.product_name.clone(),
        logo: settings.logo.as_deref().map(|path| bytes(path, MAX_LOGO)).transpose()?,
        contact: settings.contact.clone(),
        colours: settings.colors.clone(),
        colours_dark: settings.colors_dark.clone(),
        texts: settings.texts.as_deref().map(|path| text(path, path.display().to_string())).transpose()?,
        templates: settings.templates.as_deref().map(templates).transpose()?.unwrap_or_default(),
    })
}

/// Every file of the folder, hidden ones aside. That one is called as none of ours is a mistake, and found later.
fn templates(folder: &Path) -> Result<Vec<Written>, Fault> {
    let listed = fs::read_dir(folder).map_err(|error| unreadable(folder, error))?;
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry.map_err(|error| unreadable(folder, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Editors and mounts leave files and folders with a dot there.
        if name.starts_with('.') {
            continue;
        }
        if found.len() == MAX_TEMPLATES {
            return Err(Fault::new(format!("use {}: it holds too many files", folder.display())));
        }
        found.push(text(&entry.path(), name)?);
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

fn text(path: &Path, name: String) -> Result<Written, Fault> {
    let text = String::from_utf8(bytes(path, MAX_TEXT)?).map_err(|error| unreadable(path, error))?;
    Ok(Written { name, text })
}

/// At most `limit` bytes and one more, by which a file that is too large is told from one that is not.
fn bytes(path: &Path, limit: usize) -> Result<Vec<u8>, Fault> {
    let file = fs::File::open(path).map_err(|error| unreadable(path, error))?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| unreadable(path, error))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > limit) {
        return Err(Fault::new(format!("use {}: it has more than {} KiB", path.display(), limit / 1024)));
    }
    Ok(bytes)
}

fn unreadable(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Fault {
    Fault::caused(format!("read {}", path.display()), error)
}
