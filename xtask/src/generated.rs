//! Files that are generated and checked in, so that a reader needs no compiler: written, or compared.

use std::{collections::BTreeMap, fs, io, path::Path};

use anyhow::{Context, Result, bail};

/// Files by their paths below a folder.
pub type Files = BTreeMap<String, String>;

/// The files of a folder that have this ending.
pub fn read(folder: &Path, ending: &str) -> Result<Files> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Files::new()),
        Err(error) => return Err(error).with_context(|| format!("failed to read {}", folder.display())),
    };
    let mut files = Files::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("failed to read {}", folder.display()))?
            .path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.ends_with(ending) {
            let content =
                fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
            files.insert(name, content);
        }
    }
    Ok(files)
}

/// Writes what differs and removes what is too much; where that is only to be checked, either is an error that names the
/// chore.
pub fn settle(folder: &Path, wanted: &Files, present: &Files, check: bool, chore: &str) -> Result<()> {
    let surplus = present.keys().filter(|name| !wanted.contains_key(*name));
    let differ: Vec<&str> = wanted
        .keys()
        .filter(|name| wanted.get(*name) != present.get(*name))
        .chain(surplus)
        .map(String::as_str)
        .collect();
    if differ.is_empty() {
        return Ok(());
    }
    if check {
        bail!(
            "{} differs from what it is generated from ({}): run `cargo xtask {chore}`",
            folder.display(),
            differ.join(", ")
        );
    }
    for name in &differ {
        let path = folder.join(name);
        match wanted.get(*name) {
            Some(content) => write(&path, content)?,
            None => {
                fs::remove_file(&path).with_context(|| format!("failed to remove {}", path.display()))?;
            }
        }
    }
    println!("{} files changed in {}", differ.len(), folder.display());
    Ok(())
}

fn write(path: &Path, content: &str) -> Result<()> {
    let folder = path.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    fs::write(path, content).with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use culvert_e2e::Scratch;

    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        let own = |(name, content): &(&str, &str)| ((*name).to_owned(), (*content).to_owned());
        list.iter().map(own).collect()
    }

    #[test]
    fn what_differs_is_named_or_put_right() {
        let scratch = Scratch::new("culvert-generated-").unwrap();
        let folder = scratch.path().join("new");
        let before = files(&[("same.md", "1"), ("other.md", "2"), ("old.md", "3")]);
        settle(&folder, &before, &read(&folder, ".md").unwrap(), false, "x").unwrap();
        fs::write(folder.join("theirs.txt"), "").unwrap();

        let wanted = files(&[("same.md", "1"), ("other.md", "4"), ("added.md", "5")]);
        let present = read(&folder, ".md").unwrap();
        assert_eq!(present, before);
        let error = settle(&folder, &wanted, &present, true, "docs")
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("(added.md, other.md, old.md): run `cargo xtask docs`"),
            "{error}"
        );
        assert_eq!(read(&folder, ".md").unwrap(), before, "a check changes nothing");

        settle(&folder, &wanted, &present, false, "docs").unwrap();
        assert_eq!(read(&folder, ".md").unwrap(), wanted);
        assert!(folder.join("theirs.txt").exists());
        settle(&folder, &wanted, &wanted, true, "docs").unwrap();
    }
}
