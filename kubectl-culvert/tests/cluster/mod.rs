//! An apiserver that has what a test gave it, answers reads with it, and says yes to every write.

// Clippy's leave to panic in tests ends at `#[test]`; what tests share is outside.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "fixtures: a failure is the test's, and not each test uses all"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

/// The apiserver and a user's home.
pub struct Cluster {
    folder: tempfile::TempDir,
    is_busy: Arc<AtomicBool>,
}

/// What is answered to a method and path: a status code and a body.
pub type Answers = BTreeMap<&'static str, (u16, Value)>;

impl Cluster {
    /// Starts one; it ends with the process.
    pub fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = Arc::new(answers);
        let is_busy = Arc::new(AtomicBool::new(false));
        let busy = Arc::clone(&is_busy);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answers, busy) = (Arc::clone(&answers), Arc::clone(&busy));
                std::thread::spawn(move || serve(stream, &answers, &busy));
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "one", "cluster": { "server": format!("http://127.0.0.1:{port}") } }],
            "users": [{ "name": "one", "user": {} }],
            "contexts": [{ "name": "one", "context": { "cluster": "one", "user": "one", "namespace": "tenant" } }],
            "current-context": "one",
        });
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
        // Where the plugin keeps private keys: below the apiserver's name.
        let keys = folder.path().join(format!("culvert/127.0.0.1_{port}/tenant"));
        std::fs::create_dir_all(&keys).unwrap();
        Self { folder, is_busy }
    }

    /// A file of a private key.
    pub fn keep(&self, name: &str, private: &str) {
        let culvert = self.folder.path().join("culvert");
        let server = std::fs::read_dir(culvert)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        std::fs::write(server.join("tenant").join(format!("{name}.key")), private).unwrap();
    }

    /// Whether the apiserver does what it is asked, or says that it cannot.
    pub fn answers(&self, does: bool) {
        self.is_busy.store(!does, Ordering::SeqCst);
    }

    /// The files below the user's home but the kubeconfig, without the apiserver's name.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let below = path.strip_prefix(self.folder.path()).unwrap();
                let parts = below.iter().map(|part| part.to_string_lossy().into_owned());
                let parts: Vec<String> = parts.filter(|part| !part.starts_with("127.0.0.1_")).collect();
                found.push(parts.join("/"));
            }
        }
        found.retain(|file| file != "kubeconfig");
        found.sort();
        found
    }

    /// Where the user is.
    pub fn home(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Runs the plugin, and gives everything it said.
    pub fn run(&self, words: &[&str]) -> String {
        self.run_by(&[], words)
    }

    /// Runs the plugin by way of another program, and gives everything it said.
    pub fn run_by(&self, by: &[&str], words: &[&str]) -> String {
        let line = [by, &[env!("CARGO_BIN_EXE_kubectl-culvert")], words].concat();
        let output = Command::new(line[0])
            .args(&line[1..])
            .env("KUBECONFIG", self.folder.path().join("kubeconfig"))
            .env("XDG_DATA_HOME", self.folder.path())
            .env_remove("NO_COLOR")
            .env_remove("SUDO_USER")
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let home = self.folder.path().display().to_string();
        let text = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).replace(&home, "~");
            // The port is another each time.
            let mut parts = text.split("127.0.0.1_");
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |text, part| {
                text + "APISERVER" + part.trim_start_matches(|c: char| c.is_ascii_digit())
            })
        };
        format!(
            "$ kubectl culvert {}\n{}--- standard error\n{}--- exit code {}\n",
            words.join(" "),
            text(&output.stdout),
            text(&output.stderr),
            output.status.code().unwrap_or(-1)
        )
    }
}

fn serve(stream: TcpStream, answers: &Answers, busy: &AtomicBool) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        let length = head
            .iter()
            .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        let asked = head[0].rsplit_once(" HTTP").unwrap().0;
        let (asked, query) = asked.split_once('?').unwrap_or((asked, ""));
        let unknown = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
            "message": "not found", "details": { "name": asked.rsplit('/').next() },
        });
        let (code, mut answer) = if busy.load(Ordering::SeqCst) {
            let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 503 });
            (503, status)
        } else {
            answers.get(asked).cloned().unwrap_or((404, unknown))
        };
        let named = query
            .split('&')
            .find_map(|part| part.strip_prefix("fieldSelector=metadata.name%3D"));
        if let (Some(name), Some(items)) = (named, answer["items"].as_array_mut()) {
            items.retain(|item| item["metadata"]["name"] == name);
        }
        // A watch has nothing to tell, and goes on.
        if query.contains("watch=") {
            std::thread::park();
        }
        let text = answer.to_string();
        let reply = format!(
            "HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        );
        if writer.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}
