//! Rendering of fetched data, as pure functions.

pub mod columns;
pub mod duration;
pub mod escape;
pub mod list_format;
pub mod listing;
pub mod output;
pub mod sort;
pub mod table;
pub mod yaml;
