//! Loom models of what threads of a parent share: the ledger of one child, the registry of all, the stock of a fork server.
//!
//! Run by `cargo xtask loom`. The kernel and the server are modelled: a child is two words, *has it sent* and *has it died*,
//! which its own thread sets in that order; its status can be taken once, as waitid gives it once. Each model stands
//! beside mutants, the same bodies over a broken variant, which it must catch.
#![cfg(ipc_loom)]

#[path = "loom/ledger.rs"]
mod ledger;
#[path = "loom/registry.rs"]
mod registry;
#[path = "loom/supply.rs"]
mod supply;
