//! The transports that encrypt, over the simulated network.

use actix_hermod::NodeBuilder;
#[cfg(feature = "shared-key")]
use actix_hermod::SharedKey;

/// A transport of all nodes of a town.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Protection {
    #[default]
    Plain,
    #[cfg(feature = "shared-key")]
    Key,
    #[cfg(feature = "tls")]
    Tls,
}

impl Protection {
    /// All that this build has, beginning with none.
    const ALL: &'static [Protection] = &[
        Protection::Plain,
        #[cfg(feature = "shared-key")]
        Protection::Key,
        #[cfg(feature = "tls")]
        Protection::Tls,
    ];

    /// Returns that of a seed.
    pub(crate) fn of(seed: u64) -> Protection {
        Protection::ALL[seed as usize % Protection::ALL.len()]
    }

    /// Returns an endpoint of the transport.
    pub(crate) fn endpoint(self, at: &str) -> String {
        match self {
            Protection::Plain => at.to_owned(),
            #[cfg(feature = "shared-key")]
            Protection::Key => format!("key:{at}"),
            #[cfg(feature = "tls")]
            Protection::Tls => format!("tls:{at}"),
        }
    }

    /// Gives a node the transport.
    pub(crate) fn give(self, node: NodeBuilder) -> NodeBuilder {
        match self {
            Protection::Plain => node,
            #[cfg(feature = "shared-key")]
            Protection::Key => node.transport(SharedKey::from_bytes([7; 32])),
            #[cfg(feature = "tls")]
            Protection::Tls => node.transport(certificates::tls()),
        }
    }
}

#[cfg(feature = "tls")]
mod certificates {
    use std::sync::LazyLock;

    use actix_hermod::Tls;
    use rcgen::BasicConstraints;
    use rcgen::CertificateParams;
    use rcgen::IsCa;
    use rcgen::Issuer;
    use rcgen::KeyPair;
    use rcgen::PKCS_ED25519;
    use support::Scratch;

    const NAME: &str = "hermod-node";

    /// One certificate for all nodes. Its signatures, by Ed25519, all have the same length: a run that is replayed has the
    /// same bytes on its network.
    static FILES: LazyLock<Scratch> = LazyLock::new(|| {
        let files = Scratch::new();
        let key = || KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let (authority, node) = (key(), key());
        let pem = params.self_signed(&authority).expect("a certificate").pem();
        std::fs::write(files.file("ca.pem"), pem).expect("a file");
        let issuer = Issuer::new(params, authority);
        let params = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
        let pem = params.signed_by(&node, &issuer).expect("a certificate").pem();
        std::fs::write(files.file("node.pem"), pem).expect("a file");
        std::fs::write(files.file("node.key"), node.serialize_pem()).expect("a file");
        files
    });

    pub(super) fn tls() -> Tls {
        let files = &*FILES;
        let tls = Tls::mutual().certificate_pem(files.file("node.pem"), files.file("node.key"));
        let tls = tls.and_then(|tls| tls.authority_pem(files.file("ca.pem")));
        tls.and_then(|tls| tls.peer_name(NAME).build()).expect("files that serve")
    }
}
