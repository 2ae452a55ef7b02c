//! The aggregated API of session trackers without its I/O: request parsing, selectors, lists,
//! watches, subresources and the bytes of responses.

pub mod content_negotiation;
pub mod continue_token;
pub mod discovery;
pub mod duration;
pub mod error;
pub mod fields;
pub mod filter;
pub mod front_proxy;
pub mod join;
pub mod labels;
pub mod list;
pub mod openapi;
pub mod options;
pub mod render;
pub mod report;
mod subresource;
pub mod watch;
pub mod watch_events;

pub use error::{AllowedMethod, ApiError};
pub use report::ReportPeriod;
pub use subresource::Subresource;
