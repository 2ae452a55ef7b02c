//! Parser of command lines that start mirrord, as far as their session depends on it.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use super::script::{self, EXPANDED};

/// mirrord's flags that require a value, by letter and name.
const VALUED: [(Option<char>, &str); 16] = [
    (Some('t'), "target"),
    (Some('n'), "target-namespace"),
    (Some('a'), "agent-namespace"),
    (Some('l'), "agent-log-level"),
    (Some('i'), "agent-image"),
    (Some('x'), "override-env-vars-exclude"),
    (Some('s'), "override-env-vars-include"),
    (None, "agent-ttl"),
    (None, "agent-startup-timeout"),
    (None, "fs-mode"),
    (None, "skip-processes"),
    (None, "context"),
    (None, "env-file"),
    (None, "key"),
    // The value is optional: see `Reader::record`.
    (Some('f'), CONFIG),
    // The value is accepted after "=" only.
    (Some('c'), CERTIFICATES),
];
const CONFIG: &str = "config-file";
const CERTIFICATES: &str = "accept-invalid-certificates";
/// The variable that names mirrord's configuration file.
pub(crate) const CONFIG_VARIABLE: &str = "MIRRORD_CONFIG_FILE";
/// The file that mirrord reads for a `-f` without a value.
const DEFAULT_CONFIG: &str = "./.mirrord/mirrord.json";

/// The subcommands of mirrord that run a command, with the same flags.
const RUNNING: [&str; 2] = ["exec", "container"];
/// Other subcommands of mirrord that start an agent.
const STARTING: [&str; 6] = ["container-ext", "dump", "ext", "port-forward", "up", "vpn"];
/// Limit of nested shells.
const MAX_DEPTH: usize = 4;

/// The start of mirrord in a command line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Wrapped {
    /// The command line does not show that it starts mirrord.
    Other,
    /// The command line runs a command by mirrord once, with these options.
    Exec(Exec),
    /// The command line starts mirrord with options that are unknown before it runs.
    Unknown,
}

/// The options of a `mirrord exec` or `mirrord container`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Exec {
    pub(crate) target: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) context: Option<String>,
    pub(crate) key: Option<String>,
    config: Option<ConfigFlag>,
    /// Variables that the command line sets for mirrord.
    variables: Vec<(String, String)>,
    /// Whether the options are within the script of a shell.
    is_in_script: bool,
}

/// The position and value of the flag that names the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
struct ConfigFlag {
    /// Index of the first word.
    at: usize,
    /// Number of words of the command.
    words: usize,
    /// Letters of other flags in the same word.
    letters: Option<String>,
    path: PathBuf,
}

impl Wrapped {
    /// Finds the start of mirrord in a command line: by itself, behind programs such as `env`, or in
    /// the script of a shell.
    pub(crate) fn find(command: &[OsString]) -> Self {
        Self::find_within(command, MAX_DEPTH)
    }

    fn find_within(command: &[OsString], depth: usize) -> Self {
        let Some(depth) = depth.checked_sub(1) else {
            return Self::Unknown;
        };
        let program = |word: &OsString| {
            Path::new(word).file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned()
        };
        for (at, word) in command.iter().enumerate() {
            let program = program(word);
            let next = command.get(at + 1).and_then(|word| word.to_str()).unwrap_or_default();
            if program == "mirrord" && RUNNING.contains(&next) {
                return Exec::read(command, at).map_or(Self::Unknown, Self::Exec);
            }
            if program == "mirrord" && (STARTING.contains(&next) || next == EXPANDED) {
                return Self::Unknown;
            }
            if script::is_shell(&program) {
                let rest: Vec<&str> =
                    command[at + 1..].iter().map_while(|word| word.to_str()).collect();
                if let Some(script) = script::script_argument(&rest) {
                    return Self::find_in_script(script, depth);
                }
            }
        }
        Self::Other
    }

    fn find_in_script(script: &str, depth: usize) -> Self {
        let Some(commands) = script::simple_commands(script) else {
            let is_mentioned = script.contains("mirrord ");
            return if is_mentioned { Self::Unknown } else { Self::Other };
        };
        let found = commands.into_iter().map(|words| {
            let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
            Self::find_within(&words, depth)
        });
        let mut found = found.filter(|found| *found != Self::Other);
        match (found.next(), found.next()) {
            (None, _) => Self::Other,
            (Some(Self::Exec(exec)), None) => Self::Exec(Exec { is_in_script: true, ..exec }),
            // Several runs have several targets.
            _ => Self::Unknown,
        }
    }
}

impl Exec {
    /// Reads the options of the mirrord at this word. Returns nothing if some are expansions.
    fn read(command: &[OsString], at: usize) -> Option<Self> {
        let mut reader = Reader { words: command, at: at + 2, exec: Self::default() };
        while reader.parse_flag() {}
        let flags = command.get(at..=reader.at).unwrap_or(&command[at..]);
        if flags.iter().any(|word| word == EXPANDED) {
            return None;
        }
        let assignment = |word: &OsString| {
            let (name, value) = word.to_str()?.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        let variables = command[..at].iter().filter_map(assignment).collect();
        Some(Self { variables, ..reader.exec })
    }

    /// Returns a variable that the command line sets for mirrord.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        let found = self.variables.iter().rfind(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the configuration file of the flag.
    pub(crate) fn config(&self) -> Option<&Path> {
        self.config.as_ref().map(|flag| flag.path.as_path())
    }

    /// Returns the command line with another configuration file.
    ///
    /// Without a flag, the line stays unchanged, and mirrord reads the file from its environment.
    ///
    /// # Errors
    /// Returns the reason if the flag can't be replaced.
    pub(crate) fn with_config(
        &self,
        command: &[OsString],
        path: &Path,
    ) -> Result<Vec<OsString>, String> {
        if self.variable(CONFIG_VARIABLE).is_some() {
            return Err(format!("the command sets {CONFIG_VARIABLE}"));
        }
        let mut command = command.to_vec();
        if let Some(flag) = &self.config {
            if self.is_in_script {
                return Err("a script names it".to_owned());
            }
            let letters = flag.letters.as_ref().map(OsString::from);
            let flag_words = [OsString::from(format!("--{CONFIG}")), path.into()];
            let words = letters.into_iter().chain(flag_words);
            command.splice(flag.at..flag.at + flag.words, words);
        }
        Ok(command)
    }
}

struct Reader<'a> {
    words: &'a [OsString],
    at: usize,
    exec: Exec,
}

impl Reader<'_> {
    /// Parses one flag and returns whether more may follow: the words after the flags are not
    /// mirrord's.
    fn parse_flag(&mut self) -> bool {
        let Some(word) = self.words.get(self.at).and_then(|word| word.to_str()) else {
            return false;
        };
        if word == "--" || word == "-" || !word.starts_with('-') {
            return false;
        }
        let start = self.at;
        self.at += 1;
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            if VALUED.iter().any(|(_, valued)| *valued == name) {
                self.record(name, value, start, None);
            }
            return true;
        }
        for (at, letter) in word.char_indices().skip(1) {
            let found = VALUED.iter().find(|(short, _)| *short == Some(letter));
            if let Some((_, name)) = found {
                let rest = &word[at + letter.len_utf8()..];
                let value = rest.strip_prefix('=').unwrap_or(rest);
                let value = (!rest.is_empty()).then(|| value.to_owned());
                let letters = (at > 1).then(|| word[..at].to_owned());
                self.record(name, value, start, letters);
                break;
            }
        }
        true
    }

    fn record(&mut self, name: &str, value: Option<String>, start: usize, letters: Option<String>) {
        if name == CERTIFICATES {
            return;
        }
        let value = value.or_else(|| {
            let next = self.words.get(self.at)?;
            let is_flag = next.as_encoded_bytes().starts_with(b"-") && next != "-";
            if is_flag && name == CONFIG {
                return None;
            }
            self.at += 1;
            Some(next.to_string_lossy().into_owned())
        });
        match (name, value) {
            (CONFIG, value) => {
                self.exec.config = Some(ConfigFlag {
                    at: start,
                    words: self.at - start,
                    letters,
                    path: value.unwrap_or_else(|| DEFAULT_CONFIG.to_owned()).into(),
                });
            }
            ("target", value) => self.exec.target = value,
            ("target-namespace", value) => self.exec.namespace = value,
            ("context", value) => self.exec.context = value,
            ("key", value) => self.exec.key = value,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn parse(command: &[OsString]) -> Option<Exec> {
        match Wrapped::find(command) {
            Wrapped::Exec(exec) => Some(exec),
            _ => None,
        }
    }

    #[test]
    fn finds_mirrord_in_scripts() {
        for (script, expected) in [
            ("mirrord exec -t pod/a -- x", Some(Some("pod/a"))),
            ("cd app && exec mirrord exec --target \"pod/a\" -- \"$@\"", Some(Some("pod/a"))),
            ("make\nmirrord container -t pod/a -- docker run x", Some(Some("pod/a"))),
            ("bash -lc \"mirrord exec -t pod/a x\"", Some(Some("pod/a"))),
            ("mirrord exec -- x $Y", Some(None)),
            ("mirrord exec -t $TARGET -- x", None),
            ("mirrord exec $FLAGS -- x", None),
            ("mirrord $COMMAND", None),
            ("mirrord exec -t pod/a x & mirrord exec -t pod/b x", None),
            ("mirrord up", None),
            ("mirrord exec -t 'pod/a", None),
        ] {
            let found = Wrapped::find(&["sh".into(), "-c".into(), script.into()]);
            match (found, expected) {
                (Wrapped::Exec(exec), Some(target)) => {
                    assert_eq!(exec.target.as_deref(), target, "{script}");
                }
                (Wrapped::Unknown, None) => {}
                (found, _) => panic!("{script}: {found:?}"),
            }
        }
        for script in ["echo mirrord", "x 'mirrord exec'", "mirrord ls", "echo 'a"] {
            let found = Wrapped::find(&["sh".into(), "-c".into(), script.into()]);
            assert_eq!(found, Wrapped::Other, "{script}");
        }
        assert_eq!(Wrapped::find(&words("mirrord port-forward -t pod/a -L 1:2")), Wrapped::Unknown);
        let exec = parse(&words("env MIRRORD_KEY=a MIRRORD_KEY=b mirrord exec x")).unwrap();
        assert_eq!((exec.variable("MIRRORD_KEY"), exec.variable("A")), (Some("b"), None));
        // The flag of a script can't be replaced, and its environment can.
        for (script, can_be) in [
            ("mirrord exec x", true),
            ("mirrord exec -f c x", false),
            ("MIRRORD_CONFIG_FILE=c mirrord exec x", false),
        ] {
            let command: Vec<OsString> = ["sh", "-c", script].map(Into::into).into();
            let exec = parse(&command).unwrap();
            assert_eq!(exec.with_config(&command, Path::new("/new")).is_ok(), can_be, "{script}");
        }
    }

    #[test]
    fn parses_command_lines() {
        // (command line, target, namespace, configuration)
        let cases = [
            ("mirrord exec -- node app", Some((None, None, None))),
            (
                "mirrord exec -t deployment/a -n shop node -t other",
                Some((Some("deployment/a"), Some("shop"), None)),
            ),
            (
                "/usr/bin/mirrord exec --target=pod/a --target-namespace shop -f c.yaml -- x",
                Some((Some("pod/a"), Some("shop"), Some("c.yaml"))),
            ),
            (
                "mirrord exec -tdeploy/a -n=shop -fc.toml x",
                Some((Some("deploy/a"), Some("shop"), Some("c.toml"))),
            ),
            (
                "mirrord exec -et pod/a --steal --agent-ttl 5 --config-file=c x -n no",
                Some((Some("pod/a"), None, Some("c"))),
            ),
            ("mirrord exec -f --steal -c x", Some((None, None, Some(DEFAULT_CONFIG)))),
            ("mirrord exec -f -- x", Some((None, None, Some(DEFAULT_CONFIG)))),
            ("mirrord exec -f - -- x", Some((None, None, Some("-")))),
            ("mirrord exec -c -t pod/a x", Some((Some("pod/a"), None, None))),
            ("mirrord exec -- -t pod/a", Some((None, None, None))),
            ("mirrord exec -t", Some((None, None, None))),
            ("mirrord exec", Some((None, None, None))),
            ("mirrord ls", None),
            ("mirrord", None),
            ("echo mirrord-exec", None),
            ("mirrord container -t pod/a -- docker run x", Some((Some("pod/a"), None, None))),
            ("env A=b sudo -E mirrord exec -t pod/a x", Some((Some("pod/a"), None, None))),
        ];
        for (line, expected) in cases {
            let exec = parse(&words(line));
            let got = exec.as_ref().map(|exec| {
                (
                    exec.target.as_deref(),
                    exec.namespace.as_deref(),
                    exec.config().and_then(Path::to_str),
                )
            });
            assert_eq!(got, expected, "{line}");
        }
        assert_eq!(Wrapped::find(&[]), Wrapped::Other);
        let exec = parse(&words("mirrord exec --key avi --context dev x")).unwrap();
        assert_eq!((exec.key.as_deref(), exec.context.as_deref()), (Some("avi"), Some("dev")));
    }

    #[test]
    fn replaces_the_configuration() {
        let cases = [
            (
                "mirrord exec -f a.json -t pod/a -- x -f b",
                "mirrord exec --config-file /new -t pod/a -- x -f b",
            ),
            ("mirrord exec --config-file=a.json x", "mirrord exec --config-file /new x"),
            ("mirrord exec -f -- x", "mirrord exec --config-file /new -- x"),
            ("mirrord exec -ef a.json x", "mirrord exec -e --config-file /new x"),
            ("mirrord exec -t pod/a x", "mirrord exec -t pod/a x"),
        ];
        for (line, expected) in cases {
            let line = words(line);
            let exec = parse(&line).unwrap();
            assert_eq!(exec.with_config(&line, Path::new("/new")), Ok(words(expected)));
        }
    }
}
