//! What is on its way to and from a connection, zeroized once it has passed.

use ureq::unversioned::transport::Buffers;
use zeroize::{Zeroize, Zeroizing};

/// How much of an answer is held at a time, and so its longest head, in bytes.
pub(super) const INPUT: usize = 32 << 10;

/// How much of a request is gathered before it is sent, in bytes. Head and body mostly go together, in one packet.
const GATHERED: usize = 16 << 10;

/// Room beyond that, so that any header field that services take fits in at once.
const OUTPUT: usize = GATHERED + INPUT;

/// Gathers what is sent and holds what was received. Allocated when first used.
#[derive(Default)]
pub(super) struct ConnectionBuffers {
    output: Zeroizing<Vec<u8>>,
    gathered: usize,
    input: Zeroizing<Vec<u8>>,
    /// What of `input` is there and not used yet.
    start: usize,
    end: usize,
    progress: bool,
}

impl ConnectionBuffers {
    /// Takes `amount` bytes that were written to [`output`](Buffers::output). Says whether to send what there is now.
    pub(super) fn gather(&mut self, amount: usize) -> bool {
        self.gathered = self.output.len().min(self.gathered.saturating_add(amount));
        self.gathered >= GATHERED
    }

    /// What is to be sent.
    pub(super) fn gathered(&self) -> &[u8] {
        self.output.get(..self.gathered).unwrap_or_default()
    }

    /// It was sent.
    pub(super) fn sent(&mut self) {
        if let Some(gathered) = self.output.get_mut(..self.gathered) {
            gathered.zeroize();
        }
        self.gathered = 0;
    }

    fn shift(&mut self) {
        if self.start == 0 {
            return;
        }
        if self.start < self.end {
            self.input.copy_within(self.start..self.end, 0);
        }
        let kept = self.end - self.start;
        if let Some(passed) = self.input.get_mut(kept..self.end) {
            passed.zeroize();
        }
        (self.start, self.end) = (0, kept);
    }
}

impl Buffers for ConnectionBuffers {
    fn output(&mut self) -> &mut [u8] {
        if self.output.is_empty() {
            self.output.resize(OUTPUT, 0);
        }
        self.output.get_mut(self.gathered..).unwrap_or_default()
    }

    fn input(&self) -> &[u8] {
        self.input.get(self.start..self.end).unwrap_or_default()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        if self.input.is_empty() {
            self.input.resize(INPUT, 0);
        }
        self.shift();
        self.input.get_mut(self.end..).unwrap_or_default()
    }

    fn input_appended(&mut self, amount: usize) {
        self.end = self.input.len().min(self.end.saturating_add(amount));
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        self.start = self.end.min(self.start.saturating_add(amount));
        if self.start == self.end {
            self.shift();
        }
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        if self.output.is_empty() {
            self.output.resize(OUTPUT, 0);
        }
        if self.input.is_empty() {
            self.input.resize(INPUT, 0);
        }
        self.shift();
        let tmp = self.input.get_mut(self.end..).unwrap_or_default();
        let output = self.output.get_mut(self.gathered..).unwrap_or_default();
        (tmp, output)
    }

    fn can_use_input(&self) -> bool {
        self.start < self.end && self.progress
    }
}

impl std::fmt::Debug for ConnectionBuffers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionBuffers").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_gathered_and_wiped_when_sent() {
        let mut buffers = ConnectionBuffers::default();
        buffers.output()[..4].copy_from_slice(b"head");
        assert!(!buffers.gather(4));
        buffers.output()[..4].copy_from_slice(b"body");
        assert!(!buffers.gather(4));
        assert_eq!(buffers.gathered(), b"headbody");
        buffers.sent();
        assert_eq!(buffers.gathered(), b"");
        assert!(buffers.output().iter().all(|byte| *byte == 0));
        assert!(buffers.gather(GATHERED));
        assert!(buffers.output().len() >= INPUT);
    }

    #[test]
    fn an_answer_is_wiped_as_it_is_used() {
        let mut buffers = ConnectionBuffers::default();
        buffers.input_append_buf()[..6].copy_from_slice(b"secret");
        buffers.input_appended(6);
        assert!(!buffers.can_use_input());
        buffers.input_consume(2);
        assert!(buffers.can_use_input());
        assert_eq!(buffers.input(), b"cret");
        buffers.input_append_buf()[0] = b's';
        buffers.input_appended(1);
        assert_eq!(buffers.input(), b"crets");
        buffers.input_consume(5);
        assert_eq!(buffers.input(), b"");
        assert!(!buffers.can_use_input());
        assert!(buffers.input.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn no_amount_leads_outside() {
        let mut buffers = ConnectionBuffers::default();
        buffers.input_appended(usize::MAX);
        buffers.input_consume(usize::MAX);
        buffers.gather(usize::MAX);
        assert_eq!(buffers.gathered(), b"");
        assert_eq!(buffers.input_append_buf().len(), INPUT);
        buffers.input_appended(usize::MAX);
        assert!(buffers.input_append_buf().is_empty());
        assert_eq!(buffers.input().len(), INPUT);
    }
}
