//! What the agent's process may do, what it leaves behind, and what it tells of itself.

use std::{
    fs,
    io::ErrorKind,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Bed, Client, Program,
    bed::{DEFAULT, SOON, said},
    programs::Tool,
    scratch::files_below,
    wait,
};
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};

/// The sets of a thread's capabilities, as its status names them.
const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/// `CAP_NET_ADMIN`, and nothing else.
const NET_ADMIN: u64 = 1 << 12;

/// How often the agent looks at what its node writes down.
const LOOKS_EVERY: Duration = Duration::from_mins(1);

/// Where the agent answers.
const LISTEN: &str = "127.0.0.1:8099";

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `inner`, started by other words: its program and arguments are theirs.
fn behind(words: &[&str], inner: &Command) -> Command {
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .arg(inner.get_program())
        .args(inner.get_args());
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
}

/// What a file of `/proc` says, or none when whom it is about has ended.
fn read(file: &Path) -> Result<Option<String>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        // It ended after the file was opened.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::SRCH) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read {}", file.display())),
    }
}

/// A line of a process's status or limits, without its name.
fn line<'text>(text: &'text str, name: &str) -> Result<&'text str> {
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    let found = found.with_context(|| format!("no line `{name}` in:\n{text}"))?;
    Ok(found.trim_start_matches(':').trim())
}

/// Ensures that every thread of a process has one capability and can come to no other, and that nobody gets its core.
fn ensure_hardened(pid: u32) -> Result<()> {
    let mut threads = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        // Threads that wait for files end when there is nothing to do.
        let Some(status) = read(&task.join("status"))? else {
            continue;
        };
        for set in SETS {
            let held = u64::from_str_radix(line(&status, set)?, 16)?;
            ensure!(held == NET_ADMIN, "{set} of {} is {held:x}", task.display());
        }
        ensure!(line(&status, "NoNewPrivs")? == "1");
        threads += 1;
    }
    ensure!(threads > 0, "process {pid} has no thread");
    let limits = read(Path::new(&format!("/proc/{pid}/limits")))?.context("the process has ended")?;
    let limits: Vec<&str> = line(&limits, "Max core file size")?
        .split_ascii_whitespace()
        .collect();
    ensure!(limits[..2] == ["1", "1"], "core files of {pid}: {limits:?}");
    Ok(())
}

/// Sends the signal on which a process leaves a core, and says whether the kernel made one.
fn aborted(mut process: Running) -> Result<bool> {
    let pid = Pid::from_child(&process.0);
    kill_process(pid, Signal::ABORT).context("failed to send a signal")?;
    let status = process.0.wait()?;
    ensure!(
        status.signal() == Some(Signal::ABORT.as_raw()),
        "it ended with {status}"
    );
    Ok(status.core_dumped())
}

#[tokio::test]
async fn process_has_one_capability_and_leaves_no_core() -> Result<()> {
    let unlimited = ["sh", "-c", "ulimit -c unlimited && exec \"$@\"", "sh"];
    let folder = tempfile::tempdir()?;
    let mut sleeper = behind(&unlimited, Command::new("sleep").arg("600"));
    let sleeper = Running(sleeper.current_dir(folder.path()).spawn()?);
    let comm = PathBuf::from(format!("/proc/{}/comm", sleeper.0.id()));
    wait::until("the sleeper to sleep", SOON, || async {
        Ok((fs::read_to_string(&comm)?.trim() == "sleep").then_some(()))
    })
    .await?;
    ensure!(
        aborted(sleeper)?,
        "no process leaves a core here: nothing is proved"
    );

    let mut bed = Bed::start().await?;
    let mut laptop = Client::new(&bed, "laptop", 77)?;
    laptop.register(&bed).await?;
    let (session, _) = bed.session().await?;
    bed.terminate_agent().await?;
    let command = bed.gateway.wrap(&behind(&unlimited, &bed.agent_command()?));
    let mut command = command_with_log(&bed, command)?;
    let agent = Running(command.current_dir(folder.path()).spawn()?);
    bed.caught_up_after(&session).await?;
    laptop.connect(&bed).await?;
    laptop.ping(1)?;
    ensure_hardened(agent.0.id())?;
    ensure!(!aborted(agent)?, "the agent has left a core");
    bed.finish().await
}

/// The one process of this program that another has started.
fn child_of(parent: u32, program: &str) -> Result<Option<u32>> {
    let mut found = None;
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Processes end meanwhile.
        let Some(status) = read(&entry.path().join("status"))? else {
            continue;
        };
        if line(&status, "Name")? == program && line(&status, "PPid")? == parent.to_string() {
            ensure!(
                found.is_none(),
                "process {parent} has started more than one {program}"
            );
            found = Some(pid);
        }
    }
    Ok(found)
}

#[tokio::test]
async fn process_that_moves_packets_has_no_more_than_the_agent() -> Result<()> {
    let mut bed = Bed::start().await?;
    let (session, _) = bed.session().await?;
    bed.terminate_agent().await?;
    bed.gateway.ip(&["link", "del", "cv0"])?;
    // Where it is found may be a folder that only its owner may enter, and the agent is like anybody there.
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("wireguard-go");
    fs::copy(Tool::WireguardGo.find()?, &program).context("failed to copy wireguard-go")?;
    let mut command = bed.agent_command()?;
    command
        .env("CULVERT_BACKEND", "userspace")
        .env("CULVERT_WIREGUARD_GO", &program);
    let agent = Running(command_with_log(&bed, bed.gateway.wrap(&command))?.spawn()?);
    bed.caught_up_after(&session).await?;
    let mut laptop = Client::new(&bed, "laptop", 77)?;
    laptop.register(&bed).await?;
    laptop.connect(&bed).await?;
    laptop.ping(1)?;
    let daemon = child_of(agent.0.id(), "wireguard-go")?.context("the agent has started no wireguard-go")?;
    ensure_hardened(agent.0.id())?;
    ensure_hardened(daemon)?;
    drop(agent);
    // It outlives its agent, and nobody else ends it.
    let daemon = Pid::from_raw(i32::try_from(daemon)?).context("a process has a number")?;
    kill_process(daemon, Signal::TERM)?;
    bed.finish().await
}

/// Gives a program a root of its own: what it writes there ends in a folder, and nowhere else. The folder is on a file
/// system in memory, which an overlay can write to wherever this runs.
const LAYERED: &str = r#"set -e
folder=$1; shift
mount --make-rprivate /
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" root "$folder/root"
for name in proc sys dev; do mount --rbind "/$name" "$folder/root/$name"; done
mount --bind "$folder/run" "$folder/root/run"
exec chroot "$folder/root" "$@""#;

#[tokio::test]
async fn process_writes_no_file_but_the_key() -> Result<()> {
    let mut bed = Bed::start().await?;
    let mut laptop = Client::new(&bed, "laptop", 77)?;
    laptop.register(&bed).await?;
    let (mut session, _) = bed.session().await?;
    bed.terminate_agent().await?;
    // The key that the interface holds is not made anew: the file is.
    fs::remove_dir_all(bed.keys()).context("failed to remove the key file")?;
    let written = tempfile::tempdir_in("/run")?;
    for name in ["upper", "work", "root", "run"] {
        fs::create_dir(written.path().join(name))?;
    }
    let folder = written.path().display().to_string();
    let layered = ["unshare", "--mount", "sh", "-c", LAYERED, "sh", &folder];
    // Twice, the second time after a crash: the file is found then.
    for round in 0..2 {
        let command = bed.gateway.wrap(&behind(&layered, &bed.agent_command()?));
        let agent = Running(command_with_log(&bed, command)?.spawn()?);
        bed.caught_up_after(&session).await?;
        if round == 0 {
            laptop.connect(&bed).await?;
        }
        laptop.ping(2)?;
        wait::pass(Duration::from_secs(300)).await;
        ensure!(
            laptop.endpoint_at(&bed)?.is_none(),
            "the client was not forgotten"
        );
        (session, _) = bed.session().await?;
        let open = open_for_writing(agent.0.id())?;
        ensure!(
            open.is_empty(),
            "the agent holds files open to write to them: {open:?}"
        );
    }
    let files = files_below(&written.path().join("upper"))?;
    ensure!(files.len() == 1, "the agent wrote {files:?}");
    let inside = Path::new("/").join(files[0].strip_prefix(written.path().join("upper"))?);
    ensure!(
        inside.starts_with(bed.keys()) && inside.extension().is_some_and(|extension| extension == "key"),
        "the agent wrote {}",
        inside.display()
    );
    let mode = fs::metadata(&files[0])?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "the key's mode is {mode:o}");
    let elsewhere = files_below(&written.path().join("run"))?;
    ensure!(elsewhere.is_empty(), "the agent wrote {elsewhere:?}");
    bed.start_agent()?;
    bed.caught_up_after(&session).await?;
    bed.finish().await
}

/// The same command, with its output at the end of the agent's log.
fn command_with_log(bed: &Bed, mut command: Command) -> Result<Command> {
    let logs = bed.logs();
    let log = logs.iter().find(|path| path.ends_with("agent.log"));
    let log = log.context("the agent has a log")?;
    let file = fs::OpenOptions::new().append(true).create(true).open(log)?;
    command.stdout(file.try_clone()?).stderr(file);
    Ok(command)
}

/// Files that a process can write to, its log aside.
fn open_for_writing(pid: u32) -> Result<Vec<PathBuf>> {
    let mut open = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        let name = entry
            .file_name()
            .into_string()
            .ok()
            .context("a descriptor is a number")?;
        // Files are closed meanwhile.
        let Some(about) = read(Path::new(&format!("/proc/{pid}/fdinfo/{name}")))? else {
            continue;
        };
        let target = match fs::read_link(entry.path()) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            target => target?,
        };
        let writes = i64::from_str_radix(line(&about, "flags")?, 8)? & 0b11 != 0;
        // Sockets, pipes and the like are no paths.
        let is_file = target.is_absolute() && !target.starts_with("/dev");
        if writes && is_file && !target.ends_with("agent.log") {
            open.push(target);
        }
    }
    Ok(open)
}

/// What the agent answers to a request, as text.
fn asked(bed: &Bed, path: &str) -> Result<String> {
    let (host, port) = LISTEN.split_once(':').context("a port")?;
    let script = format!(
        "exec 3<>/dev/tcp/{host}/{port}; printf 'GET {path} HTTP/1.1\\r\\nHost: culvert\\r\\n\\r\\n' >&3; cat <&3"
    );
    bed.gateway.run(&["bash", "-c", &script])
}

/// The names and labels of what is told, without the values.
fn series(bed: &Bed) -> Result<Vec<String>> {
    let text = asked(bed, "/metrics")?;
    let (_, body) = text.split_once("\r\n\r\n").context("an answer has a body")?;
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    let names: Option<Vec<_>> = lines
        .map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
        .collect();
    let mut names = names.with_context(|| format!("not every line is a series: {text}"))?;
    // Those of one name come in no order.
    names.sort_unstable();
    Ok(names)
}

#[tokio::test]
async fn process_answers_probes_whatever_becomes_of_the_apiserver() -> Result<()> {
    let mut bed = Bed::start().await?;
    let mut laptop = Client::new(&bed, "laptop", 77)?;
    let (session, _) = bed.session().await?;
    bed.terminate_agent().await?;
    let mut command = bed.agent_command()?;
    command
        .env("CULVERT_LISTEN", LISTEN)
        .env("CULVERT_METRICS_PLAIN", "true");
    let command = bed.gateway.wrap(&command);
    let logs = bed.logs();
    let folder = logs[0].parent().context("logs have a folder")?;
    let agent = Program::start("agent", &command, folder)?;
    bed.caught_up_after(&session).await?;
    for path in ["/livez", "/readyz"] {
        let answer = asked(&bed, path)?;
        ensure!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
    let before = series(&bed)?;
    laptop.register(&bed).await?;
    laptop.connect(&bed).await?;
    laptop.ping(2)?;
    wait::pass(Duration::from_secs(300)).await;
    ensure!(series(&bed)? == before, "a client is in the metrics");
    // What nobody can see of one client: neither how often it came nor that it went.
    let told = asked(&bed, "/metrics")?;
    for line in [
        "culvert_agent_peers 0",
        "culvert_agent_forgotten_total 0",
        "culvert_agent_reinstated_total 0",
    ] {
        ensure!(told.lines().any(|told| told == line), "no `{line}` in {told}");
    }
    bed.plane.kill_all()?;
    wait::pass(Duration::from_mins(10)).await;
    let answer = asked(&bed, "/livez")?;
    ensure!(
        answer.starts_with("HTTP/1.1 200 "),
        "without an apiserver: {answer}"
    );
    let status = agent.terminate(SOON).await?;
    ensure!(status == 0, "the agent ended with status {status}");
    bed.finish().await
}

/// The agent's word on what its node writes down: status and reason.
async fn degraded(bed: &Bed) -> Result<String> {
    let status = bed.gateway_node(DEFAULT).await?;
    Ok(said(&status.conditions, "PrivacyDegraded"))
}

#[tokio::test]
async fn process_says_when_the_kernel_logs_debug_messages() -> Result<()> {
    let bed = Bed::start().await?;
    let mut laptop = Client::new(&bed, "laptop", 77)?;
    laptop.register(&bed).await?;
    let control = "/proc/dynamic_debug/control";
    for (flag, said) in [
        ("-p", "False NothingFound"),
        ("+p", "True DebugMessages"),
        ("-p", "False NothingFound"),
    ] {
        fs::write(control, format!("module wireguard {flag}\n"))
            .with_context(|| format!("failed to write {control}"))?;
        // The agent looks once a minute, and each question of ours is a program that runs.
        wait::pass(LOOKS_EVERY).await;
        wait::until(said, SOON, || async {
            let word = degraded(&bed).await?;
            ensure!(word == said, "it says `{word}`");
            Ok(Some(()))
        })
        .await?;
    }
    // Nobody is turned away for it.
    bed.serving().await?;
    laptop.connect(&bed).await?;
    laptop.ping(1)?;
    bed.finish().await
}
