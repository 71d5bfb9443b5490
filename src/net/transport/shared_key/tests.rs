use std::io;
use std::path::PathBuf;

use snow::Builder;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::DuplexStream;
use tokio::io::duplex;

use super::*;

/// More than all buffers of a test.
const WIDE: usize = 8 << 20;

fn key(byte: u8) -> Secret {
    Zeroizing::new([byte; 32])
}

fn on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test)
}

/// A side that has proven the key.
struct Side {
    records: Records<DuplexStream>,
    binding: [u8; 32],
}

impl Side {
    fn new(proven: Proven, io: DuplexStream) -> Side {
        Side { records: Records::new(io, proven.noise), binding: proven.binding }
    }
}

async fn dial(key: &Secret, mut io: DuplexStream) -> io::Result<Side> {
    Ok(Side::new(handshake::dial(key, "blue", &mut io).await?, io))
}

async fn answer(keys: &[Secret], mut io: DuplexStream) -> io::Result<(Side, usize)> {
    let (proven, place) = handshake::answer(keys, &mut io).await?;
    Ok((Side::new(proven, io), place))
}

/// The two sides of a handshake over a stream that nobody disturbs.
async fn handshake_of(dialler: &Secret, listener: &[Secret]) -> (io::Result<Side>, io::Result<(Side, usize)>) {
    let (near, far) = duplex(WIDE);
    tokio::join!(dial(dialler, near), answer(listener, far))
}

/// Two ends that know each other.
async fn ends() -> (Records<DuplexStream>, Records<DuplexStream>) {
    let (dialler, listener) = handshake_of(&key(1), &[key(1)]).await;
    (dialler.unwrap().records, listener.unwrap().0.records)
}

/// All bytes that the dialling side writes if it knows the key and sends these messages, each in a record.
async fn recorded(messages: &[&[u8]]) -> Vec<u8> {
    let (near, mut far) = duplex(WIDE);
    let (tap, middle) = duplex(WIDE);
    let listener = async { answer(&[key(1)], middle).await.unwrap() };
    let dialler = async {
        let mut records = dial(&key(1), near).await.unwrap().records;
        for message in messages {
            records.write_all(message).await.unwrap();
            records.flush().await.unwrap();
        }
    };
    let (mut read, mut write) = tokio::io::split(tap);
    let passing = async {
        let mut all = Vec::new();
        let mut chunk = [0; 1024];
        let mut answer = [0; 50];
        // Step 1, its answer, and the rest.
        far.read_exact(&mut chunk[..50]).await.unwrap();
        all.extend_from_slice(&chunk[..50]);
        write.write_all(&chunk[..50]).await.unwrap();
        read.read_exact(&mut answer).await.unwrap();
        far.write_all(&answer).await.unwrap();
        loop {
            match far.read(&mut chunk).await.unwrap() {
                0 => return all,
                came => {
                    all.extend_from_slice(&chunk[..came]);
                    write.write_all(&chunk[..came]).await.unwrap();
                }
            }
        }
    };
    let ((), all, _listener) = tokio::join!(dialler, passing, listener);
    all
}

/// Everything that can be read, and the way in which it ends.
async fn read_all(records: &mut Records<DuplexStream>) -> (Vec<u8>, io::Result<()>) {
    let (mut all, mut chunk) = (Vec::new(), [0; 100]);
    loop {
        match records.read(&mut chunk).await {
            Ok(0) => return (all, Ok(())),
            Ok(came) => all.extend_from_slice(&chunk[..came]),
            Err(error) => return (all, Err(error)),
        }
    }
}

/// What one side has sent, through hands that change it, as the other side reads it.
async fn tampered(messages: &[&[u8]], tamper: impl FnOnce(Vec<u8>) -> Vec<u8>) -> (Vec<u8>, io::Result<()>) {
    let (near, mut far) = duplex(WIDE);
    let (other_near, other_far) = duplex(WIDE);
    let ours = key(1);
    let (dialler, listener) = tokio::join!(dial(&ours, near), async {
        let mut chunk = [0; 50];
        far.read_exact(&mut chunk).await.unwrap();
        let (mut read, mut write) = tokio::io::split(other_near);
        write.write_all(&chunk).await.unwrap();
        let passing = async {
            read.read_exact(&mut chunk).await.unwrap();
            far.write_all(&chunk).await.unwrap();
            far.read_exact(&mut chunk[..18]).await.unwrap();
            write.write_all(&chunk[..18]).await.unwrap();
        };
        let key = [key(1)];
        let (listener, ()) = tokio::join!(answer(&key, other_far), passing);
        (listener.unwrap().0.records, far, write, read)
    });
    let mut dialler = dialler.unwrap().records;
    let (mut listener, mut far, mut write, _read) = listener;
    for message in messages {
        dialler.write_all(message).await.unwrap();
        dialler.flush().await.unwrap();
    }
    drop(dialler);
    let mut sealed = Vec::new();
    far.read_to_end(&mut sealed).await.unwrap();
    write.write_all(&tamper(sealed)).await.unwrap();
    write.shutdown().await.unwrap();
    read_all(&mut listener).await
}

#[test]
fn both_sides_know_each_other_and_have_one_binding() {
    on(async {
        let (dialler, listener) = handshake_of(&key(1), &[key(1)]).await;
        let (dialler, (listener, place)) = (dialler.unwrap(), listener.unwrap());
        assert_eq!((place, dialler.binding), (0, listener.binding));
        let (other, _) = handshake_of(&key(1), &[key(1)]).await;
        assert_ne!(dialler.binding, other.unwrap().binding, "no other channel has it");
    });
}

#[test]
fn bytes_pass_in_both_directions_in_pieces_of_any_size() {
    on(async {
        let (mut near, mut far) = ends().await;
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| n.wrapping_mul(n) as u8).collect();
        for size in [1, 7, 1000, 16_384, 16_385, 40_000, 200_000] {
            let bytes = &bytes[..bytes.len().min(size * 50)];
            for flip in [false, true] {
                let (from, to) = if flip { (&mut far, &mut near) } else { (&mut near, &mut far) };
                let send = async {
                    for piece in bytes.chunks(size) {
                        from.write_all(piece).await.unwrap();
                    }
                    from.flush().await.unwrap();
                };
                let mut came = vec![0; bytes.len()];
                let receive = to.read_exact(&mut came);
                let ((), received) = tokio::join!(send, receive);
                received.unwrap();
                assert!(came == bytes, "pieces of {size}");
            }
        }
    });
}

#[test]
fn slices_are_written_in_one_record() {
    on(async {
        let (mut near, mut far) = ends().await;
        let slices = [io::IoSlice::new(b"head "), io::IoSlice::new(b""), io::IoSlice::new(b"and body")];
        assert!(tokio::io::AsyncWrite::is_write_vectored(&near));
        assert_eq!(near.write_vectored(&slices).await.unwrap(), 13);
        near.flush().await.unwrap();
        let mut came = [0; 100];
        let count = far.read(&mut came).await.unwrap();
        assert_eq!(&came[..count], b"head and body");
    });
}

#[test]
fn the_keys_of_a_direction_are_replaced_in_time() {
    on(async {
        let (mut near, mut far) = ends().await;
        let count = 2 * 4096 + 100;
        let send = async {
            for n in 0..count {
                near.write_all(&[n as u8]).await.unwrap();
                near.flush().await.unwrap();
            }
        };
        let receive = async {
            for n in 0..count {
                assert_eq!(far.read_u8().await.unwrap(), n as u8);
            }
        };
        tokio::join!(send, receive);
    });
}

#[test]
fn with_another_key_both_sides_are_told_and_nothing_else_is_said() {
    on(async {
        let (dialler, listener) = handshake_of(&key(1), &[key(2), key(3)]).await;
        let (dialler, listener) = (dialler.err().unwrap(), listener.err().unwrap());
        assert_eq!([dialler.kind(), listener.kind()], [io::ErrorKind::PermissionDenied; 2]);
        assert_eq!(dialler.to_string(), "the listener does not have the key blue");
        assert_eq!(listener.to_string(), "the peer has another key");
        let (mut near, far) = duplex(WIDE);
        near.write_all(&recorded(&[]).await).await.unwrap();
        assert!(answer(&[key(2)], far).await.is_err());
        let mut said = Vec::new();
        near.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, [0, 0]);
    });
}

#[test]
fn a_peer_may_have_any_of_the_keys() {
    on(async {
        for (place, theirs) in [key(1), key(2), key(3)].iter().enumerate() {
            let (dialler, listener) = handshake_of(theirs, &[key(1), key(2), key(3)]).await;
            assert!(dialler.is_ok());
            assert_eq!(listener.unwrap().1, place);
        }
        let (old, new) = (SharedKey::from_bytes([1; 32]).named("old"), SharedKey::from_bytes([2; 32]));
        let both = old.clone().and(new.clone());
        assert_eq!(both.identity(0), Identity::Key { name: "old".to_owned() });
        assert_eq!(both.identity(1), new.identity(0));
        assert_ne!(new.identity(0), SharedKey::from_bytes([3; 32]).identity(0), "each key has a name of its own");
        assert!(!format!("{both:?}").contains("[1, 1, 1") && format!("{both:?}").contains("old"));
    });
}

#[test]
fn a_recorded_handshake_is_worthless() {
    on(async {
        let recorded = recorded(&[b"a secret order"]).await;
        let (mut near, far) = duplex(WIDE);
        near.write_all(&recorded).await.unwrap();
        let error = answer(&[key(1)], far).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("may be a recorded one"), "{error}");
    });
}

#[test]
fn a_step_that_is_sent_back_proves_nothing() {
    on(async {
        let (near, mut mirror) = duplex(WIDE);
        let reflect = async {
            let mut step = [0; 50];
            mirror.read_exact(&mut step).await.unwrap();
            mirror.write_all(&step).await.unwrap();
            let mut rest = Vec::new();
            mirror.read_to_end(&mut rest).await.unwrap();
            rest
        };
        let key = key(1);
        let (dialler, rest) = tokio::join!(dial(&key, near), reflect);
        assert_eq!(dialler.err().unwrap().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(rest, [0, 0], "it refuses, and says nothing else");
    });
}

#[test]
fn other_protocols_are_named() {
    on(async {
        let said = async |bytes: &[u8]| {
            let (mut near, far) = duplex(WIDE);
            near.write_all(bytes).await.unwrap();
            near.shutdown().await.unwrap();
            answer(&[key(1)], far).await.err().unwrap().to_string()
        };
        assert!(said(b"HERMOD\r\n").await.contains("without a key: dial key:host:port"));
        assert!(said(&[0x16, 0x03, 0x01, 0x02]).await.contains("speaks TLS"));
        assert!(said(b"GET / HTTP/1.1").await.contains("does not speak by a shared key"));
        assert!(said(b"").await.contains("hung up before it had proven the key"));
    });
}

#[test]
fn a_flipped_bit_anywhere_is_noticed_before_anything_of_its_record_is_read() {
    let messages: [&[u8]; 3] = [b"first", b"the second", b"third"];
    let whole: Vec<u8> = messages.concat();
    let sealed = whole.len() + 3 * 18;
    for at in 0..sealed {
        let flip = |mut bytes: Vec<u8>| {
            assert_eq!(bytes.len(), sealed);
            bytes[at] ^= 1 << (at % 8);
            bytes
        };
        let (came, end) = on(tampered(&messages, flip));
        let expected: &[usize] = &[0, 5, 15];
        assert!(expected.contains(&came.len()) && whole.starts_with(&came) && end.is_err(), "{at}: {came:?} {end:?}");
    }
}

#[test]
fn a_stream_that_is_cut_gives_whole_records_only() {
    let messages: [&[u8]; 2] = [b"first", b"the second"];
    for length in 0..51 {
        let (came, end) = on(tampered(&messages, |bytes| bytes[..length].to_vec()));
        let (expected, is_between) = match length {
            0 => (0, true),
            23 => (5, true),
            1..23 => (0, false),
            _ => (5, false),
        };
        assert_eq!((came.len(), end.is_ok()), (expected, is_between), "{length}: {end:?}");
    }
}

#[test]
fn records_that_are_repeated_left_out_or_moved_end_the_stream() {
    let messages: [&[u8]; 3] = [b"one", b"two", b"six"];
    let record = 18 + 3;
    type Tamper = fn(&[&[u8]]) -> Vec<u8>;
    let cases: [(Tamper, &[u8]); 4] = [
        (|records| [records[0], records[0]].concat(), b"one"),
        (|records| [records[0], records[2]].concat(), b"one"),
        (|records| [records[1], records[0]].concat(), b""),
        (|records| [records[0], &[0, 16], &[0; 16][..]].concat(), b"one"),
    ];
    for (tamper, expected) in cases {
        let (came, end) = on(tampered(&messages, |bytes| tamper(&bytes.chunks(record).collect::<Vec<_>>())));
        assert_eq!((&*came, end.is_err()), (expected, true));
    }
}

/// So that nobody waits for a peer that announces more than a record may have.
#[test]
fn a_record_that_is_too_long_is_refused_by_its_length() {
    for length in [0_u16, 1, 16, 16_401, u16::MAX] {
        let (came, end) = on(tampered(&[], |_| length.to_be_bytes().to_vec()));
        assert!(came.is_empty());
        assert_eq!(end.unwrap_err().to_string(), "a record has no valid length", "{length}");
    }
}

/// The bytes as another implementation of Noise makes them, from keys that are always the same.
#[test]
fn the_steps_are_those_of_the_specification() {
    on(async {
        let (mut near, far) = duplex(WIDE);
        let pattern = "Noise_NNpsk0_25519_ChaChaPoly_SHA256".parse().unwrap();
        let noise = Builder::with_resolver(pattern, Box::new(handshake::Resolver));
        let noise = noise.prologue(b"hermod1 key\0").unwrap().psk(0, &[1; 32]).unwrap();
        let mut noise = noise.fixed_ephemeral_key_for_testing_only(&[2; 32]).build_initiator().unwrap();
        let mut step = [0; 48];
        assert_eq!(noise.write_message(&[], &mut step).unwrap(), 48);
        let hex: String = step.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        near.write_all(&[&[0, 48], &step[..]].concat()).await.unwrap();
        let raw = async {
            let mut answer = [0; 50];
            near.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer[..2], [0, 48]);
            noise.read_message(&answer[2..], &mut []).unwrap();
            let mut noise = noise.into_transport_mode().unwrap();
            let mut sealed = [0; 22];
            noise.write_message(&[], &mut sealed[..16]).unwrap();
            near.write_all(&[&[0, 16], &sealed[..16]].concat()).await.unwrap();
            noise.write_message(b"silent", &mut sealed).unwrap();
            near.write_all(&[&[0, 22], &sealed[..]].concat()).await.unwrap();
        };
        let keys = [key(1)];
        let ((), listener) = tokio::join!(raw, answer(&keys, far));
        let mut came = [0; 6];
        listener.unwrap().0.records.read_exact(&mut came).await.unwrap();
        assert_eq!(&came, b"silent");
    });
}

/// The first step with a key of ones and a secret key of twos, as computed by another implementation.
const GOLDEN: &str = "ce8d3ad1ccb633ec7b70c17814a5c76ecd029685050d344745ba05870e587d595a004382e6fe10330abe9b066c680a51";

#[test]
fn a_key_that_was_saved_is_the_same_key_and_others_cannot_read_it() {
    let folder: PathBuf = std::env::temp_dir().join(format!("hermod-key-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("cluster.key");
    let key = SharedKey::generate();
    key.save(&path).unwrap();
    let again = SharedKey::from_file(&path).unwrap();
    assert_eq!(again.keys, key.keys);
    assert!(matches!(key.save(&path), Err(SharedKeyError::Io(error)) if error.kind() == io::ErrorKind::AlreadyExists));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let open_to = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o660, 0o622] {
            open_to(mode);
            let refused = SharedKey::from_file(&path).unwrap_err();
            assert!(matches!(refused, SharedKeyError::Exposed { mode: found } if found & 0o777 == mode), "{refused}");
        }
        open_to(0o400);
        assert!(SharedKey::from_file(&path).is_ok());
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
#[should_panic = "17 shared keys are valid at a time; at most 16 may be"]
fn no_more_keys_are_valid_than_the_limit_says() {
    let _ = (1..17).fold(SharedKey::from_bytes([0; 32]), |keys, n| keys.and(SharedKey::from_bytes([n; 32])));
}

#[test]
fn an_idle_stream_keeps_small_buffers_only() {
    on(async {
        let (mut near, mut far) = ends().await;
        let bytes = vec![7; 1 << 20];
        let mut came = vec![0; bytes.len()];
        let send = async {
            near.write_all(&bytes).await.unwrap();
            near.flush().await.unwrap();
        };
        let ((), received) = tokio::join!(send, far.read_exact(&mut came));
        received.unwrap();
        near.write_all(b"one more").await.unwrap();
        near.flush().await.unwrap();
        far.read_exact(&mut came[..8]).await.unwrap();
        // Waits for more.
        let wait = far.read(&mut came);
        assert!(futures_util::FutureExt::now_or_never(wait).is_none());
        assert!(near.kept() <= 8 << 10 && far.kept() <= 8 << 10, "{} and {}", near.kept(), far.kept());
    });
}
