//! Checks of the webhook and its configurations.

use mirrord_sessions_crds::{SYSTEM_NAMESPACE, WEBHOOK_NAME};
use serde_json::Value;

use super::{
    Check, Facts, Reading,
    State::{Ok as Good, Problem, Unknown, Warning},
    check::REAPPLY_MANIFESTS,
};

const NAME: &str = "webhook";
/// A part of the guard policy's message about a Session that bypassed the webhook.
const NO_OWNER: &str = "has no spec.owner";

/// Returns the replicas of the Deployment, or nothing if it can't be read.
fn replicas(deployment: &Reading<Option<Value>>) -> Option<(u64, u64, String)> {
    let Reading::Known(Some(deployment)) = deployment else {
        return None;
    };
    let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_u64);
    let image =
        deployment.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str);
    Some((
        number("/status/readyReplicas").unwrap_or_default(),
        number("/spec/replicas").unwrap_or(1),
        image.unwrap_or("<unknown>").to_owned(),
    ))
}

/// Returns the error of a webhook configuration, if there is one.
fn configuration_problem(facts: &Facts, about: &str, look: &str) -> Option<Check> {
    let problem = |what: &str| Check::new(NAME, Problem, format!("{what}{about}"));
    let lacks_bundle = |configuration: &Value| bundle(configuration).is_none();
    Some(match (&facts.configuration, &facts.validating_configuration) {
        (Reading::Known(None), _) => {
            problem("its configuration does not exist").with_remedy(REAPPLY_MANIFESTS)
        }
        (Reading::Known(Some(configuration)), _) if lacks_bundle(configuration) => {
            problem("its configuration has no CA bundle, which the webhook injects").with_remedy(look)
        }
        (_, Reading::Known(None)) => problem(
            "it is not called when a Session is stopped, so SessionPolicies about it have no effect",
        )
        .with_remedy(REAPPLY_MANIFESTS),
        (_, Reading::Known(Some(configuration))) if lacks_bundle(configuration) => problem(
            "no user can stop a Session: the validating configuration has no CA bundle, which the webhook injects",
        )
        .with_remedy(look),
        _ => return None,
    })
}

/// Checks whether the webhook is called and stamps Sessions.
pub(super) fn webhook(facts: &Facts) -> Check {
    let replicas = replicas(&facts.deployment);
    let about = replicas.as_ref().map_or(String::new(), |(ready, of, image)| {
        format!(" ({ready} of {of} replicas ready, {image})")
    });
    let look = format!(
        "check it: kubectl -n {SYSTEM_NAMESPACE} describe deployment/{WEBHOOK_NAME}, and logs"
    );
    if let Some(check) = configuration_problem(facts, &about, &look) {
        return check;
    }
    let not_called = || {
        let message = format!("it was not called for a new Session{about}");
        Check::new(NAME, Problem, message).with_remedy(REAPPLY_MANIFESTS)
    };
    match &facts.dry_run_creation {
        Reading::Known(session) if session.pointer("/spec/owner/username").is_some() => {
            Check::new(NAME, Good, format!("it stamps the owner of a new Session{about}"))
        }
        Reading::Known(_) => not_called(),
        Reading::Unavailable(why) => {
            Check::new(NAME, Problem, format!("the API server can't reach it: {why}{about}"))
                .with_remedy(look)
        }
        Reading::Failed(why) if why.contains(NO_OWNER) => not_called(),
        Reading::Failed(why) if why.contains("namespaces \"") => {
            Check::new(NAME, Warning, format!("a Session can't be created here: {why}{about}"))
                .with_remedy("name an existing namespace with -n")
        }
        // A policy or a quota denied the request; the webhook may have been called.
        Reading::Failed(why) => {
            Check::new(NAME, Warning, format!("a Session can't be created here: {why}{about}"))
                .with_remedy("ask the administrator of the cluster's policies")
        }
        Reading::Hidden if matches!(facts.deployment, Reading::Known(None)) => {
            Check::new(NAME, Problem, "its Deployment does not exist")
                .with_remedy(REAPPLY_MANIFESTS)
        }
        Reading::Hidden => match replicas {
            Some((0, _, _)) => {
                Check::new(NAME, Problem, format!("no replica is ready{about}")).with_remedy(look)
            }
            Some((ready, of, _)) if ready < of => {
                Check::new(NAME, Warning, format!("not every replica is ready{about}"))
                    .with_remedy(look)
            }
            Some(_) => Check::new(NAME, Good, format!("its replicas are ready{about}")),
            None => Check::new(
                NAME,
                Unknown,
                "you may neither create a Session here nor read the Deployment",
            ),
        },
    }
}

/// Returns the CA bundle of a configuration if all of its webhooks have one.
pub(super) fn bundle(configuration: &Value) -> Option<&str> {
    let webhooks = configuration["webhooks"].as_array()?;
    let bundle = |webhook: &'_ Value| {
        let bundle = webhook.pointer("/clientConfig/caBundle");
        bundle.is_some_and(|bundle| bundle.as_str().is_some_and(|bundle| !bundle.is_empty()))
    };
    if !webhooks.iter().all(bundle) {
        return None;
    }
    webhooks.first()?.pointer("/clientConfig/caBundle")?.as_str()
}
