//! The command `completion`, for shells and for kubectl.

use crate::{cli::completion::CompletionArgs, complete, console::Console, error::Error};

pub(super) fn run(args: CompletionArgs, console: &mut Console<'_>) -> Result<(), Error> {
    match args.shell {
        Some(shell) => console.print(complete::script(shell)),
        None if args.uninstall => console.print(&complete::uninstall()?),
        None => console.print(&complete::install()?),
    }
}
