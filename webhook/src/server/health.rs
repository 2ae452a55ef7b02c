//! Readiness of the process, as the probes report it.

use std::sync::atomic::{AtomicBool, Ordering};

/// The conditions of readiness.
#[derive(Debug, Default)]
pub(crate) struct Health {
    certificate: AtomicBool,
    ca_bundle: AtomicBool,
    draining: AtomicBool,
    sessions: AtomicBool,
    policies: AtomicBool,
    front_proxy: AtomicBool,
    trackers_skipped: AtomicBool,
}

impl Health {
    /// Records that a serving certificate is loaded.
    pub(crate) fn certificate_loaded(&self) {
        self.certificate.store(true, Ordering::Relaxed);
    }

    /// Records that the webhook configurations trust the serving certificate, or are not written by
    /// this process. The condition holds for good: a failure to apply a later bundle leaves the
    /// current one trusted.
    pub(crate) fn ca_bundle_applied(&self) {
        self.ca_bundle.store(true, Ordering::Relaxed);
    }

    /// Records that the index of trackers is synced.
    pub(crate) fn sessions_synced(&self) {
        self.sessions.store(true, Ordering::Relaxed);
    }

    /// Records that the policies are synced.
    pub(crate) fn policies_synced(&self) {
        self.policies.store(true, Ordering::Relaxed);
    }

    /// Records that the front proxy's CA and headers are loaded.
    pub(crate) fn front_proxy_loaded(&self) {
        self.front_proxy.store(true, Ordering::Relaxed);
    }

    /// Stops waiting for trackers: admission is served without them.
    pub(crate) fn skip_trackers(&self) {
        self.trackers_skipped.store(true, Ordering::Relaxed);
    }

    /// Records that the process is about to stop.
    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Returns the conditions by name, and whether each holds.
    pub(crate) fn readiness(&self) -> [(&'static str, bool); 5] {
        let load = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let trackers = load(&self.sessions) && load(&self.front_proxy);
        let skipped = load(&self.trackers_skipped);
        [
            ("trackers", trackers || skipped),
            ("policies", load(&self.policies) || skipped),
            ("certificate", self.certificate.load(Ordering::Relaxed)),
            ("ca-bundle", self.ca_bundle.load(Ordering::Relaxed)),
            ("not-draining", !self.draining.load(Ordering::Relaxed)),
        ]
    }
}
