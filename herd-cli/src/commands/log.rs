use herd_cli::Client;
use serde::Serialize;

use super::Target;
use super::survey::{ask_all, meant};
use crate::args::LogArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{Answer, Output, printable, table};

pub(super) async fn run(
    args: LogArgs,
    target: Target,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let filter = args.filter.unwrap_or_default();
    let ask = move |client: Client| {
        let filter = filter.clone();
        async move { client.set_log_filter(&filter).await }
    };
    let mut asked = ask_all(meant(&target, false)?, &target, ask).await;
    if asked.iter().all(|node| node.answer.is_err())
        && let Some(Err(error)) = asked.pop().map(|node| node.answer)
    {
        return Err(error.into());
    }
    let filters = Filters {
        nodes: asked
            .into_iter()
            .map(|node| match node.answer {
                Ok((filter, before)) => NodeView { name: node.name, filter, before, error: None },
                Err(error) => NodeView {
                    name: node.name,
                    filter: String::new(),
                    before: String::new(),
                    error: Some(error.to_string()),
                },
            })
            .collect(),
    };
    output.answer(&filters)?;
    let whole = filters.nodes.iter().all(|node| node.error.is_none());
    Ok(if whole { ExitCode::Success } else { ExitCode::Partial })
}

#[derive(Serialize)]
struct Filters {
    nodes: Vec<NodeView>,
}

#[derive(Serialize)]
struct NodeView {
    name: String,
    /// In place; empty if the node could not be asked.
    filter: String,
    before: String,
    error: Option<String>,
}

impl Answer for Filters {
    const KIND: &'static str = "log_filters";

    fn text(&self) -> String {
        let rows = self.nodes.iter().map(|node| {
            let filter = node.error.as_ref().unwrap_or(&node.filter);
            [printable(&node.name), printable(filter), printable(&node.before)]
        });
        table(["NODE", "LOGS", "BEFORE"], &rows.collect::<Vec<_>>())
    }
}
