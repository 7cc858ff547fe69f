use serde::Serialize;

use super::location::LocationView;
use super::{Target, client_id};
use crate::args::GetArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{Answer, Output};

pub(super) async fn run(
    args: GetArgs,
    target: Target,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let id = client_id(&args.id)?;
    let record = target.connect().await?.get(&id).await?;
    output.answer(&Known((&record).into()))?;
    Ok(ExitCode::Success)
}

#[derive(Serialize)]
#[serde(transparent)]
struct Known(LocationView);

impl Answer for Known {
    const KIND: &'static str = "location";

    fn text(&self) -> String {
        self.0.text()
    }
}
