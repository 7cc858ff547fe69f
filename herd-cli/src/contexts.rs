//! Named ways to a herd, kept in a file: which node, by which herd file, with which certificates and token.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::{env, fs, path};

use anyhow::{Context as _, anyhow};
use serde::{Deserialize, Serialize};

use crate::args::Global;
use crate::failure::Failure;
use crate::whole_file::WholeFile;

/// The contexts of this user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Contexts {
    /// The one that counts where none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    pub(crate) contexts: BTreeMap<String, Way>,
}

/// What a context holds. Tokens themselves are not among it, only where they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Way {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) herd_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
}

impl Contexts {
    /// Reads the file; none is as good as an empty one.
    pub(crate) fn load() -> Result<Self, Failure> {
        match file() {
            Ok(file) => Self::read(&file),
            Err(_) => Ok(Self::default()),
        }
    }

    fn read(file: &Path) -> Result<Self, Failure> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(wrong(file, &error)),
        };
        toml::from_str(&text).map_err(|error| wrong(file, &error))
    }

    /// Puts these in the place of what the file holds, at once or not at all.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        let file = file().map_err(Failure::Other)?;
        self.write(&file).with_context(|| file.display().to_string()).map_err(Failure::Other)
    }

    fn write(&self, file: &Path) -> anyhow::Result<()> {
        let text = toml::to_string(self)?;
        fs::create_dir_all(file.parent().context("it is in no folder")?)?;
        let mut whole = WholeFile::create(file)?;
        whole.write_all(text.as_bytes())?;
        Ok(whole.keep()?)
    }

    /// The context of that name.
    pub(crate) fn named(&self, name: &str) -> Result<&Way, Failure> {
        self.contexts.get(name).ok_or_else(|| {
            let names: Vec<_> = self.contexts.keys().map(String::as_str).collect();
            let there = if names.is_empty() { "there is none".into() } else { names.join(", ") };
            Failure::Usage(format!("no context is called {name}; of those that are kept: {there}"))
        })
    }
}

impl Way {
    /// What flags and variables say, with paths that are right in every folder.
    pub(crate) fn of(global: &Global) -> Result<Self, Failure> {
        let absolute = |path: &Option<PathBuf>| {
            path.as_ref()
                .map(path::absolute)
                .transpose()
                .map_err(|error| Failure::Other(error.into()))
        };
        Ok(Self {
            node: global.node.clone(),
            herd_file: absolute(&global.herd_file)?,
            ca: absolute(&global.ca)?,
            cert: absolute(&global.cert)?,
            key: absolute(&global.key)?,
            token_file: absolute(&global.token_file)?,
        })
    }
}

/// Fills in, from the context that is named or else the current one, what flags and variables leave open.
pub(crate) fn complete(mut global: Global) -> Result<Global, Failure> {
    let contexts = Contexts::load()?;
    let Some(name) = global.context.as_ref().or(contexts.current.as_ref()) else {
        return Ok(global);
    };
    let Way { node, herd_file, ca, cert, key, token_file } = contexts.named(name)?.clone();
    global.node = global.node.or(node);
    global.herd_file = global.herd_file.or(herd_file);
    global.ca = global.ca.or(ca);
    // A certificate and its key go together.
    if global.cert.is_none() {
        (global.cert, global.key) = (cert, key);
    }
    if env::var_os("HERD_TOKEN").is_none_or(|token| token.is_empty()) {
        global.token_file = global.token_file.or(token_file);
    }
    Ok(global)
}

/// Where they are kept.
fn file() -> anyhow::Result<PathBuf> {
    let folder = |name| env::var_os(name).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let configuration = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")));
    let configuration = configuration
        .ok_or_else(|| anyhow!("neither XDG_CONFIG_HOME nor HOME says where contexts are kept"))?;
    Ok(configuration.join("herd").join("contexts.toml"))
}

fn wrong(file: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("herd/contexts.toml");
        assert_eq!(Contexts::read(&file).unwrap(), Contexts::default());
        let way = Way { node: Some("Clark".into()), ca: Some("/ca.pem".into()), ..Way::default() };
        let contexts = Contexts {
            current: Some("home".into()),
            contexts: BTreeMap::from([("home".into(), way), ("away".into(), Way::default())]),
        };
        contexts.write(&file).unwrap();
        assert_eq!(Contexts::read(&file).unwrap(), contexts);
        assert_eq!(fs::read_dir(folder.path().join("herd")).unwrap().count(), 1);
    }

    #[test]
    fn a_context_that_is_not_there_is_named_with_those_that_are() {
        let contexts = Contexts {
            contexts: BTreeMap::from([("home".into(), Way::default())]),
            ..Contexts::default()
        };
        let refusal = contexts.named("hoem").unwrap_err().to_string();
        assert_eq!(refusal, "no context is called hoem; of those that are kept: home");
    }

    #[test]
    fn a_file_that_makes_no_sense_is_named_with_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("contexts.toml");
        fs::write(&file, "current = 'a'\n[contexts.a]\nnodes = 'Bailey'\n").unwrap();
        let refusal = Contexts::read(&file).unwrap_err().to_string();
        assert!(refusal.contains("contexts.toml") && refusal.contains("nodes"), "{refusal}");
    }
}
