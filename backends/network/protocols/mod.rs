//! The protocols: one file or folder, and one row.

mod aws_kms;
mod csc;

use crate::Protocol;

/// Every protocol, in the order in which a person is told of them.
pub const PROTOCOLS: &[&Protocol] = &[&csc::PROTOCOL, &aws_kms::PROTOCOL];
