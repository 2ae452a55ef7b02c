//! Comparison of the committed YAML with the types.

use std::{collections::BTreeSet, fs, path::Path};

use mirrord_sessions_crds::manifest;

#[test]
fn committed_yaml_matches_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, crd) in manifest::all() {
        let committed = fs::read_to_string(folder.join(file)).unwrap_or_default();
        assert_eq!(
            committed,
            manifest::to_yaml(&crd).unwrap(),
            "crds/{file} is stale: run `cargo crdgen` and commit the result"
        );
    }
}

#[test]
fn every_yaml_file_is_generated() {
    let expected: BTreeSet<String> =
        manifest::all().iter().map(|(file, _)| (*file).into()).collect();
    let found: BTreeSet<String> = fs::read_dir(env!("CARGO_MANIFEST_DIR"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|e| e == "yaml"))
        .collect();
    assert_eq!(found, expected, "`kubectl apply -f crds/` would install a stray file");
}
