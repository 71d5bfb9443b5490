//! Somebody who hears all bytes of a connection, and looks for a marker that was sent.

use actix::System;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use actix_hermod::SharedKey;
use support::Text;
use support::next;
use support::within;

use crate::certificates::Authority;
use crate::certificates::member;
use crate::proxy::Changes;
use crate::proxy::Proxy;

const MARKER: &str = "the marker that somebody looks for";

/// Sends the marker through somebody who hears all that the dialling side sends; `at` makes the endpoint of a port. Returns
/// whether the marker was heard.
async fn is_heard(node: impl Fn() -> NodeBuilder, at: impl Fn(u16) -> String) -> bool {
    let server = node().start();
    let mut texts: Mailbox<Text> = server.mailbox().name("texts").open().expect("a box");
    let endpoint = within(server.listen(at(0))).await.expect("a free port");
    let proxy = Proxy::start(endpoint.port().expect("a port"), Changes::default()).await;
    let client = node().start();
    client.remote(at(proxy.port), "texts").expect("an address").do_send(Text(MARKER.to_owned()));
    assert_eq!(next(&mut texts).await.0, MARKER);
    let recorded = proxy.recorded();
    assert!(recorded.len() > MARKER.len());
    recorded.windows(MARKER.len()).any(|heard| heard == MARKER.as_bytes())
}

#[test]
fn a_marker_is_heard_on_a_plain_connection_and_on_no_other() {
    System::new().block_on(async {
        let authority = Authority::new("ours");
        assert!(is_heard(Node::builder, |port| format!("127.0.0.1:{port}")).await);
        let key = || Node::builder().transport(SharedKey::from_bytes([1; 32]));
        assert!(!is_heard(key, |port| format!("key:127.0.0.1:{port}")).await);
        let tls = || Node::builder().transport(member(&authority));
        assert!(!is_heard(tls, |port| format!("tls:127.0.0.1:{port}")).await);
    });
}
