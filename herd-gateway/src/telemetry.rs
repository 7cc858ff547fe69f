//! The program's own log, on standard error.

use std::io::{self, IsTerminal as _};

use herd_admin::log_filter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use crate::settings::{LogFormat, Settings};

/// Starts logging. Call once, before anything worth logging happens.
///
/// # Errors
/// The filter of the settings is none.
pub fn init(settings: &Settings) -> Result<(), log_filter::Error> {
    let filter = log_filter::changeable(&settings.log)?;
    let log = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let log = match settings.log_format {
        LogFormat::Text => log.boxed(),
        LogFormat::Json => log.json().boxed(),
    };
    tracing_subscriber::registry().with(log.with_filter(filter)).init();
    Ok(())
}
