//! What is shown, as pure functions of what was fetched.

pub mod columns;
pub mod duration;
pub mod escape;
pub mod go_template;
pub mod listing;
pub mod output;
pub mod shape;
pub mod sort;
pub mod table;
pub mod yaml;
