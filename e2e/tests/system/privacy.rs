//! The search of the logs finds what is there.

use anyhow::{Result, ensure};
use culvert_e2e::{Bed, Client};
use std::{fs::OpenOptions, io::Write};

#[tokio::test]
async fn privacy_search_finds_a_planted_leak_in_each_log() -> Result<()> {
    for log in ["operator.log", "agent.log"] {
        let bed = Bed::start().await?;
        let mut laptop = Client::new(&bed, "laptop", 77)?;
        laptop.register(&bed).await?;
        let path = bed
            .logs()
            .into_iter()
            .find(|path| path.ends_with(log))
            .expect("the log");
        OpenOptions::new()
            .append(true)
            .open(path)?
            .write_all(b"peer at 198.51.100.77:47077\n")?;
        let error = bed.finish().await.expect_err("a planted leak was not found");
        ensure!(
            error.to_string().contains("the outer address of laptop"),
            "{error:#}"
        );
    }
    Ok(())
}
