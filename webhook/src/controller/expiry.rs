//! Closes Sessions that their owners' reports kept alive, once these cease; and tells of those that
//! ended.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use mirrord_sessions_core::controller::{Reporting, Silence, Told};
use mirrord_sessions_crds::Session;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

use super::{Controller, Failed, PATIENCE, actions::is_gone, events};

/// How long who deletes an agent has to tell of its Session.
const AGENTS_FIRST: Duration = Duration::from_secs(5);
/// How often is looked, in the time after which a Session expires.
const LOOKS: u32 = 12;

impl Controller<'_> {
    /// Goes on for as long as it is polled.
    pub(crate) async fn expire(&self) {
        let start = Instant::now();
        let expiry = self.pace.expiry();
        let mut silence = Silence::default();
        let mut ticks = interval(expiry / LOOKS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let silent = {
                let state = self.state();
                if !state.synced {
                    continue;
                }
                silence.sweep(state.view.unvouched(), start.elapsed(), expiry)
            };
            for session in silent {
                if let Err(error) = self.close_silent(&session).await {
                    warn!(session = session.name, namespace = session.namespace, %error, "a silent Session is not closed yet");
                    // The others would fail likewise, and there is a next time.
                    break;
                }
            }
        }
    }

    /// Tells how a Session ended that lived by reports, unless somebody has.
    pub(crate) async fn tell_gone(&self, gone: Reporting) {
        if gone.agent.is_some() {
            sleep(AGENTS_FIRST).await;
        }
        let how = self.ending(&gone.namespace, &gone.name, &gone.uid).await;
        let Some(told) = Told::gone(&gone, how.as_ref(), Timestamp::now()) else {
            return;
        };
        if !self.state().tells(&gone.uid) {
            return;
        }
        let by = how.as_ref().and_then(|how| how.by.as_deref());
        let reason = how.as_ref().map(|how| &*how.reason);
        info!(
            session = gone.name,
            namespace = gone.namespace,
            reason,
            by,
            "a run is over that was reported about"
        );
        self.metrics.session(if told.is_stop() { "stopped" } else { "closed" });
        let about = events::session(&gone.namespace, &gone.name, &gone.uid);
        self.teller.publish(&about, &told).await;
    }

    /// Deletes a Session that was not heard of for too long, unless the watch only has not told.
    async fn close_silent(&self, silent: &Reporting) -> Result<(), Failed> {
        let sessions: Api<Session> = Api::namespaced(self.client.clone(), &silent.namespace);
        let stored = timeout(PATIENCE, sessions.get_opt(&silent.name)).await;
        let stored = stored.map_err(|_| Failed::Slow(PATIENCE))?;
        let stored = stored.map_err(Failed::of("it can't be read"))?;
        let Some(stored) = stored.filter(|stored| Reporting::of(stored).as_ref() == Some(silent))
        else {
            return Ok(());
        };
        // Not if it is heard of, or an agent tied to it, at this very moment.
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: stored.metadata.uid,
            resource_version: stored.metadata.resource_version,
        });
        // The watch may be faster than the answer.
        let tells = self.state().tells(&silent.uid);
        self.endings.expired(silent);
        let deleted = timeout(PATIENCE, sessions.delete(&silent.name, &params)).await;
        let error = match deleted {
            Ok(Ok(_)) => {
                self.state().view.forget_reporting(silent);
                if tells {
                    self.tell_expired(silent).await;
                }
                return Ok(());
            }
            Ok(Err(error)) => {
                if matches!(error, kube::Error::Api(_)) {
                    self.endings.spared(silent);
                }
                Some(error)
            }
            Err(_) => None,
        };
        // It goes on, or somebody else ended it; where there was no answer, it may be gone as well.
        let missed = tells && {
            let mut state = self.state();
            state.told.remove(&silent.uid);
            !state.view.is_reporting(silent)
        };
        if missed {
            self.tell_gone(silent.clone()).await;
        }
        match error {
            None => Err(Failed::Slow(PATIENCE)),
            Some(error) if is_gone(&error) => Ok(()),
            Some(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Some(error) => Err(Failed::of("it can't be deleted")(error)),
        }
    }

    async fn tell_expired(&self, silent: &Reporting) {
        info!(
            session = silent.name,
            namespace = silent.namespace,
            "closed a run as expired: it was not heard of"
        );
        self.metrics.session("expired");
        let about = events::session(&silent.namespace, &silent.name, &silent.uid);
        let told = Told::expired(silent, Timestamp::now());
        self.teller.publish(&about, &told).await;
    }
}
