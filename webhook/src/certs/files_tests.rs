use std::{fs, sync::Arc};

use super::*;

const INTERVAL: Duration = Duration::from_millis(5);

struct Folder {
    _folder: tempfile::TempDir,
    files: CertificateFiles,
}

fn folder() -> Folder {
    let folder = tempfile::tempdir().unwrap();
    let files = CertificateFiles {
        certificate: folder.path().join("tls.crt"),
        key: folder.path().join("tls.key"),
    };
    Folder { _folder: folder, files }
}

impl Folder {
    fn write(&self) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        fs::write(&self.files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&self.files.key, key.serialize_pem()).unwrap();
    }
}

async fn start(files: &CertificateFiles) -> FilesError {
    files
        .keep_loaded(
            &CertResolver::new(Arc::new(rustls::crypto::ring::default_provider())),
            &Health::default(),
            INTERVAL,
        )
        .await
        .unwrap_err()
}

#[tokio::test]
async fn reports_unusable_files_at_the_start() {
    let folder = folder();
    let files = &folder.files;
    let error = start(files).await.to_string();
    assert!(error.contains("tls.crt") && error.contains("No such file"), "{error}");

    fs::write(&files.certificate, "nothing").unwrap();
    fs::write(&files.key, "nothing").unwrap();
    assert!(matches!(start(files).await, FilesError::NoCertificate(_)));

    let first = super::tests::folder();
    first.write();
    fs::copy(&first.files.certificate, &files.certificate).unwrap();
    assert!(matches!(start(files).await, FilesError::NoKey(_)));

    let other = super::tests::folder();
    other.write();
    fs::copy(&other.files.key, &files.key).unwrap();
    assert!(matches!(start(files).await, FilesError::Pair(_)));
}

#[tokio::test]
async fn reloads_changed_files_and_ignores_broken_ones() {
    let folder = folder();
    folder.write();
    let resolver = CertResolver::new(Arc::new(rustls::crypto::ring::default_provider()));
    let health = Arc::new(Health::default());
    let task = tokio::spawn({
        let (files, resolver, health) =
            (folder.files.clone(), Arc::clone(&resolver), Arc::clone(&health));
        async move { files.keep_loaded(&resolver, &health, INTERVAL).await }
    });
    let first = loaded(&resolver, |_| true).await;
    health.skip_trackers();
    assert!(health.readiness().iter().all(|(_, holds)| *holds));

    folder.write();
    let second = loaded(&resolver, |current| *current != first).await;
    // A broken pair is ignored until a usable pair replaces it.
    fs::write(&folder.files.key, "broken").unwrap();
    tokio::time::sleep(INTERVAL * 3).await;
    assert_eq!(resolver.current_der(), Some(second.clone()));
    folder.write();
    loaded(&resolver, |current| *current != second).await;
    task.abort();
}

/// Waits until the resolver holds a certificate that satisfies the condition.
async fn loaded(resolver: &CertResolver, holds: impl Fn(&Vec<u8>) -> bool) -> Vec<u8> {
    for _ in 0..1000 {
        if let Some(current) = resolver.current_der().filter(&holds) {
            return current;
        }
        tokio::time::sleep(INTERVAL).await;
    }
    panic!("the files were not loaded");
}
