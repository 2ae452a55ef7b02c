//! An agent's command line.

use std::fmt;

use crate::text::printable;

/// How an agent reaches what it is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reach {
    /// The container that it joins.
    Container(ContainerId),
    /// No target.
    Targetless,
    /// The Pod that it was added to.
    Pod,
    /// The command line isn't one of mirrord's; why.
    Unreadable(String),
}

/// A container, as a node's runtime calls it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ContainerId {
    runtime: String,
    id: String,
}

/// As `containerID` in the status of a Pod has it.
impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.runtime, self.id)
    }
}

/// The runtimes that mirrord knows.
const RUNTIMES: [&str; 3] = ["containerd", "docker", "cri-o"];
/// Runtimes give 64 hex digits.
const MAX_ID: usize = 128;
/// How much of what can't be read is told.
const SHOWN: usize = 40;

impl ContainerId {
    fn new(runtime: &str, id: &str) -> Result<Self, String> {
        if !RUNTIMES.contains(&runtime) {
            let runtime = printable(runtime, SHOWN);
            return Err(format!("its container runtime {runtime:?} is unknown"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if id.is_empty() || id.len() > MAX_ID || !id.chars().all(plain) {
            let id = printable(id, SHOWN);
            return Err(format!("its container id {id:?} is none"));
        }
        Ok(Self { runtime: runtime.to_owned(), id: id.to_owned() })
    }
}

impl Reach {
    /// What the arguments say: `-l PORT -t 30 targeted --container-id ID --container-runtime
    /// RUNTIME`, or `… targetless`, or `… ephemeral`. Options before that word may come and go with
    /// versions.
    pub(crate) fn of(args: &[String]) -> Self {
        const MODES: [&str; 3] = ["targeted", "targetless", "ephemeral"];
        let mut modes = args.iter().enumerate().filter(|(_, arg)| MODES.contains(&arg.as_str()));
        let (Some((at, mode)), None) = (modes.next(), modes.next()) else {
            return Self::Unreadable(
                "its arguments say not once whether it is targeted, targetless or ephemeral".into(),
            );
        };
        match mode.as_str() {
            "targetless" => Self::Targetless,
            "ephemeral" => Self::Pod,
            _ => container(&args[at + 1..]).map_or_else(Self::Unreadable, Self::Container),
        }
    }
}

fn container(options: &[String]) -> Result<ContainerId, String> {
    let id = option(options, "--container-id")?;
    let runtime = option(options, "--container-runtime")?;
    ContainerId::new(runtime, id)
}

/// The value of an option that is there once, as `--name VALUE` or `--name=VALUE`.
fn option<'a>(options: &'a [String], name: &str) -> Result<&'a str, String> {
    let mut found = None;
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        let value = if option == name {
            rest.next().map(String::as_str)
        } else if let Some(value) =
            option.strip_prefix(name).and_then(|rest| rest.strip_prefix('='))
        {
            Some(value)
        } else {
            continue;
        };
        if found.replace(value).is_some() {
            return Err(format!("its argument {name} is there twice"));
        }
    }
    found.flatten().ok_or_else(|| format!("its argument {name} is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        let id = "a1b2c3d4".repeat(8);
        let targeted =
            format!("-l 65097 -t 30 targeted --container-id {id} --container-runtime containerd");
        let joined = format!("targeted --container-runtime=docker --container-id={id}");
        let cases = [
            // (arguments, container or what is wrong)
            (targeted.as_str(), Ok(format!("containerd://{id}"))),
            (&joined, Ok(format!("docker://{id}"))),
            ("", Err("say not once")),
            ("-l 1 -t 30", Err("say not once")),
            ("targeted targetless", Err("say not once")),
            ("targeted targeted", Err("say not once")),
            ("targeted", Err("--container-id is missing")),
            ("targeted --container-id", Err("--container-id is missing")),
            ("targeted --container-id a", Err("--container-runtime is missing")),
            (
                "targeted --container-id a --container-id b --container-runtime docker",
                Err("--container-id is there twice"),
            ),
            (
                "targeted --container-id a --container-id=a --container-runtime docker",
                Err("--container-id is there twice"),
            ),
            (
                "targeted --container-id a --container-runtime podman\u{1b}",
                Err("runtime \"podman\\\\x1b\" is unknown"),
            ),
            (
                "targeted --container-id ../a --container-runtime docker",
                Err("container id \"../a\" is none"),
            ),
        ];
        for (line, expected) in cases {
            let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            match (Reach::of(&args), expected) {
                (Reach::Container(found), Ok(expected)) => assert_eq!(found.to_string(), expected),
                (Reach::Unreadable(why), Err(expected)) => {
                    assert!(why.contains(expected), "{line}: {why}");
                }
                (found, _) => panic!("{line}: {found:?}"),
            }
        }
        let reach = |line: &str| Reach::of(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(reach("-l 50723 -t 30 targetless"), Reach::Targetless);
        assert_eq!(reach("-l 36090 -t 30 ephemeral"), Reach::Pod);
        let long =
            format!("targeted --container-id {} --container-runtime docker", "a".repeat(1 << 20));
        assert!(matches!(reach(&long), Reach::Unreadable(why) if why.len() < 200));
    }
}
