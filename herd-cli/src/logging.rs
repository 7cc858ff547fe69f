//! What the program tells about its own work, on standard error.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command};
use crate::failure::Failure;

/// Starts logging, where any is wanted.
pub(crate) fn start(cli: &Cli) -> Result<(), Failure> {
    let filter = match (&cli.command, cli.global.verbose) {
        // The herd's own log is started with the herd.
        (Command::Up(_), _) | (_, 0) => return Ok(()),
        (_, 1) => "herd_cli=debug",
        (_, _) => "debug",
    };
    let filter = EnvFilter::try_new(filter).map_err(|error| Failure::Other(error.into()))?;
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(io::stderr)
        .init();
    Ok(())
}
