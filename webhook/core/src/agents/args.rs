//! The command line of an agent.

use std::fmt;

use crate::text::printable;

/// The kind of target that an agent's command line names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TargetKind {
    /// A container on the agent's node.
    Container(ContainerId),
    /// No target at all.
    Targetless,
    /// The Pod that runs the agent as an ephemeral container.
    Pod,
    /// A command line that mirrord does not write, with the reason.
    Unreadable(String),
}

/// A container ID with its runtime.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ContainerId {
    runtime: String,
    id: String,
}

/// Formats the ID like `containerID` in the status of a Pod.
impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.runtime, self.id)
    }
}

/// The container runtimes that mirrord supports.
const RUNTIMES: [&str; 3] = ["containerd", "docker", "cri-o"];
/// The maximum length of a container ID. Runtimes use 64 hexadecimal digits.
const MAX_ID: usize = 128;
/// The maximum length of a rejected value in an error.
const MAX_SHOWN: usize = 40;

impl ContainerId {
    fn new(runtime: &str, id: &str) -> Result<Self, String> {
        if !RUNTIMES.contains(&runtime) {
            let runtime = printable(runtime, MAX_SHOWN);
            return Err(format!("its container runtime {runtime:?} is unknown"));
        }
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if id.is_empty() || id.len() > MAX_ID || !id.chars().all(is_allowed) {
            let id = printable(id, MAX_SHOWN);
            return Err(format!("its container id {id:?} is invalid"));
        }
        Ok(Self { runtime: runtime.to_owned(), id: id.to_owned() })
    }
}

impl TargetKind {
    /// Parses the arguments of an agent.
    ///
    /// They have the form `-l PORT -t 30 targeted --container-id ID --container-runtime RUNTIME`,
    /// or end in `targetless` or `ephemeral`. Options before the mode are ignored, because they
    /// differ between mirrord versions.
    pub(crate) fn from_args(args: &[String]) -> Self {
        const MODES: [&str; 3] = ["targeted", "targetless", "ephemeral"];
        let mut modes = args.iter().enumerate().filter(|(_, arg)| MODES.contains(&arg.as_str()));
        let (Some((index, mode)), None) = (modes.next(), modes.next()) else {
            return Self::Unreadable(
                "its arguments must name one mode of targeted, targetless or ephemeral".into(),
            );
        };
        match mode.as_str() {
            "targetless" => Self::Targetless,
            "ephemeral" => Self::Pod,
            _ => parse_container(&args[index + 1..]).map_or_else(Self::Unreadable, Self::Container),
        }
    }
}

fn parse_container(options: &[String]) -> Result<ContainerId, String> {
    let id = option_value(options, "--container-id")?;
    let runtime = option_value(options, "--container-runtime")?;
    ContainerId::new(runtime, id)
}

/// Returns the value of an option that occurs exactly once, as `--name VALUE` or `--name=VALUE`.
fn option_value<'a>(options: &'a [String], name: &str) -> Result<&'a str, String> {
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
            return Err(format!("its argument {name} occurs twice"));
        }
    }
    found.flatten().ok_or_else(|| format!("its argument {name} is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_command_lines() {
        let id = "a1b2c3d4".repeat(8);
        let targeted =
            format!("-l 65097 -t 30 targeted --container-id {id} --container-runtime containerd");
        let joined = format!("targeted --container-runtime=docker --container-id={id}");
        let cases = [
            // (arguments, container or error)
            (targeted.as_str(), Ok(format!("containerd://{id}"))),
            (&joined, Ok(format!("docker://{id}"))),
            ("", Err("must name one mode")),
            ("-l 1 -t 30", Err("must name one mode")),
            ("targeted targetless", Err("must name one mode")),
            ("targeted targeted", Err("must name one mode")),
            ("targeted", Err("--container-id is missing")),
            ("targeted --container-id", Err("--container-id is missing")),
            ("targeted --container-id a", Err("--container-runtime is missing")),
            (
                "targeted --container-id a --container-id b --container-runtime docker",
                Err("--container-id occurs twice"),
            ),
            (
                "targeted --container-id a --container-id=a --container-runtime docker",
                Err("--container-id occurs twice"),
            ),
            (
                "targeted --container-id a --container-runtime podman\u{1b}",
                Err("runtime \"podman\\\\x1b\" is unknown"),
            ),
            (
                "targeted --container-id ../a --container-runtime docker",
                Err("container id \"../a\" is invalid"),
            ),
        ];
        for (line, expected) in cases {
            let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            match (TargetKind::from_args(&args), expected) {
                (TargetKind::Container(found), Ok(expected)) => {
                    assert_eq!(found.to_string(), expected);
                }
                (TargetKind::Unreadable(reason), Err(expected)) => {
                    assert!(reason.contains(expected), "{line}: {reason}");
                }
                (found, _) => panic!("{line}: {found:?}"),
            }
        }
        let parse = |line: &str| {
            TargetKind::from_args(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
        };
        assert_eq!(parse("-l 50723 -t 30 targetless"), TargetKind::Targetless);
        assert_eq!(parse("-l 36090 -t 30 ephemeral"), TargetKind::Pod);
        let long =
            format!("targeted --container-id {} --container-runtime docker", "a".repeat(1 << 20));
        assert!(matches!(parse(&long), TargetKind::Unreadable(reason) if reason.len() < 200));
    }
}
