//! Eight threads that make calls by chance, while the module is finalised and initialised again under them and tokens are logged
//! out: no hang, no wrong answer, and nothing that is gone without a reason.
//!
//! Which calls follows from a number that is printed: always the same, or with CTK_FUZZ_SECONDS another one each time.
//! CTK_FUZZ_SEED gives it. Which of the threads is faster follows from nothing.

use std::{
    cell::{Cell, RefCell},
    env,
    mem::size_of,
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use cryptoki_sys::*;
use softhsm_tests::{
    bed::{Bed, Kind, PIN},
    calls::{Memory, Parameter, Value, mechanism, rv_name, template},
    isolated::isolated,
    module::Module,
    random::Random,
};

const THREADS: usize = 8;
/// How often the module is finalised under the threads.
const ROUNDS: usize = 100;
/// How many signatures are verified in each round.
const SIGNATURES: usize = 20;
/// How long one round may take before somebody hangs. This machine may be slow and busy.
const LIMIT: Duration = Duration::from_secs(60);

/// What a call may answer when the module has been finalised meanwhile.
const FINALIZED: &[CK_RV] = &[
    CKR_CRYPTOKI_NOT_INITIALIZED,
    CKR_SESSION_HANDLE_INVALID,
    CKR_SESSION_CLOSED,
    CKR_USER_NOT_LOGGED_IN,
    CKR_KEY_HANDLE_INVALID,
    CKR_OBJECT_HANDLE_INVALID,
    CKR_OPERATION_NOT_INITIALIZED,
    CKR_FUNCTION_CANCELED,
];

/// And when somebody has logged out of its token.
const LOGGED_OUT: &[CK_RV] = &[
    CKR_USER_NOT_LOGGED_IN,
    CKR_KEY_HANDLE_INVALID,
    CKR_OBJECT_HANDLE_INVALID,
    CKR_OPERATION_NOT_INITIALIZED,
];

/// A call that went through, or one that ended because something has gone.
type Outcome<T = ()> = Result<T, CK_RV>;

/// Something that takes things away from other threads, and how often it has begun and been over.
#[derive(Default)]
struct Event {
    begun: AtomicUsize,
    over: AtomicUsize,
}

/// A time of which one can say whether an event has come since.
#[derive(Clone, Copy)]
struct Moment {
    begun: usize,
    quiet: bool,
}

impl Event {
    fn happens<T>(&self, make: impl FnOnce() -> T) -> T {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let made = make();
        self.over.fetch_add(1, Ordering::SeqCst);
        made
    }

    fn now(&self) -> Moment {
        let over = self.over.load(Ordering::SeqCst);
        let begun = self.begun.load(Ordering::SeqCst);
        Moment {
            begun,
            quiet: over == begun,
        }
    }

    /// Whether it has happened since, or was happening then.
    fn happened_since(&self, moment: Moment) -> bool {
        !moment.quiet || self.begun.load(Ordering::SeqCst) != moment.begun
    }
}

/// A token of one key.
struct Token {
    slot: usize,
    key_type: u64,
    signs: u64,
    logged_out: Event,
}

/// What all threads use.
struct Shared {
    module: Module,
    tokens: Vec<Token>,
    finalized: Event,
    done: AtomicBool,
    sessions: AtomicUsize,
    verified: AtomicUsize,
    /// Sessions that ended because something had gone.
    gone: AtomicUsize,
}

/// One thread's session with one token.
struct Session<'a> {
    shared: &'a Shared,
    token: &'a Token,
    number: usize,
    handle: usize,
    opened: Moment,
    logged_in: Cell<Moment>,
    random: &'a RefCell<Random>,
}

impl<'a> Session<'a> {
    fn open(shared: &'a Shared, number: usize, random: &'a RefCell<Random>) -> Outcome<Self> {
        let token = &shared.tokens[random.borrow_mut().below(shared.tokens.len())];
        let mut session = Self {
            shared,
            token,
            number,
            handle: 0,
            opened: shared.finalized.now(),
            logged_in: Cell::new(token.logged_out.now()),
            random,
        };
        let mut memory = Memory::default();
        let place = memory.number(0);
        let flags = CKF_SERIAL_SESSION as usize;
        session.call("C_OpenSession", &[token.slot, flags, 0, 0, place])?;
        session.handle = memory.read_number(place) as usize;
        Ok(session)
    }

    fn below(&self, end: usize) -> usize {
        self.random.borrow_mut().below(end)
    }

    fn logged_out_meanwhile(&self) -> bool {
        self.token.logged_out.happened_since(self.logged_in.get())
    }

    /// What is not there any more has a reason.
    #[track_caller]
    fn gone(&self, what: &str, rv: CK_RV) -> CK_RV {
        let finalized = self.shared.finalized.happened_since(self.opened);
        let logged_out = self.logged_out_meanwhile();
        assert!(
            finalized && FINALIZED.contains(&rv) || logged_out && LOGGED_OUT.contains(&rv),
            "{what} is {}; C_Finalize since the session began: {finalized}, C_Logout since its login: {logged_out}",
            rv_name(rv)
        );
        rv
    }

    #[track_caller]
    fn call(&self, name: &str, arguments: &[usize]) -> Outcome {
        match self.shared.module.call(name, arguments) {
            CKR_OK => Ok(()),
            rv => Err(self.gone(name, rv)),
        }
    }

    fn log_in(&self) -> Outcome {
        self.logged_in.set(self.token.logged_out.now());
        let pin = PIN.as_bytes();
        let user = CKU_USER as usize;
        let arguments = [self.handle, user, pin.as_ptr() as usize, pin.len()];
        match self.shared.module.call("C_Login", &arguments) {
            CKR_OK | CKR_USER_ALREADY_LOGGED_IN => Ok(()),
            rv => Err(self.gone("C_Login", rv)),
        }
    }

    /// Takes the private keys from whoever has a session with this token.
    fn log_out(&self) -> Outcome {
        let log_out = || self.shared.module.call("C_Logout", &[self.handle]);
        match self.token.logged_out.happens(log_out) {
            CKR_OK => self.log_in(),
            rv => Err(self.gone("C_Logout", rv)),
        }
    }

    fn find(&self, class: u64) -> Outcome<usize> {
        let mut memory = Memory::default();
        let wanted = [
            (CKA_CLASS, Value::Number(class)),
            (CKA_KEY_TYPE, Value::Number(self.token.key_type)),
            (CKA_TOKEN, Value::Bool(true)),
        ];
        let (at, count, _) = template(&mut memory, &wanted);
        let (handle, found) = (memory.number(0), memory.number(0));
        self.call("C_FindObjectsInit", &[self.handle, at, count])?;
        self.call("C_FindObjects", &[self.handle, handle, 1, found])?;
        self.call("C_FindObjectsFinal", &[self.handle])?;
        match memory.read_number(found) {
            // A private key is not there once somebody has logged out; a public one is always.
            0 if class == CKO_PRIVATE_KEY => {
                Err(self.gone("a search for a private key", CKR_USER_NOT_LOGGED_IN))
            }
            count => {
                assert_eq!(count, 1, "a search for a key of class {class}");
                Ok(memory.read_number(handle) as usize)
            }
        }
    }

    /// From its beginning to its end.
    fn run(&self) -> Outcome {
        self.log_in()?;
        for _ in 0..self.below(16) {
            self.step()?;
        }
        self.call("C_CloseSession", &[self.handle])
    }

    fn step(&self) -> Outcome {
        match self.below(60) {
            0 => self.log_out(),
            1..4 => self.log_in(),
            4..8 => self.abandon(),
            8..20 => self.digest(),
            20..32 => self.objects(),
            32..44 if self.token.key_type == CKK_RSA => self.decrypt(),
            32..44 if self.token.key_type == CKK_EC => self.derive(),
            _ => self.sign(),
        }
    }

    /// A signature and a search that begin, and are cancelled.
    fn abandon(&self) -> Outcome {
        let private = self.find(CKO_PRIVATE_KEY)?;
        let mut memory = Memory::default();
        let mechanism = mechanism(&mut memory, self.token.signs, &Parameter::None);
        self.call("C_SignInit", &[self.handle, mechanism, private])?;
        self.call("C_FindObjectsInit", &[self.handle, 0, 0])?;
        let (handles, found) = (memory.room(16), memory.number(0));
        self.call("C_FindObjects", &[self.handle, handles, 2, found])?;
        self.call("C_FindObjectsFinal", &[self.handle])?;
        self.call("C_SessionCancel", &[self.handle, CKF_SIGN as usize])
    }

    /// A signature, which has to be right if there is one.
    fn sign(&self) -> Outcome {
        let public = self.find(CKO_PUBLIC_KEY)?;
        let private = self.find(CKO_PRIVATE_KEY)?;
        let mut memory = Memory::default();
        let mechanism = mechanism(&mut memory, self.token.signs, &Parameter::None);
        let text = format!("thread {} text {}", self.number, self.below(1 << 30));
        let data = memory.bytes(text.as_bytes());
        let (signature, len) = (memory.room(256), memory.number(256));
        let session = self.handle;
        self.call("C_SignInit", &[session, mechanism, private])?;
        self.call("C_Sign", &[session, data, text.len(), signature, len])?;
        let len = memory.read_number(len) as usize;
        self.call("C_VerifyInit", &[session, mechanism, public])?;
        self.call("C_Verify", &[session, data, text.len(), signature, len])?;
        // Another text has another signature.
        let other = memory.bytes(&vec![b'x'; text.len()]);
        self.call("C_VerifyInit", &[session, mechanism, public])?;
        let arguments = [session, other, text.len(), signature, len];
        match self.shared.module.call("C_Verify", &arguments) {
            CKR_SIGNATURE_INVALID => {}
            rv => return Err(self.gone("C_Verify of another text", rv)),
        }
        self.shared.verified.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// What RSA encrypts, it decrypts.
    fn decrypt(&self) -> Outcome {
        let public = self.find(CKO_PUBLIC_KEY)?;
        let private = self.find(CKO_PRIVATE_KEY)?;
        let mut memory = Memory::default();
        let mechanism = mechanism(&mut memory, CKM_RSA_PKCS, &Parameter::None);
        let data = memory.bytes(b"sixteen bytes...");
        let (sealed, sealed_len) = (memory.room(256), memory.number(256));
        let (opened, opened_len) = (memory.room(16), memory.number(16));
        let session = self.handle;
        self.call("C_EncryptInit", &[session, mechanism, public])?;
        self.call("C_Encrypt", &[session, data, 16, sealed, sealed_len])?;
        self.call("C_DecryptInit", &[session, mechanism, private])?;
        self.call("C_Decrypt", &[session, sealed, 256, opened, opened_len])?;
        assert_eq!(memory.read(opened), b"sixteen bytes...");
        Ok(())
    }

    /// With oneself one agrees on the same secret each time.
    fn derive(&self) -> Outcome {
        let public = self.find(CKO_PUBLIC_KEY)?;
        let private = self.find(CKO_PRIVATE_KEY)?;
        let mut memory = Memory::default();
        let (at, count, values) = template(&mut memory, &[(CKA_EC_POINT, Value::Room(67))]);
        self.call("C_GetAttributeValue", &[self.handle, public, at, count])?;
        // It is in an OCTET STRING.
        let point = memory.read(values[0])[2..].to_vec();
        let parameter = Parameter::Ecdh(CKD_NULL, Vec::new(), point);
        let mechanism = mechanism(&mut memory, CKM_ECDH1_DERIVE, &parameter);
        let mut secrets = Vec::new();
        for _ in 0..2 {
            let secret = [
                (CKA_CLASS, Value::Number(CKO_SECRET_KEY)),
                (CKA_KEY_TYPE, Value::Number(CKK_GENERIC_SECRET)),
                (CKA_VALUE_LEN, Value::Number(32)),
                (CKA_PRIVATE, Value::Bool(false)),
                (CKA_SENSITIVE, Value::Bool(false)),
                (CKA_EXTRACTABLE, Value::Bool(true)),
            ];
            let (at, count, _) = template(&mut memory, &secret);
            let place = memory.number(0);
            let arguments = [self.handle, mechanism, private, at, count, place];
            self.call("C_DeriveKey", &arguments)?;
            let secret = memory.read_number(place) as usize;
            let (at, count, values) = template(&mut memory, &[(CKA_VALUE, Value::Room(32))]);
            self.call("C_GetAttributeValue", &[self.handle, secret, at, count])?;
            secrets.push(memory.read(values[0]).to_vec());
            self.call("C_DestroyObject", &[self.handle, secret])?;
        }
        assert_eq!(secrets[0], secrets[1]);
        Ok(())
    }

    /// The same in one part and in two.
    fn digest(&self) -> Outcome {
        let mut memory = Memory::default();
        let mechanism = mechanism(&mut memory, CKM_SHA256, &Parameter::None);
        let text = vec![self.number as u8; 100];
        let data = memory.bytes(&text);
        let digest = |memory: &mut Memory| (memory.room(32), memory.number(32));
        let (whole, whole_len) = digest(&mut memory);
        let (parts, parts_len) = digest(&mut memory);
        self.call("C_DigestInit", &[self.handle, mechanism])?;
        self.call("C_Digest", &[self.handle, data, 100, whole, whole_len])?;
        self.call("C_DigestInit", &[self.handle, mechanism])?;
        self.call("C_DigestUpdate", &[self.handle, data, 41])?;
        self.call("C_DigestUpdate", &[self.handle, data + 41, 59])?;
        self.call("C_DigestFinal", &[self.handle, parts, parts_len])?;
        assert_eq!(memory.read(whole), memory.read(parts));
        Ok(())
    }

    /// A key that is made, used and destroyed.
    fn objects(&self) -> Outcome {
        let mut memory = Memory::default();
        let value = [self.number as u8; 16];
        let key = [
            (CKA_CLASS, Value::Number(CKO_SECRET_KEY)),
            (CKA_KEY_TYPE, Value::Number(CKK_AES)),
            (CKA_VALUE, Value::Bytes(value.to_vec())),
            (CKA_PRIVATE, Value::Bool(false)),
        ];
        let (at, count, _) = template(&mut memory, &key);
        let place = memory.number(0);
        self.call("C_CreateObject", &[self.handle, at, count, place])?;
        let key = memory.read_number(place) as usize;
        let (at, count, values) = template(&mut memory, &[(CKA_VALUE, Value::Room(16))]);
        self.call("C_GetAttributeValue", &[self.handle, key, at, count])?;
        assert_eq!(memory.read(values[0]), value);
        let mechanism = mechanism(&mut memory, CKM_AES_ECB, &Parameter::None);
        let data = memory.bytes(b"sixteen bytes...");
        let (sealed, sealed_len) = (memory.room(16), memory.number(16));
        let (opened, opened_len) = (memory.room(16), memory.number(16));
        self.call("C_EncryptInit", &[self.handle, mechanism, key])?;
        self.call("C_Encrypt", &[self.handle, data, 16, sealed, sealed_len])?;
        self.call("C_DecryptInit", &[self.handle, mechanism, key])?;
        self.call("C_Decrypt", &[self.handle, sealed, 16, opened, opened_len])?;
        assert_eq!(memory.read(opened), b"sixteen bytes...");
        self.call("C_DestroyObject", &[self.handle, key])
    }
}

/// Three tokens of one key each, whose files OpenSSL has written: logging in to them takes a moment.
fn three_tokens() -> Bed {
    let bed = Bed::empty();
    bed.token("rsa", &[Kind::Rsa2048]);
    bed.token("ec", &[Kind::P256]);
    bed.token("ed", &[Kind::Ed25519]);
    bed
}

#[test]
fn threads_live_with_an_end_and_a_new_beginning() {
    isolated(
        "threads_live_with_an_end_and_a_new_beginning",
        three_tokens,
        || {
            let seed = seed();
            println!("CTK_FUZZ_SEED={seed}");
            let module = Module::load();
            assert_eq!(module.call("C_Initialize", &[0]), CKR_OK, "C_Initialize");
            let shared = Shared {
                tokens: tokens(&module),
                module,
                finalized: Event::default(),
                done: AtomicBool::new(false),
                sessions: AtomicUsize::new(0),
                verified: AtomicUsize::new(0),
                gone: AtomicUsize::new(0),
            };
            thread::scope(|scope| {
                for number in 0..THREADS {
                    let shared = &shared;
                    scope.spawn(move || or_end(|| thread(shared, number, seed)));
                }
                or_end(|| rounds(&shared));
                shared.done.store(true, Ordering::Relaxed);
            });
            println!(
                "{} sessions, {} of them ended by something that had gone, {} signatures verified",
                shared.sessions.into_inner(),
                shared.gone.into_inner(),
                shared.verified.into_inner()
            );
            assert_eq!(shared.module.call("C_Finalize", &[0]), CKR_OK);
        },
    );
}

/// A panic ends this process, and with it the test: nobody waits for the other threads, who go on.
fn or_end(body: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(body)).is_err() {
        process::exit(1);
    }
}

fn thread(shared: &Shared, number: usize, seed: u64) {
    let random = RefCell::new(Random::new(seed.wrapping_add(number as u64)));
    while !shared.done.load(Ordering::Relaxed) {
        let Ok(session) = Session::open(shared, number, &random) else {
            continue;
        };
        shared.sessions.fetch_add(1, Ordering::Relaxed);
        if session.run().is_err() {
            shared.gone.fetch_add(1, Ordering::Relaxed);
            let _ = session.call("C_CloseSession", &[session.handle]);
        }
    }
}

/// Every round signs something, and then all of it ends in the middle.
fn rounds(shared: &Shared) {
    for round in 0..ROUNDS {
        let before = shared.verified.load(Ordering::Relaxed);
        let start = Instant::now();
        while shared.verified.load(Ordering::Relaxed) < before + SIGNATURES {
            assert!(
                start.elapsed() < LIMIT,
                "round {round}: no {SIGNATURES} signatures for {LIMIT:?}"
            );
            thread::sleep(Duration::from_millis(1));
        }
        shared.finalized.happens(|| {
            for name in ["C_Finalize", "C_Initialize"] {
                let rv = shared.module.call(name, &[0]);
                assert_eq!(rv, CKR_OK, "{name} is {}", rv_name(rv));
            }
        });
    }
}

fn seed() -> u64 {
    if let Ok(seed) = env::var("CTK_FUZZ_SEED") {
        return seed.parse().expect("CTK_FUZZ_SEED is a number");
    }
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("a time");
    env::var("CTK_FUZZ_SECONDS").map_or(1, |_| now.as_nanos() as u64)
}

fn tokens(module: &Module) -> Vec<Token> {
    let mut slots = [0usize; 4];
    let mut count = slots.len();
    let place = &raw mut count as usize;
    let rv = module.call("C_GetSlotList", &[1, slots.as_mut_ptr() as usize, place]);
    assert_eq!((rv, count), (CKR_OK, 3), "C_GetSlotList");
    let token = |slot: &usize| {
        let mut memory = Memory::default();
        let place = memory.room(size_of::<CK_TOKEN_INFO>());
        let rv = module.call("C_GetTokenInfo", &[*slot, place]);
        assert_eq!(rv, CKR_OK, "C_GetTokenInfo");
        // It begins with the label.
        let (key_type, signs) = match memory.read(place) {
            [b'r', b's', b'a', b' ', ..] => (CKK_RSA, CKM_SHA256_RSA_PKCS),
            [b'e', b'c', b' ', ..] => (CKK_EC, CKM_ECDSA_SHA256),
            [b'e', b'd', b' ', ..] => (CKK_EC_EDWARDS, CKM_EDDSA),
            other => panic!("a token that begins with {other:?}"),
        };
        Token {
            slot: *slot,
            key_type,
            signs,
            logged_out: Event::default(),
        }
    };
    slots[..count].iter().map(token).collect()
}
