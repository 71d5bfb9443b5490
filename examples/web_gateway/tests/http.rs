//! The real program, asked over HTTP: its answers, a worker that is killed and restarted, and the end of both.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(10);
/// The gateway's timeout, in ms, for tests in which no answer may be late, however slow the machine: longer than
/// [`PATIENCE`].
const NEVER_LATE: &str = "60000";
/// The paths of both handlers; the second also gives the reason.
const BOTH: [&str; 2] = ["", "/why"];

// ------------------------------------------------------------------------------------------------------ the tests

#[test]
fn a_number_is_answered_with_what_the_worker_returns() {
    let gateway = Gateway::start(&["--timeout", NEVER_LATE]);
    for why in BOTH {
        assert_eq!(gateway.get(&format!("/square/12{why}")), (200, "144".to_owned()));
        assert_eq!(gateway.get(&format!("/square/-3{why}")), (200, "9".to_owned()));
        let largest = "85070591730234615865843651857942052864".to_owned();
        assert_eq!(gateway.get(&format!("/square/{}{why}", i64::MIN)), (200, largest));
    }
}

#[test]
fn what_is_no_number_is_a_bad_request() {
    let gateway = Gateway::start(&["--timeout", NEVER_LATE]);
    for why in BOTH {
        for text in ["twelve", "1.5", "9223372036854775808", "12x"] {
            assert_eq!(gateway.get(&format!("/square/{text}{why}")).0, 400, "{text}{why}");
        }
    }
}

#[test]
fn a_job_that_takes_too_long_is_a_gateway_timeout() {
    let gateway = Gateway::start(&["--timeout", "100"]);
    for why in BOTH {
        assert_eq!(gateway.get(&format!("/square/12{why}?slow")).0, 504, "{why}");
    }
}

#[test]
fn a_slow_job_holds_up_no_other() {
    let gateway = Gateway::start(&["--timeout", NEVER_LATE]);
    let _unanswered = gateway.request("/square/7?slow");
    gateway.process.complains("worker: a slow job, 7");
    assert_eq!(gateway.get("/square/12"), (200, "144".to_owned()));
}

#[test]
fn while_the_worker_is_down_the_service_is_unavailable_and_a_new_worker_is_found_by_itself() {
    let mut worker = Process::start(&["--worker", &own_host()]);
    let endpoint = worker.says("");
    let gateway = Gateway::start(&["--timeout", NEVER_LATE, "--worker-at", &endpoint]);
    for _ in 0..3 {
        gateway.comes_back();
        worker.kill();
        for why in BOTH {
            let (status, body) = gateway.get(&format!("/square/12{why}"));
            assert_eq!(status, 503, "{why}: {body}");
        }
        worker = Process::start(&["--worker", &endpoint]);
        assert_eq!(worker.says(""), endpoint);
    }
    gateway.comes_back();
}

#[test]
fn a_job_that_was_not_delivered_can_be_sent_again() {
    let mut worker = Process::start(&["--worker", &own_host()]);
    let endpoint = worker.says("");
    worker.kill();
    let gateway = Gateway::start(&["--timeout", NEVER_LATE, "--worker-at", &endpoint]);
    let (status, body) = gateway.get("/square/12/why");
    assert_eq!(status, 503, "{body}");
    assert!(body.starts_with("the request was not delivered: there is no connection"), "{body}");
    assert!(body.ends_with("it can be sent again"), "{body}");
}

#[test]
fn a_job_that_its_worker_had_when_it_was_killed_may_have_been_done() {
    let mut worker = Process::start(&["--worker", &own_host()]);
    let gateway = Gateway::start(&["--timeout", NEVER_LATE, "--worker-at", &worker.says("")]);
    let [plain, explained] = [gateway.request("/square/7?slow"), gateway.request("/square/7/why?slow")];
    for _ in BOTH {
        worker.complains("worker: a slow job, 7");
    }
    worker.kill();
    assert_eq!(response(plain), (503, "the worker is down".to_owned()));
    let (status, body) = response(explained);
    assert_eq!(status, 503, "{body}");
    assert!(body.starts_with("the outcome of the request is unknown"), "{body}");
    assert!(body.ends_with("the job may have been done"), "{body}");
}

#[test]
fn ctrl_c_ends_both_processes() {
    let mut gateway = Gateway::start(&["--timeout", NEVER_LATE]);
    // The thread that serves the node also handles the signal: once it has passed on an answer, it listens to signals.
    assert_eq!(gateway.get("/square/12").0, 200);
    let id = gateway.process.child.id().to_string();
    let told = Command::new("sh").args(["-c", "kill -INT \"$0\"", &id]).status().expect("a shell");
    assert!(told.success());
    assert!(gateway.process.exits(), "the gateway ends as one that was asked to");
    gateway.process.falls_silent();
}

#[test]
fn a_worker_ends_with_the_gateway_that_started_it() {
    let mut gateway = Gateway::start(&["--timeout", NEVER_LATE]);
    assert_eq!(gateway.get("/square/12").0, 200);
    gateway.process.kill();
    gateway.process.falls_silent();
}

// ---------------------------------------------------------------------------------------------------- the helpers

/// A gateway at a port that the system has chosen.
struct Gateway {
    process: Process,
    at: String,
}

impl Gateway {
    fn start(arguments: &[&str]) -> Gateway {
        let process = Process::start(&[&["0"], arguments].concat());
        if !arguments.contains(&"--worker-at") {
            process.says("The worker is process ");
        }
        let url = process.says("Try http://");
        let at = url.strip_suffix("/square/12").expect("a number to try").to_owned();
        Gateway { process, at }
    }

    /// Sends a request; [`response`] waits for the response.
    fn request(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.at).expect("the gateway listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let at = &self.at;
        let head = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("the gateway reads");
        stream
    }

    fn get(&self, path: &str) -> (u16, String) {
        response(self.request(path))
    }

    /// Waits until jobs are done again. Until then the worker is down, which the gateway answers at once.
    fn comes_back(&self) {
        let start = Instant::now();
        loop {
            match self.get("/square/12") {
                (200, body) => return assert_eq!(body, "144"),
                (status, body) => assert_eq!(status, 503, "{body}"),
            }
            assert!(start.elapsed() < PATIENCE, "the worker is not found");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Returns the status and the body of the response, which ends with its connection.
fn response(mut stream: TcpStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("the gateway answers");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    (status.unwrap_or_else(|| panic!("no status: {head:?}")), body.to_owned())
}

/// Returns an endpoint with a loopback address of its own, so that nobody else takes its port while it is free for a
/// moment between two workers: on Linux every address that begins with 127 is this host.
fn own_host() -> String {
    use std::sync::atomic::AtomicU8;
    use std::sync::atomic::Ordering;
    static NEXT: AtomicU8 = AtomicU8::new(1);

    if cfg!(target_os = "linux") {
        let [.., high, low] = std::process::id().to_be_bytes();
        format!("127.{}.{high}.{low}:0", NEXT.fetch_add(1, Ordering::Relaxed))
    } else {
        "127.0.0.1:0".to_owned()
    }
}

/// The program in one of its roles; dropping this ends it.
struct Process {
    child: Child,
    output: Receiver<String>,
    complaints: Receiver<String>,
}

impl Process {
    fn start(arguments: &[&str]) -> Process {
        let child = Command::new(env!("CARGO_BIN_EXE_web-gateway"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.expect("the program starts");
        let output = lines(child.stdout.take().expect("it is piped"));
        let complaints = lines(child.stderr.take().expect("it is piped"));
        Process { child, output, complaints }
    }

    /// Waits for the next line of the output, which must start with `beginning`. Returns the rest of it.
    fn says(&self, beginning: &str) -> String {
        let line = self.output.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let complaints: Vec<String> = self.complaints.try_iter().collect();
            panic!("the program does not say {beginning:?}, but complains: {complaints:?}")
        });
        let rest = line.strip_prefix(beginning).unwrap_or_else(|| panic!("{line:?} and not {beginning:?}"));
        rest.to_owned()
    }

    /// Waits for the next line on the standard error of the process, or of a worker that it started.
    fn complains(&self, line: &str) {
        assert_eq!(self.complaints.recv_timeout(PATIENCE).expect("a line"), line);
    }

    /// Waits until nobody has the standard error open: neither the process nor a worker that it started.
    fn falls_silent(&self) {
        match self.complaints.recv_timeout(PATIENCE) {
            Err(RecvTimeoutError::Disconnected) => {}
            Err(RecvTimeoutError::Timeout) => panic!("a process goes on"),
            Ok(line) => panic!("{line}"),
        }
    }

    /// Kills the process, which it cannot prevent (SIGKILL), and waits until it is gone.
    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is gone");
    }

    /// Waits until the process ends by itself, and returns whether it succeeded.
    fn exits(&mut self) -> bool {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be looked at") {
                return status.success();
            }
            assert!(start.elapsed() < PATIENCE, "the program does not exit");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both calls fail only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, told) = channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(io::Result::ok) {
            // The receiver may be gone; the lines are read all the same.
            let _ = tell.send(line);
        }
    });
    told
}
