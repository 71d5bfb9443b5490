//! The transport of the tests that run over several: that of the environment variable `HERMOD_TEST_TRANSPORT`, `tcp` (the
//! default), `key` or `tls`. A child process has that of its parent, and the certificates of its parent.

use std::process::Command;

use actix_hermod::NodeBuilder;

/// The variable with the transport.
const TRANSPORT: &str = "HERMOD_TEST_TRANSPORT";

/// The variable with the folder of the certificates.
#[cfg(feature = "tls")]
const CERTIFICATES: &str = "HERMOD_TEST_CERTIFICATES";

fn name() -> String {
    std::env::var(TRANSPORT).unwrap_or_else(|_| "tcp".to_owned())
}

/// Whether nodes speak plainly, so that a peer of raw frames can speak with them.
pub fn is_plain() -> bool {
    name() == "tcp"
}

/// Gives a node the transport.
///
/// # Panics
/// If this build has no such transport.
pub fn over(node: NodeBuilder) -> NodeBuilder {
    match &*name() {
        "tcp" => node,
        #[cfg(feature = "shared-key")]
        "key" => node.transport(actix_hermod::SharedKey::from_bytes([7; 32])),
        #[cfg(feature = "tls")]
        "tls" => node.transport(certificates::tls()),
        other => panic!("{TRANSPORT}={other}: run with --all-features"),
    }
}

/// Returns the endpoint of the transport at a host and a port.
pub fn endpoint(at: impl AsRef<str>) -> String {
    let at = at.as_ref();
    if is_plain() { at.to_owned() } else { format!("{}:{at}", name()) }
}

/// Returns the host and the port of an endpoint.
pub fn host_and_port(endpoint: &str) -> &str {
    endpoint.strip_prefix(&format!("{}:", name())).unwrap_or(endpoint)
}

/// Returns the endpoint at which a node listens, at a port that the system chooses.
pub fn here() -> String {
    endpoint("127.0.0.1:0")
}

/// Gives a child the certificates.
pub(crate) fn share(command: &mut Command) {
    #[cfg(feature = "tls")]
    if name() == "tls" {
        command.env(CERTIFICATES, certificates::folder());
    }
    let _ = command;
}

#[cfg(feature = "tls")]
mod certificates {
    use std::path::Path;
    use std::path::PathBuf;
    use std::sync::LazyLock;

    use actix_hermod::Tls;
    use rcgen::BasicConstraints;
    use rcgen::CertificateParams;
    use rcgen::IsCa;
    use rcgen::Issuer;
    use rcgen::KeyPair;

    /// Checked in place of hosts, since tests use many addresses.
    const NAME: &str = "hermod-node";

    /// The parent's, or else made by this process, and left to the system's folder of temporary files.
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| match std::env::var(super::CERTIFICATES) {
        Ok(folder) => folder.into(),
        Err(_) => made(),
    });

    fn made() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("hermod-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).expect("a folder");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let (authority, node) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let write = |name: &str, text: String| std::fs::write(folder.join(name), text).expect("a file");
        write("ca.pem", params.self_signed(&authority).expect("a certificate").pem());
        let issuer = Issuer::new(params, authority);
        let params = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
        write("node.pem", params.signed_by(&node, &issuer).expect("a certificate").pem());
        write("node.key", node.serialize_pem());
        folder
    }

    pub(super) fn folder() -> &'static Path {
        &FOLDER
    }

    pub(super) fn tls() -> Tls {
        let file = |name| folder().join(name);
        let tls = Tls::mutual().certificate_pem(file("node.pem"), file("node.key"));
        let tls = tls.and_then(|tls| tls.authority_pem(file("ca.pem")));
        tls.and_then(|tls| tls.peer_name(NAME).build()).expect("files that serve")
    }
}
