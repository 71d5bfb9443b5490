//! Shows mutual TLS between two processes: certificates are made on the spot, one peer is let in, and intruders are not.
//!
//! Run it with `cargo run --example secure --features tls`. The program starts itself once more as the server, whose box
//! is for the node with the certificate of `billing.example` only. Then it comes to the server in four guises: as billing,
//! as a stranger with a certificate of another authority, as a stranger without TLS, and as a member of the system that is
//! not billing. The exit status is 0 if the server takes the message of billing, and no other.

use std::error::Error;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use actix::prelude::Actor;
use actix::prelude::Handler;
use actix::prelude::Message;
use actix::prelude::System;
use actix_hermod::AskError;
use actix_hermod::Identity;
use actix_hermod::Node;
use actix_hermod::Origin;
use actix_hermod::PeerInfo;
use actix_hermod::Received;
use actix_hermod::Tls;
use hermod_demos::Outcome;
use hermod_demos::child;
use hermod_demos::child::Child;
use hermod_demos::exit_code;
use hermod_demos::within;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use serde::Deserialize;
use serde::Serialize;

const BILLING: &str = "billing.example";

// ---- The application.

/// Pays an invoice; the answer is the name of the node that has asked.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "String")]
struct Pay {
    cents: u64,
}

struct Bank;

impl Actor for Bank {
    type Context = actix::Context<Self>;
}

impl Handler<Received<Pay>> for Bank {
    type Result = String;

    /// The origin says whose certificate the sender has shown.
    fn handle(&mut self, Received { message, origin, .. }: Received<Pay>, _: &mut Self::Context) -> String {
        match origin {
            Origin::Peer { info, .. } => format!("{} cents for {}", message.cents, info.identity),
            _ => format!("{} cents for this process", message.cents),
        }
    }
}

fn is_billing(peer: &PeerInfo) -> bool {
    matches!(&peer.identity, Identity::Certificate { names, .. } if names.iter().any(|name| name == BILLING))
}

/// Reads the files of a node.
fn tls(folder: &Path, name: &str) -> Outcome<Tls> {
    let file = |name: String| folder.join(name);
    let tls = Tls::mutual()
        .certificate_pem(file(format!("{name}.pem")), file(format!("{name}.key")))?
        .authority_pem(file("ca.pem".to_owned()))?
        .build()?;
    Ok(tls)
}

/// The server's process.
async fn serve(folder: &Path) -> Outcome<()> {
    let node = Node::builder().transport(tls(folder, "server")?).start();
    node.publish_actor("bank", Bank.start()).handles_received::<Pay>().visible_to(is_billing).open()?;
    let endpoint = node.listen("tls:127.0.0.1:0").await?;
    child::end_with_parent();
    child::say(endpoint.as_ref())?;
    std::future::pending().await
}

// ---- The certificates.

/// An authority, with the file in which others know it.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(folder: &Path, file: &str) -> Outcome<Authority> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        std::fs::write(folder.join(file), params.self_signed(&key)?.pem())?;
        Ok(Authority { issuer: Issuer::new(params, key) })
    }

    /// Writes a certificate for a name, and its key.
    fn sign(&self, folder: &Path, file: &str, name: &str) -> Outcome<()> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &self.issuer)?;
        std::fs::write(folder.join(format!("{file}.pem")), certificate.pem())?;
        std::fs::write(folder.join(format!("{file}.key")), key.serialize_pem())?;
        Ok(())
    }
}

/// A folder that is removed with its files.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Outcome<Folder> {
        let path = std::env::temp_dir().join(format!("hermod-secure-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left behind if it cannot be removed: it is one of the system's temporary folders.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

// ---- The guises.

/// Asks the bank from a node of its own, and tells what came of it.
async fn pays(guise: &str, node: Node, endpoint: &str) -> Outcome<Result<String, AskError>> {
    let bank = node.remote::<Pay>(endpoint, "bank")?;
    let answer = within("an answer", bank.ask(Pay { cents: 4_200 })).await?;
    match &answer {
        Ok(paid) => println!("{guise}: the bank says: {paid}"),
        Err(error) => println!("{guise}: {error}"),
    }
    node.shutdown().await;
    Ok(answer)
}

async fn demonstrate() -> Outcome<bool> {
    let folder = Folder::new()?;
    let folder = folder.0.as_path();
    let ours = Authority::new(folder, "ca.pem")?;
    ours.sign(folder, "server", "127.0.0.1")?;
    ours.sign(folder, "billing", BILLING)?;
    ours.sign(folder, "warehouse", "warehouse.example")?;
    // Nobody but the stranger knows this authority.
    Authority::new(folder, "strange-ca.pem")?.sign(folder, "stranger", BILLING)?;
    let (_server, endpoint) = Child::start(&format!("server {}", folder.display()), &[]).await?;
    println!("the server listens at {endpoint}");
    let over = |tls: Tls| Node::builder().transport(tls).start();
    let billing = pays("billing", over(tls(folder, "billing")?), &endpoint).await?;
    let stranger = pays("a stranger with a certificate", over(tls(folder, "stranger")?), &endpoint).await?;
    let plain = endpoint.trim_start_matches("tls:");
    let bare = pays("a stranger without TLS", Node::start(), plain).await?;
    let warehouse = pays("the warehouse", over(tls(folder, "warehouse")?), &endpoint).await?;
    let is_paid = billing.is_ok_and(|paid| paid.contains(BILLING));
    Ok(is_paid && [stranger, bare, warehouse].iter().all(Result::is_err))
}

fn main() -> ExitCode {
    let outcome = System::new().block_on(async {
        match child::role().as_deref() {
            Some([role, folder]) if role == "server" => serve(Path::new(folder)).await.map(|()| true),
            Some(role) => Err(Box::<dyn Error>::from(format!("there is no role {role:?}"))),
            None => demonstrate().await,
        }
    });
    exit_code("secure", outcome)
}
