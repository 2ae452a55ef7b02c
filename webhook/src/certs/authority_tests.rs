use std::sync::Arc;

use super::*;

fn now() -> SystemTime {
    UNIX_EPOCH + DAY * 20_000
}

fn stored(now: SystemTime) -> StoredAuthority {
    match plan(&StoredAuthority::default(), None, now).unwrap() {
        Plan::Store(stored, reason) => {
            assert_eq!(reason, "there is no certificate authority yet");
            stored
        }
        Plan::Use(_) => panic!("an empty authority was used"),
    }
}

fn authority(stored: &StoredAuthority, now: SystemTime) -> Authority {
    match plan(stored, None, now).unwrap() {
        Plan::Use(authority) => *authority,
        Plan::Store(_, reason) => panic!("not usable: {reason}"),
    }
}

#[test]
fn uses_a_stored_authority_until_a_year_before_its_expiry() {
    let stored = stored(now());
    for (after, is_usable) in
        [(Duration::ZERO, true), (DAY * 729, true), (DAY * 731, false), (DAY * 2000, false)]
    {
        let plan = plan(&stored, None, now() + after).unwrap();
        assert_eq!(matches!(plan, Plan::Use(_)), is_usable, "{after:?}");
    }
}

#[test]
fn replaces_unusable_authorities() {
    let good = stored(now());
    let other = stored(now());
    let leaf = authority(&good, now()).issue(&["a".into()], now()).unwrap();
    let cases = [
        ("bundle is text", "x".to_owned(), good.key.clone()),
        ("bundle is empty", String::new(), good.key.clone()),
        ("no key", good.bundle.clone(), String::new()),
        ("another's key", good.bundle.clone(), other.key.clone()),
        (
            "a serving certificate",
            to_pem(&leaf.chain[0]),
            pem::encode(&pem::Pem::new("PRIVATE KEY", leaf.key.secret_der().to_vec())),
        ),
    ];
    for (name, bundle, key) in cases {
        let Plan::Store(stored, _) = plan(&StoredAuthority { bundle, key }, None, now()).unwrap()
        else {
            panic!("{name}: used");
        };
        assert!(matches!(plan(&stored, None, now()).unwrap(), Plan::Use(_)), "{name}");
    }
}

#[test]
fn keeps_the_old_authority_trusted_until_it_expires() {
    let first = stored(now());
    let later = now() + DAY * 800;
    let Plan::Store(second, _) = plan(&first, None, later).unwrap() else {
        panic!("the first authority was used again");
    };
    let trusted = certificates(&second.bundle);
    assert_eq!(trusted.len(), 2);
    assert_eq!(trusted[1], certificates(&first.bundle)[0]);

    // The stored data was lost: the bundle in use stays trusted, without duplicates.
    let Plan::Store(next, _) =
        plan(&StoredAuthority::default(), Some(&first.bundle), now()).unwrap()
    else {
        panic!("an empty authority was used");
    };
    assert_eq!(certificates(&next.bundle)[1..], certificates(&first.bundle));
    let invalid = StoredAuthority { key: "invalid".into(), ..first.clone() };
    let Plan::Store(next, _) = plan(&invalid, Some(&first.bundle), now()).unwrap() else {
        panic!("an invalid authority was used");
    };
    assert_eq!(certificates(&next.bundle)[1..], certificates(&first.bundle));

    let much_later = now() + DAY * 1600;
    let Plan::Store(third, _) = plan(&second, None, much_later).unwrap() else {
        panic!("the second authority was used again");
    };
    let trusted = certificates(&third.bundle);
    assert_eq!(trusted.len(), 2, "the first has expired");
    assert_eq!(trusted[1], certificates(&second.bundle)[0]);
}

#[test]
fn bundle_verifies_serving_certificates() {
    use rustls::{
        RootCertStore,
        client::{WebPkiServerVerifier, danger::ServerCertVerifier},
        pki_types::{ServerName, UnixTime},
    };
    let first = stored(now());
    let later = now() + DAY * 800;
    let Plan::Store(second, _) = plan(&first, None, later).unwrap() else {
        panic!("the first authority was used again");
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(&second.bundle));
    assert_eq!(added, 2);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let name = "mirrord-sessions-webhook.mirrord-sessions.svc";
    let verify = |serving: &Serving, name: &str, at: SystemTime| {
        verifier
            .verify_server_cert(
                &serving.chain[0],
                &[],
                &ServerName::try_from(name.to_owned()).unwrap(),
                &[],
                UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap()),
            )
            .is_ok()
    };
    let from_new = authority(&second, later).issue(&[name.into()], later).unwrap();
    // Issued by a replica that has not loaded the new authority yet.
    let from_old = authority(&first, now()).issue(&[name.into()], later).unwrap();
    assert!(verify(&from_new, name, later));
    assert!(verify(&from_old, name, later));
    assert!(!verify(&from_new, "kubernetes.default.svc", later));
    assert!(!verify(&from_new, name, later + DAY * 91));
    assert!(!from_new.is_due(later + DAY * 59));
    assert!(from_new.is_due(later + DAY * 61));
}
