//! Completions and man pages, made from the same definition as the help.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::Output;

const NAME: &str = "herd-cli";

pub(super) fn completions(
    args: &CompletionsArgs,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    output.raw(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::Success)
}

pub(super) fn man(args: &ManArgs, output: &mut Output) -> Result<ExitCode, Failure> {
    let mut command = Cli::command();
    command.build();
    let Some(dir) = &args.dir else {
        output.raw(&page(command, NAME)?)?;
        return Ok(ExitCode::Success);
    };
    let written = write_all(dir, &command)?;
    output.note(&format!("{written} pages written to {}", dir.display()));
    Ok(ExitCode::Success)
}

fn write_all(dir: &Path, command: &clap::Command) -> Result<usize, Failure> {
    let subcommands = command.get_subcommands().filter(|sub| sub.get_name() != "help");
    let pages = subcommands.map(|sub| (sub.clone(), format!("{NAME}-{}", sub.get_name())));
    let pages: Vec<_> = std::iter::once((command.clone(), NAME.to_owned())).chain(pages).collect();
    let write = |path: &Path, text: String| {
        fs::write(path, text).with_context(|| path.display().to_string()).map_err(Failure::Other)
    };
    fs::create_dir_all(dir).with_context(|| dir.display().to_string()).map_err(Failure::Other)?;
    let count = pages.len();
    for (command, name) in pages {
        write(&dir.join(format!("{name}.1")), page(command, &name)?)?;
    }
    Ok(count)
}

fn page(command: clap::Command, name: &str) -> Result<String, Failure> {
    let mut text = Vec::new();
    let man =
        clap_mangen::Man::new(command.display_name(name.to_owned())).title(name.to_uppercase());
    man.render(&mut text).map_err(|error| Failure::Other(error.into()))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
