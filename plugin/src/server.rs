//! Client of the API server.
//!
//! Modules import only modules above them in this order: `options`, `url` and `source` hold plain
//! values, `kubeconfig` selects cluster and user, `credentials` and `transport` authenticate and
//! connect, `client` sends requests, `connect` builds a client from flags and kubeconfig, and the
//! other modules add the requests of one subject each.

mod client;
mod cluster;
mod completion;
mod connect;
mod credentials;
mod discovery;
mod in_cluster;
mod kubeconfig;
mod operator;
mod options;
mod pages;
mod proxy;
mod rbac;
mod request_log;
mod sessions;
mod source;
mod transport;
mod url;
mod warning;
mod watch;

pub use client::Server;
pub use cluster::TrackerAvailability;
pub use credentials::TerminalUse;
pub use discovery::ServedResources;
pub use kubeconfig::KubeconfigNames;
pub use options::{DeleteOptions, Effect, ListOptions, Scope};
pub use pages::Pages;
pub use rbac::RbacObjects;
pub use sessions::check_finalizers;
pub use source::{Discovery, MissingTrackers, Source};
pub use watch::{EventType, Watch, WatchEvent};
