use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::Context as _;
use herd_cli::MAX_BATCH_REPORTS;
use herd_proto::{Report, Violations};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::progress::Progress;
use super::spreadsheet::unguarded;
use super::{Target, report};
use crate::args::{FileForm, ImportArgs};
use crate::exit_code::ExitCode;
use crate::failure::{Failure, ViolationView};
use crate::output::{Answer, Output, printable};

/// Locations read ahead of the node, and most in one batch: a batch of the largest ones fits into a
/// message.
const BATCH: usize = MAX_BATCH_REPORTS / 16;

/// Largest GeoJSON file, in bytes, which is read as a whole; the other forms may be of any length.
const MAX_GEOJSON_BYTES: u64 = 512 << 20;

/// Longest line of JSONL, in bytes.
const MAX_LINE_BYTES: u64 = 64 << 10;

pub(super) async fn run(
    args: ImportArgs,
    target: Target,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let form = args.format.or_else(|| FileForm::of(&args.file)).ok_or_else(|| {
        Failure::Usage("the file's name does not tell its form: say --format".into())
    })?;
    let input: Box<dyn Read + Send> = if args.file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let opened = File::open(&args.file).with_context(|| args.file.display().to_string());
        Box::new(opened.map_err(|error| Failure::Usage(format!("{error:#}")))?)
    };
    let mut stream = target.connect().await?.report_stream().await?;
    let (entries, mut queue) = mpsc::channel(BATCH);
    // Reading blocks, so it has a thread of its own; it ends with the file or with the queue.
    let mut reading = JoinSet::new();
    reading.spawn_blocking(move || {
        read(form, input, &mut |entry| entries.blocking_send(entry).is_ok())
    });
    let mut total = Total::default();
    let mut progress = Progress::new("locations");
    let (mut number, mut batch) = (0, Vec::with_capacity(BATCH));
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        let (mut numbers, mut reports) = (Vec::new(), Vec::new());
        for entry in batch.drain(..) {
            number += 1;
            if number <= args.skip {
                continue;
            }
            match entry.report(&args.prefix) {
                Ok(report) => {
                    numbers.push(number);
                    reports.push(report);
                }
                Err(violations) => {
                    output.complaint(&Refused::new(number, &violations));
                    total.failed += 1;
                }
            }
        }
        if reports.is_empty() {
            continue;
        }
        let count = reports.len();
        let taken = stream.send(reports).await.inspect_err(|_| {
            let done = numbers.first().map_or(number, |first| first - 1);
            output.note(&format!("-- cut off: go on with --skip {done} --"));
        })?;
        for refused in &taken.refused {
            let number = numbers.get(refused.index).copied().unwrap_or_default();
            output.complaint(&Refused::new(number, &refused.violations));
        }
        total.failed += taken.refused.len() as u64;
        total.taken += (count - taken.refused.len()) as u64;
        total.applied += u64::from(taken.applied);
        progress.at(output, total.taken);
    }
    progress.done(output);
    if let Some(Ok(Err(error))) = reading.join_next().await {
        output.note(&format!("-- {} locations were reported before this --", total.taken));
        return Err(Failure::Other(error.context(args.file.display().to_string())));
    }
    output.answer(&total)?;
    Ok(if total.failed == 0 { ExitCode::Success } else { ExitCode::Partial })
}

#[derive(Default, Serialize)]
struct Total {
    /// Locations that a node took.
    taken: u64,
    /// Of these, the ones that were newest.
    applied: u64,
    failed: u64,
}

impl Answer for Total {
    const KIND: &'static str = "imported";

    fn text(&self) -> String {
        let Self { taken, applied, failed } = self;
        format!("{taken} locations reported, {applied} of them newest; {failed} failed\n")
    }
}

#[derive(Serialize)]
struct Refused {
    /// Which location of the file, from 1.
    number: u64,
    violations: Vec<ViolationView>,
}

impl Refused {
    fn new(number: u64, violations: &Violations) -> Self {
        Self { number, violations: violations.iter().map(Into::into).collect() }
    }
}

impl Answer for Refused {
    const KIND: &'static str = "refused";

    fn text(&self) -> String {
        let rules = self.violations.iter();
        let rules = rules.map(|rule| printable(&format!("{}: {}", rule.field, rule.description)));
        format!("location {}: {}\n", self.number, rules.collect::<Vec<_>>().join("; "))
    }
}

/// A location of a file, not yet checked.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    id: String,
    at: String,
    time: Option<String>,
    /// Why it is none.
    problem: Option<String>,
}

impl Entry {
    fn bad(problem: &impl ToString) -> Self {
        Self { problem: Some(problem.to_string()), ..Self::default() }
    }

    /// Checks it, with `prefix` before its id.
    pub(super) fn report(&self, prefix: &str) -> Result<Report, Violations> {
        if let Some(problem) = &self.problem {
            return Err(Violations::one("location", problem));
        }
        let time = self.time.as_deref().filter(|time| !time.is_empty());
        report::parse(&format!("{prefix}{}", self.id), &self.at, time)
    }
}

/// Reads locations and hands them on, one by one, until `take` wants no more.
pub(super) fn read(
    form: FileForm,
    input: impl Read,
    take: &mut dyn FnMut(Entry) -> bool,
) -> anyhow::Result<()> {
    match form {
        FileForm::Csv => read_csv(input, take),
        FileForm::Jsonl => read_jsonl(BufReader::new(input), take),
        FileForm::Gpx => read_gpx(BufReader::new(input), take),
        FileForm::Geojson => read_geojson(input, take),
    }
}

fn read_csv(input: impl Read, take: &mut dyn FnMut(Entry) -> bool) -> anyhow::Result<()> {
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(input);
    let heads: Vec<_> = reader
        .headers()?
        .iter()
        .map(|head| head.trim_start_matches('\u{feff}').to_lowercase())
        .collect();
    let column = |names: &[&str]| heads.iter().position(|head| names.contains(&head.as_str()));
    let needed = |names: &[&str]| {
        column(names).with_context(|| format!("line 1: no column is called {}", names.join(" or ")))
    };
    let id = needed(&["id", "client_id", "client", "name"])?;
    // As the client wrote it, where an export has kept that.
    let written = column(&["position_text"]);
    let latitude = needed(&["latitude", "lat"])?;
    let longitude = needed(&["longitude", "lon", "lng", "long"])?;
    let time = column(&["time", "timestamp"]);
    for row in reader.records() {
        let entry = match row {
            Ok(row) => {
                let field = |index: usize| row.get(index).unwrap_or_default();
                let degrees = format!("{},{}", field(latitude), field(longitude));
                let text = written.map(field).filter(|text| !text.is_empty());
                let at = text.map_or(degrees, Into::into);
                let time = time.map(|time| field(time).into());
                Entry { id: unguarded(field(id)).into(), at, time, problem: None }
            }
            Err(error) if error.is_io_error() => return Err(error.into()),
            Err(error) => Entry::bad(&error),
        };
        if !take(entry) {
            break;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct JsonLine {
    id: String,
    at: String,
    time: Option<String>,
}

fn read_jsonl(mut input: impl BufRead, take: &mut dyn FnMut(Entry) -> bool) -> anyhow::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        anyhow::ensure!(
            line.ends_with(b"\n") || (read as u64) < MAX_LINE_BYTES,
            "a line is too long"
        );
        if line.trim_ascii().is_empty() {
            continue;
        }
        let entry = match serde_json::from_slice(&line) {
            Ok(JsonLine { id, at, time }) => Entry { id, at, time, problem: None },
            Err(error) => Entry::bad(&error),
        };
        if !take(entry) {
            return Ok(());
        }
    }
}

/// Waypoints have names of their own; the points of a track or a route have its name.
fn read_gpx(input: impl BufRead, take: &mut dyn FnMut(Entry) -> bool) -> anyhow::Result<()> {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_reader(input);
    let (mut buffer, mut path) = (Vec::new(), Vec::new());
    let (mut point, mut point_name, mut line_name) =
        (Entry::default(), String::new(), String::new());
    let mut text = String::new();
    loop {
        let event = reader.read_event_into(&mut buffer);
        let event = event.with_context(|| format!("byte {}", reader.buffer_position()))?;
        let (tag, begins, ends) = match &event {
            Event::Start(tag) => (Some(tag.to_owned()), true, false),
            Event::Empty(tag) => (Some(tag.to_owned()), true, true),
            Event::End(_) => (None, false, true),
            Event::Text(part) => {
                text.push_str(&part.decode()?);
                (None, false, false)
            }
            Event::GeneralRef(entity) => {
                text.push_str(&resolved(&entity.decode()?)?);
                (None, false, false)
            }
            Event::CData(part) => {
                text.push_str(&part.decode()?);
                (None, false, false)
            }
            Event::Eof => {
                anyhow::ensure!(path.is_empty(), "the file ends in the middle");
                return Ok(());
            }
            _ => (None, false, false),
        };
        if let Some(tag) = tag
            && begins
        {
            path.push(String::from_utf8_lossy(tag.local_name().as_ref()).into_owned());
            text.clear();
            if is_point(&path) {
                let attribute = |name: &str| -> anyhow::Result<String> {
                    let found = tag.try_get_attribute(name)?;
                    Ok(found
                        .map(|found| String::from_utf8_lossy(&found.value).into_owned())
                        .unwrap_or_default())
                };
                point = Entry {
                    at: format!("{},{}", attribute("lat")?, attribute("lon")?),
                    ..Entry::default()
                };
                point_name.clear();
            }
        }
        if ends {
            let inside: Vec<_> = path.iter().rev().map(String::as_str).collect();
            match *inside {
                ["name", "wpt" | "trkpt" | "rtept", ..] => text.trim().clone_into(&mut point_name),
                ["name", "trk" | "rte", ..] => text.trim().clone_into(&mut line_name),
                ["time", "wpt" | "trkpt" | "rtept", ..] => {
                    point.time = Some(text.trim().to_owned());
                }
                _ => {}
            }
            if is_point(&path) {
                let own = path.last().is_some_and(|tag| tag == "wpt") || line_name.is_empty();
                point.id = identifier(if own { &point_name } else { &line_name });
                if !take(std::mem::take(&mut point)) {
                    return Ok(());
                }
            }
            if matches!(path.last().map(String::as_str), Some("trk" | "rte")) {
                line_name.clear();
            }
            path.pop();
        }
        buffer.clear();
    }
}

fn is_point(path: &[String]) -> bool {
    matches!(path.last().map(String::as_str), Some("wpt" | "trkpt" | "rtept"))
}

fn resolved(entity: &str) -> anyhow::Result<String> {
    Ok(match entity {
        "amp" => "&".into(),
        "lt" => "<".into(),
        "gt" => ">".into(),
        "quot" => "\"".into(),
        "apos" => "'".into(),
        other => {
            let number = other.strip_prefix('#').context("an unknown entity")?;
            let code = match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code?).context("a number that is no character")?.into()
        }
    })
}

/// Names of tracks have spaces, ids cannot.
fn identifier(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join("-")
}

#[derive(Deserialize)]
struct Collection {
    features: Vec<Feature>,
}

#[derive(Deserialize)]
struct Feature {
    id: Option<serde_json::Value>,
    geometry: Option<Geometry>,
    properties: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Deserialize)]
struct Geometry {
    #[serde(rename = "type")]
    kind: String,
    coordinates: Option<serde_json::Value>,
}

fn read_geojson(input: impl Read, take: &mut dyn FnMut(Entry) -> bool) -> anyhow::Result<()> {
    let mut text = String::new();
    input.take(MAX_GEOJSON_BYTES).read_to_string(&mut text)?;
    anyhow::ensure!((text.len() as u64) < MAX_GEOJSON_BYTES, "larger than 512 MiB: use jsonl");
    let collection: Collection = serde_json::from_str(&text)?;
    for feature in collection.features {
        if !take(feature.entry()) {
            break;
        }
    }
    Ok(())
}

impl Feature {
    fn entry(self) -> Entry {
        let properties = self.properties.unwrap_or_default();
        let word = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let property = |names: &[&str]| names.iter().find_map(|name| word(properties.get(*name)?));
        let id = property(&["id", "client_id", "name"]).or_else(|| word(self.id.as_ref()?));
        let Some(geometry) = self.geometry.filter(|geometry| geometry.kind == "Point") else {
            return Entry::bad(&"only points are locations");
        };
        let degrees = geometry.coordinates.as_ref().and_then(|coordinates| {
            let [longitude, latitude] = [coordinates.get(0)?, coordinates.get(1)?];
            Some(format!("{},{}", plain(latitude)?, plain(longitude)?))
        });
        let Some(at) = degrees else { return Entry::bad(&"a point needs two coordinates") };
        let Some(id) = id else { return Entry::bad(&"has no id and no property id or name") };
        Entry { id, at, time: property(&["time", "timestamp"]), problem: None }
    }
}

/// A number without an exponent, as positions are read.
fn plain(value: &serde_json::Value) -> Option<String> {
    Some(format!("{:.7}", value.as_f64()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(form: FileForm, text: &str) -> Vec<Entry> {
        let mut found = Vec::new();
        read(form, text.as_bytes(), &mut |entry| {
            found.push(entry);
            true
        })
        .unwrap();
        found
    }

    fn fails(form: FileForm, text: &str) -> String {
        format!("{:#}", read(form, text.as_bytes(), &mut |_| true).unwrap_err())
    }

    #[test]
    fn csv_names_its_columns_in_several_ways() {
        let found = all(FileForm::Csv, "name,speed,lon,lat\nkiwi,3,-118.44,34.07\n\"a,b\",,1,2\n");
        assert_eq!((&*found[0].id, &*found[0].at), ("kiwi", "34.07,-118.44"));
        assert_eq!((&*found[1].id, &found[1].time), ("a,b", &None));
        assert!(found[1].report("").is_ok());
        let error = fails(FileForm::Csv, "id,lat\nkiwi,1\n");
        assert!(error.contains("longitude or lon"), "{error}");
        let short = all(FileForm::Csv, "id,lat,lon\nkiwi,1\nemu,1,2\n");
        assert!(short[0].report("").is_err() && short[1].report("x-").is_ok());
    }

    #[test]
    fn points_of_a_track_have_its_name_and_waypoints_their_own() {
        let text = "<gpx><wpt lat='1' lon='2'><name>My &amp; place</name></wpt>\
            <trk><name>Tour 1</name><trkseg><trkpt lat='3' lon='4'><time>2023-11-14T22:13:20Z</time>\
            </trkpt><trkpt lat='5' lon='6'/></trkseg></trk></gpx>";
        let found = all(FileForm::Gpx, text);
        let told: Vec<_> = found.iter().map(|entry| (&*entry.id, &*entry.at)).collect();
        assert_eq!(told, [("My-&-place", "1,2"), ("Tour-1", "3,4"), ("Tour-1", "5,6")]);
        assert_eq!(found[1].time.as_deref(), Some("2023-11-14T22:13:20Z"));
        fails(FileForm::Gpx, "<gpx><wpt lat='1' lon='2'>");
        fails(FileForm::Gpx, "<gpx></wpt></gpx>");
    }

    #[test]
    fn only_points_of_geojson_are_locations() {
        let text = r#"{"type":"FeatureCollection","features":[
            {"type":"Feature","id":7,"geometry":{"type":"Point","coordinates":[-118.44,34.07]}},
            {"type":"Feature","geometry":{"type":"Point","coordinates":[1e-8,2]},"properties":{"name":"emu"}},
            {"type":"Feature","id":"x","geometry":{"type":"LineString","coordinates":[[1,2],[3,4]]}},
            {"type":"Feature","id":"x","geometry":{"type":"Point","coordinates":[1]}},
            {"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]}}]}"#;
        let found = all(FileForm::Geojson, text);
        assert_eq!((&*found[0].id, &*found[0].at), ("7", "34.0700000,-118.4400000"));
        assert!(found[1].report("").is_ok());
        assert!(found[2..].iter().all(|entry| entry.report("").is_err()));
        fails(FileForm::Geojson, "{");
    }

    #[test]
    fn a_bad_line_costs_only_itself() {
        let found = all(
            FileForm::Jsonl,
            "{\"id\":\"a\",\"at\":\"1,2\"}\n\nnonsense\n{\"id\":\"b\",\"at\":\"3,4\"}",
        );
        let sound: Vec<_> = found.iter().map(|entry| entry.report("").is_ok()).collect();
        assert_eq!(sound, [true, false, true]);
        fails(FileForm::Jsonl, &"x".repeat(70_000));
    }

    #[test]
    fn a_batch_of_the_largest_locations_fits_into_a_message() {
        const { assert!(BATCH * (1024 + 2 * 128 + 64) <= herd_cli::MAX_BATCH_BYTES) };
    }
}
