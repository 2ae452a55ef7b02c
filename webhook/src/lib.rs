//! The webhook process.
