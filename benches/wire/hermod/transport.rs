//! The transport of the nodes: that of the environment variable `HERMOD_TRANSPORT`, `tcp` (the default), `key` or `tls`.
//! The two that encrypt are behind the features of the same names as the library's.

use actix_hermod::NodeBuilder;

use crate::error::Result;

/// The environment variable with the folder of the certificates, for the two halves of a run.
pub(crate) const FOLDER: &str = "HERMOD_BENCH_CERTIFICATES";

/// Returns the name of the transport.
fn name() -> String {
    std::env::var("HERMOD_TRANSPORT").unwrap_or_else(|_| "tcp".to_owned())
}

/// Returns the endpoint at which a server listens.
pub(crate) fn endpoint() -> String {
    match &*name() {
        "tcp" => "127.0.0.1:0".to_owned(),
        other => format!("{other}:127.0.0.1:0"),
    }
}

/// Gives a node the transport.
pub(crate) fn give(node: NodeBuilder) -> Result<NodeBuilder> {
    match &*name() {
        "tcp" => Ok(node),
        #[cfg(feature = "shared-key")]
        "key" => Ok(node.transport(actix_hermod::SharedKey::from_bytes([7; 32]))),
        #[cfg(feature = "tls")]
        "tls" => {
            let folder = std::path::PathBuf::from(std::env::var(FOLDER)?);
            let file = |name| folder.join(name);
            let tls = actix_hermod::Tls::mutual().certificate_pem(file("node.pem"), file("node.key"))?;
            Ok(node.transport(tls.authority_pem(file("ca.pem"))?.build()?))
        }
        other => Err(format!("HERMOD_TRANSPORT={other}: build with --features shared-key,tls").into()),
    }
}

/// A folder with certificates for both halves, if they need any. It is removed when this is dropped.
pub(crate) struct Certificates {
    #[cfg(feature = "tls")]
    folder: std::path::PathBuf,
}

#[cfg(not(feature = "tls"))]
impl Certificates {
    pub(crate) fn made() -> Result<Option<Certificates>> {
        Ok(None)
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        std::path::Path::new("")
    }
}

#[cfg(feature = "tls")]
impl Certificates {
    pub(crate) fn made() -> Result<Option<Certificates>> {
        use rcgen::BasicConstraints;
        use rcgen::CertificateParams;
        use rcgen::IsCa;
        use rcgen::Issuer;
        use rcgen::KeyPair;

        if name() != "tls" {
            return Ok(None);
        }
        let folder = std::env::temp_dir().join(format!("hermod-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let made = Certificates { folder };
        let file = |name| made.folder.join(name);
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        std::fs::write(file("ca.pem"), params.self_signed(&key)?.pem())?;
        let (issuer, key) = (Issuer::new(params, key), KeyPair::generate()?);
        let node = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
        std::fs::write(file("node.pem"), node.pem())?;
        std::fs::write(file("node.key"), key.serialize_pem())?;
        Ok(Some(made))
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        &self.folder
    }
}

#[cfg(feature = "tls")]
impl Drop for Certificates {
    fn drop(&mut self) {
        // Left to the system, whose folder for such files it is, if it cannot be removed.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
