//! What kubectl does with the plugin besides running it, and which flags both take.

mod parity;

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mirrord_sessions_tests::control_plane::KubectlOutput;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    create_namespace, link_kubectl_and_plugin, run_command, session_manifest, shared,
};

/// A folder with kubectl, the plugin and nothing else.
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
    // Who may not see is told nothing, and no error either.
    let hidden = complete(&["-n", "default", "delete", ""]).await;
    assert_eq!(hidden, ":4\n");
    let commands = complete(&["des"]).await;
    assert!(commands.starts_with("describe\t") && commands.ends_with("\n:4\n"), "{commands}");
    let formats = complete(&["version", "--output="]).await;
    assert_eq!(formats, "json\tJSON\nyaml\tYAML\n:4\n");
    let contexts = complete(&["--context", ""]).await;
    assert!(contexts.contains("completing-dev\t"), "{contexts}");

    let removed = run("--uninstall").await;
    assert!(removed.stdout.starts_with("removed "), "{removed:?}");
    let after = complete(&["delete", ""]).await;
    assert_eq!(after, before);
}

/// The parts of an administrator's kubeconfig as files of their own.
fn parts(folder: &Path) -> (String, Vec<String>) {
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
    let (server, flags) = parts(folder.path());
    let bin = Bin::new();
    let none = folder.path().join("none");
    let server = format!("--server={server}");
    let by_other_name = server.replace("127.0.0.1", "localhost");
    let all: Vec<&str> = flags.iter().map(String::as_str).collect();
    let without_authority = &all[1..];
    let cases: [(&str, Vec<&str>, bool); 7] = [
        ("all", [&[&*server], &all[..]].concat(), true),
        (
            "another name in the certificate",
            [&[&*by_other_name, "--tls-server-name=127.0.0.1"], &all[..]].concat(),
            true,
        ),
        (
            "a name that the certificate hasn't",
            [&[&*server, "--tls-server-name=other.example"], &all[..]].concat(),
            false,
        ),
        ("unknown authority", [&[&*server], without_authority].concat(), false),
        (
            "any authority",
            [&[&*server, "--insecure-skip-tls-verify"], without_authority].concat(),
            true,
        ),
        ("nobody in particular", vec![&*server, all[0]], false),
        ("a certificate without its key", vec![&*server, all[0], all[1]], false),
    ];
    for (case, flags, works) in cases {
        let place = ["-n", namespace.name.as_str(), "-o", "name"];
        let ours = [&["mirrord-sessions", "list"], &place[..], &flags[..]].concat();
        let theirs = [&["get", "sessions"], &place[..], &flags[..]].concat();
        let ours = bin.kubectl(&none, &ours).await;
        let theirs = bin.kubectl(&none, &theirs).await;
        assert_eq!(theirs.status.success(), works, "{case}: {theirs:?}");
        assert_eq!(ours.status.success(), works, "{case}: {ours:?}");
        // kubectl asks for a user name where it has none, on standard output.
        let shown = if works { &*theirs.stdout } else { "" };
        assert_eq!(ours.stdout, shown, "{case}: {ours:?}");
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
    let seen = bin.kubectl(admin.kubeconfig(), &args).await;
    let status: serde_json::Value = serde_json::from_str(&seen.stdout).unwrap();
    let state = |name: &str| {
        let checks = status["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name).unwrap();
        check["state"].as_str().unwrap().to_owned()
    };
    for name in ["server", "sessions", "guard", "webhook", "certificates", "trackers"] {
        assert_eq!(state(name), "ok", "{status}");
    }
    assert!(seen.status.success(), "{seen:?}");
    let counted = json!({ "namespace": namespace.name, "user": "status-admin", "sessions": 1 });
    let counts = status["sessions"].as_array().unwrap();
    assert!(counts.contains(&counted), "{status}");
    // Looking left nothing behind.
    assert_eq!(namespace.sessions().await.len(), 1);

    let nobody = namespace.user("status-nobody", &[]);
    let args = ["mirrord-sessions", "status", "-n", &namespace.name];
    let seen = bin.kubectl(nobody.kubeconfig(), &args).await;
    assert!(seen.status.success(), "{seen:?}");
    assert!(seen.stdout.contains("webhook        unknown   "), "{seen:?}");
    assert!(seen.stdout.ends_with("Sessions: your roles don't show them\n"), "{seen:?}");
}

/// The flags in kubectl's own help, as `-A, --all-namespaces`.
fn flags(help: &str) -> Vec<String> {
    let flag = |line: &str| {
        let (flag, _) = line.strip_prefix("    ")?.split_once('=')?;
        (flag.starts_with("--") || flag.starts_with('-') && flag[2..].starts_with(", --"))
            .then(|| flag.to_owned())
    };
    help.lines().filter_map(flag).collect()
}

/// What docs/plugin.md says of the flags of a command: whether each is taken.
fn documented(heading: &str) -> Vec<(String, bool)> {
    let docs = include_str!("../../../../docs/plugin.md");
    let (_, section) = docs.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let row = |line: &str| {
        let (flag, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        let taken = rest.split(" | ").next()?;
        assert!(["yes", "no"].contains(&taken), "{line}");
        Some((flag.to_owned(), taken == "yes"))
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
        let flags = flags(&help);
        let documented = documented(&format!("kubectl {}", theirs[0]));
        assert!(flags.len() > 5, "{help}");
        let names: Vec<&String> = documented.iter().map(|(flag, _)| flag).collect();
        assert_eq!(names, flags.iter().collect::<Vec<_>>(), "{theirs:?}");
        for (flag, is_taken) in &documented {
            // In its last place, so that one that takes a value says that it misses it.
            for name in flag.split(", ") {
                // Not by kubectl, which looks for some of its flags in front of any plugin.
                let mut command = tokio::process::Command::new(&shared().programs.plugin);
                command.args([ours, name]).env("KUBECONFIG", &none).env("HOME", folder.path());
                let output = run_command(&mut command).await;
                let said = output.stderr;
                let refused = said.contains("is not taken: ");
                let unknown = said.contains("unknown");
                assert_eq!((refused, unknown), (!is_taken, false), "{ours} {name}: {said}");
                assert!(!output.status.success(), "{ours} {name}: {said}");
            }
        }
    }
}
