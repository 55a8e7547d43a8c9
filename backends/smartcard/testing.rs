//! A link to a card that answers as a test says: commands in the order in which they are expected,
//! or a function.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;

use crate::link::{Link, LinkError, Pinpad, PinpadVerify};

type Answer = Result<Vec<u8>, LinkError>;
type Card = Box<dyn FnMut(&[u8]) -> Answer + Send>;

/// The test's end of a scripted link. Clones are the same.
#[derive(Clone)]
pub(crate) struct Wire(Arc<Mutex<State>>);

struct State {
    atr: Vec<u8>,
    in_use: bool,
    max_command_len: usize,
    is_t0: bool,
    pinpad: Pinpad,
    /// Whether nobody else is connected, so that the card may be reset.
    alone: bool,
    expected: VecDeque<(String, Answer)>,
    card: Option<Card>,
    pinpad_answers: VecDeque<Answer>,
    begin_answers: VecDeque<Option<LinkError>>,
    sent: Vec<Vec<u8>>,
    total: usize,
    at_reset: Option<Box<dyn FnMut() + Send>>,
    kept: bool,
    begins: usize,
    patience: Duration,
    resets: usize,
    forced_resets: usize,
    reset_when_dropped: bool,
}

impl Wire {
    /// A card with an ATR without historical bytes, in a reader that takes extended commands.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            atr: vec![0x3b, 0x80, 0x01, 0x81],
            in_use: false,
            max_command_len: 65_544,
            is_t0: false,
            pinpad: Pinpad::default(),
            alone: true,
            expected: VecDeque::new(),
            card: None,
            pinpad_answers: VecDeque::new(),
            begin_answers: VecDeque::new(),
            sent: Vec::new(),
            total: 0,
            at_reset: None,
            kept: false,
            begins: 0,
            patience: Duration::ZERO,
            resets: 0,
            forced_resets: 0,
            reset_when_dropped: false,
        })))
    }

    /// The product's end.
    pub(crate) fn link(&self) -> Box<dyn Link> {
        let atr = self.0.lock().atr.clone();
        Box::new(ScriptedLink {
            wire: self.clone(),
            atr,
        })
    }

    /// The next command, in hexadecimal, and what it is answered with, status word included. Blanks
    /// do not count; a command that ends with `*` may go on in any way.
    pub(crate) fn expect(&self, command: &str, answer: &str) -> &Self {
        self.push(command, Ok(bytes(answer)))
    }

    /// The next command, which the link fails to deliver.
    pub(crate) fn expect_failure(&self, command: &str, error: LinkError) -> &Self {
        self.push(command, Err(error))
    }

    fn push(&self, command: &str, answer: Answer) -> &Self {
        let command = command.replace(' ', "").to_uppercase();
        self.0.lock().expected.push_back((command, answer));
        self
    }

    /// Answers every command that is not expected otherwise with the same.
    pub(crate) fn answer_always(&self, answer: &str) -> &Self {
        let answer = bytes(answer);
        self.answer_by(move |_| Ok(answer.clone()))
    }

    /// Has a function answer every command that is not expected otherwise.
    pub(crate) fn answer_by(&self, card: impl FnMut(&[u8]) -> Answer + Send + 'static) -> &Self {
        self.0.lock().card = Some(Box::new(card));
        self
    }

    /// Has a function notice that the card is reset at the end of a login.
    pub(crate) fn at_reset(&self, notice: impl FnMut() + Send + 'static) {
        self.0.lock().at_reset = Some(Box::new(notice));
    }

    /// With this ATR, in hexadecimal; before [`link`](Self::link).
    pub(crate) fn with_atr(self, atr: &str) -> Self {
        self.0.lock().atr = bytes(atr);
        self
    }

    /// In a reader that takes commands of at most this length.
    pub(crate) fn with_max_command_len(self, len: usize) -> Self {
        self.0.lock().max_command_len = len;
        self
    }

    /// With the protocol T=0.
    pub(crate) fn with_t0(self) -> Self {
        self.0.lock().is_t0 = true;
        self
    }

    /// In a reader with a pinpad.
    pub(crate) fn with_pinpad(self) -> Self {
        self.0.lock().pinpad = Pinpad { verify: true };
        self
    }

    /// With another program that was connected when the card came.
    pub(crate) fn with_in_use(self) -> Self {
        self.0.lock().in_use = true;
        self
    }

    /// Whether another program is connected, so that the card is not reset at the end of a login.
    pub(crate) fn set_alone(&self, alone: bool) {
        self.0.lock().alone = alone;
    }

    /// The next transaction does not begin, for this reason.
    pub(crate) fn fail_next_begin(&self, error: LinkError) {
        self.0.lock().begin_answers.push_back(Some(error));
    }

    /// The one after the next does not begin, for this reason.
    pub(crate) fn fail_begin_after_next(&self, error: LinkError) {
        self.0.lock().begin_answers.extend([None, Some(error)]);
    }

    /// What the pinpad answers next, in hexadecimal.
    pub(crate) fn expect_pinpad(&self, answer: &str) -> &Self {
        self.0.lock().pinpad_answers.push_back(Ok(bytes(answer)));
        self
    }

    /// How many commands were sent.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().total
    }

    /// The commands that were sent, in hexadecimal.
    pub(crate) fn sent(&self) -> Vec<String> {
        self.0.lock().sent.iter().map(|sent| hex(sent)).collect()
    }

    /// The commands that were sent since this was last asked.
    pub(crate) fn take_sent(&self) -> Vec<String> {
        let sent = std::mem::take(&mut self.0.lock().sent);
        sent.iter().map(|sent| hex(sent)).collect()
    }

    /// Whether a transaction is open.
    pub(crate) fn is_kept(&self) -> bool {
        self.0.lock().kept
    }

    /// How many transactions were begun.
    pub(crate) fn begins(&self) -> usize {
        self.0.lock().begins
    }

    /// How long the last transaction was to be waited for.
    pub(crate) fn patience(&self) -> Duration {
        self.0.lock().patience
    }

    /// How often the card was reset at the end of a login.
    pub(crate) fn resets(&self) -> usize {
        self.0.lock().resets
    }

    /// How often of these although others were connected.
    pub(crate) fn forced_resets(&self) -> usize {
        self.0.lock().forced_resets
    }

    /// Fails unless every expected command has come.
    #[track_caller]
    pub(crate) fn finish(&self) {
        let state = self.0.lock();
        assert!(
            state.expected.is_empty(),
            "never sent: {:?}",
            state.expected
        );
        assert!(!state.kept, "the transaction was left open");
    }
}

struct ScriptedLink {
    wire: Wire,
    atr: Vec<u8>,
}

impl Link for ScriptedLink {
    fn atr(&self) -> &[u8] {
        &self.atr
    }

    fn was_in_use(&self) -> bool {
        self.wire.0.lock().in_use
    }

    fn max_command_len(&self) -> usize {
        self.wire.0.lock().max_command_len
    }

    fn is_t0(&self) -> bool {
        self.wire.0.lock().is_t0
    }

    fn pinpad(&self) -> Pinpad {
        self.wire.0.lock().pinpad
    }

    fn begin(&mut self, patience: Duration) -> Result<(), LinkError> {
        let mut state = self.wire.0.lock();
        state.patience = patience;
        if let Some(error) = state.begin_answers.pop_front().flatten() {
            return Err(error);
        }
        assert!(!state.kept, "a transaction in a transaction");
        state.kept = true;
        state.begins += 1;
        Ok(())
    }

    fn end(&mut self) {
        let mut state = self.wire.0.lock();
        assert!(state.kept, "the end of no transaction");
        state.kept = false;
    }

    fn transmit(&mut self, command: &[u8]) -> Answer {
        let mut state = self.wire.0.lock();
        state.sent.push(command.to_vec());
        state.total += 1;
        let sent = hex(command);
        let answer = match (state.expected.pop_front(), &mut state.card) {
            (Some((expected, answer)), _) => {
                let fits = match expected.strip_suffix('*') {
                    Some(start) => sent.starts_with(start),
                    None => sent == expected,
                };
                assert!(fits, "sent {sent} instead of {expected}");
                answer
            }
            (None, Some(card)) => card(command),
            (None, None) => panic!("sent {sent}, and nothing was expected"),
        };
        if matches!(answer, Err(LinkError::Reset)) {
            state.kept = false;
        }
        answer
    }

    fn verify_on_pinpad(&mut self, verify: &PinpadVerify) -> Answer {
        let mut state = self.wire.0.lock();
        state.sent.push(verify.template.clone());
        match state.pinpad_answers.pop_front() {
            Some(answer) => answer,
            None => panic!("the pinpad was used, and nobody expected it"),
        }
    }

    fn reset_if_alone(&mut self) -> bool {
        let mut state = self.wire.0.lock();
        assert!(state.kept, "a reset by who does not keep the card");
        state.kept = false;
        if state.alone {
            state.reset();
        }
        state.alone
    }

    fn reset(&mut self) -> bool {
        let mut state = self.wire.0.lock();
        assert!(state.kept, "a reset by who does not keep the card");
        state.kept = false;
        state.forced_resets += 1;
        state.reset();
        true
    }

    fn reset_when_dropped(&mut self) {
        self.wire.0.lock().reset_when_dropped = true;
    }
}

impl Drop for ScriptedLink {
    fn drop(&mut self) {
        let mut state = self.wire.0.lock();
        if state.reset_when_dropped {
            state.reset();
        }
    }
}

impl State {
    fn reset(&mut self) {
        self.resets += 1;
        if let Some(notice) = &mut self.at_reset {
            notice();
        }
    }
}

/// Bytes in hexadecimal, with blanks.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .filter(|digit| *digit != ' ')
        .map(|digit| digit.to_digit(16).expect("hexadecimal") as u8)
        .collect();
    assert!(digits.len().is_multiple_of(2), "half a byte in {hex}");
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// In hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
