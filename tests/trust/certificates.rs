//! Certificates, good and bad, made by rcgen while a test runs.

use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use actix_hermod::Tls;
use actix_hermod::TlsBuilder;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use support::Scratch;

/// The names of a host here.
pub(crate) const HERE: [&str; 2] = ["localhost", "127.0.0.1"];

/// A year.
const LONG: i64 = 365 * 24 * 60 * 60;

/// Somebody who signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// The texts of a certificate's file and its key's.
pub(crate) struct Signed {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) der: Vec<u8>,
}

fn named(names: &[&str], name: &str) -> CertificateParams {
    let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
    let mut params = CertificateParams::new(names).expect("names of certificates");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = named(&[], name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// Signs a certificate for those names that is valid for a year.
    pub(crate) fn sign(&self, names: &[&str]) -> Signed {
        self.sign_for(names, -LONG, LONG)
    }

    /// Signs a certificate that is valid between two moments, in seconds from now.
    pub(crate) fn sign_for(&self, names: &[&str], from: i64, until: i64) -> Signed {
        let mut params = named(names, "a node");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set").as_secs();
        let at = |offset| {
            let seconds = now.checked_add_signed(offset).expect("a moment after 1970");
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
        };
        (params.not_before, params.not_after) = (at(from), at(until));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Signed { certificate: certificate.pem(), key: key.serialize_pem(), der: certificate.der().to_vec() }
    }
}

/// Returns a certificate that nobody has signed but its own key.
pub(crate) fn self_signed(names: &[&str]) -> Signed {
    let key = KeyPair::generate().expect("a key");
    let certificate = named(names, "a node alone").self_signed(&key).expect("a certificate");
    Signed { certificate: certificate.pem(), key: key.serialize_pem(), der: certificate.der().to_vec() }
}

/// The files of one node.
pub(crate) struct Files {
    folder: Scratch,
}

impl Files {
    pub(crate) fn new(signed: &Signed, authority: &Authority) -> Files {
        let files = Files { folder: Scratch::new() };
        files.sign(signed);
        files.trust(&[authority]);
        files
    }

    /// Replaces the certificate and its key.
    pub(crate) fn sign(&self, signed: &Signed) {
        self.write("node.pem", &signed.certificate);
        self.write("node.key", &signed.key);
    }

    /// Replaces the authorities.
    pub(crate) fn trust(&self, authorities: &[&Authority]) {
        let texts: Vec<&str> = authorities.iter().map(|authority| authority.pem.as_str()).collect();
        self.write("ca.pem", &texts.concat());
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.file(name)
    }

    /// Names all files to a builder.
    pub(crate) fn give(&self, builder: TlsBuilder) -> TlsBuilder {
        let builder = builder.certificate_pem(self.path("node.pem"), self.path("node.key")).expect("a pair");
        builder.authority_pem(self.path("ca.pem")).expect("an authority")
    }

    pub(crate) fn mutual(&self) -> Tls {
        self.give(Tls::mutual()).build().expect("a transport")
    }
}

/// Returns a transport with a fresh certificate for this host.
pub(crate) fn member(authority: &Authority) -> Tls {
    Files::new(&authority.sign(&HERE), authority).mutual()
}
