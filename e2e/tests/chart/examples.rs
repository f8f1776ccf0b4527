//! The values in `examples/helm`, and those in the documentation, are the chart's.

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Scratch, chart,
    documents::{blocks, files, pages, read},
};

use crate::{names, read as objects_of};

#[test]
fn values_of_examples_and_pages_render() -> Result<()> {
    let folder = Scratch::new("culvert-values-")?;
    let mut values = Vec::new();
    for path in files("examples/helm", ".yaml")? {
        values.push((path.display().to_string(), path));
    }
    for page in pages()? {
        for block in blocks(&read(&page)?).0 {
            if block.info == "yaml values" {
                let path = folder.path().join(format!("{}.yaml", values.len()));
                std::fs::write(&path, &block.text).context("failed to write values")?;
                values.push((format!("{}:{}", page.display(), block.line), path));
            }
        }
    }
    ensure!(values.len() >= 4, "{} sets of values were found", values.len());
    for (place, path) in values {
        let rendered = chart::render(&["--values", &path.display().to_string()])
            .with_context(|| format!("{place} does not render"))?;
        let objects = objects_of(&rendered)?;
        ensure!(
            names(&objects, "DaemonSet") == ["culvert-agent"],
            "{place} makes no agents"
        );
    }
    Ok(())
}
