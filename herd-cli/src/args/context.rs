use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct ContextArgs {
    #[command(subcommand)]
    pub(crate) command: ContextCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// List all contexts
    Ls,
    /// Keep under a name what --node, --herd-file, --ca, --cert, --key and --token-file, or their
    /// variables, say
    Set(NameArgs),
    /// Make a context the current one
    Use(NameArgs),
    /// Let no context be the current one
    Unuse,
    /// Take a context away; the files that it names stay
    Rm(NameArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The context
    #[arg(value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) name: String,
}

impl ContextArgs {
    pub(super) const EXAMPLES: &str = "\
Examples:
  herd-cli context set work --node herd.example.org:50051 --ca ca.pem --token-file me.token
  herd-cli context use work
  herd-cli --context work status
  herd-cli context ls

They are kept in herd/contexts.toml of XDG_CONFIG_HOME or ~/.config. Flags and variables beat them.
Tokens themselves are not kept, only the names of their files. `up` heeds no context.";
}
