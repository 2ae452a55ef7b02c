//! The aggregated API of session trackers without its I/O: request parsing, selectors, lists,
//! watches, subresources and the bytes of responses.

pub mod accept;
pub mod age;
pub mod discovery;
pub mod error;
pub mod fields;
pub mod filter;
pub mod front_proxy;
pub mod join;
pub mod labels;
pub mod openapi;
pub mod options;
pub mod page;
pub mod render;
pub mod report;
mod subresource;
pub mod watch;

pub use error::Failure;
pub use report::Pace;
pub use subresource::Subresource;
