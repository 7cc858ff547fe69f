use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Show what is in order, too
    #[arg(long)]
    pub(crate) all: bool,
}

impl DoctorArgs {
    pub(super) const EXAMPLES: &str = "\
Examples:
  herd-cli doctor
  herd-cli --herd-file my.toml doctor --all
  herd-cli doctor --output json | jq '.findings[] | {subject, problem, hint}'

Looks for the commonest mistakes in the herd file and in what each node says, and tells what to do.
Exit code 0 tells that all is well, 1 that something should be looked at, 2 that something is wrong.";
}
