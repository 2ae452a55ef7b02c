//! What the probes are told.

use std::sync::atomic::{AtomicBool, Ordering};

/// What must hold before requests may be sent here, each by its name.
#[derive(Debug, Default)]
pub(crate) struct Health {
    certificate: AtomicBool,
    ca_bundle: AtomicBool,
    draining: AtomicBool,
    sessions: AtomicBool,
    policies: AtomicBool,
    front_proxy: AtomicBool,
    trackers_given_up: AtomicBool,
}

impl Health {
    /// A serving certificate is loaded.
    pub(crate) fn certificate_loaded(&self) {
        self.certificate.store(true, Ordering::Relaxed);
    }

    /// The webhook configurations carry the CA that signs it, or aren't ours to write. That a later
    /// bundle can't be put in place takes nothing from the one that is.
    pub(crate) fn ca_bundle_in_place(&self) {
        self.ca_bundle.store(true, Ordering::Relaxed);
    }

    /// The index of trackers is filled.
    pub(crate) fn sessions_synced(&self) {
        self.sessions.store(true, Ordering::Relaxed);
    }

    /// It is known who may see what.
    pub(crate) fn policies_synced(&self) {
        self.policies.store(true, Ordering::Relaxed);
    }

    /// It is known who may speak for others.
    pub(crate) fn front_proxy_known(&self) {
        self.front_proxy.store(true, Ordering::Relaxed);
    }

    /// Trackers were waited for long enough: admission is served without them.
    pub(crate) fn give_trackers_up(&self) {
        self.trackers_given_up.store(true, Ordering::Relaxed);
    }

    /// The process is about to end.
    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The checks by name, and whether each holds.
    pub(crate) fn readiness(&self) -> [(&'static str, bool); 5] {
        let load = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let trackers = load(&self.sessions) && load(&self.front_proxy);
        let given_up = load(&self.trackers_given_up);
        [
            ("trackers", trackers || given_up),
            ("policies", load(&self.policies) || given_up),
            ("certificate", self.certificate.load(Ordering::Relaxed)),
            ("ca-bundle", self.ca_bundle.load(Ordering::Relaxed)),
            ("not-draining", !self.draining.load(Ordering::Relaxed)),
        ]
    }
}
