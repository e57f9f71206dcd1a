//! TLS towards PostgreSQL: the server's certificate and name are verified.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::settings::PostgresqlSettings;
use crate::store::database::error::DatabaseError;

/// The maker of TLS connections that trust the certificates of the settings.
pub(super) fn connector(settings: &PostgresqlSettings) -> Result<MakeRustlsConnect, DatabaseError> {
    let file = &settings.ca_file;
    let failed = |error: &dyn std::fmt::Display| {
        DatabaseError::Refused(format!(
            "{}: {error}; store.postgresql.ca_file names the certificates that servers are \
             verified by",
            file.display()
        ))
    };
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| failed(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| failed(&error))?;
        // The system's list may hold some that are of no use.
        let _ = roots.add(certificate);
    }
    if roots.is_empty() {
        return Err(failed(&"has no certificate"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}
