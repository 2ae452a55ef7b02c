//! Rendering of fetched data, as pure functions.

pub mod columns;
pub mod duration;
pub mod escape;
pub mod listing;
pub mod output;
pub mod shape;
pub mod sort;
pub mod table;
pub mod yaml;
