use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use herd_cli::{Change, WatchQuery};
use herd_proto::LocationRecord;
use serde::Serialize;

use super::Target;
use super::progress::Progress;
use super::spreadsheet::guarded;
use crate::args::{ExportArgs, FileForm};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::moment;
use crate::output::{Answer, Output};
use crate::whole_file::WholeFile;

pub(super) async fn run(
    args: ExportArgs,
    target: Target,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let to_file = args.file != Path::new("-");
    let form = args.format.or_else(|| FileForm::of(&args.file)).unwrap_or(FileForm::Jsonl);
    let query =
        WatchQuery { prefixes: args.prefix, include_current: true, ..WatchQuery::default() };
    let mut watch = target.connect().await?.watch(query).await?;
    let mut progress = Progress::new("locations");
    let mut exporter = Exporter::default();
    if to_file {
        let failed = |error: io::Error| {
            Failure::Other(anyhow::Error::new(error).context(args.file.display().to_string()))
        };
        let file = WholeFile::create(&args.file).with_context(|| args.file.display().to_string());
        let mut file = file.map_err(|error| Failure::Usage(format!("{error:#}")))?;
        let mut write =
            |_: &mut Output, text: &str| file.write_all(text.as_bytes()).map_err(failed);
        tokio::select! {
            done = all(&mut watch, form, &mut exporter, &mut progress, output, &mut write) => done?,
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::Interrupted),
        }
        file.keep().map_err(failed)?;
        output.answer(&Exported {
            locations: exporter.count,
            file: args.file.display().to_string(),
        })?;
    } else {
        let mut to_output = |output: &mut Output, text: &str| output.raw(text);
        all(&mut watch, form, &mut exporter, &mut progress, output, &mut to_output).await?;
        output.flush()?;
    }
    Ok(ExitCode::Success)
}

async fn all(
    watch: &mut herd_cli::Watch,
    form: FileForm,
    exporter: &mut Exporter,
    progress: &mut Progress,
    output: &mut Output,
    write: &mut impl FnMut(&mut Output, &str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    write(output, begin(form))?;
    while !watch.is_current() {
        let Some(changes) = watch.next().await? else {
            let ended = "the node ended the stream before all locations were told";
            return Err(Failure::Other(anyhow::anyhow!(ended)));
        };
        for change in changes {
            if let Change::Moved(location) | Change::Entered(location) = change {
                write(output, &exporter.one(form, &location))?;
            }
        }
        progress.at(output, exporter.count);
    }
    progress.done(output);
    write(output, end(form))
}

#[derive(Serialize)]
struct Exported {
    locations: u64,
    file: String,
}

impl Answer for Exported {
    const KIND: &'static str = "exported";

    fn text(&self) -> String {
        format!("{} locations written to {}\n", self.locations, self.file)
    }
}

fn begin(form: FileForm) -> &'static str {
    match form {
        FileForm::Csv => "id,latitude,longitude,time,receive_time,origin,position_text\n",
        FileForm::Jsonl => "",
        FileForm::Gpx => {
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<gpx version=\"1.1\" creator=\"herd-cli\" \
             xmlns=\"http://www.topografix.com/GPX/1/1\">\n"
        }
        FileForm::Geojson => "{\"type\":\"FeatureCollection\",\"features\":[",
    }
}

fn end(form: FileForm) -> &'static str {
    match form {
        FileForm::Csv | FileForm::Jsonl => "",
        FileForm::Gpx => "</gpx>\n",
        FileForm::Geojson => "\n]}\n",
    }
}

#[derive(Default)]
struct Exporter {
    count: u64,
}

#[derive(Serialize)]
struct JsonLine<'a> {
    id: &'a str,
    at: String,
    time: String,
}

impl Exporter {
    fn one(&mut self, form: FileForm, record: &LocationRecord) -> String {
        self.count += 1;
        let (id, at) = (record.client.as_str(), record.position);
        let (time, received) = (moment::shown(record.time), moment::shown(record.receive_time));
        match form {
            FileForm::Csv => format!(
                "{},{},{},{time},{received},{},{}\n",
                csv_field(&guarded(id)),
                at.latitude(),
                at.longitude(),
                record.origin,
                record.position_text()
            ),
            FileForm::Jsonl => {
                // In the herd's own notation, so that an import echoes what was written.
                let (at, time) =
                    (record.position_text().to_string(), record.time_text().to_string());
                let line = serde_json::to_string(&JsonLine { id, at, time });
                line.map(|line| line + "\n").unwrap_or_default()
            }
            FileForm::Gpx => format!(
                "  <wpt lat=\"{}\" lon=\"{}\"><time>{time}</time><name>{}</name></wpt>\n",
                at.latitude(),
                at.longitude(),
                escaped(id)
            ),
            FileForm::Geojson => {
                let feature = serde_json::json!({
                    "type": "Feature",
                    "id": id,
                    "geometry": { "type": "Point", "coordinates": [at.longitude(), at.latitude()] },
                    "properties": {
                        "id": id,
                        "time": time,
                        "receive_time": received,
                        "origin": record.origin.as_str(),
                    },
                });
                let comma = if self.count == 1 { "" } else { "," };
                format!("{comma}\n{feature}")
            }
        }
    }
}

/// Quotes a field that would be taken for several.
fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// For XML. Control characters, which it does not allow, are left out.
fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use herd_proto::{NodeName, Report, Timestamp};

    use super::*;
    use crate::commands::import::read;

    fn records() -> Vec<LocationRecord> {
        let odd = "=a,\"b\"<&>'é";
        [("kiwi", "+34.07-118.44", "1700000000.5"), (odd, "-0.0000001+180.0", "0")]
            .map(|(id, at, time)| {
                let report = Report::from_operands(id, at, time).unwrap();
                let received = Timestamp::from_unix_nanos(1_700_000_001_000_000_000).unwrap();
                report.into_record(NodeName::parse("Bailey").unwrap(), received, 0)
            })
            .into()
    }

    #[test]
    fn what_is_exported_in_any_form_is_imported_again() {
        for form in [FileForm::Csv, FileForm::Jsonl, FileForm::Gpx, FileForm::Geojson] {
            let mut exporter = Exporter::default();
            let all: String = records().iter().map(|record| exporter.one(form, record)).collect();
            let text = format!("{}{all}{}", begin(form), end(form));
            let mut found = Vec::new();
            read(form, text.as_bytes(), &mut |entry| {
                found.push(entry);
                true
            })
            .unwrap();
            assert_eq!(found.len(), 2, "{form:?}: {text}");
            for (entry, record) in found.into_iter().zip(records()) {
                let report = entry.report("").unwrap();
                assert_eq!(report.client, record.client, "{form:?}");
                assert_eq!(report.position, record.position, "{form:?}");
                assert_eq!(report.time, Some(record.time), "{form:?}");
            }
        }
    }

    #[test]
    fn an_empty_export_is_a_sound_file_too() {
        for form in [FileForm::Csv, FileForm::Jsonl, FileForm::Gpx, FileForm::Geojson] {
            let text = format!("{}{}", begin(form), end(form));
            read(form, text.as_bytes(), &mut |_| panic!("there is none")).unwrap();
        }
    }
}
