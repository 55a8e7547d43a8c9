//! Drivers, slots and tokens: where key stores come from.

use std::{fmt, sync::Arc, time::Instant};

use crate::{KeychainContents, Reason, Result, Role, TokenError, TokenSession};

/// How [`TokenDriver::wait_for_change`] ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wait {
    /// Some slot may have changed.
    Changed,
    /// Nothing changed until the deadline.
    TimedOut,
}

/// A kind of key store: PKCS#12 files, smart cards, one network protocol.
#[doc(alias = "TKTokenDriver")]
pub trait TokenDriver: Send + Sync {
    /// The name in configurations and messages, like `pkcs12`.
    fn name(&self) -> &'static str;

    /// Every slot there is, in a stable order; slots are added but never dropped while the driver lives. A driver of
    /// local devices asks their service here, and answers with what it knows if that does not answer.
    fn slots(&self) -> Vec<Arc<dyn Slot>>;

    /// Whether some slot may have changed since the last call: cheap, and never blocks.
    fn changed(&self) -> bool {
        false
    }

    /// Blocks the calling thread until some slot changes or `deadline` has come. Only a driver of local devices does.
    ///
    /// # Errors
    /// [`TokenError::NotSupported`] by default: such a driver is polled with [`changed`](Self::changed).
    fn wait_for_change(&self, deadline: Instant) -> Result<Wait> {
        let _ = deadline;
        Err(TokenError::NotSupported)
    }

    /// The process ends, and nobody has closed the sessions: what would outlive it ends, like a
    /// login that a card remembers. Other threads may be in the middle of anything, so this waits
    /// for nothing for longer than a few seconds. Nothing to do by default.
    fn process_ends(&self) {}
}

/// What is known of a place for tokens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SlotInfo {
    /// For a person, like the reader's name. PKCS#11 shows the first 64 bytes.
    pub description: String,
    /// Who made it. PKCS#11 shows the first 32 bytes.
    pub manufacturer: String,
    /// Whether tokens come and go here. Where not, the token that is here from the beginning is here to the end, and
    /// nobody asks for it again.
    pub removable: bool,
    /// Whether this is a device.
    pub hardware: bool,
}

impl SlotInfo {
    /// The place of a token that is no device and never leaves.
    pub fn software(description: &str, manufacturer: &str) -> Self {
        Self {
            description: description.into(),
            manufacturer: manufacturer.into(),
            removable: false,
            hardware: false,
        }
    }
}

/// A place where a token can be: a card reader, or the fixed place of a configured token.
#[doc(alias = "TKSmartCardSlot")]
pub trait Slot: Send + Sync {
    /// A name that stays the same across processes, unique within its driver.
    fn id(&self) -> &str;

    /// What is known of this place; by default a place in software, described by its id.
    fn info(&self) -> SlotInfo {
        SlotInfo::software(self.id(), "ctk-pkcs11")
    }

    /// The token that is here now. The same `Arc` for as long as it is the same token without interruption, so a new
    /// one means that the old was removed. A card that nobody can read is `None`.
    ///
    /// A reader asks its service, and a card that has just come is asked what it is: a few commands, for a few seconds
    /// at most if another program keeps the card.
    fn token(&self) -> Option<Arc<dyn Token>>;

    /// Why what is here is no token, for a person: a card of no kind that is known, or one that does not answer. `None` if
    /// nothing is here, and by default. From memory, as [`token`](Self::token) has found it last.
    fn obstacle(&self) -> Option<Reason> {
        None
    }

    /// A number that differs from an earlier one if something was put in or taken out since, however
    /// fast, also while nobody looked. A reader asks its service, and no card: who waits for a card
    /// to come waits for no program that keeps it. `None` by default: only [`token`](Self::token)
    /// tells.
    fn changes(&self) -> Option<u64> {
        None
    }

    /// Whether `token`, which [`token`](Self::token) answered with, is still here as far as anybody has noticed: from
    /// memory, because every call asks. By default `token` is asked again.
    fn holds(&self, token: &Arc<dyn Token>) -> bool {
        // Pointers to traits may differ in their tables even for one token.
        self.token()
            .is_some_and(|now| std::ptr::addr_eq(Arc::as_ptr(&now), Arc::as_ptr(token)))
    }
}

/// How a program gets to use the keys of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LoginPolicy {
    /// The program logs in with the secret it asked its user for.
    App,
    /// The program logs in, and the token gets the secret by itself (pinpad, stored PIN, prompt).
    AppWithoutPin,
    /// The program does not log in; the token authenticates by itself when a key is used, or needs no secret at all and
    /// has no [`Role::User`]. A program that logs in all the same must not be told that a secret is right that nobody has
    /// checked: it is refused.
    OnUse,
}

/// What is known of the tries left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PinState {
    /// No wrong try since the last right one, or not counted.
    Normal,
    /// At least one wrong try.
    CountLow,
    /// The next wrong try locks.
    FinalTry,
    /// Locked.
    Locked,
}

/// What is known of a token without asking it anything. All of it is stable but for
/// [`user_pin`](Self::user_pin) and [`admin_pin`](Self::admin_pin).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenInfo {
    /// The person's name for it, without a colon: programs put one between it and a certificate's label. PKCS#11 shows
    /// the first 32 bytes.
    pub label: String,
    /// Who made it, first 32 bytes.
    pub manufacturer: String,
    /// What kind it is, first 16 bytes.
    pub model: String,
    /// Distinguishes tokens of one model, first 16 bytes.
    pub serial_number: String,
    /// How a program gets to use the keys.
    pub login: LoginPolicy,
    /// Shortest user secret, in bytes.
    pub min_pin_len: usize,
    /// Longest user secret, in bytes.
    pub max_pin_len: usize,
    /// Tries left for the user secret.
    pub user_pin: PinState,
    /// Tries left for the administrator's secret.
    pub admin_pin: PinState,
    /// Whether anything on the token can be changed.
    pub writable: bool,
    /// Whether [`TokenSession::random`] works.
    pub has_random: bool,
    /// Hardware version, major and minor.
    pub hardware_version: (u8, u8),
    /// Firmware version, major and minor.
    pub firmware_version: (u8, u8),
}

impl TokenInfo {
    /// A token in software that cannot be changed and takes PINs of up to 255 bytes from the program.
    pub fn software(label: &str, model: &str, serial_number: &str) -> Self {
        Self {
            label: label.into(),
            manufacturer: "ctk-pkcs11".into(),
            model: model.into(),
            serial_number: serial_number.into(),
            login: LoginPolicy::App,
            min_pin_len: 0,
            max_pin_len: 255,
            user_pin: PinState::Normal,
            admin_pin: PinState::Normal,
            writable: false,
            has_random: false,
            hardware_version: (0, 0),
            firmware_version: (0, 0),
        }
    }
}

/// A key store with its certificates and keys.
#[doc(alias = "TKToken")]
pub trait Token: Send + Sync {
    /// What is known of it. A card is asked the first time for what its kind alone does not tell, like its label; if it
    /// does not answer, what its kind tells has to do.
    fn info(&self) -> TokenInfo;

    /// The same for whoever must not take a token that does not answer for another one.
    ///
    /// # Errors
    /// [`TokenError::TokenRemoved`] and whatever else keeps the key store from saying
    /// what it is.
    fn read_info(&self) -> Result<TokenInfo> {
        Ok(self.info())
    }

    /// What kind of key store it is, in a word or two for a person, like `PIV card`. Not asked of the key store; by default
    /// the [model](TokenInfo::model).
    fn kind(&self) -> String {
        self.info().model
    }

    /// How many wrong secrets of `role` the token takes before it locks, as far as that is known without spending one: from
    /// [`info`](Self::info) or a login since. `None` by default, and where nobody counts.
    fn tries_left(&self, role: Role) -> Option<u32> {
        let _ = role;
        None
    }

    /// How a program gets to use the keys, as [`info`](Self::info) says; a card is not asked for it.
    fn login_policy(&self) -> LoginPolicy {
        self.info().login
    }

    /// Reads what [`contents`](Self::contents) answers with, where that has not been read yet. Nothing to do by default.
    ///
    /// # Errors
    /// [`TokenError::TokenRemoved`] and whatever else keeps the key store from being
    /// read. What could be read before stays, and the next call tries again.
    fn load(&self) -> Result<()> {
        Ok(())
    }

    /// What it holds, from memory: certificates and public facts of keys. The snapshot never changes; new contents
    /// are a new snapshot with a higher generation. Before [`load`](Self::load) it may be empty.
    #[doc(alias = "keychainContents")]
    fn contents(&self) -> Arc<KeychainContents>;

    /// The generation of [`contents`](Self::contents), without the snapshot: asked before each use of a key.
    fn generation(&self) -> u64 {
        self.contents().generation
    }

    /// Opens the session of one application. Touches no file, card or network.
    ///
    /// # Errors
    /// [`TokenError::TokenRemoved`], [`TokenError::Denied`].
    fn create_session(&self) -> Result<Arc<dyn TokenSession>>;
}

impl fmt::Debug for dyn TokenDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenDriver({})", self.name())
    }
}

impl fmt::Debug for dyn Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({})", self.id())
    }
}

impl fmt::Debug for dyn Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.info().label)
    }
}
