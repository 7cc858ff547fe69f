//! The provider that needs no network: the well-known places of big cities, or a file of the
//! operator's.

mod atlas;
mod built_in;
mod csv;
mod geonames;
mod load;
mod row;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use herd_proto::topology::Problems;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use self::atlas::Atlas;
use self::load::Form;
use super::config::{EmbeddedConfig, RankBy};
use super::fault::Fault;
use super::metrics::{Metrics, Source};
use super::page::Page;
use super::provider::{Provider, Question};

/// Its name in settings and answers.
pub(super) const NAME: &str = "embedded";

/// A table of more rows is searched on a thread of its own: a question about a crowded region
/// then takes milliseconds, in which the node does other things.
const MAX_ROWS_INLINE: usize = 20_000;

/// Such searches at a time; the others wait.
const MAX_SEARCHES: usize = 4;

/// Answers from a table. What is built in is read once and shared by all.
#[derive(Debug)]
pub(super) struct Embedded {
    atlas: RwLock<Arc<Atlas>>,
    rank_by: RankBy,
    file: Option<DataFile>,
    searches: Arc<Semaphore>,
    metrics: Metrics,
}

impl Embedded {
    /// Reads the table.
    pub(super) async fn open(config: EmbeddedConfig, metrics: Metrics) -> Result<Self, Problems> {
        let EmbeddedConfig { path, attribution, rank_by } = config;
        let file = path.map(|path| DataFile { path, attribution });
        let atlas = match &file {
            None => built_in::atlas(),
            Some(file) => file.load().await.map(Arc::new),
        };
        let atlas = atlas.map_err(Problems::one)?;
        if let Some(file) = &file {
            tracing::info!(file = %file.path.display(), rows = atlas.len(), "places were read");
        }
        metrics.rows_are(atlas.len());
        let searches = Arc::new(Semaphore::new(MAX_SEARCHES));
        Ok(Self { atlas: RwLock::new(atlas), rank_by, file, searches, metrics })
    }

    /// Whether the table is a file's.
    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Reads the operator's file again. Questions are answered from what was read before until
    /// all of the new table is there; if that is bad, it stays.
    pub(super) async fn reload(&self) {
        let Some(file) = &self.file else { return };
        let path = file.path.display();
        let loaded = file.load().await;
        self.metrics.reloaded(loaded.is_ok());
        match loaded {
            Ok(atlas) => {
                tracing::info!(file = %path, rows = atlas.len(), "places were read anew");
                self.metrics.rows_are(atlas.len());
                *self.atlas.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(atlas);
            }
            Err(problem) => tracing::error!(%problem, "the places stay as they were"),
        }
    }

    /// Answers with what the reader should know about the answer.
    pub(super) async fn page(
        &self,
        question: &Question,
        info_messages: Vec<String>,
        deadline: Instant,
    ) -> Result<Page, Fault> {
        let atlas = Arc::clone(&self.atlas.read().unwrap_or_else(PoisonError::into_inner));
        let rank_by = self.rank_by;
        if atlas.len() <= MAX_ROWS_INLINE {
            return Ok(atlas.page(question, rank_by, info_messages));
        }
        let question = question.clone();
        let search = async {
            // The place is given back by the thread, also when the caller has left.
            let place = Arc::clone(&self.searches).acquire_owned().await.ok()?;
            let search = tokio::task::spawn_blocking(move || {
                let _place = place;
                atlas.page(&question, rank_by, info_messages)
            });
            search.await.ok()
        };
        timeout_at(deadline, search).await.map_err(|_| Fault::Deadline)?.ok_or(Fault::GivenUp)
    }
}

impl Provider for Embedded {
    fn name(&self) -> &'static str {
        NAME
    }

    fn nearby<'a>(
        &'a self,
        question: &'a Question,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Arc<Page>, Fault>> {
        async move {
            let page = self.page(question, Vec::new(), deadline).await;
            let source = if page.is_ok() { Source::Asked } else { Source::None };
            self.metrics.searched(NAME, source);
            page.map(Arc::new)
        }
        .boxed()
    }
}

/// An operator's file.
#[derive(Debug)]
struct DataFile {
    path: PathBuf,
    attribution: Option<String>,
}

impl DataFile {
    /// Reads and indexes it on a thread where that may take its time.
    async fn load(&self) -> Result<Atlas, String> {
        let (path, attribution) = (self.path.clone(), self.attribution.clone());
        let shown = self.path.display();
        let loading = tokio::task::spawn_blocking(move || load_atlas(&path, attribution));
        match loading.await {
            Ok(Ok(atlas)) => Ok(atlas),
            Ok(Err(error)) => Err(format!("places path: {shown} {error}")),
            Err(_) => Err(format!("places path: {shown} was not read to its end")),
        }
    }
}

fn load_atlas(path: &Path, attribution: Option<String>) -> Result<Atlas, load::LoadError> {
    let table = load::from_file(path)?;
    let attribution = attribution.unwrap_or_else(|| match table.form {
        Form::Csv => "Places: a list of this herd's operator".into(),
        Form::GeoNames => geonames::ATTRIBUTION.into(),
    });
    Ok(Atlas::new(table.rows, attribution))
}

#[cfg(test)]
mod tests;
