// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat exporter` with a web config file: TLS, client certificates, users.
//!
//! Needs `CAP_SYS_ADMIN` for the namespaces.

mod common;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::exporter::{Answer, Exporter, LONG, request};
use common::serial::serial;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tcpstat_tests::netns;
use tempfile::TempDir;

/// Runs a test by itself, in a network namespace of its own.
fn alone(test: impl FnOnce() + Send) {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(test).unwrap();
}

/// An authority, which makes certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The certificate and the key of a server or a client, in PEM.
    fn certificate(&self) -> (String, String) {
        let params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn write(&self, folder: &Path, name: &str) {
        let (certificate, key) = self.certificate();
        fs::write(folder.join(format!("{name}.crt")), certificate).unwrap();
        fs::write(folder.join(format!("{name}.key")), key).unwrap();
    }

    /// A request by a client that trusts this authority, perhaps with a certificate.
    fn get(
        &self,
        exporter: &Exporter,
        client: Option<&(String, String)>,
        headers: &[&str],
    ) -> io::Result<Answer> {
        let mut roots = RootCertStore::empty();
        let pem = self.0.pem();
        roots
            .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config
                    .with_client_auth_cert(vec![certificate], key)
                    .unwrap()
            }
        };
        let name = "localhost".try_into().unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, exporter.connect());
        request(&mut stream, "GET", "/metrics", headers)
    }
}

fn start(folder: &Path, config: &str) -> Exporter {
    let path = folder.join("web.yml");
    fs::write(&path, config).unwrap();
    Exporter::start(&["--web.config.file", path.to_str().unwrap()])
}

fn authorization(pair: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(pair))
}

#[test]
fn tls_is_served_and_certificates_are_read_again() {
    alone(|| {
        let folder = TempDir::new().unwrap();
        let [first, second] = [Authority::new(), Authority::new()];
        first.write(folder.path(), "server");
        let config = "tls_server_config: {cert_file: server.crt, key_file: server.key, min_version: TLS13}\n\
                      http_server_config: {headers: {X-Frame-Options: deny}}\n";
        let exporter = start(folder.path(), config);
        let answer = first.get(&exporter, None, &[]).unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["x-frame-options"], "deny");
        assert!(second.get(&exporter, None, &[]).is_err());
        // Without TLS there is no answer, and garbage does no harm.
        let mut plain = exporter.connect();
        assert!(request(&mut plain, "GET", "/metrics", &[]).is_err());
        for garbage in [
            &[0xff; 5000][..],
            b"\x16\x03\x01\xff\xff",
            b"\x16\x03\x01\x00\x01\x01",
        ] {
            exporter.connect().write_all(garbage).unwrap();
        }
        // A certificate that is renewed is used without a restart.
        second.write(folder.path(), "server");
        let began = Instant::now();
        while second.get(&exporter, None, &[]).is_err() {
            assert!(began.elapsed() < LONG, "{}", exporter.log());
            sleep(Duration::from_millis(100));
        }
        // A file that has an error changes nothing.
        fs::write(folder.path().join("server.crt"), "nonsense").unwrap();
        sleep(Duration::from_millis(1100));
        assert_eq!(second.get(&exporter, None, &[]).unwrap().status, 200);
        exporter.wait_for_log("the changed web config file is not used");
    });
}

#[test]
fn clients_may_need_a_certificate() {
    alone(|| {
        let folder = TempDir::new().unwrap();
        let [server, clients] = [Authority::new(), Authority::new()];
        server.write(folder.path(), "server");
        fs::write(folder.path().join("ca.crt"), clients.0.pem()).unwrap();
        let config = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  \
                      client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n";
        let exporter = start(folder.path(), config);
        let (right, wrong) = (clients.certificate(), server.certificate());
        assert_eq!(
            server.get(&exporter, Some(&right), &[]).unwrap().status,
            200
        );
        assert!(server.get(&exporter, Some(&wrong), &[]).is_err());
        assert!(server.get(&exporter, None, &[]).is_err());
    });
}

#[test]
fn users_need_their_password() {
    alone(|| {
        let folder = TempDir::new().unwrap();
        let hash = bcrypt::hash("secret", 4).unwrap();
        let exporter = start(
            folder.path(),
            &format!("basic_auth_users:\n  alice: {hash}\n"),
        );
        let status =
            |path: &str, pair: &str| exporter.get(path, &[authorization(pair).as_str()]).status;
        for path in ["/metrics", "/", "/-/healthy", "/nonsense"] {
            let answer = exporter.get(path, &[]);
            assert_eq!(answer.status, 401);
            assert_eq!(
                answer.headers["www-authenticate"],
                "Basic realm=\"tcpstat\""
            );
            assert!(!answer.text().contains("tcp_"));
        }
        assert_eq!(status("/metrics", "alice:secret"), 200);
        assert_eq!(status("/metrics", "alice:Secret"), 401);
        assert_eq!(status("/metrics", "bob:secret"), 401);
        assert!(!exporter.log().contains("secret"));
        // Another password counts as soon as the file has changed; the old one does not.
        let hash = bcrypt::hash("other", 4).unwrap();
        let text = format!("basic_auth_users:\n  alice: {hash}\n");
        fs::write(folder.path().join("web.yml"), text).unwrap();
        sleep(Duration::from_millis(1100));
        assert_eq!(status("/metrics", "alice:other"), 200);
        assert_eq!(status("/metrics", "alice:secret"), 401);
    });
}

#[test]
fn a_flood_of_wrong_passwords_locks_nobody_out() {
    alone(|| {
        let folder = TempDir::new().unwrap();
        // Each takes a good part of a second.
        let hash = bcrypt::hash("secret", if cfg!(debug_assertions) { 8 } else { 12 }).unwrap();
        let exporter = start(
            folder.path(),
            &format!("basic_auth_users:\n  alice: {hash}\n"),
        );
        let right = authorization("alice:secret");
        assert_eq!(exporter.get("/metrics", &[right.as_str()]).status, 200);
        thread::scope(|scope| {
            let flood: Vec<_> = (0..20)
                .map(|client| {
                    let exporter = &exporter;
                    scope.spawn(move || {
                        let name = if client % 2 == 0 { "alice" } else { "nobody" };
                        let wrong = authorization(&format!("{name}:{client}"));
                        exporter.get("/metrics", &[wrong.as_str()]).status
                    })
                })
                .collect();
            let start = Instant::now();
            for _ in 0..10 {
                assert_eq!(exporter.get("/metrics", &[right.as_str()]).status, 200);
            }
            assert!(start.elapsed() < Duration::from_secs(10));
            let statuses: Vec<u16> = flood.into_iter().map(|one| one.join().unwrap()).collect();
            assert!(
                statuses.iter().all(|status| [401, 429].contains(status)),
                "{statuses:?}"
            );
            assert!(
                statuses.contains(&429) && statuses.contains(&401),
                "{statuses:?}"
            );
        });
    });
}
