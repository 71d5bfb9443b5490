//! Nodes over TLS, certificates that change while links live, and strangers on the path.

use std::sync::Arc;

use actix::System;
use actix_hermod::DownReason;
use actix_hermod::Event;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use actix_hermod::Tls;
use actix_hermod::TlsError;
use actix_hermod::transport::Channel;
use actix_hermod::transport::Transport;
use sha2::Digest;
use sha2::Sha256;
use support::Number;
use support::dropped;
use support::events;
use support::next;
use support::settled;
use support::within;
use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::server::WebPkiClientVerifier;

use crate::certificates::Authority;
use crate::certificates::Files;
use crate::certificates::HERE;
use crate::certificates::member;
use crate::conversation::converse;
use crate::conversation::reaches;
use crate::proxy::Changes;
use crate::proxy::Proxy;

fn over(tls: &Tls) -> NodeBuilder {
    Node::builder().transport(tls.clone())
}

/// Starts a node that listens, with a box for numbers. Returns its port as well.
async fn listening(tls: &Tls) -> (Node, u16, Mailbox<Number>) {
    let node = over(tls).start();
    let numbers = node.mailbox().name("numbers").open().expect("a box");
    let endpoint = within(node.listen("tls:127.0.0.1:0")).await.expect("a free port");
    assert_eq!(endpoint.scheme(), "tls");
    (node, endpoint.port().expect("the port that was chosen"), numbers)
}

fn at(port: u16) -> String {
    format!("tls:127.0.0.1:{port}")
}

fn is_down(event: &Event) -> Option<DownReason> {
    match event {
        Event::PeerDown { why, .. } => Some(why.clone()),
        _ => None,
    }
}

#[test]
fn all_that_works_over_tcp_works_over_tls() {
    System::new().block_on(async {
        let authority = Authority::new("ours");
        let (server, port, _numbers) = listening(&member(&authority)).await;
        let client = over(&member(&authority)).start();
        converse(&server, &client, format!("tls:localhost:{port}")).await;
    });
}

#[test]
fn a_link_is_made_again_after_it_was_cut() {
    System::new().block_on(async {
        let authority = Authority::new("ours");
        let (_server, port, mut numbers) = listening(&member(&authority)).await;
        let proxy = Proxy::start(port, Changes::default()).await;
        let client = over(&member(&authority)).start();
        let mut told = events(&client);
        let through = at(proxy.port);
        let _held = client.remote::<Number>(&through, "numbers").unwrap();
        reaches(&client, &through, &mut numbers, 1).await;
        told.find(|event| matches!(event, Event::PeerUp { .. }).then_some(())).await;
        proxy.cut();
        assert_eq!(told.find(is_down).await, DownReason::Lost, "there was no goodbye");
        told.find(|event| matches!(event, Event::PeerUp { .. }).then_some(())).await;
        reaches(&client, &through, &mut numbers, 2).await;
    });
}

#[test]
fn a_byte_that_is_changed_on_the_way_breaks_the_link() {
    System::new().block_on(async {
        let authority = Authority::new("ours");
        let (server, port, mut numbers) = listening(&member(&authority)).await;
        // Behind the handshake, which is some kilobytes long: in the last message.
        let changes = Changes { to_listener: Some(60_000), to_dialler: None };
        let proxy = Proxy::start(port, changes).await;
        let client = over(&member(&authority)).start();
        let mut texts: Mailbox<support::Text> = server.mailbox().name("texts").open().unwrap();
        let mut told = events(&client);
        reaches(&client, at(proxy.port), &mut numbers, 1).await;
        client.remote(at(proxy.port), "texts").unwrap().do_send(support::Text("x".repeat(100_000)));
        told.find(is_down).await;
        assert!(texts.try_recv().is_none());
    });
}

/// The peer's certificate is shown by the channel, with all names in it, and its hash.
#[test]
fn a_channel_says_whose_certificate_the_peer_has_shown() {
    System::new().block_on(async {
        let authority = Authority::new("ours");
        let signed = authority.sign(&["a.example", "127.0.0.1", "::1", "localhost"]);
        let (there, here) = (Files::new(&signed, &authority).mutual(), member(&authority));
        let mut incoming = there.bind("localhost:0").await.unwrap();
        let address = incoming.address();
        let accept = async {
            let handshake = incoming.accept().await.unwrap();
            assert!(incoming.peer().is_some_and(|peer| peer.ip().is_loopback()));
            handshake.await.unwrap()
        };
        let (dialled, accepted) = within(async { tokio::join!(here.connect(&address), accept) }).await;
        let shown = |channel: &Channel| format!("{channel:?}");
        let fingerprint = format!("{:?}", <[u8; 32]>::from(Sha256::digest(&signed.der)));
        let dialled = shown(&dialled.unwrap());
        assert!(dialled.contains(r#"names: ["a.example", "127.0.0.1", "::1", "localhost"]"#), "{dialled}");
        assert!(dialled.contains(&fingerprint) && dialled.contains("near: true"), "{dialled}");
        assert!(shown(&accepted).contains(r#"names: ["localhost", "127.0.0.1"]"#), "{accepted:?}");
    });
}

#[test]
fn with_server_only_the_side_that_dials_needs_no_certificate() {
    System::new().block_on(async {
        let authority = Authority::new("ours");
        let files = Files::new(&authority.sign(&HERE), &authority);
        let pair = Tls::server_only().certificate_pem(files.path("node.pem"), files.path("node.key")).unwrap();
        let (_server, port, mut numbers) = listening(&pair.build().unwrap()).await;
        let bare = Tls::server_only().authority_pem(files.path("ca.pem")).unwrap().build().unwrap();
        reaches(&over(&bare).start(), at(port), &mut numbers, 1).await;
    });
}

#[test]
fn peer_name_is_checked_in_place_of_the_host_on_both_sides() {
    System::new().block_on(async {
        let authority = Authority::new("ours");
        let files = Files::new(&authority.sign(&["hermod-node"]), &authority);
        let tls = files.give(Tls::mutual()).peer_name("hermod-node").build().unwrap();
        let (_server, port, mut numbers) = listening(&tls).await;
        reaches(&over(&tls).start(), at(port), &mut numbers, 1).await;
    });
}

/// The accept loop never waits for a handshake, whether nothing has come of it or half of it.
#[test]
fn a_thousand_silent_clients_do_not_delay_a_good_one() {
    System::new().block_on(async {
        let authority = Authority::new("ours");
        let tls = member(&authority);
        let server = over(&tls).max_per_address(4_096).start();
        let mut numbers = server.mailbox().name("numbers").open().unwrap();
        let port = within(server.listen("tls:127.0.0.1:0")).await.unwrap().port().unwrap();
        let mut silent = Vec::new();
        for n in 0..1_000 {
            let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            if n % 2 == 0 {
                // The first bytes of a record, and no more.
                stream.try_write(&[0x16, 3, 1, 2]).unwrap();
            }
            silent.push(stream);
        }
        reaches(&over(&tls).start(), at(port), &mut numbers, 1).await;
        drop(silent);
    });
}

#[test]
fn reload_lets_new_certificates_in_and_ends_links_of_peers_that_are_none_any_more() {
    System::new().block_on(async {
        let (old, new) = (Authority::new("old"), Authority::new("new"));
        let files = Files::new(&old.sign(&HERE), &old);
        files.trust(&[&old, &new]);
        let tls = files.mutual();
        let (server, port, mut numbers) = listening(&tls).await;
        let trusting = |authority: &Authority| {
            let files = Files::new(&authority.sign(&HERE), authority);
            files.trust(&[&old, &new]);
            over(&files.mutual()).start()
        };
        let (stays, goes) = (trusting(&new), trusting(&old));
        let (mut told_stays, mut told_goes) = (events(&stays), events(&goes));
        reaches(&stays, at(port), &mut numbers, 1).await;
        reaches(&goes, at(port), &mut numbers, 2).await;

        files.sign(&new.sign(&HERE));
        files.trust(&[&new]);
        tls.reload().unwrap();
        told_goes.find(is_down).await;
        // It dials again, and is refused; the other is still there, by the same connection.
        goes.remote(at(port), "numbers").unwrap().do_send(Number(3));
        settled(|| goes.stats().dropped_total() == 1).await;
        reaches(&stays, at(port), &mut numbers, 4).await;
        settled(|| server.stats().connections.len() == 1).await;
        assert_eq!(stays.stats().connections[0].reconnects, 0, "{:?}", stays.stats());
        reaches(&trusting(&new), at(port), &mut numbers, 5).await;
        let still_up = told_stays.find(|event| matches!(event, Event::PeerUp { .. }).then_some(()));
        still_up.await;
    });
}

#[test]
fn a_pair_that_does_not_fit_leaves_the_old_one_in_force() {
    System::new().block_on(async {
        let authority = Authority::new("ours");
        let files = Files::new(&authority.sign(&HERE), &authority);
        let tls = files.mutual();
        let (_server, port, mut numbers) = listening(&tls).await;
        let client = over(&member(&authority)).start();
        reaches(&client, at(port), &mut numbers, 1).await;
        files.write("node.key", &authority.sign(&HERE).key);
        let unfit = tls.reload().unwrap_err();
        assert!(matches!(unfit, TlsError::KeyMismatch { .. }), "{unfit:?}");
        files.write("ca.pem", "nothing");
        assert!(matches!(tls.reload(), Err(TlsError::NoCertificateInFile { .. })));
        reaches(&client, at(port), &mut numbers, 2).await;
        reaches(&over(&member(&authority)).start(), at(port), &mut numbers, 3).await;
        assert_eq!(client.stats().connections[0].reconnects, 0);
    });
}

/// Has the certificate of one side expire while a link lives, and looks how both take it.
fn expires(is_listeners: bool) {
    System::new().block_on(async {
        let authority = Authority::new("ours");
        let short = Files::new(&authority.sign_for(&HERE, -10, 5), &authority).mutual();
        let long = member(&authority);
        let (there, here) = if is_listeners { (short, long) } else { (long, short) };
        let (server, port, mut numbers) = listening(&there).await;
        let client = over(&here).start();
        let mut told = [events(&server), events(&client)];
        reaches(&client, at(port), &mut numbers, 1).await;
        for told in &mut told {
            assert_eq!(told.find(is_down).await, DownReason::Lost);
        }
        client.remote(at(port), "numbers").expect("an address").do_send(Number(2));
        settled(|| client.stats().dropped_total() == 1).await;
    });
}

#[test]
fn a_link_ends_when_the_listeners_certificate_expires() {
    expires(true);
}

#[test]
fn a_link_ends_when_the_diallers_certificate_expires() {
    expires(false);
}

/// The configurations of an application with that pair and that authority, for both roles.
fn configs(files: &Files) -> (ClientConfig, ServerConfig) {
    let provider = Arc::new(default_provider());
    let chain = || vec![CertificateDer::from_pem_file(files.path("node.pem")).expect("a certificate")];
    let key = || PrivateKeyDer::from_pem_file(files.path("node.key")).expect("a key");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(files.path("ca.pem")).expect("a certificate")).expect("an authority");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.clone()), Arc::clone(&provider));
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let client = client.expect("versions").with_root_certificates(roots).with_client_auth_cert(chain(), key());
    let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let server = server.expect("versions").with_client_cert_verifier(verifier.build().expect("a verifier"));
    (client.expect("a pair"), server.with_single_cert(chain(), key()).expect("a pair"))
}

#[test]
fn configurations_of_the_application_are_taken_as_they_are() {
    System::new().block_on(async {
        let authority = Authority::new("ours");
        let (client, server) = configs(&Files::new(&authority.sign(&HERE), &authority));
        let tls = Tls::from_configs(Arc::new(client), Arc::new(server));
        let (_server, port, mut numbers) = listening(&tls).await;
        reaches(&over(&tls).start(), at(port), &mut numbers, 1).await;
        reaches(&over(&member(&authority)).start(), at(port), &mut numbers, 2).await;
        assert!(matches!(tls.reload(), Err(TlsError::NoFiles)));
    });
}

/// A member of the cluster, whose certificate is good for the name that was dialled, passes a greeting on.
#[test]
fn a_member_in_the_middle_does_not_get_past_the_binding() {
    System::new().block_on(async {
        let authority = Authority::new("ours");
        let (server, port, _numbers) = listening(&member(&authority)).await;
        let (client, acceptor) = configs(&Files::new(&authority.sign(&HERE), &authority));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let between = listener.local_addr().unwrap().port();
        actix::spawn(async move {
            let (acceptor, connector) = (TlsAcceptor::from(Arc::new(acceptor)), TlsConnector::from(Arc::new(client)));
            while let Ok((dialled, _)) = listener.accept().await {
                let mut dialled = acceptor.accept(dialled).await.expect("it is trusted");
                let onward = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
                let name = "127.0.0.1".try_into().expect("a name");
                let mut onward = connector.connect(name, onward).await.expect("it is trusted");
                // It ends when either side notices.
                let _ = copy_bidirectional(&mut dialled, &mut onward).await;
            }
        });
        let victim = over(&member(&authority)).start();
        victim.remote(at(between), "numbers").unwrap().do_send(Number(1));
        settled(|| dropped(&victim, actix_hermod::DropReason::NotConnected) == 1).await;
        assert!(server.stats().connections.is_empty());
    });
}

#[test]
fn an_address_keeps_its_transport_in_its_uri() {
    System::new().block_on(async {
        let authority = Authority::new("ours");
        let (_server, port, mut numbers) = listening(&member(&authority)).await;
        let uri = numbers.address().uri().unwrap();
        assert_eq!(uri, format!("hermod+tls://127.0.0.1:{port}/numbers"));
        over(&member(&authority)).start().resolve(&uri).unwrap().do_send(Number(1));
        assert_eq!(next(&mut numbers).await, Number(1));
    });
}
