//! Gateways that left an interface on this node and have no trace in the API: two live lists in a row must say so before
//! anything is deleted.

use std::collections::HashSet;

use crate::turns::Uid;

/// Who was missing in the last list.
#[derive(Debug, Default)]
pub struct Absence {
    missing: Vec<Uid>,
}

impl Absence {
    /// Takes in which gateways nobody asks for at present. Whoever is asked for is not missing, whatever was found before.
    pub fn unassigned(&mut self, unassigned: &[Uid]) {
        self.missing.retain(|uid| unassigned.contains(uid));
    }

    /// Takes in a live list of those that are `present`, and says which of the unassigned are gone for good.
    pub fn listed(&mut self, unassigned: Vec<Uid>, present: &HashSet<Uid>) -> Vec<Uid> {
        let before = std::mem::replace(&mut self.missing, unassigned);
        self.missing.retain(|uid| !present.contains(uid));
        let again = |uid: &&Uid| before.contains(uid);
        self.missing.iter().filter(again).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uids(names: &[&str]) -> Vec<Uid> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn listed(absence: &mut Absence, unassigned: &[&str], present: &[&str]) -> Vec<Uid> {
        absence.unassigned(&uids(unassigned));
        absence.listed(uids(unassigned), &uids(present).into_iter().collect())
    }

    #[test]
    fn a_gateway_is_gone_when_two_lists_in_a_row_lack_it() {
        let mut absence = Absence::default();
        assert_eq!(listed(&mut absence, &["a", "b"], &["b"]), uids(&[]));
        assert_eq!(listed(&mut absence, &["a", "b"], &[]), uids(&["a"]));
    }

    #[test]
    fn a_gateway_that_was_asked_for_meanwhile_needs_two_lists_again() {
        let mut absence = Absence::default();
        assert_eq!(listed(&mut absence, &["a"], &[]), uids(&[]));
        // For weeks nothing is unassigned, and nothing is listed.
        absence.unassigned(&[]);
        assert_eq!(listed(&mut absence, &["a"], &[]), uids(&[]));
    }
}
