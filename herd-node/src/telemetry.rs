//! Where log lines go: standard error, and a file where one is asked for.

use std::fs;
use std::io;
use std::path::PathBuf;

use herd_admin::log_filter;
use herd_proto::topology::Problems;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt};

/// What to log, and where.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LogSettings {
    /// Which log lines to write, such as info, debug or herd_node=debug,warn [default: info]
    #[arg(long, env = "HERD_LOG", value_name = "FILTER")]
    pub log: Option<String>,

    /// Form of log lines: text or json [default: text]
    #[arg(long, env = "HERD_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// Folder for log files, made if it is missing; without it, only standard error
    #[arg(long, env = "HERD_LOG_DIR", value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts logging for the process; [`log_filter`] changes later what is logged. `file_stem` names
/// the log file in `log_dir`. The returned guard writes out what is buffered when it is dropped.
///
/// # Errors
/// All problems of the settings together.
pub fn init(settings: &LogSettings, file_stem: &str) -> Result<Option<WorkerGuard>, Problems> {
    let mut problems = Problems::default();
    let directives = settings.log.as_deref().unwrap_or("info");
    let filter = log_filter::changeable(directives)
        .map_err(|error| problems.add(format_args!("log: {error}, got {directives:?}")));
    let json = match settings.log_format.as_deref() {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => {
            problems.add(format_args!("log_format: must be text or json, got {other:?}"));
            false
        }
    };
    let file = settings.log_dir.as_ref().and_then(|dir| {
        open(dir, file_stem)
            .map_err(|error| problems.add(format_args!("log_dir: {}: {error}", dir.display())))
            .ok()
    });
    problems.clone().into_result(())?;
    let (file_layer, guard) = file.map(|file| layer_to_file(file, json)).unzip();
    let layers: Vec<BoxedLayer> =
        [Some(layer(io::stderr, json)), file_layer].into_iter().flatten().collect();
    let Ok(filter) = filter else { return Err(problems) };
    let subscriber = tracing_subscriber::registry().with(layers.with_filter(filter));
    subscriber.try_init().map_err(Problems::one)?;
    Ok(guard)
}

fn open(dir: &std::path::Path, stem: &str) -> io::Result<fs::File> {
    fs::create_dir_all(dir)?;
    fs::OpenOptions::new().create(true).append(true).open(dir.join(format!("{stem}.log")))
}

/// A log file must be complete, so a disk that cannot keep up slows the node down: that is what
/// asking for a file means.
fn layer_to_file(file: fs::File, json: bool) -> (BoxedLayer, WorkerGuard) {
    let (writer, guard) = NonBlockingBuilder::default().lossy(false).finish(file);
    (layer(writer, json), guard)
}

fn layer<W>(writer: W, json: bool) -> BoxedLayer
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let plain = fmt::layer().with_ansi(false).with_target(false).with_writer(writer);
    if json { plain.json().flatten_event(true).boxed() } else { plain.boxed() }
}
