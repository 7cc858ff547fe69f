//! Commands with little to type.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap_complete::Shell;

#[derive(Debug, Args)]
pub(crate) struct VersionArgs {}

impl VersionArgs {
    pub(super) const EXAMPLES: &str = "\
Examples:
  herd-cli version
  herd-cli version --output json | jq -r '.nodes[].version'

Exit code 9 tells that releases differ, 8 that some nodes are down, 5 that all are.";
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// A level, such as debug, or targets with levels, such as herd_node::link=trace,warn
    #[arg(value_name = "FILTER", required_unless_present = "reset")]
    pub(crate) filter: Option<String>,
    /// Go back to the filter that each node was started with
    #[arg(long, conflicts_with = "filter")]
    pub(crate) reset: bool,
}

impl LogArgs {
    pub(super) const EXAMPLES: &str = "\
Examples:
  herd-cli log debug
  herd-cli --node Clark log herd_node::link=trace,info
  herd-cli log --reset

Holds until a node ends. Nodes of one process, such as those of `herd-cli up`, share one log.
Gateways, and nodes that cannot be called, take signals: SIGUSR1 for debug, SIGUSR2 to go back.";
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// For which shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

impl CompletionsArgs {
    pub(super) const EXAMPLES: &str = "\
Examples:
  herd-cli completions bash > ~/.local/share/bash-completion/completions/herd-cli
  herd-cli completions zsh > \"${fpath[1]}/_herd-cli\"
  herd-cli completions fish > ~/.config/fish/completions/herd-cli.fish";
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write a page for each command into this folder [default: the program's page to standard
    /// output]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

impl ManArgs {
    pub(super) const EXAMPLES: &str = "\
Examples:
  herd-cli man | man -l -
  herd-cli man --dir ~/.local/share/man/man1";
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// How often to ask the nodes
    #[arg(long, short, value_name = "TIME", default_value = "1s")]
    #[arg(value_parser = humantime::parse_duration)]
    pub(crate) interval: Duration,
    /// Show the herd once, after one interval, and end
    #[arg(long)]
    pub(crate) once: bool,
}

impl TopArgs {
    pub(super) const EXAMPLES: &str = "\
Examples:
  herd-cli top
  herd-cli top --interval 5s
  herd-cli top --once --output json

Ctrl-C ends it. Rates are means over the last interval.";
}
