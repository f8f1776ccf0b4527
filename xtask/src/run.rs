//! Running programs that show what they do themselves: cargo, mostly.

use std::{
    env,
    io::Write,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use culvert_e2e::process;

/// The cargo that runs this program, at the checkout.
pub fn cargo() -> Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::checkout()?);
    // Those of this very package; a build script or test that sees them would take them for its own.
    for (name, _) in env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// Whether it ended well; what it says goes to the terminal.
pub fn succeeds(command: &mut Command) -> Result<bool> {
    let program = command.get_program().to_string_lossy().into_owned();
    Ok(command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("failed to run {program}"))?
        .success())
}

/// Its standard output; a failure is an error.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("failed to run {shown}"))?;
    if !output.status.success() {
        bail!("{shown} failed with {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("the output of {shown} is no text"))
}

/// Shows its standard output line by line, hands every line to `line`, and says whether it ended well. It ends with
/// this program.
pub fn follow(command: &Command, mut line: impl FnMut(&str)) -> Result<bool> {
    let status = process::stream(command, |text| {
        show(text);
        line(&String::from_utf8_lossy(text));
    })?;
    Ok(status == 0)
}

/// Passes one line on as it is.
pub fn show(line: &[u8]) {
    let mut out = std::io::stdout().lock();
    // A reader who went away is no reason to stop a test.
    let _ = out
        .write_all(line)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
}
