use serde::Serialize;

use super::location::LocationView;
use super::{Target, client_id};
use crate::args::ForgetArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{Answer, Output, printable};

pub(super) async fn run(
    args: ForgetArgs,
    target: Target,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let id = client_id(&args.id)?;
    let client = target.connect().await?.with_min_peers(args.witnesses.min_peers);
    let location = client.forget(&id).await?;
    output.answer(&Forgotten {
        client_id: id.to_string(),
        known: location.is_some(),
        location: location.as_ref().map(Into::into),
    })?;
    Ok(ExitCode::Success)
}

#[derive(Serialize)]
struct Forgotten {
    client_id: String,
    /// Whether the node that was asked knew the client.
    known: bool,
    /// Where it was.
    location: Option<LocationView>,
}

impl Answer for Forgotten {
    const KIND: &'static str = "forget";

    fn text(&self) -> String {
        let id = printable(&self.client_id);
        match &self.location {
            Some(location) => format!("{id} is forgotten; it was\n{}", location.text()),
            None => format!("{id} is forgotten; this node did not know it\n"),
        }
    }
}
