//! AWS Key Management Service.

use crate::Protocol;

/// The row of this protocol.
pub(super) static PROTOCOL: Protocol = Protocol {
    name: "aws-kms",
    title: "AWS KMS",
    settings: &[],
    key_facts: &[],
    open: |_| std::sync::Arc::new(crate::protocol::Absent),
};
