//! Integration of the plugin with kubectl: completion, connection flags and status.

mod parity;

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mirrord_sessions_tests::control_plane::KubectlOutput;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    create_namespace, link_kubectl_and_plugin, run_command, session_manifest, shared,
};

/// Temporary folder that contains only kubectl and the plugin, and serves as `PATH` and `HOME`.
struct Bin(TempDir);

impl Bin {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        link_kubectl_and_plugin(shared(), folder.path());
        Self(folder)
    }

    async fn kubectl(&self, kubeconfig: &Path, args: &[&str]) -> KubectlOutput {
        let mut command = tokio::process::Command::new(self.0.path().join("kubectl"));
        command
            .args(args)
            .env("PATH", self.0.path())
            .env("HOME", self.0.path())
            .env("KUBECONFIG", kubeconfig)
            .env_remove("KREW_ROOT");
        run_command(&mut command).await
    }
}

#[tokio::test]
async fn kubectl_completes_plugin_after_shim_installation() {
    let namespace = create_namespace(shared(), "completion").await;
    let dev = namespace.user("completing-dev", &[]);
    namespace.bind_role("mirrord-operator-user", &dev.name).await;
    let client = json!({ "username": "Who", "hostname": "host", "version": "3.250.0" });
    let manifest = session_manifest(
        "487f4f2b6d2376ad",
        json!({ "target": "deployment/ip-visit-counter", "client": client }),
    );
    let created = dev.kubectl(&["create", "-f", "-"], &manifest.to_string()).await;
    assert!(created.status.success(), "{created:?}");

    let bin = Bin::new();
    let complete = async |words: &[&str]| {
        let args = [&["__complete", "mirrord-sessions"], words].concat();
        bin.kubectl(dev.kubeconfig(), &args).await.stdout
    };
    let in_namespace = ["-n", namespace.name.as_str()];
    let before = complete(&["delete", ""]).await;
    assert!(!before.contains("487F"), "{before}");

    let run = async |flag: &str| {
        let args = ["mirrord-sessions", "completion", flag];
        bin.kubectl(dev.kubeconfig(), &args).await
    };
    let installed = run("--install").await;
    assert!(
        installed.status.success() && installed.stdout.starts_with("created "),
        "{installed:?}"
    );
    let ids = complete(&[&in_namespace[..], &["delete", ""]].concat()).await;
    assert_eq!(ids, "487F4F2B6D2376AD\tWho/completing-dev@host, deployment/ip-visit-counter\n:4\n");
    let lower = complete(&[&in_namespace[..], &["kill", "--id", "487f"]].concat()).await;
    assert!(lower.starts_with("487f4f2b6d2376ad\t"), "{lower}");
    // Without permission, completion offers nothing and prints no error.
    let hidden = complete(&["-n", "default", "delete", ""]).await;
    assert_eq!(hidden, ":4\n");
    let commands = complete(&["des"]).await;
    assert!(commands.starts_with("describe\t") && commands.ends_with("\n:4\n"), "{commands}");
    let formats = complete(&["version", "--output="]).await;
    assert_eq!(formats, "json\tOutput in JSON format\nyaml\tOutput in YAML format\n:4\n");
    let contexts = complete(&["--context", ""]).await;
    assert!(contexts.contains("completing-dev\t"), "{contexts}");

    let removed = run("--uninstall").await;
    assert!(removed.stdout.starts_with("removed "), "{removed:?}");
    let after = complete(&["delete", ""]).await;
    assert_eq!(after, before);
}

/// Writes the credentials of the admin kubeconfig to files, and returns the server and their flags.
fn connection_flags(folder: &Path) -> (String, Vec<String>) {
    let config = serde_json::to_value(shared().plane.admin().config()).unwrap();
    let cluster = &config["clusters"][0]["cluster"];
    let user = &config["users"][0]["user"];
    let write = |name: &str, data: &serde_json::Value| {
        let path: PathBuf = folder.join(name);
        let data = STANDARD.decode(data.as_str().unwrap()).unwrap();
        std::fs::write(&path, data).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let flags = [
        ("certificate-authority", &cluster["certificate-authority-data"]),
        ("client-certificate", &user["client-certificate-data"]),
        ("client-key", &user["client-key-data"]),
    ];
    let flags =
        flags.iter().map(|(name, data)| format!("--{name}={}", write(name, data))).collect();
    (cluster["server"].as_str().unwrap().to_owned(), flags)
}

#[tokio::test]
async fn connection_flags_match_kubectl() {
    let namespace = create_namespace(shared(), "flags").await;
    let admin = namespace.user("flags-alone", &["system:masters"]);
    let manifest = session_manifest("s", json!({ "target": "targetless" }));
    let created = admin.kubectl(&["create", "-f", "-"], &manifest.to_string()).await;
    assert!(created.status.success(), "{created:?}");
    let folder = tempfile::tempdir().unwrap();
    let (server, flags) = connection_flags(folder.path());
    let bin = Bin::new();
    let none = folder.path().join("none");
    let server = format!("--server={server}");
    let other_host = server.replace("127.0.0.1", "localhost");
    let all: Vec<&str> = flags.iter().map(String::as_str).collect();
    let without_ca = &all[1..];
    let cases: [(&str, Vec<&str>, bool); 7] = [
        ("all flags", [&[&*server], &all[..]].concat(), true),
        (
            "TLS server name",
            [&[&*other_host, "--tls-server-name=127.0.0.1"], &all[..]].concat(),
            true,
        ),
        (
            "wrong TLS server name",
            [&[&*server, "--tls-server-name=other.example"], &all[..]].concat(),
            false,
        ),
        ("unknown CA", [&[&*server], without_ca].concat(), false),
        (
            "skipped verification",
            [&[&*server, "--insecure-skip-tls-verify"], without_ca].concat(),
            true,
        ),
        ("no client certificate", vec![&*server, all[0]], false),
        ("client certificate without key", vec![&*server, all[0], all[1]], false),
    ];
    for (case, flags, succeeds) in cases {
        let common = ["-n", namespace.name.as_str(), "-o", "name"];
        let ours = [&["mirrord-sessions", "list"], &common[..], &flags[..]].concat();
        let theirs = [&["get", "sessions"], &common[..], &flags[..]].concat();
        let ours = bin.kubectl(&none, &ours).await;
        let theirs = bin.kubectl(&none, &theirs).await;
        assert_eq!(theirs.status.success(), succeeds, "{case}: {theirs:?}");
        assert_eq!(ours.status.success(), succeeds, "{case}: {ours:?}");
        // Without credentials, kubectl prompts for a user name on standard output.
        let expected = if succeeds { &*theirs.stdout } else { "" };
        assert_eq!(ours.stdout, expected, "{case}: {ours:?}");
    }
}

#[tokio::test]
async fn status_reports_healthy_cluster_and_missing_permissions() {
    let namespace = create_namespace(shared(), "status").await;
    let admin = namespace.user("status-admin", &["system:masters"]);
    let manifest = session_manifest("s", json!({ "target": "targetless" }));
    let created = admin.kubectl(&["create", "-f", "-"], &manifest.to_string()).await;
    assert!(created.status.success(), "{created:?}");
    let bin = Bin::new();
    let args = ["mirrord-sessions", "status", "-o", "json", "-n", &namespace.name];
    let output = bin.kubectl(admin.kubeconfig(), &args).await;
    let status: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    let state = |name: &str| {
        let checks = status["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name).unwrap();
        check["state"].as_str().unwrap().to_owned()
    };
    for name in ["server", "sessions", "guard", "webhook", "certificates", "trackers"] {
        assert_eq!(state(name), "ok", "{status}");
    }
    assert!(output.status.success(), "{output:?}");
    let expected_count =
        json!({ "namespace": namespace.name, "user": "status-admin", "sessions": 1 });
    let counts = status["sessions"].as_array().unwrap();
    assert!(counts.contains(&expected_count), "{status}");
    // The checks of `status` leave no Session behind.
    assert_eq!(namespace.sessions().await.len(), 1);

    let unprivileged = namespace.user("status-nobody", &[]);
    let args = ["mirrord-sessions", "status", "-n", &namespace.name];
    let output = bin.kubectl(unprivileged.kubeconfig(), &args).await;
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.contains("webhook        unknown   "), "{output:?}");
    assert!(output.stdout.ends_with("Sessions: your roles don't show them\n"), "{output:?}");
}

/// Returns the flags in a help text of kubectl, such as `-A, --all-namespaces`.
fn flags_in_help(help: &str) -> Vec<String> {
    let flag = |line: &str| {
        let (flag, _) = line.strip_prefix("    ")?.split_once('=')?;
        (flag.starts_with("--") || flag.starts_with('-') && flag[2..].starts_with(", --"))
            .then(|| flag.to_owned())
    };
    help.lines().filter_map(flag).collect()
}

/// Returns the flags in a table of docs/plugin.md, and whether the plugin supports them.
fn documented_flags(heading: &str) -> Vec<(String, bool)> {
    let docs = include_str!("../../../../docs/plugin.md");
    let (_, section) = docs.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let row = |line: &str| {
        let (flag, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        let support = rest.split(" | ").next()?;
        assert!(["yes", "no"].contains(&support), "{line}");
        Some((flag.to_owned(), support == "yes"))
    };
    section.lines().filter_map(row).collect()
}

#[tokio::test]
async fn supports_or_rejects_kubectl_flags_as_documented() {
    let bin = Bin::new();
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none");
    for (theirs, ours) in [
        (&["get", "--help"][..], "list"),
        (&["describe", "--help"], "describe"),
        (&["delete", "--help"], "delete"),
        (&["options"], "top"),
    ] {
        let help = bin.kubectl(&none, theirs).await.stdout;
        let flags = flags_in_help(&help);
        let documented = documented_flags(&format!("kubectl {}", theirs[0]));
        assert!(flags.len() > 5, "{help}");
        let names: Vec<&String> = documented.iter().map(|(flag, _)| flag).collect();
        assert_eq!(names, flags.iter().collect::<Vec<_>>(), "{theirs:?}");
        for (flag, is_supported) in &documented {
            // The flag comes last, so that a flag with a value fails because of the missing value.
            for name in flag.split(", ") {
                // Run the plugin directly, because kubectl itself parses some flags.
                let mut command = tokio::process::Command::new(&shared().programs.plugin);
                command.args([ours, name]).env("KUBECONFIG", &none).env("HOME", folder.path());
                let output = run_command(&mut command).await;
                let error = output.stderr;
                let refused = error.contains("is not supported: ");
                let unknown = error.contains("unknown");
                assert_eq!((refused, unknown), (!is_supported, false), "{ours} {name}: {error}");
                assert!(!output.status.success(), "{ours} {name}: {error}");
            }
        }
    }
}
