//! What pages look like, as resolved: names, colours and places of files. What is in the files, and whether colours can be
//! read on one another, is judged where pages are made (`web::page`).

use std::path::PathBuf;

/// What pages look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrandingSettings {
    /// How the gateway introduces itself.
    pub product_name: String,
    /// A picture, PNG or SVG.
    pub logo: Option<PathBuf>,
    /// An address of https or mailto.
    pub contact: Option<String>,
    /// Names and values (`#rrggbb`) of colours.
    pub colors: Vec<(String, String)>,
    /// The same for dark schemes.
    pub colors_dark: Vec<(String, String)>,
    /// Texts instead of ours.
    pub texts: Option<PathBuf>,
    /// A folder of templates instead of ours.
    pub templates: Option<PathBuf>,
}

impl Default for BrandingSettings {
    fn default() -> Self {
        Self {
            product_name: "mcp-deputy".to_owned(),
            logo: None,
            contact: None,
            colors: Vec::new(),
            colors_dark: Vec::new(),
            texts: None,
            templates: None,
        }
    }
}

/// The colours that may be chosen. Those of warnings may not.
pub const BRAND_COLORS: &[&str] = &["page", "text", "quiet", "line", "field", "accent", "on_accent"];
