use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::args::{ContextArgs, ContextCommand, Global};
use crate::contexts::{Contexts, Way};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{Answer, Output, printable, table};

pub(super) fn run(
    args: ContextArgs,
    global: &Global,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let mut contexts = Contexts::load()?;
    match args.command {
        ContextCommand::Ls => {
            output.answer(&List::of(&contexts, global.context.as_deref()))?;
            return Ok(ExitCode::Success);
        }
        ContextCommand::Set(args) => {
            contexts.contexts.insert(args.name, Way::of(global)?);
        }
        ContextCommand::Use(args) => {
            contexts.named(&args.name)?;
            contexts.current = Some(args.name);
        }
        ContextCommand::Unuse => contexts.current = None,
        ContextCommand::Rm(args) => {
            contexts.named(&args.name)?;
            contexts.contexts.remove(&args.name);
            contexts.current.take_if(|current| *current == args.name);
        }
    }
    contexts.save()?;
    Ok(ExitCode::Success)
}

#[derive(Serialize)]
struct List {
    contexts: Vec<ContextView>,
}

#[derive(Serialize)]
struct ContextView {
    name: String,
    /// Whether commands go by it.
    current: bool,
    #[serde(flatten)]
    way: Way,
}

impl List {
    fn of(contexts: &Contexts, named: Option<&str>) -> Self {
        let current = named.or(contexts.current.as_deref());
        let views = contexts.contexts.iter().map(|(name, way)| ContextView {
            name: name.clone(),
            current: current == Some(name),
            way: way.clone(),
        });
        Self { contexts: views.collect() }
    }
}

impl Answer for List {
    const KIND: &'static str = "contexts";

    fn text(&self) -> String {
        let path = |path: Option<&Path>| {
            path.map_or_else(|| "-".into(), |path| printable(&path.to_string_lossy()))
        };
        let rows: Vec<_> = self
            .contexts
            .iter()
            .map(|ContextView { name, current, way }| {
                [
                    if *current { "*".into() } else { String::new() },
                    printable(name),
                    printable(way.node.as_deref().unwrap_or("-")),
                    path(way.herd_file.as_deref()),
                    path(way.ca.as_deref()),
                    path(way.token_file.as_deref()),
                ]
            })
            .collect();
        table(["", "NAME", "NODE", "HERD FILE", "CA", "TOKEN FILE"], &rows)
    }

    fn parts(&self) -> Option<Vec<(&'static str, Value)>> {
        let views = self.contexts.iter().filter_map(|view| serde_json::to_value(view).ok());
        Some(views.map(|view| ("context", view)).collect())
    }
}
