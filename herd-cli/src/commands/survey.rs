//! All nodes of the herd, asked at the same time, so that one that is down delays nobody.

use std::future::Future;

use herd_cli::{Client, Error};
use tokio::task::JoinSet;

use super::Target;
use crate::failure::Failure;

/// What one node answered, or why it did not.
pub(super) struct Asked<T> {
    /// Its name in the herd file, or what was given in place of one.
    pub(super) name: String,
    pub(super) address: String,
    pub(super) answer: Result<T, Error>,
}

/// The nodes that are meant: all of the herd file, unless one is chosen and not `all` are wanted.
pub(super) fn meant(target: &Target, all: bool) -> Result<Vec<(String, String)>, Failure> {
    if all || target.node.is_none() {
        let entries = target.topology.nodes.iter();
        Ok(entries.map(|entry| (entry.name.to_string(), entry.address.clone())).collect())
    } else {
        Ok(vec![(target.node.clone().unwrap_or_default(), target.address()?)])
    }
}

/// Asks all of `nodes`, and gives their answers in the same order.
pub(super) async fn ask_all<T, F>(
    nodes: Vec<(String, String)>,
    target: &Target,
    ask: impl Fn(Client) -> F + Clone + Send + 'static,
) -> Vec<Asked<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send,
{
    let mut asking = JoinSet::new();
    for (index, (name, address)) in nodes.into_iter().enumerate() {
        let (access, timeout, ask) = (target.access_to(&address), target.timeout, ask.clone());
        asking.spawn(async move {
            let answer = match Client::connect_with(&access, &address, timeout).await {
                Ok(client) => ask(client).await,
                Err(error) => Err(error),
            };
            (index, Asked { name, address, answer })
        });
    }
    let mut all = asking.join_all().await;
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, asked)| asked).collect()
}
