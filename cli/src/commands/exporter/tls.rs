// SPDX-License-Identifier: MIT OR Apache-2.0

//! TLS as the web config file describes it, by rustls with ring.

use std::fs;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};

use super::web_config::{Clients, Pem, TlsFields};

/// The configuration of the server for these fields. Reads the files.
pub(super) fn server(fields: &TlsFields) -> Result<Arc<ServerConfig>, String> {
    let mut provider = ring::default_provider();
    if !fields.cipher_suites.is_empty() {
        // Those of TLS 1.3 cannot be chosen, as in Go.
        let known = provider.cipher_suites.clone();
        let name = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite());
        provider
            .cipher_suites
            .retain(|suite| suite.tls13().is_some());
        for wanted in &fields.cipher_suites {
            let found = known.iter().find(|suite| name(suite) == *wanted);
            let suite = found.ok_or_else(|| {
                let names: Vec<String> = known.iter().map(name).collect();
                let names = names.join(", ");
                format!("cipher_suites: {wanted} is not supported; these are: {names}")
            })?;
            if suite.tls13().is_none() {
                provider.cipher_suites.push(*suite);
            }
        }
    }
    if !fields.curves.is_empty() {
        let known = std::mem::take(&mut provider.kx_groups);
        for wanted in &fields.curves {
            let name = match wanted.as_str() {
                "CurveP256" => "secp256r1",
                "CurveP384" => "secp384r1",
                name => name,
            };
            let mut groups = known.iter();
            let found = groups.find(|group| format!("{:?}", group.name()) == name);
            let group = found.ok_or_else(|| {
                format!(
                    "curve_preferences: {wanted} is not supported; use X25519, CurveP256, CurveP384"
                )
            })?;
            provider.kx_groups.push(*group);
        }
    }
    let provider = Arc::new(provider);
    let [tls12, tls13] = fields.versions;
    let versions = [(tls12, &TLS12), (tls13, &TLS13)];
    let versions = versions.into_iter().filter(|(on, _)| *on);
    let versions: Vec<_> = versions.map(|(_, version)| version).collect();
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|error| error.to_string())?;
    let builder = match (&fields.client_authorities, fields.clients) {
        (None, _) | (_, Clients::Any) => builder.with_no_client_auth(),
        (Some(pem), clients) => {
            let mut authorities = RootCertStore::empty();
            for certificate in certificates(pem, "client_ca_file")? {
                let added = authorities.add(certificate);
                added.map_err(|error| format!("client_ca_file: {error}"))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
            let verifier = match clients {
                Clients::Required => verifier,
                _ => verifier.allow_unauthenticated(),
            };
            let verifier = verifier.build();
            builder.with_client_cert_verifier(
                verifier.map_err(|error| format!("client_ca_file: {error}"))?,
            )
        }
    };
    let key = read(&fields.key, "key_file")?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|error| format!("key_file: no private key in PEM: {error}"))?;
    let mut config = builder
        .with_single_cert(certificates(&fields.certificate, "cert_file")?, key)
        .map_err(|error| format!("cert_file and key_file: {error}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ignore_client_order = fields.prefers_own_suites;
    Ok(Arc::new(config))
}

fn certificates(pem: &Pem, field: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(pem, field)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match all {
        Ok(all) if all.is_empty() => Err(format!("{field}: no certificate in PEM")),
        Ok(all) => Ok(all),
        Err(error) => Err(format!("{field}: {error}")),
    }
}

fn read(pem: &Pem, field: &str) -> Result<Vec<u8>, String> {
    match pem {
        Pem::Text(text) => Ok(text.as_bytes().to_vec()),
        Pem::File(path) => {
            fs::read(path).map_err(|error| format!("{field}: {}: {error}", path.display()))
        }
    }
}
