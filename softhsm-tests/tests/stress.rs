//! Eight threads that use the module at once, while it is finalised and initialised again under them: no hang, no wrong answer.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use cryptoki_sys::*;
use softhsm_tests::{
    bed::{Bed, Kind, PIN},
    calls::{Memory, Parameter, Value, mechanism, rv_name, template},
    isolated::isolated,
    module::Module,
};

const THREADS: usize = 8;
/// How often the module is finalised under the threads.
const ROUNDS: usize = 100;
/// How long one round may take before somebody hangs. This machine may be slow and busy.
const LIMIT: Duration = Duration::from_secs(60);

/// What any call may answer when the module, the session or the login has gone meanwhile.
const GONE: &[CK_RV] = &[
    CKR_CRYPTOKI_NOT_INITIALIZED,
    CKR_SESSION_HANDLE_INVALID,
    CKR_SESSION_CLOSED,
    CKR_USER_NOT_LOGGED_IN,
    CKR_KEY_HANDLE_INVALID,
    CKR_OBJECT_HANDLE_INVALID,
    CKR_OPERATION_NOT_INITIALIZED,
    CKR_FUNCTION_CANCELED,
];

/// A call that went through, or one that ended because something has gone.
type Outcome = Result<(), CK_RV>;

struct Thread<'a> {
    module: &'a Module,
    /// A token each.
    slots: &'a [usize],
    number: usize,
}

impl Thread<'_> {
    #[track_caller]
    fn call(&self, name: &str, arguments: &[usize]) -> Outcome {
        match self.module.call(name, arguments) {
            CKR_OK => Ok(()),
            rv if GONE.contains(&rv) => Err(rv),
            rv => panic!("{name} is {}", rv_name(rv)),
        }
    }

    fn find(&self, session: usize, class: u64, key_type: u64) -> Result<usize, CK_RV> {
        let mut memory = Memory::default();
        let wanted = [
            (CKA_CLASS, Value::Number(class)),
            (CKA_KEY_TYPE, Value::Number(key_type)),
        ];
        let (at, count, _) = template(&mut memory, &wanted);
        let (handle, found) = (memory.number(0), memory.number(0));
        self.call("C_FindObjectsInit", &[session, at, count])?;
        self.call("C_FindObjects", &[session, handle, 1, found])?;
        self.call("C_FindObjectsFinal", &[session])?;
        // A private key is not there once somebody has logged out.
        match memory.read_number(found) {
            0 => Err(CKR_USER_NOT_LOGGED_IN),
            _ => Ok(memory.read_number(handle) as usize),
        }
    }

    /// One session from its beginning to its end.
    fn session(&self, turn: usize, verified: &AtomicUsize) -> Outcome {
        let mut memory = Memory::default();
        let place = memory.number(0);
        let slot = self.slots[turn % self.slots.len()];
        let flags = CKF_SERIAL_SESSION as usize;
        self.call("C_OpenSession", &[slot, flags, 0, 0, place])?;
        let session = memory.read_number(place) as usize;
        let pin = PIN.as_bytes();
        let login = [session, CKU_USER as usize, pin.as_ptr() as usize, pin.len()];
        let rv = self.module.call("C_Login", &login);
        assert!(
            [CKR_OK, CKR_USER_ALREADY_LOGGED_IN].contains(&rv) || GONE.contains(&rv),
            "C_Login is {}",
            rv_name(rv)
        );
        for part in 0..8 {
            self.sign(session, turn + part, verified)?;
            self.digest(session, turn + part)?;
            self.objects(session)?;
        }
        self.call("C_CloseSession", &[session])
    }

    /// A signature, which has to be right if there is one.
    fn sign(&self, session: usize, turn: usize, verified: &AtomicUsize) -> Outcome {
        // The token of this session has a key of one type.
        let types = [
            (CKM_SHA256_RSA_PKCS, CKK_RSA),
            (CKM_ECDSA_SHA256, CKK_EC),
            (CKM_EDDSA, CKK_EC_EDWARDS),
        ];
        let keys = types.map(|(kind, key_type)| {
            let key = self.find(session, CKO_PUBLIC_KEY, key_type);
            (kind, key_type, key)
        });
        let Some((kind, key_type, public)) = keys.into_iter().find(|(.., key)| key.is_ok()) else {
            return Err(CKR_CRYPTOKI_NOT_INITIALIZED);
        };
        let private = self.find(session, CKO_PRIVATE_KEY, key_type)?;
        let public = public?;
        let mut memory = Memory::default();
        let mechanism = mechanism(&mut memory, kind, &Parameter::None);
        let text = format!("thread {} turn {turn}", self.number);
        let data = memory.bytes(text.as_bytes());
        let (signature, len) = (memory.room(256), memory.number(256));
        self.call("C_SignInit", &[session, mechanism, private])?;
        self.call("C_Sign", &[session, data, text.len(), signature, len])?;
        let len = memory.read_number(len) as usize;
        self.call("C_VerifyInit", &[session, mechanism, public])?;
        self.call("C_Verify", &[session, data, text.len(), signature, len])?;
        // Another text has another signature.
        let other = memory.bytes(&vec![b'x'; text.len()]);
        self.call("C_VerifyInit", &[session, mechanism, public])?;
        let rv = self
            .module
            .call("C_Verify", &[session, other, text.len(), signature, len]);
        assert!(
            rv == CKR_SIGNATURE_INVALID || GONE.contains(&rv),
            "{}",
            rv_name(rv)
        );
        verified.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The same in one part and in two.
    fn digest(&self, session: usize, turn: usize) -> Outcome {
        let mut memory = Memory::default();
        let mechanism = mechanism(&mut memory, CKM_SHA256, &Parameter::None);
        let text = vec![turn as u8; 100];
        let data = memory.bytes(&text);
        let digest = |memory: &mut Memory| (memory.room(32), memory.number(32));
        let (whole, whole_len) = digest(&mut memory);
        let (parts, parts_len) = digest(&mut memory);
        self.call("C_DigestInit", &[session, mechanism])?;
        self.call("C_Digest", &[session, data, 100, whole, whole_len])?;
        self.call("C_DigestInit", &[session, mechanism])?;
        self.call("C_DigestUpdate", &[session, data, 41])?;
        self.call("C_DigestUpdate", &[session, data + 41, 59])?;
        self.call("C_DigestFinal", &[session, parts, parts_len])?;
        assert_eq!(memory.read(whole), memory.read(parts));
        Ok(())
    }

    /// A key that is made, used and destroyed.
    fn objects(&self, session: usize) -> Outcome {
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
        self.call("C_CreateObject", &[session, at, count, place])?;
        let key = memory.read_number(place) as usize;
        let (at, count, values) = template(&mut memory, &[(CKA_VALUE, Value::Room(16))]);
        self.call("C_GetAttributeValue", &[session, key, at, count])?;
        assert_eq!(memory.read(values[0]), value);
        let mechanism = mechanism(&mut memory, CKM_AES_ECB, &Parameter::None);
        let data = memory.bytes(b"sixteen bytes...");
        let (sealed, sealed_len) = (memory.room(16), memory.number(16));
        let (opened, opened_len) = (memory.room(16), memory.number(16));
        self.call("C_EncryptInit", &[session, mechanism, key])?;
        self.call("C_Encrypt", &[session, data, 16, sealed, sealed_len])?;
        self.call("C_DecryptInit", &[session, mechanism, key])?;
        self.call("C_Decrypt", &[session, sealed, 16, opened, opened_len])?;
        assert_eq!(memory.read(opened), b"sixteen bytes...");
        self.call("C_DestroyObject", &[session, key])
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
            let module = Module::load();
            let slots = slots(&module);
            let (done, turns, verified) = (
                AtomicBool::new(false),
                AtomicUsize::new(0),
                AtomicUsize::new(0),
            );
            thread::scope(|scope| {
                for number in 0..THREADS {
                    let (module, slots, done, turns, verified) =
                        (&module, &slots, &done, &turns, &verified);
                    scope.spawn(move || {
                        let thread = Thread {
                            module,
                            slots,
                            number,
                        };
                        while !done.load(Ordering::Relaxed) {
                            let turn = turns.fetch_add(1, Ordering::Relaxed);
                            // A panic ends this process, and with it the test: nobody waits for the others.
                            let run =
                                std::panic::AssertUnwindSafe(|| thread.session(turn, verified));
                            if std::panic::catch_unwind(run).is_err() {
                                std::process::exit(1);
                            }
                        }
                    });
                }
                for round in 0..ROUNDS {
                    // Every round signs something, and then all of it ends in the middle.
                    let before = verified.load(Ordering::Relaxed);
                    let start = Instant::now();
                    while verified.load(Ordering::Relaxed) < before + 20 {
                        if start.elapsed() > LIMIT {
                            eprintln!("round {round}: no signature for {LIMIT:?}");
                            std::process::exit(1);
                        }
                        thread::sleep(Duration::from_millis(1));
                    }
                    let rv = module.call("C_Finalize", &[0]);
                    assert_eq!(rv, CKR_OK, "C_Finalize is {}", rv_name(rv));
                    let rv = module.call("C_Initialize", &[0]);
                    assert_eq!(rv, CKR_OK, "C_Initialize is {}", rv_name(rv));
                }
                done.store(true, Ordering::Relaxed);
            });
            println!(
                "{} sessions, {} signatures verified",
                turns.into_inner(),
                verified.into_inner()
            );
            assert_eq!(module.call("C_Finalize", &[0]), CKR_OK);
        },
    );
}

fn slots(module: &Module) -> Vec<usize> {
    assert_eq!(module.call("C_Initialize", &[0]), CKR_OK, "C_Initialize");
    let mut slots = [0usize; 4];
    let mut count = slots.len();
    let place = &raw mut count as usize;
    let rv = module.call("C_GetSlotList", &[1, slots.as_mut_ptr() as usize, place]);
    assert_eq!((rv, count), (CKR_OK, 3), "C_GetSlotList");
    slots[..3].to_vec()
}
