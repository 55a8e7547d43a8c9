//! An applet for tests, as small as one can be, and a card with it that behaves: PINs count, a
//! reset forgets, another program may select something else.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicUsize, Ordering},
};

use ctk_token::{
    AuthId, Certificate, Constraint, Curve, DataObject, Item, Key, KeyAlgorithm, NewKey, ObjectId,
    Operation, PinState, PublicKey, Result as TokenResult, Reuse, Role, TokenError, TokenInfo,
};
use parking_lot::Mutex;

use crate::{
    apdu::{Command, Le},
    applet::{Applet, Failure, Result, Row, SecretForm, Tries},
    card::Transaction,
    link::LinkError,
    recognition::recognize_among,
    status::Status,
    testing::{Wire, bytes},
    token::CardToken,
};

pub(crate) const ROW: Row = Row {
    name: "Test",
    aid: &[0xf0, 0, 0, 0, 1],
    reason: "the only one",
    open: |_, _| {
        let longest = AtomicUsize::new(100);
        Some(Box::new(TestApplet { longest }))
    },
};

pub(crate) const PIN: &[u8] = b"123456";
pub(crate) const PUK: &[u8] = b"87654321";
pub(crate) const ADMIN: &[u8] = b"administrator";
/// What each command looks like on the wire.
pub(crate) mod wire {
    pub(crate) const SELECT: &str = "00A4040005F00000000100";
    pub(crate) const PROVE: &str = "00CA004F00";
    pub(crate) const IDENTITY: &str = "00CA000100";
    pub(crate) const INFO: &str = "00CA000200";
    pub(crate) const TRIES: &str = "00200080";
    pub(crate) const CONTENTS: &str = "00CA001000";
    pub(crate) const READ: &str = "00CA002000";
    pub(crate) const PIN: &str = "0020008006313233343536";
    pub(crate) const FORGET: &str = "0020FF80";
    pub(crate) const FORGET_EACH: &str = "0020FF81";
    pub(crate) const FREE: &str = "00880001040102030400";
    pub(crate) const SESSION: &str = "00880002040102030400";
    pub(crate) const EACH: &str = "00880003040102030400";
    pub(crate) const GENERATE: &str = "0047000000";
}

/// Names of the keys.
pub(crate) const FREE: &[u8] = &[1];
pub(crate) const SESSION: &[u8] = &[2];
pub(crate) const EACH: &[u8] = &[3];

static EC_KEY: LazyLock<PublicKey> = LazyLock::new(|| {
    PublicKey::ec(Curve::P256, &[&[4][..], &[0x11; 64]].concat()).expect("a point")
});

struct TestApplet {
    /// The longest PIN: what the contents say, and much until they are read.
    longest: AtomicUsize,
}

fn get(p2: u8) -> Command {
    // An exact length keeps every command in the short form.
    Command::new(0xca, 0, p2).le(Le::Exactly(256))
}

fn verify(card: &mut Transaction<'_>, p2: u8, secret: &[u8]) -> Result<()> {
    let status = card
        .send(&Command::new(0x20, 0, p2).data(secret).secret())?
        .status;
    match status {
        Status::OK => Ok(()),
        status => Err(Failure::Status(status)),
    }
}

fn key(name: &[u8], sign: Constraint) -> Key {
    Key {
        sign,
        ..Key::new(ObjectId::new(name), "key", name, EC_KEY.clone())
    }
}

impl Applet for TestApplet {
    fn row(&self) -> &'static Row {
        &ROW
    }

    fn is_selected(&self, card: &mut Transaction<'_>) -> Result<bool> {
        let answer = card.send(&get(0x4f))?;
        let is_ours = answer.status.is_ok() && *answer.data == [0xaa];
        if is_ours {
            card.prove(&ROW);
        }
        Ok(is_ours)
    }

    fn identity(&self, card: &mut Transaction<'_>) -> Result<Vec<u8>> {
        let identity = card.call(&get(1))?.data.to_vec();
        card.prove(&ROW);
        Ok(identity)
    }

    fn info(&self, card: &mut Transaction<'_>) -> Result<TokenInfo> {
        let label = card.call(&get(2))?.data.to_vec();
        card.prove(&ROW);
        let label = String::from_utf8_lossy(&label).into_owned();
        Ok(TokenInfo::software(&label, "test", "1"))
    }

    fn info_unread(&self) -> TokenInfo {
        TokenInfo::software("unread", "test", "")
    }

    fn contents(&self, card: &mut Transaction<'_>) -> Result<Vec<Item>> {
        let keys = card.call(&get(0x10))?.data.to_vec();
        card.prove(&ROW);
        self.longest.store(8, Ordering::Relaxed);
        let auth = |reuse| Constraint::Auth(AuthId(1), reuse);
        let mut items: Vec<_> = keys
            .iter()
            .map(|name| {
                let name = &[*name][..];
                let constraint = match name {
                    FREE => Constraint::Free,
                    EACH => auth(Reuse::Operation),
                    _ => auth(Reuse::Session),
                };
                Item::Key(Box::new(key(name, constraint)))
            })
            .collect();
        items.push(Item::Data(DataObject {
            id: ObjectId::new(b"data"),
            label: "data".into(),
            application: String::new(),
            object_id: Vec::new(),
            value: None,
            read: auth(Reuse::Session),
        }));
        Ok(items)
    }

    fn tries(&self, card: &mut Transaction<'_>, role: Role) -> Result<Option<Tries>> {
        if role != Role::User {
            return Ok(None);
        }
        let status = card.send(&Command::new(0x20, 0, 0x80))?.status;
        Ok(status.tries_left().map(|left| Tries {
            left: Some(left),
            state: match left {
                3 => PinState::Normal,
                1 => PinState::FinalTry,
                0 => PinState::Locked,
                _ => PinState::CountLow,
            },
        }))
    }

    fn secret_form(&self, role: Role) -> TokenResult<SecretForm> {
        match role {
            Role::User | Role::Context => Ok(SecretForm {
                min: 6,
                max: self.longest.load(Ordering::Relaxed),
                digits_only: true,
            }),
            Role::Admin => Ok(SecretForm {
                min: 6,
                max: 16,
                digits_only: false,
            }),
            Role::Unblock => Err(TokenError::NotSupported),
        }
    }

    fn verify(
        &self,
        card: &mut Transaction<'_>,
        role: Role,
        _key: Option<&ObjectId>,
        secret: &[u8],
    ) -> Result<()> {
        verify(card, if role == Role::Admin { 0x83 } else { 0x80 }, secret)
    }

    fn verify_template(&self, role: Role, _key: Option<&ObjectId>) -> Option<(Vec<u8>, usize)> {
        matches!(role, Role::User | Role::Context).then(|| (bytes("0020008008FFFFFFFFFFFFFFFF"), 5))
    }

    fn forget(&self, card: &mut Transaction<'_>, role: Role) -> Result<bool> {
        let mode = match role {
            Role::Context => 0x81,
            Role::User => 0x80,
            Role::Admin | Role::Unblock => return Ok(false),
        };
        card.call(&Command::new(0x20, 0xff, mode))?;
        Ok(true)
    }

    fn supports(&self, operation: Operation, _key: &Key, algorithm: KeyAlgorithm) -> bool {
        operation == Operation::Sign && algorithm == KeyAlgorithm::EcdsaDigest
    }

    fn sign(
        &self,
        card: &mut Transaction<'_>,
        key: &Key,
        _algorithm: KeyAlgorithm,
        input: &[u8],
        signature: &mut [u8],
    ) -> Result<usize> {
        let name = key.identity.first().copied().unwrap_or(0);
        let command = Command::new(0x88, 0, name).data(input);
        let made = card.call(&command.le(Le::Exactly(256)))?.data;
        Ok(crate::input::copy(&made, signature)?)
    }

    fn decrypt(
        &self,
        _card: &mut Transaction<'_>,
        _key: &Key,
        _algorithm: KeyAlgorithm,
        _input: &[u8],
        _plaintext: &mut [u8],
    ) -> Result<usize> {
        Err(TokenError::NotSupported.into())
    }

    fn key_exchange(
        &self,
        _card: &mut Transaction<'_>,
        _key: &Key,
        _algorithm: KeyAlgorithm,
        _peer: &[u8],
        _secret: &mut [u8],
    ) -> Result<usize> {
        Err(TokenError::NotSupported.into())
    }

    fn read(&self, card: &mut Transaction<'_>, _item: &ObjectId) -> Result<Vec<u8>> {
        Ok(card.call(&get(0x20))?.data.to_vec())
    }

    fn random(&self, _card: &mut Transaction<'_>, _out: &mut [u8]) -> Result<()> {
        Err(TokenError::NotSupported.into())
    }

    fn change_secret(
        &self,
        card: &mut Transaction<'_>,
        _role: Role,
        old: &[u8],
        new: &[u8],
    ) -> Result<()> {
        let both = [old, new].concat();
        card.call(&Command::new(0x24, 0, 0x80).data(&both).secret())?;
        Ok(())
    }

    fn unblock(
        &self,
        card: &mut Transaction<'_>,
        unblocking: Option<&[u8]>,
        new: &[u8],
    ) -> Result<()> {
        let both = [unblocking.unwrap_or_default(), new].concat();
        card.call(&Command::new(0x2c, 0, 0x80).data(&both).secret())?;
        Ok(())
    }

    fn is_unblocking_secret(&self, secret: &[u8]) -> bool {
        secret.len() == 8
    }

    fn generate_key(
        &self,
        card: &mut Transaction<'_>,
        _known: &[Item],
        _wanted: &NewKey<'_>,
    ) -> Result<Key> {
        card.call(&Command::new(0x47, 0, 0).le(Le::Exactly(256)))?;
        let auth = Constraint::Auth(AuthId(1), Reuse::Session);
        Ok(key(&[9], auth))
    }

    fn import_certificate(
        &self,
        card: &mut Transaction<'_>,
        _known: &[Item],
        _identity: Option<&[u8]>,
        der: &[u8],
    ) -> Result<ObjectId> {
        card.call(&Command::new(0xdb, 0, 0).data(der))?;
        let id = ObjectId::new(b"certificate");
        let certificate = Certificate {
            id: id.clone(),
            label: String::new(),
            identity: Vec::new(),
            der: der.to_vec(),
        };
        Ok(certificate.id)
    }
}

/// The card's end of a [`Wire`].
#[derive(Clone)]
pub(crate) struct TestCard {
    state: Arc<Mutex<State>>,
    pub(crate) wire: Wire,
}

pub(crate) struct State {
    /// Whether the test's applet is the selected one.
    pub(crate) is_selected: bool,
    /// Whether the applet is there.
    pub(crate) has_applet: bool,
    pub(crate) user: bool,
    pub(crate) admin: bool,
    /// Whether the last command was the right PIN.
    is_fresh: bool,
    pub(crate) pin: Vec<u8>,
    pub(crate) puk: Vec<u8>,
    pub(crate) tries: u8,
    pub(crate) identity: u8,
    /// Whether it has a command to end a login.
    pub(crate) forgets: bool,
    /// Whether there is something else that can be selected.
    pub(crate) has_other: bool,
    /// How many next commands fail to arrive, and how.
    pub(crate) failure: Option<LinkError>,
}

/// As long as the shortest signature.
pub(crate) const SIGNATURE: &[u8] = &[0x30, 6, 2, 1, 1, 2, 1, 1];

impl TestCard {
    /// A card in a reader of its own.
    pub(crate) fn new() -> Self {
        Self::in_reader(Wire::new())
    }

    pub(crate) fn in_reader(wire: Wire) -> Self {
        let state = Arc::new(Mutex::new(State {
            is_selected: false,
            has_applet: true,
            user: false,
            admin: false,
            is_fresh: false,
            pin: PIN.to_vec(),
            puk: PUK.to_vec(),
            tries: 3,
            identity: 7,
            forgets: true,
            has_other: false,
            failure: None,
        }));
        let card = state.clone();
        wire.answer_by(move |command| card.lock().answer(command));
        let card = state.clone();
        wire.at_reset(move || card.lock().reset());
        Self { state, wire }
    }

    /// The token that it is.
    pub(crate) fn token(&self) -> Arc<CardToken> {
        let found = recognize_among(self.wire.link(), &[&ROW]);
        found.expect("a card that answers").expect("a known card")
    }

    /// Changes the card behind everybody's back.
    pub(crate) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
    }

    /// Another program selects another applet.
    pub(crate) fn select_other(&self) {
        self.set(|card| {
            card.reset();
        });
    }

    /// Another card of the kind takes its place, unnoticed.
    pub(crate) fn swap(&self) {
        self.set(|card| {
            card.reset();
            card.identity += 1;
        });
    }

    /// Another program resets the card.
    pub(crate) fn reset_by_others(&self) {
        self.set(State::reset);
        self.wire.fail_next_begin(LinkError::Reset);
    }

    pub(crate) fn is_logged_in(&self) -> bool {
        let card = self.state.lock();
        card.user || card.admin
    }

    pub(crate) fn tries(&self) -> u8 {
        self.state.lock().tries
    }

    /// What was sent since this was last asked.
    pub(crate) fn sent(&self) -> Vec<String> {
        self.wire.take_sent()
    }
}

impl State {
    fn reset(&mut self) {
        (self.is_selected, self.user, self.admin, self.is_fresh) = (false, false, false, false);
    }

    fn answer(&mut self, command: &[u8]) -> std::result::Result<Vec<u8>, LinkError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let was_fresh = std::mem::take(&mut self.is_fresh);
        let [_, ins, p1, p2, rest @ ..] = command else {
            panic!("a command of {} bytes", command.len());
        };
        let data = rest.get(1..).unwrap_or_default();
        if *ins == 0xa4 {
            let is_ours = data.starts_with(ROW.aid);
            if is_ours && self.has_applet {
                self.is_selected = true;
                return Ok(bytes("9000"));
            }
            if self.has_other && !is_ours {
                self.reset();
                return Ok(bytes("9000"));
            }
            return Ok(bytes("6A82"));
        }
        if !self.is_selected {
            return Ok(bytes("6D00"));
        }
        let answer = match (ins, p1, p2) {
            (0xca, 0, 0x4f) => "AA9000".into(),
            (0xca, 0, 0x01) => format!("{:02X}9000", self.identity),
            (0xca, 0, 0x02) => "43617264 9000".into(),
            (0xca, 0, 0x10) => "010203 9000".into(),
            (0xca, 0, 0x20) if self.user => "646174619000".into(),
            (0x20, 0, 0x80) if rest.is_empty() => format!("63C{}", self.tries),
            (0x20, 0, 0x80) => return Ok(self.verify(data)),
            (0x20, 0xff, 0x81) if self.forgets => "9000".into(),
            (0x20, 0xff, 0x80) if self.forgets => {
                self.user = false;
                "9000".into()
            }
            (0x20, 0, 0x83) if data == ADMIN => {
                self.admin = true;
                "9000".into()
            }
            (0x20, 0, 0x83) => "63C2".into(),
            (0x24, 0, 0x80) => match data.strip_prefix(&*self.pin) {
                Some(new) => {
                    self.pin = new.to_vec();
                    self.user = true;
                    "9000".into()
                }
                None => "63C1".into(),
            },
            (0x2c, 0, 0x80) if self.admin => {
                self.pin = data.to_vec();
                "9000".into()
            }
            (0x2c, 0, 0x80) => match data.strip_prefix(&*self.puk) {
                Some(new) => {
                    (self.pin, self.tries) = (new.to_vec(), 3);
                    "9000".into()
                }
                None => "63C4".into(),
            },
            (0x88, 0, 1) => return Ok([SIGNATURE, &[0x90, 0]].concat()),
            (0x88, 0, 2) if self.user => return Ok([SIGNATURE, &[0x90, 0]].concat()),
            (0x88, 0, 3) if was_fresh => return Ok([SIGNATURE, &[0x90, 0]].concat()),
            (0x47 | 0xdb, 0, 0) if self.admin => "9000".into(),
            (0x88 | 0x47 | 0xdb | 0xca, ..) => "6982".into(),
            _ => "6D00".into(),
        };
        Ok(bytes(&answer))
    }

    fn verify(&mut self, pin: &[u8]) -> Vec<u8> {
        if self.tries == 0 {
            return bytes("6983");
        }
        self.user = pin == self.pin;
        self.is_fresh = self.user;
        if self.user {
            self.tries = 3;
            return bytes("9000");
        }
        self.tries -= 1;
        bytes(&format!("63C{}", self.tries))
    }
}
