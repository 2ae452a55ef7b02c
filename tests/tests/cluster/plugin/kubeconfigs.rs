//! Kubeconfigs that client-go accepts, with kubectl beside the plugin.
//!
//! The cases follow the tests of client-go's `clientcmd` and its credential plugins.

mod cases;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Stdio};

use mirrord_sessions_tests::control_plane::{Identity, KubectlOutput};
use serde_json::Value;

use self::cases::{CASES, Case, V1};
use crate::support::{
    create_developer, create_session, eventually, run_command, session_spec, shared,
};

/// Credential plugin. Its argument selects the answer.
const LOGIN: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
status() { printf '%s\n' "{\"apiVersion\":\"client.authentication.k8s.io/${2:-v1}\",\"kind\":\"ExecCredential\",\"status\":{$1}}"; }
pem() { awk '{printf "%s\\n", $0}' "$1"; }
token=$(cat token)
case "$1" in
  token) status "\"token\":\"$token\"" "$2" ;;
  env) status "\"token\":\"$LOGIN_TOKEN\"" ;;
  newline) status "\"token\":\"$token\\n\"" ;;
  expired) status "\"token\":\"$token\",\"expirationTimestamp\":\"2000-01-01T00:00:00Z\"" ;;
  certificate) status "\"clientCertificateData\":\"$(pem client.crt)\",\"clientKeyData\":\"$(pem client.key)\"" ;;
  cluster) case "$KUBERNETES_EXEC_INFO" in
      *'"server":"https://'*'"audience":"a"'*|*'"audience":"a"'*'"server":"https://'*) status "\"token\":\"$token\"" ;;
      *) echo "no cluster in $KUBERNETES_EXEC_INFO" >&2; exit 1 ;;
    esac ;;
  *) echo 'log in first' >&2; exit 7 ;;
esac
"#;

/// Files that the cases name, and values of their placeholders.
struct Fixtures<'a> {
    folder: &'a Path,
    values: Vec<(&'static str, String)>,
}

impl Fixtures<'_> {
    fn fill(&self, text: &str) -> String {
        let replace = |text: String, (name, value): &(&str, String)| text.replace(name, value);
        self.values.iter().fold(text.to_owned(), replace)
    }

    fn kubeconfig(&self, case: &Case) -> String {
        let Case { cluster, user, rest, .. } = case;
        let (contexts, users, rest) = match *rest {
            "ODD" => (
                ", {name: b, context: {user: u}}, {name: d}, {name: e, context: {cluster: gone, user: gone}}",
                ", {name: v, user: {auth-provider: {name: gcp, config: null}}}, {name: w}, {name: x, user: {exec: {args: null, env: null}}}",
                "",
            ),
            "WRONG" => (
                ", {name: b, context: 5}, 7",
                ", {name: u, user: {token: TOKEN}}, {name: v, user: {token: 5}}",
                "",
            ),
            rest => ("", "", rest),
        };
        self.fill(&format!(
            "{rest}apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{{name: a, context: {{cluster: c, user: u, namespace: NAMESPACE}}}}{contexts}]\nclusters: [{{name: c, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}{users}]\n"
        ))
    }

    /// Returns the environment of kubectl and plugin, with the credential plugin on the path.
    fn command(
        &self,
        mut command: std::process::Command,
        kubeconfig: &str,
    ) -> tokio::process::Command {
        command
            .env("PATH", format!("{}:/bin:/usr/bin", self.folder.display()))
            .env("HOME", self.folder)
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null());
        command.into()
    }
}

/// Returns the names of objects that were listed with `-o name`.
fn names(output: &KubectlOutput) -> Vec<&str> {
    output.stdout.lines().filter_map(|line| Some(line.rsplit_once('/')?.1)).collect()
}

#[tokio::test]
async fn kubeconfigs_are_read_as_by_kubectl() {
    let cluster = shared();
    let (namespace, dev) = create_developer(cluster, "kubeconfigs").await;
    create_session(&dev, "487f4f2b6d2376ad", session_spec()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let decode = |value: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.decode(value).unwrap()
    };
    let credentials = |kubeconfig: &Path| {
        let text = fs::read_to_string(kubeconfig).unwrap();
        let value: Value = serde_saphyr::from_str(&text).unwrap();
        let text = |pointer: &str| value.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        (
            text("/clusters/0/cluster/certificate-authority-data"),
            text("/users/0/user/client-certificate-data"),
            text("/users/0/user/client-key-data"),
        )
    };
    let (ca, certificate, key) = credentials(dev.kubeconfig());
    let admin = cluster.plane.kubeconfig_with_contexts(&[("admin", Identity::admin())]).unwrap();
    let (_, admin_certificate, admin_key) = credentials(admin.path());
    for (name, value) in [
        ("ca.crt", &ca),
        ("client.crt", &certificate),
        ("client.key", &key),
        ("admin.crt", &admin_certificate),
        ("admin.key", &admin_key),
    ] {
        fs::write(file(name), decode(value)).unwrap();
    }
    let commented = [b"# comment\n", &decode(&ca)[..], b"\nmore text\n"].concat();
    fs::write(file("commented.crt"), commented).unwrap();
    let own = find(cluster.plane.folder(), "apiserver.crt").unwrap();
    fs::copy(own, file("apiserver.crt")).unwrap();
    namespace_account(cluster, &namespace.name).await;
    let token =
        cluster.admin(&["create", "token", "dev", "-n", &namespace.name], "").await.unwrap();
    fs::write(file("token"), &token).unwrap();
    fs::write(file("login"), LOGIN).unwrap();
    fs::set_permissions(file("login"), fs::Permissions::from_mode(0o755)).unwrap();
    let url = cluster.plane.url();
    let lines: Vec<String> =
        ca.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    let fixtures = Fixtures {
        folder: folder.path(),
        values: vec![
            // Values that may contain the name of a placeholder come last.
            ("V1", V1.to_owned()),
            ("NAMESPACE", namespace.name.clone()),
            ("HOST", url.trim_start_matches("https://").to_owned()),
            ("URL", url),
            ("DEV", dev.name.clone()),
            ("LOGIN_TOKEN", "LOGIN_T0KEN".to_owned()),
            ("TOKEN", token.trim().to_owned()),
            ("LOGIN_T0KEN", "LOGIN_TOKEN".to_owned()),
            ("CA_LINES", lines.join("\\n")),
            ("CA_DATA", ca),
            ("CERT_DATA", certificate),
            ("KEY_DATA", key),
        ],
    };
    let list = ["get", "sessiontrackers", "-o", "name"];
    eventually("the session is listed", || async {
        (!names(&dev.kubectl(&list, "").await).is_empty()).then_some(())
    })
    .await;
    let mut faults = Vec::new();
    for (at, case) in CASES.iter().enumerate() {
        let path = file(&format!("kubeconfig-{at}"));
        fs::write(&path, fixtures.kubeconfig(case)).unwrap();
        let path = path.to_str().unwrap();
        let mut kubectl = cluster.plane.kubectl_command(Path::new(path));
        kubectl.args(list);
        let theirs = run_command(&mut fixtures.command(kubectl, path)).await;
        let mut plugin = std::process::Command::new(&cluster.programs.plugin);
        plugin.args(["list", "-o", "name"]).env_remove("KUBECACHEDIR");
        let ours = run_command(&mut fixtures.command(plugin, path)).await;
        let is_as_expected = if case.error.is_empty() {
            ours.status.success() && names(&ours) == ["487f4f2b6d2376ad"] && ours.stderr.is_empty()
        } else {
            ours.status.code() == Some(1) && ours.stderr.contains(case.error)
        };
        let is_equal = !case.kubectl || names(&ours) == names(&theirs);
        if theirs.status.success() != case.kubectl || !is_as_expected || !is_equal {
            faults.push(format!("{}\nkubectl: {theirs:?}\nplugin: {ours:?}\n", case.name));
        }
        assert!(!ours.stderr.contains("panicked"), "{}: {}", case.name, ours.stderr);
    }
    assert!(faults.is_empty(), "{} cases differ:\n{}", faults.len(), faults.join("\n"));

    merges_lists_of_files(cluster, &fixtures).await;
}

/// Lists of files merge, and relative paths are those of their file.
async fn merges_lists_of_files(
    cluster: &mirrord_sessions_tests::cluster::Cluster,
    fixtures: &Fixtures<'_>,
) {
    let (first, second) = (fixtures.folder.join("first"), fixtures.folder.join("second"));
    fs::create_dir_all(&first).unwrap();
    fs::create_dir_all(&second).unwrap();
    fs::copy(fixtures.folder.join("token"), second.join("token")).unwrap();
    let write = |path: &Path, text: &str| fs::write(path, fixtures.fill(text)).unwrap();
    write(
        &first.join("config"),
        r#"{"kind":"Config","apiVersion":"v1","current-context":"","contexts":[{"name":"a","context":{"cluster":"c","user":"u","namespace":"NAMESPACE"}}],"clusters":null,"users":null}"#,
    );
    write(
        &second.join("config"),
        "current-context: a\ncontexts: [{name: a, context: {cluster: other, user: other}}]\nclusters: [{name: c, cluster: {server: URL, certificate-authority: ../ca.crt}}]\nusers: [{name: u, user: {tokenFile: token}}]\n",
    );
    let paths = format!("{0}/none:{0}/first/config::{0}/second/config", fixtures.folder.display());
    let mut kubectl = cluster.plane.kubectl_command(Path::new(&paths));
    kubectl.args(["get", "sessiontrackers", "-o", "name"]);
    let theirs = run_command(&mut fixtures.command(kubectl, &paths)).await;
    let mut plugin = std::process::Command::new(&cluster.programs.plugin);
    plugin.args(["list", "-o", "name"]);
    let ours = run_command(&mut fixtures.command(plugin, &paths)).await;
    assert_eq!(names(&ours), ["487f4f2b6d2376ad"], "{ours:?}");
    assert_eq!(names(&ours), names(&theirs), "{theirs:?}");
}

/// Creates a service account with the rights of a developer.
async fn namespace_account(cluster: &mirrord_sessions_tests::cluster::Cluster, namespace: &str) {
    let account = format!("--serviceaccount={namespace}:dev");
    for args in [
        &["create", "serviceaccount", "dev"][..],
        &["create", "rolebinding", "account-dev", "--clusterrole=mirrord-operator-user", &account],
    ] {
        cluster.admin(&[args, &["-n", namespace]].concat(), "").await.unwrap();
    }
}

/// Finds a file below a folder.
fn find(folder: &Path, name: &str) -> Option<std::path::PathBuf> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() { find(&path, name) } else { path.ends_with(name).then_some(path) }
    })
}
