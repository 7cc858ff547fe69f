use std::fmt;

use reqwest::Request;

use super::http::Reply;
use crate::places::fault::Fault;
use crate::places::key::Key;
use crate::places::page::Page;
use crate::places::provider::Question;

/// What one network provider's API looks like. It only shapes requests and reads replies: how
/// often, for how long and how carefully is the same for all, and is [`super::Upstream`]'s.
pub(in crate::places) trait Api: fmt::Debug + Send + Sync {
    /// The provider's name in settings and answers.
    fn name(&self) -> &'static str;

    /// Puts a question. What it returns may hold the key, so nothing prints it.
    fn request(&self, question: &Question, key: Option<&Key>) -> Request;

    /// Reads a reply. Whenever the provider itself spoke, also to refuse, that is a page; an
    /// error is for replies that carry no word of its own.
    fn read(&self, question: &Question, reply: Reply, key: Option<&Key>) -> Result<Page, Fault>;
}
