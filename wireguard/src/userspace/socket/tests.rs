use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixListener;
use std::thread::{self, JoinHandle};

use tempfile::TempDir;

use super::*;
use crate::{DesiredPeer, ErrorClass, Progress, PublicKey};

/// A program that treats each connection as the next of its behaviours says, and gives back what it was sent.
struct Program {
    uapi: Uapi,
    folder: TempDir,
    serving: Option<JoinHandle<Vec<String>>>,
}

type Behaviour = fn(&mut BufReader<UnixStream>) -> String;

impl Program {
    fn start(behaviours: impl IntoIterator<Item = Behaviour, IntoIter: Send + 'static>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let mut behaviours = behaviours.into_iter();
        let serving = thread::spawn(move || {
            behaviours
                .by_ref()
                .map(|behaviour| behaviour(&mut BufReader::new(listener.accept().unwrap().0)))
                .collect()
        });
        Self {
            uapi: Uapi::new(path, "the interface"),
            folder,
            serving: Some(serving),
        }
    }

    fn received(&mut self) -> Vec<String> {
        self.serving.take().unwrap().join().unwrap()
    }
}

/// Reads one operation as the program does: up to an empty line.
fn operation(stream: &mut BufReader<UnixStream>) -> String {
    let mut text = String::new();
    while !text.ends_with("\n\n") && stream.read_line(&mut text).unwrap() > 0 {}
    text
}

fn answer(stream: &mut BufReader<UnixStream>, text: &str) {
    stream.get_mut().write_all(text.as_bytes()).unwrap();
}

fn obliging(stream: &mut BufReader<UnixStream>) -> String {
    let text = operation(stream);
    answer(stream, "errno=0\n\n");
    text
}

/// Refuses the first line after the operation's name and hangs up, with the rest unread.
fn refusing(stream: &mut BufReader<UnixStream>) -> String {
    let mut text = String::new();
    stream.read_line(&mut text).unwrap();
    answer(stream, "errno=-98\n\n");
    text
}

fn many(count: u16) -> Vec<PeerChange> {
    let key = |number: u16| {
        let mut bytes = [7; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        PublicKey::from_bytes(bytes)
    };
    (0..count)
        .map(|number| {
            PeerChange::Set(DesiredPeer {
                public_key: key(number),
                allowed_ips: (0..200_u32)
                    .map(|host| std::net::Ipv4Addr::from(host << 8))
                    .map(|host| std::net::IpAddr::from(host).into())
                    .collect(),
            })
        })
        .collect()
}

#[test]
fn an_operation_has_a_connection_of_its_own() {
    let mut program = Program::start([obliging as Behaviour; 2]);
    program.uapi.set_device(&DeviceChange::flush()).unwrap();
    program
        .uapi
        .set_peers(&[PeerChange::Remove(PublicKey::from_bytes([1; 32]))])
        .unwrap();
    let received = program.received();
    assert_eq!(received[0], "set=1\nreplace_peers=true\n\n");
    assert!(received[1].ends_with("remove=true\n\n"));
}

#[test]
fn a_program_that_takes_no_connection_is_not_waited_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("it.sock");
    let program = net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    net::bind(&program, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    net::listen(&program, 0).unwrap();
    let mut uapi = Uapi::new(path, "the interface");
    uapi.patience = Duration::from_millis(20);
    // It has room for one that waits.
    let waiting = uapi.hold().unwrap();
    let error = uapi.look().unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Retry);
    drop(waiting);
}

#[test]
fn a_held_connection_ends_with_its_program() {
    let mut program = Program::start([(|stream: &mut BufReader<UnixStream>| {
        // Nothing is said on it.
        let mut text = String::new();
        stream.read_line(&mut text).unwrap();
        text
    }) as Behaviour]);
    let mut held = program.uapi.hold().unwrap();
    held.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(program.received(), [""]);
    assert_eq!(held.read(&mut [0; 8]).unwrap(), 0);
    drop(program);
}

#[test]
fn a_look_is_read_part_by_part_and_coherent() {
    let mut program = Program::start([(|stream: &mut BufReader<UnixStream>| {
        let text = operation(stream);
        answer(stream, "listen_port=51820\n");
        for number in 0..2_000 {
            answer(
                stream,
                &format!("public_key={number:064x}\nrx_bytes=5\nallowed_ip=10.0.0.1/32\n"),
            );
        }
        answer(stream, "errno=0\n\n");
        text
    }) as Behaviour]);
    let mut look = program.uapi.look().unwrap();
    assert_eq!(program.received(), ["get=1\n\n"]);
    let (mut parts, mut peers) = (0, 0);
    loop {
        let progress = look
            .next(&mut |part| peers += usize::from(part.begins && part.rx_bytes == 5))
            .unwrap();
        parts += 1;
        if let Progress::Done { settings, coherent } = progress {
            assert_eq!(settings.listen_port, 51_820);
            assert!(coherent);
            break;
        }
    }
    assert!(parts > 2 && peers == 2_000);
}

#[test]
fn a_refusal_is_read_even_when_the_program_hangs_up_on_the_rest() {
    // Far more than the socket holds, so that writing fails.
    let program = Program::start([refusing as Behaviour; 20]);
    for _ in 0..20 {
        let error = program.uapi.set_peers(&many(100)).unwrap_err();
        assert_eq!(error.refusal(), Some(Refusal::PortInUse));
    }
}

#[test]
fn after_a_refusal_nothing_more_is_sent() {
    let mut program = Program::start([obliging as Behaviour, refusing]);
    assert!(program.uapi.set_peers(&many(350)).is_err());
    assert_eq!(program.received().len(), 2);
}

#[test]
fn an_answer_that_breaks_off_proves_nothing_and_may_be_asked_again() {
    let program = Program::start([
        (|stream: &mut BufReader<UnixStream>| {
            let text = operation(stream);
            answer(stream, "listen_port=1\n");
            text
        }) as Behaviour,
        |_| String::new(),
    ]);
    for _ in 0..2 {
        let error = program.uapi.look().unwrap_err();
        assert_eq!(error.class(), ErrorClass::Retry);
        assert!(matches!(error, Error::Receive { .. }));
    }
}

#[test]
fn a_silent_program_is_not_waited_for_any_longer() {
    let mut program = Program::start([(|stream: &mut BufReader<UnixStream>| {
        let mut text = operation(stream);
        // Until the other side has had enough.
        stream.read_line(&mut text).unwrap();
        text
    }) as Behaviour]);
    program.uapi.patience = Duration::from_millis(20);
    let error = program.uapi.look().unwrap_err();
    assert_eq!(error.class(), ErrorClass::Retry);
    assert_eq!(program.received(), ["get=1\n\n"]);
}

#[test]
fn nobody_who_listens_is_not_found_whether_or_not_the_file_is_there() {
    let mut program = Program::start([]);
    program.received();
    // The listener is gone by now, and its file is not.
    assert!(program.uapi.path().exists());
    let absent = Uapi::new(program.folder.path().join("other.sock"), "another");
    for uapi in [&program.uapi, &absent] {
        assert!(!uapi.answers());
        assert_eq!(uapi.look().unwrap_err().refusal(), Some(Refusal::NotFound));
    }
}
