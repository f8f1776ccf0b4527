//! An order to see to a gateway's tables, for a task of its own: `nft` may take its time, and whoever is to be forgotten does
//! not wait for it.
//!
//! A change of the ruleset's number says that somebody has changed something, anywhere; only then are our tables read
//! and compared with what they were right after they were made. Where somebody else changed something in between, what
//! was read may not be what was made: they are made again by the next order.

use super::{Firewall, FirewallError};

/// What is known of a gateway's tables.
#[derive(Debug, Default)]
pub struct Tables {
    /// What they were made from.
    pub script: String,

    /// How they looked right afterwards.
    listing: Option<String>,

    /// The ruleset's number when they were last known to look like that.
    generation: Option<u32>,
}

impl Tables {
    /// Whether they are what this script makes, while the ruleset has this number.
    pub fn are(&self, script: &str, generation: u32) -> bool {
        self.script == script && self.generation == Some(generation)
    }
}

/// What is to be seen to, and by whom.
#[derive(Debug)]
pub struct Order<F> {
    /// The node's packet filter.
    pub firewall: F,

    /// The gateway's uid.
    pub gateway: String,

    /// What makes the tables that are asked.
    pub script: String,

    /// What is known of those that there are.
    pub tables: Tables,
}

/// What came of an order.
#[derive(Debug)]
pub struct Done {
    /// What is known now.
    pub tables: Tables,

    /// Whether somebody else had changed them.
    pub is_repaired: bool,

    /// Whether a table of somebody else drops what is forwarded unless told otherwise, if it could be asked.
    pub is_overruled: Option<bool>,

    /// Whether they stand.
    pub result: Result<(), FirewallError>,
}

impl<F: Firewall> Order<F> {
    /// Makes the tables unless they stand.
    pub async fn carry_out(mut self) -> Done {
        let (mut is_repaired, mut is_overruled) = (false, None);
        let result = self.protect(&mut is_repaired).await;
        if result.is_ok() {
            // Whatever it says, it says of others, and those of the gateway stand.
            is_overruled = self.firewall.is_overruled().await.ok();
        }
        Done {
            tables: self.tables,
            is_repaired,
            is_overruled,
            result,
        }
    }

    async fn protect(&mut self, is_repaired: &mut bool) -> Result<(), FirewallError> {
        let generation = self.firewall.generation()?;
        let is_known = self.tables.script == self.script && self.tables.listing.is_some();
        if is_known && self.firewall.read(&self.gateway).await? == self.tables.listing {
            self.tables.generation = Some(generation);
            return Ok(());
        }
        *is_repaired = is_known;
        self.make().await
    }

    async fn make(&mut self) -> Result<(), FirewallError> {
        self.tables.generation = None;
        let before = self.firewall.generation()?;
        self.firewall.apply(&self.script).await?;
        let listing = self.firewall.read(&self.gateway).await?;
        let after = self.firewall.generation()?;
        // One change, which is this one.
        let is_alone = after == before.wrapping_add(1);
        self.tables.script.clone_from(&self.script);
        self.tables.listing = listing.filter(|_| is_alone);
        self.tables.generation = self.tables.listing.as_ref().map(|_| after);
        Ok(())
    }
}
