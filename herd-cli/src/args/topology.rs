use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct TopologyArgs {
    /// How to draw the herd
    #[arg(long = "as", value_name = "FORM", default_value = "table")]
    pub(crate) form: Drawing,
}

/// The ways of drawing a herd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Drawing {
    /// A line for each link.
    Table,
    /// Who is reached through whom.
    Tree,
    /// For Graphviz.
    Dot,
    /// For Mermaid, as in Markdown.
    Mermaid,
}

impl TopologyArgs {
    pub(super) const EXAMPLES: &str = "\
Examples:
  herd-cli topology
  herd-cli topology --as tree
  herd-cli topology --as dot | dot -Tsvg > herd.svg
  herd-cli topology --as mermaid >> notes.md
  herd-cli topology --output json | jq '.links[] | select(.state != \"up\")'

Exit code 8 tells that some nodes are down, 5 that all are.";
}
