//! Every function that takes data, a key, a mechanism or a template, with what is right but for one thing: a length that no memory has,
//! an odd address, no operation or one too many, a key of another type, a parameter of another size. Each has one answer.

mod table;

use std::collections::HashMap;

use cryptoki_sys::*;
use softhsm_tests::{
    bed::{Bed, Kind, PIN},
    calls::{Memory, Parameter, Value, place_parameter, rv_name, template},
    isolated::isolated,
    module::Module,
};
use table::{Arg, Good, S, good, mechanisms};

/// Lengths that no memory has: they overflow a pointer, or a signed length.
const HUGE: [usize; 3] = [usize::MAX, usize::MAX - 7, 1 << 63];

/// What is wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Nothing,
    /// The length by value at this place among the arguments, and what it is instead.
    Length(usize, usize),
    /// All that is pointed to is at odd addresses.
    Unaligned,
    /// All rooms are said to be as large as a number can say.
    VastRooms,
}

struct Sweep {
    module: Module,
    slot: usize,
    handles: HashMap<&'static str, usize>,
}

/// What a call answered, and what it wrote into its rooms.
type Answer = (CK_RV, Vec<Vec<u8>>);

impl Sweep {
    fn start() -> Self {
        let module = Module::load();
        let mut sweep = Self {
            module,
            slot: 0,
            handles: HashMap::new(),
        };
        sweep.must("C_Initialize", &[0]);
        let (mut slot, mut count) = (0usize, 1usize);
        let (at, place) = (&raw mut slot as usize, &raw mut count as usize);
        sweep.must("C_GetSlotList", &[1, at, place]);
        sweep.slot = slot;
        let home = sweep.open();
        sweep.handles.insert("home", home);
        let pin = PIN.as_bytes();
        sweep.must(
            "C_Login",
            &[home, CKU_USER as usize, pin.as_ptr() as usize, pin.len()],
        );
        for (name, class, key_type) in [
            ("rsa private", CKO_PRIVATE_KEY, CKK_RSA),
            ("rsa public", CKO_PUBLIC_KEY, CKK_RSA),
            ("ec private", CKO_PRIVATE_KEY, CKK_EC),
            ("ec public", CKO_PUBLIC_KEY, CKK_EC),
            ("ed private", CKO_PRIVATE_KEY, CKK_EC_EDWARDS),
            ("ed public", CKO_PUBLIC_KEY, CKK_EC_EDWARDS),
        ] {
            let wanted = vec![
                (CKA_CLASS, Value::Number(class)),
                (CKA_KEY_TYPE, Value::Number(key_type)),
            ];
            let handle = sweep.find(home, &wanted);
            sweep.handles.insert(name, handle);
        }
        let certificate = sweep.find(home, &[(CKA_CLASS, Value::Number(CKO_CERTIFICATE))]);
        sweep.handles.insert("certificate", certificate);
        for (name, key_type) in [("aes", CKK_AES), ("generic", CKK_GENERIC_SECRET)] {
            let mut memory = Memory::default();
            let (at, count, _) = template(&mut memory, &table::secret(key_type));
            let place = memory.number(0);
            sweep.must("C_CreateObject", &[home, at, count, place]);
            sweep
                .handles
                .insert(name, memory.read_number(place) as usize);
        }
        sweep
    }

    #[track_caller]
    fn must(&self, function: &str, arguments: &[usize]) {
        let rv = self.module.call(function, arguments);
        assert_eq!(rv, CKR_OK, "{function} is {}", rv_name(rv));
    }

    fn open(&self) -> usize {
        let mut session = 0usize;
        let place = &raw mut session as usize;
        self.must(
            "C_OpenSession",
            &[self.slot, CKF_SERIAL_SESSION as usize, 0, 0, place],
        );
        session
    }

    fn find(&self, session: usize, wanted: &[(u64, Value)]) -> usize {
        let mut memory = Memory::default();
        let (at, len, _) = template(&mut memory, wanted);
        let (handle, count) = (memory.number(0), memory.number(0));
        self.must("C_FindObjectsInit", &[session, at, len]);
        self.must("C_FindObjects", &[session, handle, 1, count]);
        self.must("C_FindObjectsFinal", &[session]);
        assert_eq!(memory.read_number(count), 1, "{wanted:x?}");
        memory.read_number(handle) as usize
    }

    /// Makes a call in a session.
    fn call(&self, session: usize, function: &str, arguments: &[Arg], fault: Fault) -> Answer {
        let mut memory = Memory::default();
        let mut words = Vec::new();
        let mut rooms = Vec::new();
        for argument in arguments {
            self.place(
                session,
                argument,
                fault,
                &mut memory,
                &mut words,
                &mut rooms,
            );
        }
        if let Fault::Length(at, len) = fault {
            words[at] = len;
        }
        let rv = self.module.call(function, &words);
        assert!(
            memory.is_whole(),
            "{function}, {fault:?}: a byte beyond a buffer"
        );
        let shift = usize::from(fault == Fault::Unaligned);
        let written = rooms
            .into_iter()
            .map(|room| memory.read(room)[shift..].to_vec());
        (rv, written.collect())
    }

    fn place(
        &self,
        session: usize,
        argument: &Arg,
        fault: Fault,
        memory: &mut Memory,
        words: &mut Vec<usize>,
        rooms: &mut Vec<usize>,
    ) {
        let shift = usize::from(fault == Fault::Unaligned);
        let put = |memory: &mut Memory, bytes: &[u8]| match fault {
            Fault::Unaligned => memory.unaligned(bytes),
            _ => memory.bytes(bytes),
        };
        match argument {
            Arg::Session => words.push(session),
            Arg::Slot => words.push(self.slot),
            Arg::Key(name) => words.push(self.handles[name]),
            Arg::Number(number) => words.push(*number),
            Arg::Bytes(bytes) => words.extend([put(memory, bytes), bytes.len()]),
            Arg::Mechanism(kind, parameter) => {
                let (at, len) = place_parameter(memory, parameter);
                // The parameter itself at an odd address too.
                let at = match at {
                    0 => 0,
                    _ => {
                        let bytes = memory.read(at).to_vec();
                        put(memory, &bytes)
                    }
                };
                let mechanism = memory.words(&[*kind as usize, at, len]);
                let bytes = memory.read(mechanism).to_vec();
                words.push(put(memory, &bytes));
            }
            Arg::Template(entries) => {
                let (at, count, _) = template(memory, entries);
                let mut bytes = memory.read(at).to_vec();
                if shift == 1 {
                    // The values at odd addresses too.
                    for (entry, (_, value)) in bytes.chunks_exact_mut(24).zip(entries) {
                        let old = usize::from_ne_bytes(entry[8..16].try_into().expect("a pointer"));
                        if !matches!(value, Value::Null(_)) {
                            let value = memory.read(old).to_vec();
                            let new = memory.unaligned(&value);
                            entry[8..16].copy_from_slice(&new.to_ne_bytes());
                        }
                    }
                }
                words.extend([put(memory, &bytes), count]);
            }
            Arg::Room(len) => {
                let told = match fault {
                    Fault::VastRooms => usize::MAX,
                    _ => *len,
                };
                let room = put(memory, &vec![0xCC; *len]);
                rooms.push(room - shift);
                words.extend([room, put(memory, &told.to_ne_bytes())]);
            }
            Arg::Fill(len) => words.extend([put(memory, &vec![0xCC; *len]), *len]),
            Arg::Place(len) => words.push(put(memory, &vec![0; *len])),
            Arg::Handles(count) => {
                words.extend([
                    put(memory, &vec![0; count * 8]),
                    *count,
                    put(memory, &[0; 8]),
                ]);
            }
        }
    }

    /// A new session in which everything before this call has been done.
    fn prepared(&self, good: &Good) -> usize {
        let session = self.open();
        for (function, arguments) in &good.before {
            let (rv, _) = self.call(session, function, arguments, Fault::Nothing);
            assert_eq!(
                rv,
                CKR_OK,
                "{} before {} is {}",
                function,
                good.function,
                rv_name(rv)
            );
        }
        session
    }

    /// A call in a session of its own that ends with it.
    fn once(&self, good: &Good, fault: Fault) -> Answer {
        let session = self.prepared(good);
        let answer = self.call(session, good.function, &good.arguments, fault);
        self.must("C_CloseSession", &[session]);
        answer
    }

    #[track_caller]
    fn answers(&self, good: &Good, fault: Fault, wanted: CK_RV) -> Vec<Vec<u8>> {
        let (rv, written) = self.once(good, fault);
        assert_eq!(
            rv_name(rv),
            rv_name(wanted),
            "{} with {:x?}, {fault:x?}",
            good.function,
            good.arguments
        );
        written
    }
}

/// Which words of a call are lengths by value.
fn lengths(arguments: &[Arg]) -> Vec<usize> {
    let mut at = 0;
    let mut lengths = Vec::new();
    for argument in arguments {
        let words = match argument {
            Arg::Bytes(_) | Arg::Template(_) | Arg::Fill(_) | Arg::Handles(_) => {
                lengths.push(at + 1);
                2 + usize::from(matches!(argument, Arg::Handles(_)))
            }
            Arg::Room(_) => 2,
            _ => 1,
        };
        at += words;
    }
    lengths
}

fn tokens() -> Bed {
    Bed::with(&[Kind::Rsa2048, Kind::P256, Kind::Ed25519]).0
}

#[test]
fn lengths_that_no_memory_has() {
    isolated("lengths_that_no_memory_has", tokens, || {
        let sweep = Sweep::start();
        let mut tried = 0;
        for good in good() {
            sweep.answers(&good, Fault::Nothing, CKR_OK);
            for at in lengths(&good.arguments) {
                for len in HUGE {
                    sweep.answers(&good, Fault::Length(at, len), CKR_ARGUMENTS_BAD);
                    tried += 1;
                }
            }
        }
        assert!(tried > 100, "{tried}");
    });
}

#[test]
fn odd_addresses_and_vast_rooms_make_no_difference() {
    isolated(
        "odd_addresses_and_vast_rooms_make_no_difference",
        tokens,
        || {
            let sweep = Sweep::start();
            for good in good() {
                let plain = sweep.answers(&good, Fault::Nothing, CKR_OK);
                for fault in [Fault::Unaligned, Fault::VastRooms] {
                    let written = sweep.answers(&good, fault, CKR_OK);
                    let lens =
                        |written: &[Vec<u8>]| written.iter().map(Vec::len).collect::<Vec<_>>();
                    assert_eq!(lens(&written), lens(&plain), "{}, {fault:?}", good.function);
                    if !good.random {
                        assert_eq!(written, plain, "{}, {fault:?}", good.function);
                    }
                }
            }
        },
    );
}

#[test]
fn functions_in_the_wrong_order() {
    isolated("functions_in_the_wrong_order", tokens, || {
        let sweep = Sweep::start();
        for good in good() {
            // What was begun is another operation, or none.
            if !good.before.is_empty() {
                let session = sweep.open();
                let (rv, _) = sweep.call(session, good.function, &good.arguments, Fault::Nothing);
                assert_eq!(
                    rv_name(rv),
                    "CKR_OPERATION_NOT_INITIALIZED",
                    "{}",
                    good.function
                );
                sweep.must("C_CloseSession", &[session]);
            }
            if good.function.ends_with("Init") {
                let session = sweep.prepared(&good);
                for wanted in [CKR_OK, CKR_OPERATION_ACTIVE, CKR_OPERATION_ACTIVE] {
                    let (rv, _) =
                        sweep.call(session, good.function, &good.arguments, Fault::Nothing);
                    assert_eq!(rv_name(rv), rv_name(wanted), "{}", good.function);
                }
                sweep.must("C_CloseSession", &[session]);
            }
        }
    });
}

#[test]
fn keys_of_another_type() {
    isolated("keys_of_another_type", tokens, || {
        let sweep = Sweep::start();
        let session = sweep.open();
        for (function, mechanism, parameter, right) in mechanisms() {
            for key in [
                "rsa private",
                "rsa public",
                "ec private",
                "ec public",
                "ed private",
                "aes",
                "generic",
            ] {
                let arguments = [
                    S,
                    Arg::Mechanism(mechanism, parameter.clone()),
                    Arg::Key(key),
                ];
                let (rv, _) = sweep.call(session, function, &arguments, Fault::Nothing);
                let wanted = if right.contains(&key) {
                    CKR_OK
                } else {
                    CKR_KEY_TYPE_INCONSISTENT
                };
                assert_eq!(
                    rv_name(rv),
                    rv_name(wanted),
                    "{function} {mechanism:#x} with {key}"
                );
                if rv == CKR_OK {
                    // NULL for a mechanism ends it.
                    sweep.must(function, &[session, 0, 0]);
                }
            }
            for (handle, what) in [
                (0, "none"),
                (0xDEAD_BEEF, "unknown"),
                (sweep.handles["certificate"], "certificate"),
            ] {
                let arguments = [
                    S,
                    Arg::Mechanism(mechanism, parameter.clone()),
                    Arg::Number(handle),
                ];
                let (rv, _) = sweep.call(session, function, &arguments, Fault::Nothing);
                assert_eq!(
                    rv_name(rv),
                    "CKR_KEY_HANDLE_INVALID",
                    "{function} {mechanism:#x}: {what}"
                );
            }
        }
    });
}

#[test]
fn parameters_of_another_size() {
    isolated("parameters_of_another_size", tokens, || {
        let sweep = Sweep::start();
        let session = sweep.open();
        for (function, mechanism, parameter, right) in mechanisms() {
            let mut memory = Memory::default();
            let (_, size) = place_parameter(&mut memory, &parameter);
            for len in (0..=64).chain([256, 4096]) {
                // None is right where none is taken, and what EdDSA takes is optional.
                if len == size || mechanism == CKM_EDDSA && len == size_of::<CK_EDDSA_PARAMS>() {
                    continue;
                }
                let parameter = Parameter::Raw(vec![0; len]);
                let arguments = [S, Arg::Mechanism(mechanism, parameter), Arg::Key(right[0])];
                let (rv, _) = sweep.call(session, function, &arguments, Fault::Nothing);
                assert_eq!(
                    rv_name(rv),
                    "CKR_MECHANISM_PARAM_INVALID",
                    "{function} {mechanism:#x} with {len} bytes of parameter"
                );
            }
            // A length without a parameter, and lengths that no memory has.
            for len in [size.max(8), usize::MAX, 1 << 63] {
                let words = memory.words(&[mechanism as usize, 0, len]);
                let rv = sweep
                    .module
                    .call(function, &[session, words, sweep.handles[right[0]]]);
                assert!(
                    [CKR_MECHANISM_PARAM_INVALID, CKR_ARGUMENTS_BAD].contains(&rv),
                    "{function} {mechanism:#x} with NULL of {len:#x} bytes: {}",
                    rv_name(rv)
                );
            }
        }
    });
}
