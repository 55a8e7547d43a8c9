//! The card in a reader with its state: which applet is selected, and what dies when the card is
//! reset. It is used in a [`Transaction`], which is the lock on the card, in this process and
//! between programs.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::{
    apdu::{Command, Le, Response, SELECT},
    applet::{Failure, Row},
    atr,
    exchange::exchange,
    link::{Link, LinkError, PinpadVerify},
    status::Status,
};

/// How long a card that others keep is waited for by who wants something done with it…
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// … by who wants to know something of it…
pub(crate) const SHORT_PATIENCE: Duration = Duration::from_secs(5);
/// … and by who has logged out or closes it, which nobody should have to wait for.
pub(crate) const END_PATIENCE: Duration = Duration::from_secs(2);
/// How long others in this process wait for an operation that was authenticated for and does not
/// come.
const MAX_HOLD: Duration = Duration::from_secs(1);
/// How long such an operation may take to come if nobody here waits: other programs may.
const MAX_IDLE_HOLD: Duration = Duration::from_secs(2);
/// How often a transaction is begun again because somebody else has reset the card meanwhile.
const MAX_RESETS: usize = 5;
/// The longest command of a reader that knows the short form only, in bytes.
const SHORT_COMMAND: usize = 261;

/// A card in a reader.
pub(crate) struct SmartCard {
    atr: Vec<u8>,
    was_in_use: bool,
    has_pinpad: bool,
    removed: AtomicBool,
    state: Mutex<State>,
    /// Told when a transaction ends.
    ended: Condvar,
}

struct State {
    link: Box<dyn Link>,
    /// How often the card has lost all that it knew of us.
    epoch: u64,
    /// How many commands were sent.
    commands: u64,
    /// The applet that was selected last, as far as this process knows: another program may have
    /// selected another one.
    selected: Option<&'static Row>,
    /// The applet that has answered in this transaction.
    proven: Option<&'static Row>,
    extended: Extended,
    /// Whether the link keeps the card for us.
    is_kept: bool,
    /// Whether the log shows nothing of what is read.
    is_secret: bool,
    /// A transaction that goes on without a thread in it, and since when.
    held: Option<(HoldId, Instant)>,
    last_hold: u64,
    /// Whether nothing has happened since the card was last identified that may have made it
    /// another one.
    is_identified: bool,
}

/// Whether the card takes extended commands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Extended {
    No,
    /// It says so.
    Untried,
    Yes,
}

/// Names a transaction that goes on, for whoever has made it do so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct HoldId(u64);

impl State {
    /// Takes note that the card knows nothing of us any more.
    fn lose(&mut self) {
        self.epoch += 1;
        self.selected = None;
        self.proven = None;
        self.is_kept = false;
        self.is_identified = false;
    }

    /// Begins, unless somebody resets the card again and again.
    fn begin(&mut self, patience: Duration) -> Result<(), LinkError> {
        for _ in 0..MAX_RESETS {
            match self.link.begin(patience) {
                Ok(()) => {
                    self.is_kept = true;
                    self.proven = None;
                    return Ok(());
                }
                Err(LinkError::Reset) => self.lose(),
                Err(error) => return Err(error),
            }
        }
        Err(LinkError::Reset)
    }

    fn end(&mut self) {
        if self.is_kept {
            self.link.end();
        }
        self.is_kept = false;
        self.is_secret = false;
        self.proven = None;
        self.held = None;
    }
}

impl SmartCard {
    pub(crate) fn new(link: Box<dyn Link>) -> Self {
        let has_room = link.max_command_len() > SHORT_COMMAND && !link.is_t0();
        let extended = match has_room && atr::takes_extended(link.atr()) {
            true => Extended::Untried,
            false => Extended::No,
        };
        Self {
            atr: link.atr().to_vec(),
            was_in_use: link.was_in_use(),
            has_pinpad: link.pinpad().verify,
            removed: AtomicBool::new(false),
            state: Mutex::new(State {
                link,
                epoch: 0,
                commands: 0,
                selected: None,
                proven: None,
                extended,
                is_kept: false,
                is_secret: false,
                held: None,
                last_hold: 0,
                is_identified: false,
            }),
            ended: Condvar::new(),
        }
    }

    /// The card's answer to reset.
    pub(crate) fn atr(&self) -> &[u8] {
        &self.atr
    }

    /// Whether another program was connected to the card when this one came.
    pub(crate) fn was_in_use(&self) -> bool {
        self.was_in_use
    }

    /// Whether the reader can ask for a PIN by itself.
    pub(crate) fn has_pinpad(&self) -> bool {
        self.has_pinpad
    }

    /// Takes note that the card is gone: whoever waits for it or uses it gets
    /// [`LinkError::Removed`].
    pub(crate) fn remove(&self) {
        self.removed.store(true, Ordering::Release);
        self.ended.notify_all();
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// Whether nobody in this process uses the card or is about to.
    pub(crate) fn is_idle(&self) -> bool {
        self.state
            .try_lock()
            .is_some_and(|state| state.held.is_none())
    }

    /// As [`transaction_within`](Self::transaction_within) a minute.
    #[cfg(test)]
    pub(crate) fn transaction(&self) -> Result<Transaction<'_>, LinkError> {
        self.transaction_within(PATIENCE)
    }

    /// Waits until nobody else uses the card, in this process or another, and keeps it.
    ///
    /// # Errors
    /// [`LinkError::Busy`] if others have the card for longer than `patience`.
    pub(crate) fn transaction_within(
        &self,
        patience: Duration,
    ) -> Result<Transaction<'_>, LinkError> {
        let state = self.state.try_lock_for(patience);
        let mut state = state.ok_or(LinkError::Busy)?;
        while let Some(hold) = state.held.filter(|_| !self.is_removed()) {
            let waited = self.ended.wait_for(&mut state, MAX_HOLD.min(patience));
            if !waited.timed_out() || state.held != Some(hold) {
                continue;
            }
            if patience < MAX_HOLD {
                return Err(LinkError::Busy);
            }
            log::info!("card: an authentication was not used in time and is void");
            state.end();
        }
        if self.is_removed() {
            return Err(LinkError::Removed);
        }
        match state.begin(patience) {
            Ok(()) => Ok(Transaction { card: self, state }),
            Err(error) => Err(self.note(error)),
        }
    }

    /// Ends a transaction that was [held](Transaction::hold) for an operation that does not come,
    /// although nobody in this process waits for it. Says whether there was one.
    pub(crate) fn end_idle_hold(&self) -> bool {
        let Some(mut state) = self.state.try_lock() else {
            return false;
        };
        let is_old = |since: Instant| since.elapsed() >= MAX_IDLE_HOLD;
        let is_idle = state.held.is_some_and(|(_, since)| is_old(since));
        if is_idle {
            log::info!("card: an authentication was not used for long and is void");
            state.end();
            self.ended.notify_all();
        }
        is_idle
    }

    /// Ends a transaction that was [held](Transaction::hold), if nobody else is at it.
    pub(crate) fn end_hold(&self) {
        let state = self.state.try_lock();
        if let Some(mut state) = state.filter(|state| state.held.is_some()) {
            state.end();
            self.ended.notify_all();
        }
    }

    /// Has the card reset when it is dropped.
    pub(crate) fn reset_when_dropped(&self) {
        self.state.lock().link.reset_when_dropped();
    }

    /// Goes on with a transaction that was [held](Transaction::hold). `None` if it is over: others
    /// have waited too long.
    pub(crate) fn resume(&self, hold: HoldId) -> Option<Transaction<'_>> {
        let mut state = self.state.lock();
        state.held.take_if(|(held, _)| *held == hold)?;
        Some(Transaction { card: self, state })
    }

    /// Use of a card without keeping it: for the first command to a card that has just come. The
    /// link waits for others.
    pub(crate) fn unkept(&self) -> Transaction<'_> {
        Transaction {
            card: self,
            state: self.state.lock(),
        }
    }

    fn note(&self, error: LinkError) -> LinkError {
        if error == LinkError::Removed {
            self.remove();
        }
        error
    }
}

/// The use of a card that nobody else has at the time. Dropping it lets others have the card.
pub(crate) struct Transaction<'a> {
    card: &'a SmartCard,
    state: MutexGuard<'a, State>,
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.state.held.is_none() {
            self.state.end();
        }
        self.card.ended.notify_all();
    }
}

impl Transaction<'_> {
    /// Sends a command and answers with the whole response: cut into a chain and put together (GET
    /// RESPONSE) where card and reader need it. A status word is no error here.
    pub(crate) fn send(&mut self, command: &Command) -> Result<Response, LinkError> {
        let extended = self.state.extended;
        let is_extended = extended != Extended::No
            && command.may_exceed_short()
            && command.extended_len() <= self.state.link.max_command_len();
        let answer = self.exchange(command, is_extended);
        if !is_extended {
            return answer;
        }
        let refusal = match &answer {
            Ok(response) => match response.status {
                Status::WRONG_LENGTH => true,
                Status::INSTRUCTION_NOT_SUPPORTED
                | Status::CLASS_NOT_SUPPORTED
                | Status::NO_ANSWER => extended == Extended::Untried,
                _ => false,
            },
            Err(LinkError::Mute(_)) => extended == Extended::Untried,
            Err(_) => return answer,
        };
        if !refusal {
            self.state.extended = Extended::Yes;
            return answer;
        }
        let again = self.exchange(command, false);
        // What is refused in either form is no matter of the form: no applet is selected, because
        // another program has just reset the card. And a card that took some may find this one too
        // long: then the others go on as they were.
        let is_for_both = matches!((&answer, &again), (Ok(a), Ok(b)) if a.status == b.status);
        if extended == Extended::Untried && !is_for_both {
            log::debug!("card: it says that it takes extended commands, and does not");
            self.state.extended = Extended::No;
        }
        again
    }

    fn exchange(&mut self, command: &Command, is_extended: bool) -> Result<Response, LinkError> {
        if self.card.is_removed() {
            return Err(LinkError::Removed);
        }
        self.state.commands += 1;
        let secret = self.state.is_secret.then(|| command.clone().secret());
        let command = secret.as_ref().unwrap_or(command);
        let answer = exchange(&mut *self.state.link, command, is_extended);
        answer.map_err(|error| self.note(error))
    }

    fn note(&mut self, error: LinkError) -> LinkError {
        match error {
            LinkError::Reset => self.state.lose(),
            // It may have been taken out, and another one put in, before anybody has noticed.
            LinkError::Mute(_) | LinkError::Unavailable(_) => self.state.is_identified = false,
            LinkError::Busy | LinkError::Removed => {}
        }
        self.card.note(error)
    }

    /// Has the log show nothing of what is sent and answered until the transaction ends.
    pub(crate) fn hush(&mut self) {
        self.state.is_secret = true;
    }

    /// Sends a command that has to succeed, and answers with the data.
    pub(crate) fn call(&mut self, command: &Command) -> Result<Response, Failure> {
        let response = self.send(command)?;
        match response.status {
            Status::OK => Ok(response),
            status => Err(Failure::Status(status)),
        }
    }

    /// Selects an applet by its AID and answers with the response's data. Who was logged in there
    /// is not any more.
    pub(crate) fn select(&mut self, row: &'static Row) -> Result<Response, Failure> {
        self.state.selected = None;
        self.state.proven = None;
        let response = self.call(&Command::new(SELECT, 4, 0).data(row.aid).le(Le::All))?;
        self.prove(row);
        Ok(response)
    }

    /// Selects whatever it is that has this AID, if there is one.
    pub(crate) fn select_other(&mut self, aid: &[u8]) -> Result<(), Failure> {
        self.call(&Command::new(SELECT, 4, 0).data(aid).le(Le::All))?;
        self.state.selected = None;
        self.state.proven = None;
        Ok(())
    }

    /// Takes note that the applet has answered a command in this transaction that no other would
    /// have answered so. Only then a PIN may be sent.
    pub(crate) fn prove(&mut self, row: &'static Row) {
        self.state.selected = Some(row);
        self.state.proven = Some(row);
    }

    /// Whether the applet was selected or proven to be selected in this transaction.
    pub(crate) fn is_proven(&self, row: &'static Row) -> bool {
        self.state.proven.is_some_and(|proven| proven.is(row))
    }

    /// Whether the applet was the last one that this process has selected, and the card was not
    /// reset since.
    pub(crate) fn is_selected_last(&self, row: &'static Row) -> bool {
        self.state.selected.is_some_and(|selected| selected.is(row))
    }

    /// How often the card has lost all that it knew of us. Another number than before means that
    /// nobody is logged in any more, and that it may be another card.
    pub(crate) fn epoch(&self) -> u64 {
        self.state.epoch
    }

    /// How many commands this process has sent to the card.
    pub(crate) fn commands(&self) -> u64 {
        self.state.commands
    }

    /// Takes note of what the applet says of extended commands, which counts more than the ATR.
    pub(crate) fn set_extended(&mut self, is_taken: bool) {
        let link = &self.state.link;
        let has_room = link.max_command_len() > SHORT_COMMAND && !link.is_t0();
        self.state.extended = match self.state.extended {
            Extended::Yes if is_taken => Extended::Yes,
            _ if is_taken && has_room => Extended::Untried,
            _ => Extended::No,
        };
    }

    /// Has the reader's own keys ask for a PIN and send it.
    pub(crate) fn verify_on_pinpad(&mut self, verify: &PinpadVerify) -> Result<Status, LinkError> {
        if self.card.is_removed() {
            return Err(LinkError::Removed);
        }
        log::trace!("card < a PIN by the reader's keys");
        self.state.commands += 1;
        let answer = self.state.link.verify_on_pinpad(verify);
        let answer = answer.map_err(|error| self.note(error))?;
        let response = Response::parse(answer).ok_or_else(|| {
            LinkError::Mute(ctk_token::Reason::new(
                "the reader's pinpad gave no answer: unplug the reader and plug it in again",
            ))
        })?;
        log::trace!("card > {:?}", response.status);
        Ok(response.status)
    }

    /// Whether nothing has happened since [`identified`](Self::identified) that may have made it
    /// another card.
    pub(crate) fn is_identified(&self) -> bool {
        self.state.is_identified
    }

    /// Takes note that it is the card that it should be.
    pub(crate) fn identified(&mut self) {
        self.state.is_identified = true;
    }

    /// Makes the card forget every login without a command, if no other program is connected to it.
    /// The transaction is over then; else it is another one, in which nothing is proven.
    pub(crate) fn reset_if_alone(&mut self) -> Result<bool, LinkError> {
        if self.card.is_removed() {
            return Err(LinkError::Removed);
        }
        let was_reset = self.state.link.reset_if_alone();
        if was_reset {
            self.state.lose();
            return Ok(true);
        }
        // It was let go of, and is kept again: others are there, with commands of their own.
        self.state.is_kept = false;
        self.state.is_identified = false;
        let begun = self.state.begin(END_PATIENCE);
        begun.map_err(|error| self.note(error))?;
        Ok(false)
    }

    /// Resets the card, whoever is connected to it. The transaction is over then.
    pub(crate) fn reset(&mut self) -> bool {
        let was_reset = self.state.is_kept && self.state.link.reset();
        if was_reset {
            self.state.lose();
        }
        was_reset
    }

    /// Leaves the transaction open without a thread in it, for the operation that comes next.
    pub(crate) fn hold(mut self) -> HoldId {
        self.state.last_hold += 1;
        let id = HoldId(self.state.last_hold);
        self.state.held = Some((id, Instant::now()));
        id
    }
}
