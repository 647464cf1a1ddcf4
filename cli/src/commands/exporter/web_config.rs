// SPDX-License-Identifier: MIT OR Apache-2.0

//! The web config file of Prometheus' exporter-toolkit: TLS, headers, users. What it says and this
//! exporter cannot do is an error: it must not serve with less protection than the file asks for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bcrypt::HashParts;
use hyper::header::{HeaderName, HeaderValue};
use yaml_rust2::yaml::Hash;
use yaml_rust2::{Yaml, YamlLoader};

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct WebConfig {
    pub(super) tls: Option<TlsFields>,
    /// Headers of each answer.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Users and the bcrypt hashes of their passwords; none: no password is asked for.
    pub(super) users: HashMap<String, String>,
}

/// The fields of `tls_server_config`.
#[derive(Debug, PartialEq)]
pub(super) struct TlsFields {
    pub(super) certificate: Pem,
    pub(super) key: Pem,
    pub(super) clients: Clients,
    pub(super) client_authorities: Option<Pem>,
    /// Whether TLS 1.2 and 1.3 may be used.
    pub(super) versions: [bool; 2],
    /// The names of the cipher suites of TLS 1.2; empty for all.
    pub(super) cipher_suites: Vec<String>,
    pub(super) prefers_own_suites: bool,
    /// The names of the curves, the preferred first; empty for all.
    pub(super) curves: Vec<String>,
}

/// A text in PEM, or the file that has it.
#[derive(Debug, PartialEq)]
pub(super) enum Pem {
    Text(String),
    File(PathBuf),
}

/// Whether clients need a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clients {
    /// They are not asked for one.
    Any,
    /// One that they show must be valid.
    Verified,
    /// They must show one that is valid.
    Required,
}

/// The most expensive hash: 2 to the power of 16 rounds take some seconds.
const HIGHEST_COST: u32 = 16;

/// Headers that the file may set, as in exporter-toolkit.
const HEADERS: [&str; 5] = [
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
];

impl WebConfig {
    /// Parses the file. Relative names of files are those beside it, in `folder`.
    pub(super) fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let documents = YamlLoader::load_from_str(text).map_err(|error| error.to_string())?;
        let document = match &documents[..] {
            [] | [Yaml::Null] => return Ok(Self::default()),
            [document] => document,
            _ => return Err("it has more than one document".into()),
        };
        let mut fields = Fields::of("", document)?;
        let tls = match fields.take("tls_server_config") {
            None => None,
            Some(fields) => tls(Fields::of("tls_server_config: ", fields)?, folder)?,
        };
        let mut config = Self {
            tls,
            ..Self::default()
        };
        if let Some(http) = fields.take("http_server_config") {
            let mut http = Fields::of("http_server_config: ", http)?;
            // HTTP/1.1 is always served. Clients choose HTTP/2 only if it is offered.
            http.boolean("http2")?;
            if let Some(headers) = http.take("headers") {
                for (name, value) in Fields::of("http_server_config: headers: ", headers)?.all()? {
                    if !HEADERS.contains(&name.as_str()) {
                        let known = HEADERS.join(", ");
                        return Err(format!("header {name} cannot be set; these can: {known}"));
                    }
                    let is_bad = |_| format!("header {name} has a bad value");
                    let value = HeaderValue::from_str(&value).map_err(is_bad)?;
                    let is_bad = |_| format!("header {name} is no name of a header");
                    let name = HeaderName::from_str(&name).map_err(is_bad)?;
                    config.headers.push((name, value));
                }
            }
            http.end()?;
        }
        if let Some(users) = fields.take("basic_auth_users") {
            for (user, hash) in Fields::of("basic_auth_users: ", users)?.all()? {
                // The hash is not repeated: it may reach a log.
                let parts = HashParts::from_str(&hash)
                    .map_err(|_| format!("basic_auth_users: {user} has no bcrypt hash"))?;
                if parts.get_cost() > HIGHEST_COST {
                    return Err(format!(
                        "basic_auth_users: the hash of {user} has cost {}, at most {HIGHEST_COST} is allowed",
                        parts.get_cost()
                    ));
                }
                config.users.insert(user, hash);
            }
        }
        fields.end()?;
        Ok(config)
    }
}

/// The fields of `tls_server_config`; `None` if there is no certificate, as in an empty section.
fn tls(mut fields: Fields<'_>, folder: &Path) -> Result<Option<TlsFields>, String> {
    let mut pem = |text: &str, file: &str| -> Result<Option<Pem>, String> {
        let file_value = fields.text(file)?.filter(|name| !name.is_empty());
        let text_value = fields.text(text)?.filter(|text| !text.is_empty());
        match (text_value, file_value) {
            (Some(_), Some(_)) => Err(format!("tls_server_config: both {text} and {file}")),
            (Some(text), None) => Ok(Some(Pem::Text(text))),
            (None, Some(name)) => Ok(Some(Pem::File(folder.join(name)))),
            (None, None) => Ok(None),
        }
    };
    let certificate = pem("cert", "cert_file")?;
    let key = pem("key", "key_file")?;
    let client_authorities = pem("client_ca", "client_ca_file")?;
    let clients = match fields.text("client_auth_type")?.as_deref() {
        None | Some("" | "NoClientCert") => Clients::Any,
        Some("VerifyClientCertIfGiven") => Clients::Verified,
        Some("RequireAndVerifyClientCert") => Clients::Required,
        Some(other) => {
            return Err(format!(
                "tls_server_config: client_auth_type {other} is not supported; use NoClientCert, \
                 VerifyClientCertIfGiven or RequireAndVerifyClientCert"
            ));
        }
    };
    let mut version = |name: &str, default| match fields.text(name)?.as_deref() {
        None | Some("") => Ok(default),
        Some("TLS12") => Ok(0),
        Some("TLS13") => Ok(1),
        Some(other) => Err(format!(
            "tls_server_config: {name} {other} is not supported; use TLS12 or TLS13"
        )),
    };
    let (least, most) = (version("min_version", 0)?, version("max_version", 1)?);
    if least > most {
        return Err("tls_server_config: min_version is greater than max_version".into());
    }
    let cipher_suites = fields.list("cipher_suites")?;
    let curves = fields.list("curve_preferences")?;
    let prefers_own_suites = fields.boolean("prefer_server_cipher_suites")?;
    fields.end()?;
    let (certificate, key) = match (certificate, key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) if clients == Clients::Any && client_authorities.is_none() => return Ok(None),
        (None, _) => return Err("tls_server_config: cert_file is missing".into()),
        (_, None) => return Err("tls_server_config: key_file is missing".into()),
    };
    match (clients, &client_authorities) {
        (Clients::Any, Some(_)) => {
            return Err("tls_server_config: client_ca_file without client_auth_type".into());
        }
        (Clients::Verified | Clients::Required, None) => {
            return Err("tls_server_config: client_auth_type without client_ca_file".into());
        }
        _ => {}
    }
    Ok(Some(TlsFields {
        certificate,
        key,
        clients,
        client_authorities,
        versions: [least == 0, most == 1],
        cipher_suites,
        prefers_own_suites: prefers_own_suites.unwrap_or(true),
        curves,
    }))
}

/// The fields of a section that are not taken yet.
struct Fields<'a> {
    /// The name of the section, for errors.
    of: &'static str,
    left: Vec<(&'a str, &'a Yaml)>,
}

impl<'a> Fields<'a> {
    fn of(of: &'static str, section: &'a Yaml) -> Result<Self, String> {
        static NONE: std::sync::LazyLock<Hash> = std::sync::LazyLock::new(Hash::new);
        let hash = match section {
            Yaml::Null => &*NONE,
            Yaml::Hash(hash) => hash,
            _ => return Err(format!("{of}it has no fields")),
        };
        let named = |(name, value): (&'a Yaml, &'a Yaml)| match name.as_str() {
            Some(name) => Ok((name, value)),
            None => Err(format!("{of}a name is no text")),
        };
        let left = hash.iter().map(named).collect::<Result<_, _>>()?;
        Ok(Self { of, left })
    }

    fn take(&mut self, name: &str) -> Option<&'a Yaml> {
        let at = self.left.iter().position(|(one, _)| *one == name)?;
        Some(self.left.remove(at).1)
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.take(name) {
            None | Some(Yaml::Null) => Ok(None),
            Some(Yaml::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(format!("{}{name} is no text", self.of)),
        }
    }

    fn boolean(&mut self, name: &str) -> Result<Option<bool>, String> {
        match self.take(name) {
            None | Some(Yaml::Null) => Ok(None),
            Some(Yaml::Boolean(value)) => Ok(Some(*value)),
            Some(_) => Err(format!("{}{name} is neither true nor false", self.of)),
        }
    }

    fn list(&mut self, name: &str) -> Result<Vec<String>, String> {
        let of = self.of;
        let bad = || format!("{of}{name} is no list of names");
        match self.take(name) {
            None | Some(Yaml::Null) => Ok(Vec::new()),
            Some(Yaml::Array(all)) => all
                .iter()
                .map(|one| one.as_str().map(str::to_owned).ok_or_else(bad))
                .collect(),
            Some(_) => Err(bad()),
        }
    }

    /// All fields as texts.
    fn all(self) -> Result<Vec<(String, String)>, String> {
        let of = self.of;
        let all = self.left.into_iter().map(|(name, value)| match value {
            Yaml::String(text) => Ok((name.to_owned(), text.clone())),
            _ => Err(format!("{of}{name} is no text")),
        });
        all.collect()
    }

    /// An error if something is left.
    fn end(self) -> Result<(), String> {
        match self.left.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!("{}{name} is not supported", self.of)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

    fn parse(text: &str) -> Result<WebConfig, String> {
        WebConfig::parse(text, Path::new("/etc/web"))
    }

    #[test]
    fn the_example_of_exporter_toolkit_is_read() {
        let text = format!(
            "tls_server_config:\n  cert_file: server.crt\n  key_file: /keys/server.key\n  \
             client_auth_type: \"RequireAndVerifyClientCert\"\n  client_ca_file: ca.crt\n  \
             min_version: TLS13\n  curve_preferences: [X25519]\n\
             http_server_config:\n  http2: true\n  headers:\n    X-Frame-Options: deny\n\
             basic_auth_users:\n  alice: {HASH}\n"
        );
        let config = parse(&text).unwrap();
        assert_eq!(
            config.tls,
            Some(TlsFields {
                certificate: Pem::File("/etc/web/server.crt".into()),
                key: Pem::File("/keys/server.key".into()),
                clients: Clients::Required,
                client_authorities: Some(Pem::File("/etc/web/ca.crt".into())),
                versions: [false, true],
                cipher_suites: Vec::new(),
                prefers_own_suites: true,
                curves: vec!["X25519".into()],
            })
        );
        assert_eq!(config.headers.len(), 1);
        assert_eq!(config.users["alice"], HASH);
    }

    #[test]
    fn nothing_asks_for_nothing() {
        for text in [
            "",
            "# nothing\n",
            "tls_server_config:\n",
            "basic_auth_users: {}\n",
        ] {
            let config = parse(text).unwrap();
            assert!(config.tls.is_none() && config.users.is_empty(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let cert = "tls_server_config: {cert_file: a, key_file: b, ";
        for (text, expected) in [
            ("tls: {}", "tls is not supported"),
            ("[1]", "no fields"),
            ("a: b\na: c", "a"),
            ("---\na: b\n---\nc: d\n", "more than one"),
            ("tls_server_config: {key_file: b}", "cert_file is missing"),
            ("tls_server_config: {cert_file: b}", "key_file is missing"),
            (&format!("{cert}cert: x}}"), "both cert and cert_file"),
            (
                &format!("{cert}min_version: TLS10}}"),
                "TLS10 is not supported",
            ),
            (
                &format!("{cert}min_version: TLS13, max_version: TLS12}}"),
                "greater",
            ),
            (
                &format!("{cert}client_auth_type: RequireAnyClientCert}}"),
                "not supported",
            ),
            (
                &format!("{cert}client_auth_type: VerifyClientCertIfGiven}}"),
                "client_ca_file",
            ),
            (&format!("{cert}client_ca_file: c}}"), "client_auth_type"),
            (
                &format!("{cert}client_allowed_sans: [x]}}"),
                "client_allowed_sans is not supported",
            ),
            (&format!("{cert}cipher_suites: x}}"), "no list"),
            (
                "basic_auth_users: {alice: secret}",
                "alice has no bcrypt hash",
            ),
            ("basic_auth_users: {alice: 1}", "alice is no text"),
            (
                "basic_auth_users: {a: $2y$31$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi}",
                "cost 31",
            ),
            (
                "http_server_config: {http2: maybe}",
                "neither true nor false",
            ),
            (
                "http_server_config: {headers: {Server: x}}",
                "Server cannot be set",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
