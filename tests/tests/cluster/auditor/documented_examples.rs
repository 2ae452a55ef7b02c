//! The GitOps examples of docs/auditor.md.

use std::{os::unix::fs::symlink, path::Path};

use super::*;

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Returns the text and the parsed documents of every YAML snippet in docs/auditor.md.
fn snippets() -> Vec<(String, Vec<Value>)> {
    let page = std::fs::read_to_string(format!("{WORKSPACE}/docs/auditor.md")).unwrap();
    let blocks = page.split("\n```yaml\n").skip(1);
    blocks
        .map(|block| {
            let (text, _) = block.split_once("\n```\n").unwrap();
            let documents =
                serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            (text.to_owned(), documents)
        })
        .collect()
}

/// Returns the snippet that starts with a text.
fn snippet(start: &str) -> String {
    let found = snippets().into_iter().find(|(text, _)| text.starts_with(start));
    found.unwrap_or_else(|| panic!("docs/auditor.md shows no {start:?}")).0
}

/// Creates the repository layout that the examples assume.
fn create_repository() -> tempfile::TempDir {
    let repository = tempfile::tempdir().unwrap();
    let sessions = repository.path().join("sessions");
    std::fs::create_dir(&sessions).unwrap();
    symlink(WORKSPACE, sessions.join("mirrord-sessions")).unwrap();
    repository
}

async fn kustomize_build(cluster: &Cluster, folder: &Path) -> Vec<Value> {
    let folder = folder.to_string_lossy();
    let yaml = cluster.admin(&["kustomize", &folder], "").await.unwrap();
    serde_saphyr::from_multiple(&yaml).unwrap()
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut objects = objects.iter();
    objects.find(|object| object["kind"] == kind && object["metadata"]["name"] == name).unwrap()
}

#[tokio::test]
async fn docs_show_existing_paths_to_argo_cd_and_flux() {
    let cluster = shared();
    let repository = create_repository();
    let sessions = repository.path().join("sessions");
    let kustomization = snippet("# sessions/kustomization.yaml\n");
    std::fs::write(sessions.join("kustomization.yaml"), kustomization).unwrap();
    let (mut tools, mut names, mut needed) = (Vec::new(), Vec::new(), Vec::new());
    for document in snippets().into_iter().flat_map(|(_, documents)| documents) {
        let spec = &document["spec"];
        let paths: Vec<&Value> = match document["apiVersion"].as_str() {
            Some("argoproj.io/v1alpha1") => {
                let sources = spec["sources"].as_array().unwrap().iter();
                sources.map(|source| &source["path"]).collect()
            }
            Some("kustomize.toolkit.fluxcd.io/v1") => {
                names.push(document["metadata"]["name"].clone());
                let others = spec["dependsOn"].as_array().cloned().unwrap_or_default();
                needed.extend(others.into_iter().map(|other| other["name"].clone()));
                vec![&spec["path"]]
            }
            _ => continue,
        };
        tools.push(document["apiVersion"].as_str().unwrap().to_owned());
        for path in paths {
            let folder = repository.path().join(path.as_str().unwrap());
            // Both tools apply the manifests of a folder that has no kustomization.
            if folder.join("kustomization.yaml").exists() {
                let objects = kustomize_build(cluster, &folder).await;
                assert_eq!(find(&objects, "ClusterRole", ROLE)["rules"], rules(2));
                let deployment = find(&objects, "Deployment", MANAGER);
                let container = &deployment["spec"]["template"]["spec"]["containers"][0];
                assert_eq!(container["image"], "REGISTRY/mirrord-sessions-webhook:v0.1.0");
            } else {
                assert!(folder.join("sessions.yaml").exists(), "{path}");
            }
        }
    }
    tools.dedup();
    assert_eq!(tools, ["argoproj.io/v1alpha1", "kustomize.toolkit.fluxcd.io/v1"]);
    assert!(!needed.is_empty() && needed.iter().all(|name| names.contains(name)), "{needed:?}");
}

#[tokio::test]
async fn documented_takeover_preserves_customized_role() {
    let fixture = Fixture::start().await;
    fixture.reset_role_to_version(1).await;
    let changed = json!({
        "metadata": { "labels": { "team": "a" }, "annotations": { "note": "ours" } },
        "rules": [{
            "apiGroups": ["operator.metalbear.co"], "resources": ["sessionpolicies"],
            "verbs": ["get", "delete"],
        }],
    });
    fixture.patch_role("merge", &changed).await;
    let admin = fixture.cluster.plane.admin().path();
    let run = async |args: &[&str]| super::plugin::plugin(&fixture.cluster, admin, args).await;
    let (succeeded, yaml, error) = run(&["auditor", "diff", "-o", "yaml"]).await;
    assert!(succeeded, "{error}");
    let exported: Value = serde_saphyr::from_str(&yaml).unwrap();

    let repository = create_repository();
    let sessions = repository.path().join("sessions");
    std::fs::write(sessions.join("auditor-role.yaml"), &yaml).unwrap();
    let kustomization = snippet("# sessions/kustomization.yaml, with auditor-role.yaml");
    std::fs::write(sessions.join("kustomization.yaml"), kustomization).unwrap();
    let objects = kustomize_build(&fixture.cluster, &sessions).await;
    let role = find(&objects, "ClusterRole", ROLE);
    assert_eq!(role["rules"], exported["rules"]);
    assert_eq!(role["rules"].as_array().unwrap().len(), 3, "{role:#}");
    let metadata = &role["metadata"];
    assert_eq!(
        (&metadata["labels"]["team"], &metadata["annotations"]["note"]),
        (&json!("a"), &json!("ours"))
    );
    for server_side in ["uid", "resourceVersion", "managedFields", "creationTimestamp"] {
        assert_eq!(metadata.get(server_side), None, "{server_side}");
    }
    // Applying the manifest keeps all rules of the cluster and adds the missing ones.
    let apply = ["apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-"];
    fixture.admin(&apply, &role.to_string()).await;
    let (_, diff, _) = run(&["auditor", "diff"]).await;
    let lines: Vec<&str> = diff.lines().skip(2).collect();
    assert_eq!(lines, ["-sessionpolicies.operator.metalbear.co: delete"]);
    fixture.assert_role_preserved(&[], "managed by kubectl").await;
}
