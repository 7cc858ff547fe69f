//! The program `herd-cli`: reads the command line, runs one command, tells how it went.

mod args;
mod commands;
mod contexts;
mod coordinates;
mod exit_code;
mod failure;
mod logging;
mod moment;
mod output;
mod whole_file;

use std::process;

use clap::{CommandFactory as _, FromArgMatches as _};
use herd_node::settings::ignore_empty_variables;
use mimalloc::MiMalloc;

use crate::args::Cli;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{Format, Output};

/// A report's way through gRPC is mostly small allocations: this takes 0.7 to 0.95 of the processor
/// time that the system's allocator does.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> process::ExitCode {
    let command = ignore_empty_variables(Cli::command());
    match command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => {
            let mut output = Output::new(cli.global.output);
            let result = run(cli, &mut output).and_then(|code| {
                output.flush()?;
                Ok(code)
            });
            finish(result, &mut output)
        }
        Err(error) => not_understood(&error),
    }
}

fn run(cli: Cli, output: &mut Output) -> Result<ExitCode, Failure> {
    logging::start(&cli)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(error.into()))?;
    let result = runtime.block_on(commands::run(cli.command, cli.global, output));
    // A thread may still wait for standard input; nobody needs what it reads.
    runtime.shutdown_background();
    result
}

fn finish(result: Result<ExitCode, Failure>, output: &mut Output) -> process::ExitCode {
    match result {
        Ok(code) => code.into(),
        Err(failure) => {
            if !matches!(failure, Failure::OutputClosed) {
                output.failure(&failure);
            }
            failure.exit_code().into()
        }
    }
}

/// Help that was asked for, or a command line that makes no sense.
fn not_understood(error: &clap::Error) -> process::ExitCode {
    let format = args::form_of(std::env::args_os());
    if format != Format::Table && error.use_stderr() {
        let failure = Failure::Usage(error.render().to_string());
        return finish(Err(failure), &mut Output::new(format));
    }
    match error.print().map_err(Failure::writing) {
        Ok(()) => process::ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1)),
        Err(failure) => failure.exit_code().into(),
    }
}
