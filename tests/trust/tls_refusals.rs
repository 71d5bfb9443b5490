//! Each reason for which TLS refuses a peer or a file, in the words of both sides. The docs of `Tls` have the table.

use std::path::Path;

use actix::System;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use actix_hermod::Tls;
use actix_hermod::TlsError;

use crate::certificates::Authority;
use crate::certificates::Files;
use crate::certificates::HERE;
use crate::certificates::Signed;
use crate::certificates::member;
use crate::certificates::self_signed;
use crate::conversation::refusal;

fn over(tls: &Tls) -> NodeBuilder {
    Node::builder().transport(tls.clone())
}

fn tls_at(port: u16) -> String {
    format!("tls:127.0.0.1:{port}")
}

/// Compares the words of both sides with a row of the table in the docs.
fn documented(case: &str, [dialler, listener]: &[String; 2]) {
    has_row(&format!("| {case} | {dialler} | {listener} |"));
}

fn has_row(row: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/net/transport/tls/refusals.md");
    let page = std::fs::read_to_string(page).expect("the page");
    assert!(page.lines().any(|line| line == row), "the docs of Tls have no such row:\n{row}");
}

/// A listener whose certificate is bad, and a dialler whose certificate is.
async fn both_ways(case: [&str; 2], authority: &Authority, bad: &Signed) {
    let bad = Files::new(bad, authority).mutual();
    let good = member(authority);
    documented(case[0], &refusal(over(&good), over(&bad), "tls:127.0.0.1:0", tls_at).await);
    documented(case[1], &refusal(over(&bad), over(&good), "tls:127.0.0.1:0", tls_at).await);
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    System::new().block_on(async {
        let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
        let case = ["the listener's certificate is of another authority", "the dialler's is"];
        both_ways(case, &ours, &theirs.sign(&HERE)).await;
    });
}

#[test]
fn a_certificate_that_has_signed_itself_is_refused() {
    System::new().block_on(async {
        let case = ["the listener's certificate has signed itself", "the dialler's has"];
        both_ways(case, &Authority::new("ours"), &self_signed(&HERE)).await;
    });
}

#[test]
fn a_certificate_that_has_expired_is_refused() {
    System::new().block_on(async {
        let ours = Authority::new("ours");
        let case = ["the listener's certificate has expired", "the dialler's has expired"];
        both_ways(case, &ours, &ours.sign_for(&HERE, -1_000, -500)).await;
    });
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_refused() {
    System::new().block_on(async {
        let ours = Authority::new("ours");
        let case = ["the listener's certificate is not valid yet", "the dialler's is not valid yet"];
        both_ways(case, &ours, &ours.sign_for(&HERE, 500, 1_000)).await;
    });
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    System::new().block_on(async {
        let ours = Authority::new("ours");
        let elsewhere = Files::new(&ours.sign(&["elsewhere.example"]), &ours).mutual();
        let words = refusal(over(&member(&ours)), over(&elsewhere), "tls:127.0.0.1:0", tls_at).await;
        documented("the listener's certificate is for another name", &words);
        let named = Files::new(&ours.sign(&["hermod-node"]), &ours);
        let named = named.give(Tls::mutual()).peer_name("hermod-node").build().unwrap();
        let words =
            refusal(over(&member(&ours)), over(&named), "tls:localhost:0", |port| format!("tls:localhost:{port}"));
        documented("the listener's is for `peer_name` alone", &words.await);
        let named = Files::new(&ours.sign(&["hermod-node", "127.0.0.1"]), &ours);
        let named = named.give(Tls::mutual()).peer_name("hermod-node").build().unwrap();
        let words = refusal(over(&member(&ours)), over(&named), "tls:127.0.0.1:0", tls_at).await;
        documented("the dialler's is not for the listener's `peer_name`", &words);
    });
}

#[test]
fn a_dialler_without_a_certificate_is_refused_by_a_listener_that_asks_for_one() {
    System::new().block_on(async {
        let ours = Authority::new("ours");
        let files = Files::new(&ours.sign(&HERE), &ours);
        let bare = Tls::server_only().authority_pem(files.path("ca.pem")).unwrap().build().unwrap();
        let words = refusal(over(&bare), over(&files.mutual()), "tls:127.0.0.1:0", tls_at).await;
        documented("the dialler has no certificate", &words);
    });
}

#[test]
fn a_plain_client_and_a_plain_listener_are_told_from_tls() {
    System::new().block_on(async {
        let tls = member(&Authority::new("ours"));
        let words = refusal(Node::builder(), over(&tls), "tls:127.0.0.1:0", |port| format!("127.0.0.1:{port}")).await;
        documented("a plain dialler, at a TLS port", &words);
        let words = refusal(over(&tls), Node::builder(), "127.0.0.1:0", tls_at).await;
        documented("a TLS dialler, at a plain port", &words);
    });
}

#[test]
fn files_that_do_not_serve_are_refused_by_name() {
    let ours = Authority::new("ours");
    let (signed, other) = (ours.sign(&HERE), ours.sign(&HERE));
    let files = Files::new(&signed, &ours);
    let pair = |certificate: &str, key: &str| Tls::mutual().certificate_pem(files.path(certificate), files.path(key));
    let words = |error: &TlsError| error.to_string().replace(&*files.path("").to_string_lossy(), "");

    let missing = pair("nowhere.pem", "node.key").unwrap_err();
    assert!(matches!(&missing, TlsError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound));
    has_row(&format!("| one is missing | {} |", words(&missing)));

    files.write("text", "Dear reader,\n");
    for none in [pair("text", "node.key").unwrap_err(), Tls::mutual().authority_pem(files.path("text")).unwrap_err()] {
        assert!(matches!(none, TlsError::NoCertificateInFile { .. }), "{none:?}");
        has_row(&format!("| no certificate in PEM | {} |", words(&none)));
    }
    let none = pair("node.pem", "text").unwrap_err();
    assert!(matches!(none, TlsError::NoKeyInFile { .. }), "{none:?}");
    has_row(&format!("| no key in PEM | {} |", words(&none)));

    files.write("leaf.pem", &self_signed(&HERE).certificate);
    for leaf in ["node.pem", "leaf.pem"] {
        let error = Tls::mutual().authority_pem(files.path(leaf)).unwrap_err();
        assert!(matches!(error, TlsError::NotAnAuthority { .. }), "{error:?}");
        has_row(&format!("| a leaf as authority | {} |", words(&error).replace("node.pem", "leaf.pem")));
    }

    files.write("node.key", &other.key);
    let unfit = files.give(Tls::mutual()).build().unwrap_err();
    assert!(matches!(unfit, TlsError::KeyMismatch { .. }), "{unfit:?}");
    has_row(&format!("| a key that does not fit | {} |", words(&unfit)));

    files.write("node.pem", &signed.certificate[..signed.certificate.len() / 2]);
    let torn = pair("node.pem", "node.key").unwrap_err();
    assert!(matches!(torn, TlsError::NoCertificateInFile { .. }), "{torn:?}");
}

#[test]
fn a_transport_without_its_parts_is_not_made() {
    let ours = Authority::new("ours");
    let files = Files::new(&ours.sign(&HERE), &ours);
    let bare = || Tls::mutual().authority_pem(files.path("ca.pem")).unwrap();
    assert!(matches!(bare().build(), Err(TlsError::NoCertificate)));
    let pair = |builder: actix_hermod::TlsBuilder| {
        builder.certificate_pem(files.path("node.pem"), files.path("node.key")).unwrap()
    };
    assert!(matches!(pair(Tls::mutual()).build(), Err(TlsError::NoAuthority)));
    assert!(matches!(Tls::server_only().build(), Err(TlsError::NoAuthority)));
    let misnamed = files.give(Tls::mutual()).peer_name("two words").build();
    assert!(matches!(misnamed, Err(TlsError::InvalidPeerName { name }) if name == "two words"));
    System::new().block_on(async {
        let listens = over(&pair(Tls::server_only()).build().unwrap());
        let node = listens.start();
        let endpoint = node.listen("tls:127.0.0.1:0").await.unwrap();
        let dials = over(&Tls::server_only().authority_pem(files.path("ca.pem")).unwrap().build().unwrap()).start();
        let error = dials.listen("tls:127.0.0.1:0").await.unwrap_err();
        assert!(error.to_string().contains("this node has no certificate"), "{error}");
        let mut told = support::events(&node);
        node.remote(format!("tls:localhost:{}", endpoint.port().unwrap()).as_str(), "numbers")
            .unwrap()
            .do_send(support::Number(1));
        let why = told.find(|event| match event {
            actix_hermod::Event::DeadLetter { detail, .. } => detail.clone(),
            _ => None,
        });
        let why = why.await;
        assert!(why.contains("this node has no authority"), "{why}");
    });
}
