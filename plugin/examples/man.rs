//! Writes a man page for each command into a folder: `cargo man [FOLDER]`.

use std::path::PathBuf;

use clap_mangen::Man;
use mirrord_sessions_plugin::cli;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| "man".into()));
    std::fs::create_dir_all(&folder)?;
    let mut command = cli::help_command();
    command.build();
    write(&folder, command, "kubectl mirrord-sessions")
}

/// Writes a page. Its name consists of the words of the command with hyphens, as for git and
/// kubectl.
fn write(folder: &std::path::Path, command: clap::Command, name: &str) -> std::io::Result<()> {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        if sub.get_name() != "help" {
            write(folder, sub.clone(), &format!("{name} {}", sub.get_name()))?;
        }
    }
    let title = name.replace(' ', "-");
    // A man page has room for all flags.
    let command = command
        .mut_args(|flag| flag.hide_short_help(false))
        .display_name(title.clone())
        .bin_name(name.to_owned());
    let mut file = std::fs::File::create(folder.join(format!("{title}.1")))?;
    Man::new(command).title(title).render(&mut file)
}
