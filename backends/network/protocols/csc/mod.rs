//! The API of the Cloud Signature Consortium: remote signing by trust service providers.

use crate::Protocol;

/// The row of this protocol.
pub(super) static PROTOCOL: Protocol = Protocol {
    name: "csc",
    title: "CSC API",
    settings: &[],
    key_facts: &[],
    open: |_| std::sync::Arc::new(crate::protocol::Absent),
};
