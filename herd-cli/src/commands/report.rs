use std::time::SystemTime;

use herd_cli::Recorded;
use herd_proto::{PositionError, Report, Violations, v1};
use serde::Serialize;

use super::location::LocationView;
use super::{Target, invalid, report_many};
use crate::args::ReportArgs;
use crate::coordinates::{Coordinates, CoordinatesError};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::moment::Moment;
use crate::output::{Answer, Output};

pub(super) async fn run(
    args: ReportArgs,
    target: Target,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let standard_input = args.id.as_deref() == Some("-") && args.coordinates.is_none();
    if standard_input || args.file.is_some() {
        if args.time.is_some() {
            let rule = "--time is for one report; in a file each line has its own";
            return Err(Failure::Usage(rule.into()));
        }
        let min_peers = args.witnesses.min_peers;
        return report_many::run(args.file.as_deref(), min_peers, &target, output).await;
    }
    let (Some(id), Some(coordinates)) = (args.id, args.coordinates) else {
        return Err(Failure::Usage("COORDS is missing, such as 34.07,-118.44".into()));
    };
    let coordinates = match args.longitude {
        Some(longitude) => format!("{coordinates} {longitude}"),
        None => coordinates,
    };
    let report = parse(&id, &coordinates, args.time.as_deref()).map_err(invalid)?;
    let client = target.connect().await?.with_min_peers(args.witnesses.min_peers);
    let recorded = client.report(report).await?;
    output.answer(&RecordedView::from(&recorded))?;
    Ok(ExitCode::Success)
}

/// Makes a report of what a person wrote. What is in the herd's own notation is sent as
/// written, so that it is echoed so.
pub(super) fn parse(id: &str, coordinates: &str, time: Option<&str>) -> Result<Report, Violations> {
    let mut wrong = Violations::default();
    let mut request = v1::ReportRequest { client_id: id.into(), ..Default::default() };
    match Coordinates::parse(coordinates) {
        Ok(Coordinates::Iso6709(text)) => request.position_text = text.into(),
        Ok(Coordinates::Degrees(position)) => request.position = Some(position.into()),
        Err(error @ CoordinatesError::Form(_)) => wrong.add("position", error),
        Err(error @ CoordinatesError::Range { rule, .. }) => {
            let latitude = rule == PositionError::Latitude;
            wrong.add(if latitude { "position.latitude" } else { "position.longitude" }, error);
        }
    }
    match time.map(|text| Moment::parse(text, SystemTime::now())) {
        None => {}
        Some(Ok(Moment::Posix(text))) => request.time_text = text.into(),
        Some(Ok(Moment::At(time))) => request.time = Some(time.into()),
        Some(Err(error)) => wrong.add("time", error),
    }
    if wrong.is_empty() { Report::from_request(&request) } else { Err(wrong) }
}

#[derive(Serialize)]
struct RecordedView {
    location: LocationView,
    /// Whether the report was the newest of its client.
    applied: bool,
}

impl From<&Recorded> for RecordedView {
    fn from(recorded: &Recorded) -> Self {
        Self { location: (&recorded.location).into(), applied: recorded.applied }
    }
}

impl Answer for RecordedView {
    const KIND: &'static str = "report";

    fn text(&self) -> String {
        let newest =
            if self.applied { "yes" } else { "no, a newer one was known already and stays" };
        format!("{}newest    {newest}\n", self.location.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(coordinates: &str, time: Option<&str>) -> v1::ReportRequest {
        parse("kiwi", coordinates, time).unwrap().into_request()
    }

    #[test]
    fn the_herds_own_notation_is_sent_as_written() {
        let sent = request("+12-118", Some("1700000000.5"));
        assert_eq!((&*sent.position_text, &*sent.time_text), ("+12-118", "1700000000.5"));
    }

    #[test]
    fn other_notations_are_sent_as_values() {
        let sent = request("12,-118", Some("2023-11-14T22:13:20Z"));
        assert_eq!(sent.position, Some(v1::Position { latitude: 12.0, longitude: -118.0 }));
        assert_eq!(sent.time.map(|time| time.seconds), Some(1_700_000_000));
        assert_eq!((&*sent.position_text, &*sent.time_text), ("", ""));
        assert_eq!(request("12,-118", None).time, None);
    }

    #[test]
    fn position_and_time_are_both_named_when_both_are_wrong() {
        let shown = parse("kiwi", "-118.44,34.07", Some("noon")).unwrap_err().to_string();
        assert!(shown.contains("position.latitude: latitude must be"), "{shown}");
        assert!(shown.contains("time: must be like"), "{shown}");
    }
}
