//! Parser of a `mirrord exec` command line, as far as its session depends on it.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

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
/// The file that mirrord reads for a `-f` without a value.
const DEFAULT_CONFIG: &str = "./.mirrord/mirrord.json";

/// The options of a `mirrord exec`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Exec {
    pub(crate) target: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) context: Option<String>,
    pub(crate) key: Option<String>,
    config: Option<ConfigFlag>,
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

impl Exec {
    /// Parses a command line. Returns nothing if it is not a `mirrord exec`.
    pub(crate) fn parse(command: &[OsString]) -> Option<Self> {
        let (program, arguments) = command.split_first()?;
        let is_mirrord = Path::new(program).file_name() == Some(OsStr::new("mirrord"));
        if !is_mirrord || arguments.first()? != "exec" {
            return None;
        }
        let mut reader = Reader { words: command, at: 2, exec: Self::default() };
        while reader.parse_flag() {}
        Some(reader.exec)
    }

    /// Returns the configuration file of the flag.
    pub(crate) fn config(&self) -> Option<&Path> {
        self.config.as_ref().map(|flag| flag.path.as_path())
    }

    /// Returns the command line with another configuration file. Without a flag, the line stays
    /// unchanged, and mirrord reads the file from its environment.
    pub(crate) fn with_config(&self, command: &[OsString], path: &Path) -> Vec<OsString> {
        let mut command = command.to_vec();
        if let Some(flag) = &self.config {
            let letters = flag.letters.as_ref().map(OsString::from);
            let flag_words = [OsString::from(format!("--{CONFIG}")), path.into()];
            let words = letters.into_iter().chain(flag_words);
            command.splice(flag.at..flag.at + flag.words, words);
        }
        command
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
            ("node mirrord exec", None),
        ];
        for (line, expected) in cases {
            let exec = Exec::parse(&words(line));
            let got = exec.as_ref().map(|exec| {
                (
                    exec.target.as_deref(),
                    exec.namespace.as_deref(),
                    exec.config().and_then(Path::to_str),
                )
            });
            assert_eq!(got, expected, "{line}");
        }
        assert_eq!(Exec::parse(&[]), None);
        let exec = Exec::parse(&words("mirrord exec --key avi --context dev x")).unwrap();
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
            let exec = Exec::parse(&line).unwrap();
            assert_eq!(exec.with_config(&line, Path::new("/new")), words(expected));
        }
    }
}
