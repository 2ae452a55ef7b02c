//! Lists of trackers: consistent pages of what a requester may see.

use std::sync::Arc;

use super::{
    ApiError,
    continue_token::{self, Position},
    filter::Filter,
    options::{ListOptions, Version, VersionMatch},
};
use crate::{
    policy::Viewer,
    sessions::{Index, Tracker},
};

/// A page of a list.
#[derive(Debug)]
pub struct Page {
    /// The resource version of the listed state.
    pub version: u64,
    /// The trackers, each with whether its key and filters are revealed.
    pub items: Vec<(Arc<Tracker>, bool)>,
    /// The continue token of the next page.
    pub continue_token: Option<String>,
    /// The number of trackers after this page; `None` for lists with selectors.
    pub remaining: Option<usize>,
}

/// Lists the trackers that a requester may see.
///
/// # Errors
/// Returns an error if the continue token belongs to another list, or if the requested state has
/// expired or has not been reached yet.
pub fn list(
    index: &Index,
    filter: &Filter,
    options: &ListOptions,
    viewer: &Viewer,
) -> Result<Page, ApiError> {
    let list_id = continue_token::list_id(filter.namespace.as_deref(), &options.selectors);
    let position = options.continue_token.as_deref();
    let position = position.map(|token| continue_token::decode(token, list_id)).transpose()?;
    index.check_reached(options.version.minimum())?;
    let exact = match (options.version, options.version_match) {
        (Version::At(version), Some(VersionMatch::Exact)) => Some(version),
        // In the API server, a limit without resourceVersionMatch means an exact version.
        (Version::At(version), None) if options.limit > 0 => Some(version),
        _ => None,
    };
    let version = match &position {
        Some(position) => position.version.unwrap_or(index.version()),
        None => exact.unwrap_or(index.version()),
    };
    index.check_reached(version)?;
    let after = position.map(|position| position.after);
    let Some(snapshot) = index.snapshot_at(version) else {
        return Err(match after {
            Some(after) => {
                let position = Position { after, version: None };
                ApiError::continue_expired(&continue_token::encode(&position, list_id))
            }
            None => ApiError::expired("The resourceVersion for the provided list is too old."),
        });
    };
    let mut page = Page { version, items: Vec::new(), continue_token: None, remaining: None };
    let mut remaining = 0;
    for tracker in snapshot.iter(filter.namespace.as_deref(), after.as_ref()) {
        let Some(revealed) = filter.visibility(tracker, viewer) else {
            continue;
        };
        if options.limit == 0 || page.items.len() < options.limit {
            page.items.push((Arc::clone(tracker), revealed));
            continue;
        }
        remaining += 1;
        // Like the API server, count the remaining items of lists without selectors only.
        if !filter.selects_all() {
            break;
        }
    }
    if remaining > 0
        && let Some((last, _)) = page.items.last()
    {
        let position = Position { after: last.key.clone(), version: Some(version) };
        page.continue_token = Some(continue_token::encode(&position, list_id));
        page.remaining = filter.selects_all().then_some(remaining);
    }
    Ok(page)
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
