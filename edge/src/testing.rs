//! For tests: a CA in a folder of its own, and whatever it signs; a log that can be read.

#![expect(clippy::unwrap_used, reason = "a test that cannot make certificates has failed")]

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use tempfile::TempDir;

use crate::{Pair, TlsFiles};

/// A CA and the files of what it signed, removed when it is dropped.
#[derive(Debug)]
pub struct TestCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl TestCa {
    /// A new CA.
    ///
    /// # Panics
    /// Where there is no room for its files.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its own certificate.
    pub fn ca(&self) -> PathBuf {
        self.directory().join("ca.pem")
    }

    /// A certificate that bears `names`, in files called `label`, and the CA itself.
    ///
    /// # Panics
    /// Where there is no room for its files.
    pub fn files(&self, label: &str, names: &[&str]) -> TlsFiles {
        self.sign(label, names, 2099)
    }

    /// The same of one that ended in 2001.
    ///
    /// # Panics
    /// Where there is no room for its files.
    pub fn expired(&self, label: &str, names: &[&str]) -> TlsFiles {
        self.sign(label, names, 2001)
    }

    fn sign(&self, label: &str, names: &[&str], last_year: i32) -> TlsFiles {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(last_year, 1, 1);
        let own_key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&own_key, &self.issuer).unwrap();
        let cert = self.directory().join(format!("{label}.pem"));
        let key = self.directory().join(format!("{label}.key"));
        fs::write(&cert, signed.pem()).unwrap();
        fs::write(&key, own_key.serialize_pem()).unwrap();
        TlsFiles { pair: Some(Pair { cert, key }), ca: Some(self.ca()) }
    }
}

/// What this thread logs while `work` is done.
pub fn logged(work: impl FnOnce()) -> String {
    let kept = Kept::default();
    let writer = kept.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    tracing::subscriber::with_default(log.finish(), work);
    let bytes = kept.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
