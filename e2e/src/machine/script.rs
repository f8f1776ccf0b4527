//! The command as a script for the machine's shell, where neither this process's environment nor its arguments are.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// Sets the environment, goes to the working folder, becomes the program.
pub(super) fn command(command: &Command, environment: &[(OsString, OsString)]) -> Result<Vec<u8>> {
    let mut script = Vec::new();
    for (name, value) in environment {
        export(&mut script, name, value)?;
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => export(&mut script, name, value)?,
            None => line(&mut script, &[b"unset ", variable(name)?]),
        }
    }
    let here = std::env::current_dir().context("failed to read the working folder")?;
    let folder = command.get_current_dir().unwrap_or(&here);
    line(&mut script, &[b"cd ", &quote(folder.as_os_str())]);
    let mut words = quote(command.get_program());
    for argument in command.get_args() {
        words.push(b' ');
        words.extend(quote(argument));
    }
    line(&mut script, &[b"exec ", &words]);
    Ok(script)
}

/// One folder a line.
pub(super) fn shares(folders: &[PathBuf]) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    for folder in folders {
        fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
        let folder = folder
            .canonicalize()
            .with_context(|| format!("failed to resolve {}", folder.display()))?;
        let bytes = folder.as_os_str().as_bytes();
        // A comma ends an option of `mount`.
        ensure!(
            !bytes.iter().any(|byte| matches!(byte, b'\n' | b',')),
            "the path of a shared folder has a comma or a line end: {}",
            folder.display()
        );
        line(&mut lines, &[bytes]);
    }
    Ok(lines)
}

pub(super) fn make_executable(path: &Path) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("failed to make {} executable", path.display()))
}

fn export(script: &mut Vec<u8>, name: &OsStr, value: &OsStr) -> Result<()> {
    line(script, &[b"export ", variable(name)?, b"=", &quote(value)]);
    Ok(())
}

fn line(script: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        script.extend_from_slice(part);
    }
    script.push(b'\n');
}

fn variable(name: &OsStr) -> Result<&[u8]> {
    let bytes = name.as_bytes();
    ensure!(
        bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
            && !bytes.is_empty(),
        "no name of a variable: {}",
        name.display()
    );
    Ok(bytes)
}

/// One word of a shell, whatever is in it.
fn quote(word: &OsStr) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for &byte in word.as_bytes() {
        if byte == b'\'' {
            quoted.extend_from_slice(br"'\''");
        } else {
            quoted.push(byte);
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        let mut original = Command::new("printf");
        original
            .args(["%s|", "it's", "$HOME `id`", "", "a\nb", "\\"])
            .env("X", "'q' \"p\"")
            .current_dir("/");
        let script = command(&original, &[("Y".into(), "1 2".into())]).unwrap();
        let mut script = String::from_utf8(script).unwrap();
        assert!(script.starts_with("export Y='1 2'\nexport X='"));
        script.insert_str(0, "set -e\n");
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            "it's|$HOME `id`||a\nb|\\|"
        );
    }

    #[test]
    fn odd_names_of_variables_are_refused() {
        assert!(command(Command::new("true").env("A;id", "1"), &[]).is_err());
    }
}
