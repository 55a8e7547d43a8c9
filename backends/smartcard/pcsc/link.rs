//! The card in a PC/SC reader: connected to as others may be at the same time, kept in
//! transactions, given back politely.

use std::{
    ffi::CString,
    thread::sleep,
    time::{Duration, Instant},
};

use pcsc::{Card, Context, Disposition, Error, Protocol, Protocols, ShareMode, Transaction};
use self_cell::{MutBorrow, self_cell};
use zeroize::Zeroizing;

use super::{
    part10::{self, Features},
    words::link_error,
};
use crate::{
    link::{Link, LinkError, Pinpad, PinpadVerify},
    readers::ReaderStatus,
};

/// T=1 and T=0, as the card likes.
const PROTOCOLS: Protocols = Protocols::ANY;
/// A status word.
const MIN_RESPONSE_LEN: usize = 2;
/// The longest response to an extended command: 65,536 bytes and the status word.
const MAX_RESPONSE_LEN: usize = 65_538;
/// How often somebody who waits for the card asks for it.
const STEP: Duration = Duration::from_millis(5);
/// How long a card that another program keeps is waited for by one command without a transaction,
/// to see what card it is.
const SHORT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a card that another program has for itself is waited for: some take it for moments,
/// some for ever.
const EXCLUSIVE_PATIENCE: Duration = Duration::from_secs(1);
/// How long a card that has failed is given to be seen removed: the service looks every 0.2 to 0.4
/// s.
const REMOVAL: Duration = Duration::from_millis(1000);

self_cell! {
    /// A card with the transaction that is open on it.
    struct KeptCard {
        owner: MutBorrow<Card>,
        #[not_covariant]
        dependent: Transaction,
    }
}

enum Connection {
    Shared(Card),
    Kept(KeptCard),
    /// Given up for another connection that did not come about. It is connected to when it is next
    /// wanted.
    Apart,
    Lost,
}

impl Connection {
    fn card<R>(&self, call: impl FnOnce(&Card) -> R) -> Result<R, LinkError> {
        match self {
            Self::Shared(card) => Ok(call(card)),
            Self::Kept(kept) => Ok(kept.with_dependent(|_, transaction| call(transaction))),
            Self::Apart => Err(LinkError::Busy),
            Self::Lost => Err(LinkError::Removed),
        }
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Lost)
    }
}

/// A connection to the card in one reader.
pub(super) struct PcscLink {
    connection: Connection,
    context: Context,
    reader: String,
    atr: Vec<u8>,
    is_t0: bool,
    was_in_use: bool,
    features: Features,
    max_command_len: usize,
    turn: Turn,
    is_reset_when_dropped: bool,
    /// What was received last, for the length of one call.
    buffer: Zeroizing<Vec<u8>>,
}

impl PcscLink {
    /// Connects to the card in `reader`.
    pub(super) fn connect(context: &Context, reader: &ReaderStatus) -> Result<Self, LinkError> {
        // What was said of the reader may be old, and this has to be true.
        let was_in_use = super::is_in_use(context, &reader.name).map_err(link_error)?;
        let card = connect_patiently(context, &reader.name).map_err(link_error)?;
        let mut link = Self {
            connection: Connection::Shared(card),
            context: context.clone(),
            reader: reader.name.clone(),
            atr: reader.atr.clone(),
            is_t0: false,
            was_in_use,
            features: Features::default(),
            max_command_len: 0,
            turn: Turn::default(),
            is_reset_when_dropped: false,
            buffer: Zeroizing::new(vec![0; MAX_RESPONSE_LEN]),
        };
        link.ask_abilities()?;
        log::debug!(
            "{}: connected, commands of up to {} bytes",
            link.reader,
            link.max_command_len
        );
        Ok(link)
    }

    /// Asks the reader, and not the card, what it can do.
    fn ask_abilities(&mut self) -> Result<(), LinkError> {
        let control = |code, send: &[u8], answer: &mut [u8]| {
            let sent = |card: &Card| card.control(code, send, answer).map(<[u8]>::len);
            self.connection.card(sent).ok()?.ok()
        };
        let features = part10::features(control);
        self.max_command_len = part10::max_command_len(&features, control);
        self.features = features;
        let status = self.connection.card(Card::status2_owned)?;
        let status = status.map_err(|error| self.failed(error))?;
        self.atr = status.atr().to_vec();
        self.is_t0 = status.protocol2() == Some(Protocol::T0);
        Ok(())
    }

    /// Waits until nobody else keeps the card. The library's own waiting has no limit and looks ten
    /// times a second only, while a command that needs no card is refused at once.
    fn wait_for_others(&self, patience: Duration) -> Result<(), LinkError> {
        let deadline = Instant::now() + patience;
        while self.is_kept_by_others()? {
            if Instant::now() >= deadline {
                log::debug!("{}: another program keeps the card", self.reader);
                return Err(LinkError::Busy);
            }
            sleep(STEP);
        }
        Ok(())
    }

    /// Whether another program keeps the card now.
    fn is_kept_by_others(&self) -> Result<bool, LinkError> {
        let mut answer = [0; part10::ANSWER_LEN];
        let probed = self.connection.card(|card| {
            card.control(part10::feature_request(), &[], &mut answer)
                .map(|_| ())
        })?;
        Ok(probed == Err(Error::SharingViolation))
    }

    /// Makes of an error what there is to do about it, and the link ready for that.
    fn failed(&mut self, error: Error) -> LinkError {
        log::debug!("{}: {error}", self.reader);
        match error {
            Error::ResetCard | Error::UnpoweredCard => {
                self.end();
                self.reconnect()
            }
            Error::SharingViolation | Error::ServerTooBusy => LinkError::Busy,
            Error::RemovedCard
            | Error::NoSmartcard
            | Error::UnknownReader
            | Error::ReaderUnavailable
            | Error::NoService
            | Error::ServiceStopped
            | Error::Shutdown
            | Error::InvalidHandle => self.lost(),
            // A card that is pulled out fails before it is known to be gone.
            _ if self.is_removed_soon() => self.lost(),
            other => link_error(other),
        }
    }

    fn reconnect(&mut self) -> LinkError {
        let Connection::Shared(card) = &mut self.connection else {
            return LinkError::Removed;
        };
        match card.reconnect(ShareMode::Shared, PROTOCOLS, Disposition::LeaveCard) {
            Ok(()) => LinkError::Reset,
            Err(Error::SharingViolation) => LinkError::Busy,
            Err(error) => {
                log::debug!("{}: not connected again: {error}", self.reader);
                self.lost()
            }
        }
    }

    fn is_removed_soon(&self) -> bool {
        let deadline = Instant::now() + REMOVAL;
        loop {
            match self.connection.card(Card::status2_owned) {
                Ok(Ok(_) | Err(Error::ResetCard | Error::SharingViolation)) => {}
                Ok(Err(_)) | Err(_) => return true,
            }
            if Instant::now() >= deadline {
                return false;
            }
            sleep(4 * STEP);
        }
    }

    fn lost(&mut self) -> LinkError {
        self.disconnect(Disposition::LeaveCard);
        LinkError::Removed
    }

    fn disconnect(&mut self, disposition: Disposition) {
        let card = match self.connection.take() {
            Connection::Shared(card) => card,
            Connection::Kept(kept) => kept.into_owner().into_inner(),
            Connection::Apart | Connection::Lost => return,
        };
        // Dropped without this, the card would be reset.
        if let Err((_card, error)) = card.disconnect(disposition) {
            log::debug!("{}: not disconnected: {error}", self.reader);
        }
    }

    /// Makes this connection the only one, resets the card and shares it again. `false` if it is
    /// not alone.
    ///
    /// By a new connection, which is refused at once if there is another that does not keep the
    /// card: to make a shared one exclusive the library waits until it is the last, without a
    /// limit. It is shared again before the reset and kept in a transaction meanwhile: then others
    /// who come wait for it, where an exclusive one would refuse them.
    fn reset_alone(&mut self) -> bool {
        let is_shared = matches!(self.connection, Connection::Shared(_));
        if !is_shared || self.is_kept_by_others() != Ok(false) {
            return false;
        }
        self.disconnect(Disposition::LeaveCard);
        let alone = connect(&self.context, &self.reader, ShareMode::Exclusive);
        let mut card = match alone {
            Ok(card) => card,
            Err(error) => {
                log::debug!("{}: no reset: {error}", self.reader);
                self.share_again();
                return false;
            }
        };
        let reset = reset_in_transaction(&mut card);
        self.connection = Connection::Shared(card);
        if let Err(error) = reset {
            log::debug!("{}: not connected after a reset: {error}", self.reader);
            self.disconnect(Disposition::ResetCard);
        }
        true
    }

    /// Connects once more, as soon as nobody has the card exclusively.
    fn share_again(&mut self) {
        match connect_patiently(&self.context, &self.reader) {
            Ok(card) => self.connection = Connection::Shared(card),
            Err(error) => {
                log::warn!("{}: not connected again: {error}", self.reader);
                self.connection = Connection::Apart;
            }
        }
    }
}

/// Connects as soon as nobody has the card exclusively.
fn connect_patiently(context: &Context, reader: &str) -> Result<Card, Error> {
    let deadline = Instant::now() + EXCLUSIVE_PATIENCE;
    loop {
        match connect(context, reader, ShareMode::Shared) {
            Err(Error::SharingViolation) if Instant::now() < deadline => sleep(STEP),
            connected => return connected,
        }
    }
}

fn connect(context: &Context, reader: &str, mode: ShareMode) -> Result<Card, Error> {
    let name = CString::new(reader).map_err(|_| Error::UnknownReader)?;
    context.connect(&name, mode, PROTOCOLS)
}

fn reset_in_transaction(card: &mut Card) -> Result<(), Error> {
    let mut kept = card.transaction()?;
    kept.reconnect(ShareMode::Shared, PROTOCOLS, Disposition::LeaveCard)?;
    kept.reconnect(ShareMode::Shared, PROTOCOLS, Disposition::ResetCard)?;
    kept.end(Disposition::LeaveCard).map_err(|(_, error)| error)
}

impl Link for PcscLink {
    fn atr(&self) -> &[u8] {
        &self.atr
    }

    fn was_in_use(&self) -> bool {
        self.was_in_use
    }

    fn max_command_len(&self) -> usize {
        self.max_command_len
    }

    fn is_t0(&self) -> bool {
        self.is_t0
    }

    fn pinpad(&self) -> Pinpad {
        Pinpad {
            verify: self.features.verify_pin.is_some(),
        }
    }

    fn begin(&mut self, patience: Duration) -> Result<(), LinkError> {
        match self.connection {
            Connection::Kept(_) => return Ok(()),
            Connection::Apart => self.share_again(),
            Connection::Shared(_) | Connection::Lost => {}
        }
        if let Some(gap) = self.turn.gap(Instant::now()) {
            sleep(gap);
        }
        self.wait_for_others(patience)?;
        let card = match self.connection.take() {
            Connection::Shared(card) => card,
            other => {
                self.connection = other;
                return Err(LinkError::Removed);
            }
        };
        let begun = KeptCard::try_new_or_recover(MutBorrow::new(card), |card| {
            card.borrow_mut().transaction()
        });
        match begun {
            Ok(kept) => {
                self.connection = Connection::Kept(kept);
                self.turn.begun(Instant::now());
                Ok(())
            }
            Err((card, error)) => {
                self.connection = Connection::Shared(card.into_inner());
                Err(self.failed(error))
            }
        }
    }

    fn end(&mut self) {
        match self.connection.take() {
            Connection::Kept(kept) => {
                // This ends the transaction. If that fails, the card is gone, and the next call
                // tells.
                self.connection = Connection::Shared(kept.into_owner().into_inner());
                self.turn.ended(Instant::now());
            }
            other => self.connection = other,
        }
    }

    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, LinkError> {
        let deadline = Instant::now() + SHORT_PATIENCE;
        loop {
            let buffer = &mut self.buffer;
            let transmitted = self
                .connection
                .card(|card| card.transmit(command, buffer).map(<[u8]>::to_vec))?;
            let error = match transmitted {
                Ok(response) if response.len() >= MIN_RESPONSE_LEN => {
                    zeroize_start(&mut self.buffer, response.len());
                    return Ok(response);
                }
                // What some drivers say of a card that is pulled out in the middle.
                Ok(_) => Error::CommDataLost,
                Err(error) => error,
            };
            if error != Error::SharingViolation || Instant::now() >= deadline {
                return Err(self.failed(error));
            }
            sleep(STEP);
        }
    }

    fn verify_on_pinpad(&mut self, verify: &PinpadVerify) -> Result<Vec<u8>, LinkError> {
        let code = self
            .features
            .verify_pin
            .ok_or_else(|| link_error(Error::UnsupportedFeature))?;
        let request = part10::pin_verify(verify);
        let mut answer = [0; part10::ANSWER_LEN];
        let answered = self.connection.card(|card| {
            card.control(code, &request, &mut answer)
                .map(<[u8]>::to_vec)
        })?;
        answered.map_err(|error| self.failed(error))
    }

    fn reset_if_alone(&mut self) -> bool {
        self.end();
        self.reset_alone()
    }

    fn reset(&mut self) -> bool {
        let Connection::Kept(kept) = &mut self.connection else {
            return false;
        };
        let reset = kept.with_dependent_mut(|_, transaction| {
            transaction.reconnect(ShareMode::Shared, PROTOCOLS, Disposition::ResetCard)
        });
        self.end();
        if let Err(error) = reset {
            log::warn!("{}: no reset: {error}", self.reader);
        }
        reset.is_ok()
    }

    fn reset_when_dropped(&mut self) {
        self.is_reset_when_dropped = true;
    }
}

impl Drop for PcscLink {
    fn drop(&mut self) {
        if !self.is_reset_when_dropped {
            self.disconnect(Disposition::LeaveCard);
            return;
        }
        if matches!(self.connection, Connection::Apart) {
            self.share_again();
        }
        self.disconnect(Disposition::ResetCard);
    }
}

fn zeroize_start(buffer: &mut [u8], len: usize) {
    if let Some(used) = buffer.get_mut(..len) {
        zeroize::Zeroize::zeroize(used);
    }
}

/// For how long this link has had the card again and again with hardly a gap. Others look for one
/// only ten times a second (pcsc-lite's SCardBeginTransaction), and would never find it.
#[derive(Debug, Default)]
struct Turn {
    since: Option<Instant>,
    ended: Option<Instant>,
}

impl Turn {
    /// How long a turn lasts.
    const LEN: Duration = Duration::from_secs(1);
    /// What others find for certain.
    const GAP: Duration = Duration::from_millis(110);

    /// How long the card is to be left to others before the next transaction.
    fn gap(&mut self, now: Instant) -> Option<Duration> {
        let free = now.saturating_duration_since(self.ended?);
        if free >= Self::GAP {
            self.since = None;
            return None;
        }
        if now.saturating_duration_since(self.since?) < Self::LEN {
            return None;
        }
        self.since = None;
        Self::GAP.checked_sub(free)
    }

    fn begun(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    fn ended(&mut self, now: Instant) {
        self.ended = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn who_keeps_the_card_for_long_leaves_a_gap() {
        let start = Instant::now();
        let mut turn = Turn::default();
        assert_eq!(turn.gap(start), None);
        turn.begun(start);
        turn.ended(start + ms(600));
        assert_eq!(turn.gap(start + ms(601)), None);
        turn.begun(start + ms(601));
        turn.ended(start + ms(1100));
        assert_eq!(turn.gap(start + ms(1110)), Some(ms(100)));
        // And then there is another turn.
        turn.begun(start + ms(1210));
        turn.ended(start + ms(1220));
        assert_eq!(turn.gap(start + ms(1221)), None);
    }

    #[test]
    fn who_leaves_gaps_by_itself_never_waits() {
        let start = Instant::now();
        let mut turn = Turn::default();
        for second in 0..5 {
            let now = start + ms(1000 * second);
            assert_eq!(turn.gap(now), None, "{second}");
            turn.begun(now);
            turn.ended(now + ms(880));
        }
    }

    #[test]
    fn one_long_use_is_a_turn() {
        let start = Instant::now();
        let mut turn = Turn::default();
        turn.begun(start);
        turn.ended(start + ms(30_000));
        assert_eq!(turn.gap(start + ms(30_000)), Some(Turn::GAP));
    }
}
