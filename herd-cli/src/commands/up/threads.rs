//! The threads that the nodes of one process share.

use std::io;
use std::num::NonZero;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The calling thread and, where there are more cores than one, one more for each node after the
/// first; each has a runtime of its own. What a node does, it does on one thread, so that its tasks
/// wake each other without another core's help: a report costs a node less than waking a core. Which
/// thread runs where is left to the system: nodes with more friends have more to do than others.
pub(super) struct Threads {
    runtimes: Vec<Handle>,
    /// Ends the threads that were started here.
    _end: DropGuard,
}

impl Threads {
    /// Threads for so many nodes.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(nodes: usize) -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let threads = if cores > 1 { nodes } else { 1 };
        let end = CancellationToken::new();
        let mut runtimes = vec![Handle::current()];
        for number in 1..threads {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtimes.push(runtime.handle().clone());
            let ended = end.clone().cancelled_owned();
            thread::Builder::new()
                .name(format!("herd-{number}"))
                .spawn(move || runtime.block_on(ended))?;
        }
        Ok(Self { runtimes, _end: end.drop_guard() })
    }

    /// One after the other, over and over.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = &Handle> {
        self.runtimes.iter().cycle()
    }
}
