//! The suite finds what it is there to find: a token of paper keeps every rule, and fails with each
//! of its faults.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::{
    collections::hash_map::DefaultHasher,
    hash::Hasher,
    panic,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use super::*;
use crate::*;

/// How a token of paper breaks the contract.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    None,
    WrongPaddingIsNothing,
    WrongPaddingIsZeros,
    WrongPaddingIsOneSecret,
    WrongPaddingIsTheBlock,
    WrongPaddingIsNew,
    SignsEveryNumber,
    DecryptsEveryNumber,
    DecryptsWithUnknownKeys,
    FillsShortBuffers,
    TakesLongSecrets,
    HasSecretsOfOtherRoles,
    KeepsTheOldSecret,
}

/// What stands before the key, and what it does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// A login, and it does the raw operation.
    Login,
    /// A secret each time.
    EachTime,
    /// Nothing, and there are no roles: like a service that knows the machine.
    Free,
    /// Nothing, and it signs hashes and no blocks.
    FreeHashes,
}

/// One key whose private operation does nothing: what is encrypted is there to read.
#[derive(Clone)]
struct Paper {
    fault: Fault,
    kind: Kind,
    contents: Arc<KeychainContents>,
    pin: Arc<Mutex<Vec<u8>>>,
}

struct PaperSession {
    paper: Paper,
    is_authenticated: AtomicBool,
    /// Authenticated for one operation.
    once: AtomicBool,
    rejected: Mutex<u8>,
}

struct Login<'a>(&'a PaperSession, Role);

const LEN: usize = 128;
const ID: &[u8] = b"key";
const MAX_PIN: usize = 20;
/// What a key does that signs hashes.
const HASHES: KeyAlgorithm = KeyAlgorithm::RsaPkcs1Digest(Digest::Sha256);

impl Paper {
    fn new(fault: Fault, kind: Kind) -> Self {
        let mut modulus = [0xcc; LEN];
        modulus[LEN - 1] = 1;
        let public_key = PublicKey::rsa(&modulus, &[3]).unwrap();
        let constraint = match kind {
            Kind::Login => Constraint::Auth(AuthId(1), Reuse::Session),
            Kind::EachTime => Constraint::Auth(AuthId(1), Reuse::Operation),
            Kind::Free | Kind::FreeHashes => Constraint::Free,
        };
        let decrypt = match kind {
            Kind::FreeHashes => Constraint::Never,
            _ => constraint,
        };
        let key = Key {
            sign: constraint,
            decrypt,
            ..Key::new(ObjectId::new(ID), "paper", &[1], public_key)
        };
        let contents = KeychainContents {
            generation: 0,
            items: vec![Item::Key(Box::new(key))],
        };
        Self {
            fault,
            kind,
            contents: Arc::new(contents),
            pin: Arc::new(Mutex::new(b"right".to_vec())),
        }
    }
}

impl Paper {
    fn has_roles(&self) -> bool {
        matches!(self.kind, Kind::Login | Kind::EachTime)
    }
}

impl TokenDriver for Paper {
    fn name(&self) -> &'static str {
        "paper"
    }

    fn slots(&self) -> Vec<Arc<dyn Slot>> {
        vec![Arc::new(Place(Arc::new(self.clone())))]
    }
}

struct Place(Arc<Paper>);

impl Slot for Place {
    fn id(&self) -> &str {
        "paper"
    }

    fn token(&self) -> Option<Arc<dyn Token>> {
        Some(self.0.clone())
    }
}

impl Token for Paper {
    fn info(&self) -> TokenInfo {
        TokenInfo {
            login: match self.has_roles() {
                true => LoginPolicy::App,
                false => LoginPolicy::OnUse,
            },
            max_pin_len: MAX_PIN,
            writable: true,
            ..TokenInfo::software("Paper", "Paper", "1")
        }
    }

    fn contents(&self) -> Arc<KeychainContents> {
        self.contents.clone()
    }

    fn create_session(&self) -> Result<Arc<dyn TokenSession>> {
        Ok(Arc::new(PaperSession {
            paper: self.clone(),
            is_authenticated: AtomicBool::new(false),
            once: AtomicBool::new(false),
            rejected: Mutex::new(0),
        }))
    }
}

impl AuthOperation for Login<'_> {
    fn method(&self) -> AuthMethod {
        AuthMethod::Password
    }

    fn finish(self: Box<Self>, secret: AuthSecret<'_>) -> Result<()> {
        self.0.check(secret)?;
        let opened = match self.1 {
            Role::Context => &self.0.once,
            _ => &self.0.is_authenticated,
        };
        opened.store(true, Ordering::SeqCst);
        Ok(())
    }
}

impl PaperSession {
    fn check(&self, secret: AuthSecret<'_>) -> Result<()> {
        let AuthSecret::Pin(pin) = secret else {
            return Err(TokenError::BadParameter);
        };
        match **self.paper.pin.lock().unwrap() == *pin {
            true => Ok(()),
            false => Err(TokenError::AuthenticationFailed { tries: None }),
        }
    }

    /// The key may be used, in this form, for this block.
    fn refuse(
        &self,
        operation: Operation,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        block: &[u8],
        room: usize,
    ) -> Result<()> {
        let is_found = key.as_bytes() == ID
            || operation == Operation::Decrypt
                && self.paper.fault == Fault::DecryptsWithUnknownKeys;
        if !is_found {
            return Err(TokenError::ObjectNotFound);
        }
        if !self.supports(operation, &ObjectId::new(ID), algorithm) {
            return Err(TokenError::NotSupported);
        }
        let is_opened = match self.paper.kind {
            Kind::Login => self.is_authenticated.load(Ordering::SeqCst),
            Kind::EachTime => self.once.swap(false, Ordering::SeqCst),
            Kind::Free | Kind::FreeHashes => true,
        };
        if !is_opened {
            return Err(TokenError::AuthenticationNeeded);
        }
        if room < LEN {
            return Err(TokenError::BadParameter);
        }
        if algorithm == HASHES {
            return match block.len() {
                32 => Ok(()),
                _ => Err(TokenError::DataLength),
            };
        }
        let takes_every_number = match operation {
            Operation::Sign => Fault::SignsEveryNumber,
            _ => Fault::DecryptsEveryNumber,
        };
        match block.len() {
            LEN if block[0] > 0xcb && self.paper.fault != takes_every_number => {
                Err(TokenError::DataInvalid)
            }
            LEN => Ok(()),
            _ => Err(TokenError::DataLength),
        }
    }

    fn made_up(&self, block: &[u8]) -> Vec<u8> {
        let hash = |number: u8, salt: u8| {
            let mut hasher = DefaultHasher::new();
            hasher.write(block);
            hasher.write(&[number, salt]);
            hasher.finish().to_be_bytes()
        };
        let mut rejected = self.rejected.lock().unwrap();
        *rejected = rejected.wrapping_add(1);
        let salt = match self.paper.fault {
            Fault::WrongPaddingIsNothing => return Vec::new(),
            Fault::WrongPaddingIsZeros => return vec![0; 16],
            Fault::WrongPaddingIsTheBlock => {
                return block[10 + usize::from(hash(0, 0)[0] % 8)..].into();
            }
            Fault::WrongPaddingIsOneSecret => {
                return vec![0x5a; usize::from(hash(0, 0)[0] % 100)];
            }
            Fault::WrongPaddingIsNew => *rejected,
            _ => 0,
        };
        let text = (1..=20).flat_map(|number| hash(number, salt));
        text.take(usize::from(hash(0, salt)[0]) % (LEN - 11))
            .collect()
    }
}

/// What follows 00 02, eight bytes or more that are not zero and a zero.
fn unpadded(block: &[u8]) -> Option<&[u8]> {
    let rest = block.strip_prefix(&[0, 2])?;
    let zero = rest.iter().position(|byte| *byte == 0)?;
    (zero >= 8).then(|| &rest[zero + 1..])
}

impl TokenSession for PaperSession {
    fn begin_auth(
        &self,
        role: Role,
        item: Option<&ObjectId>,
    ) -> Result<Box<dyn AuthOperation + '_>> {
        let is_own = item.is_some_and(|id| id.as_bytes() == ID);
        match role {
            Role::User if self.paper.has_roles() => Ok(Box::new(Login(self, role))),
            Role::Context if self.paper.kind == Kind::EachTime && is_own => {
                Ok(Box::new(Login(self, role)))
            }
            _ => Err(TokenError::NotSupported),
        }
    }

    fn end_auth(&self, role: Role) {
        if role == Role::User {
            self.is_authenticated.store(false, Ordering::SeqCst);
            self.once.store(false, Ordering::SeqCst);
        }
    }

    fn supports(&self, operation: Operation, key: &ObjectId, algorithm: KeyAlgorithm) -> bool {
        let is_right = match operation {
            _ if self.paper.kind == Kind::FreeHashes => {
                operation == Operation::Sign && algorithm == HASHES
            }
            Operation::Sign => algorithm == KeyAlgorithm::RsaRaw,
            Operation::Decrypt => {
                matches!(algorithm, KeyAlgorithm::RsaRaw | KeyAlgorithm::RsaPkcs1)
            }
            Operation::KeyExchange => false,
        };
        is_right && key.as_bytes() == ID
    }

    fn sign(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        input: &[u8],
        signature: &mut [u8],
    ) -> Result<usize> {
        self.refuse(Operation::Sign, key, algorithm, input, signature.len())?;
        signature[..LEN].fill(0);
        signature[LEN - input.len()..LEN].copy_from_slice(input);
        Ok(LEN)
    }

    fn decrypt(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        input: &[u8],
        plaintext: &mut [u8],
    ) -> Result<usize> {
        let room = match self.paper.fault {
            Fault::FillsShortBuffers => LEN,
            _ => plaintext.len(),
        };
        self.refuse(Operation::Decrypt, key, algorithm, input, room)?;
        let text = match algorithm {
            KeyAlgorithm::RsaRaw => input.to_vec(),
            _ => unpadded(input).map_or_else(|| self.made_up(input), <[u8]>::to_vec),
        };
        let room = plaintext.len();
        let text = text.get(..room).unwrap_or(&text);
        plaintext[..text.len()].copy_from_slice(text);
        Ok(text.len())
    }

    fn change_pin(&self, role: Role, old: AuthSecret<'_>, new: &[u8]) -> Result<()> {
        let fault = self.paper.fault;
        let has_it = role == Role::User && self.paper.has_roles();
        if !has_it && fault != Fault::HasSecretsOfOtherRoles {
            return Err(TokenError::NotSupported);
        }
        self.check(old)?;
        if new.len() > MAX_PIN && fault != Fault::TakesLongSecrets {
            return Err(TokenError::PinLength {
                min: 0,
                max: MAX_PIN,
            });
        }
        if fault != Fault::KeepsTheOldSecret {
            *self.paper.pin.lock().unwrap() = new.to_vec();
        }
        Ok(())
    }
}

/// A fixture; with or without another secret.
struct Desk(Fault, Option<&'static [u8]>, Kind);

impl Fixture for Desk {
    fn driver(&self) -> Box<dyn TokenDriver> {
        Box::new(Paper::new(self.0, self.2))
    }

    fn pin(&self) -> Option<&[u8]> {
        matches!(self.2, Kind::Login | Kind::EachTime).then_some(b"right")
    }

    fn wrong_pin(&self) -> &[u8] {
        b"wrong"
    }

    fn new_pin(&self) -> Option<&[u8]> {
        self.1
    }

    fn verify(&self, _: &PublicKey, _: KeyAlgorithm, input: &[u8], signature: &[u8]) -> bool {
        let (zeros, end) = signature.split_at(signature.len() - input.len());
        end == input && zeros.iter().all(|byte| *byte == 0)
    }

    fn encrypt(&self, _: &PublicKey, how: KeyAlgorithm, plaintext: &[u8]) -> Option<Vec<u8>> {
        let mut block = vec![0; LEN - plaintext.len()];
        if how == KeyAlgorithm::RsaPkcs1 {
            block.fill(0xee);
            block[..2].copy_from_slice(&[0, 2]);
            block[LEN - plaintext.len() - 1] = 0;
        }
        block.extend(plaintext);
        Some(block)
    }
}

const NEW: Option<&[u8]> = Some(b"another");

#[test]
fn a_token_of_paper_keeps_every_rule() {
    assert_eq!(left_out(Kind::Login), ["no key is for ML-DSA"]);
}

#[test]
fn a_key_that_wants_its_secret_each_time_keeps_every_rule() {
    let expected = ["no key is for ML-DSA", EACH_TIME.0, EACH_TIME.0];
    assert_eq!(left_out(Kind::EachTime), expected);
}

#[test]
fn a_token_without_secrets_keeps_every_rule() {
    for kind in [Kind::Free, Kind::FreeHashes] {
        let mut expected = vec![NO_PIN.0, NO_PIN.0, "no key is for ML-DSA"];
        // The end of an authentication, sessions apart, the race; then what is about a new secret.
        expected.extend([NO_PIN.0; 3]);
        expected.extend(["the secret cannot be changed"; 2]);
        assert_eq!(left_out(kind), expected, "{kind:?}");
    }
}

/// Why rules did not apply to a token that keeps all others.
fn left_out(kind: Kind) -> Vec<&'static str> {
    let new = NEW.filter(|_| matches!(kind, Kind::Login | Kind::EachTime));
    let outcomes = run(&Desk(Fault::None, new, kind));
    assert_eq!(outcomes.len(), RULES);
    let reasons = outcomes.iter().filter_map(|it| it.not_applicable);
    reasons.collect()
}

#[test]
fn every_fault_is_found() {
    for (fault, said) in [
        (
            Fault::WrongPaddingIsNothing,
            "told by the plaintext's length",
        ),
        (Fault::WrongPaddingIsZeros, "told by the plaintext's length"),
        (Fault::WrongPaddingIsOneSecret, "give the same plaintext"),
        (Fault::WrongPaddingIsTheBlock, "gives the end of its block"),
        (Fault::WrongPaddingIsNew, "another answer each time"),
        (Fault::SignsEveryNumber, "signs a number"),
        (Fault::DecryptsEveryNumber, "decrypts a number"),
        (Fault::DecryptsWithUnknownKeys, "with an unknown key"),
        (Fault::FillsShortBuffers, "room for 0 bytes"),
        (Fault::TakesLongSecrets, "a new secret of 21 bytes"),
        (Fault::HasSecretsOfOtherRoles, "the secret of Context"),
        (Fault::KeepsTheOldSecret, "the old secret after a change"),
    ] {
        let found = broken(&Desk(fault, NEW, Kind::Login));
        assert!(found.contains(said), "{fault:?}: {found}");
    }
}

/// A backend whose secret can be changed does not conform by keeping quiet about it.
#[test]
fn a_forgotten_secret_is_found() {
    let found = broken(&Desk(Fault::None, None, Kind::Login));
    assert!(found.contains("the fixture needs another one"), "{found}");
}

/// What the suite says of a token that it refuses.
fn broken(desk: &Desk) -> String {
    let said = panic::catch_unwind(|| run(desk)).unwrap_err();
    said.downcast_ref::<String>().unwrap().clone()
}
