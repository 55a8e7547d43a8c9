//! Calls in any order with damaged templates, mechanism parameters, lengths and handles: no panic, no byte beyond a buffer, no
//! private value.
//!
//! By default a short walk that takes the same turns each time. With CTK_FUZZ_SECONDS=60 a walk of that length, whose turns follow
//! from a number that is printed; CTK_FUZZ_SEED takes them again. What crashes or hangs is printed, too.

mod functions;
mod random;
mod secrets;

use std::{
    env,
    fs::File,
    os::unix::fs::FileExt,
    time::{Duration, Instant, SystemTime},
};

use cryptoki_sys::*;
use functions::{FUNCTIONS, Of};
use random::Arguments;
use secrets::{LAST_CALL, LOG, SECRETS, holds, prepare};
use softhsm_tests::{
    bed::{PIN, WRONG_PIN},
    calls::{Memory, Value, place_parameter, rv_name, template},
    isolated::isolated,
    module::Module,
    random::Random,
};

/// How many calls the short walk has.
const SHORT: u64 = 20_000;

struct Walk {
    module: Module,
    random: Random,
    slot: usize,
    sessions: Vec<usize>,
    objects: Vec<u64>,
    mechanisms: Vec<u64>,
    /// What is in no answer.
    secrets: Vec<Vec<u8>>,
    last_call: File,
    accepted: u64,
    /// Operations that have begun: the session, and how their functions' names go on after C_.
    running: Vec<(usize, &'static str)>,
    /// The session of the next call, if it is to be a certain one.
    session: Option<usize>,
}

/// What a call has in memory besides its arguments.
#[derive(Default)]
struct Call {
    memory: Memory,
    arguments: Vec<usize>,
    said: String,
    new: Vec<usize>,
    /// Buffers whose length is told, with that length's place.
    out: Vec<(usize, usize)>,
}

impl Walk {
    fn start(&mut self) {
        assert_eq!(
            self.module.call("C_Initialize", &[0]),
            CKR_OK,
            "C_Initialize"
        );
        let mut slots = [0usize; 4];
        let mut count = slots.len();
        let place = &raw mut count as usize;
        let rv = self
            .module
            .call("C_GetSlotList", &[1, slots.as_mut_ptr() as usize, place]);
        assert_eq!((rv, count), (CKR_OK, 1), "C_GetSlotList");
        self.slot = slots[0];
        let mut list = [0u64; 256];
        let mut count = list.len();
        let place = &raw mut count as usize;
        let rv = self.module.call(
            "C_GetMechanismList",
            &[self.slot, list.as_mut_ptr() as usize, place],
        );
        assert_eq!(rv, CKR_OK, "C_GetMechanismList");
        self.mechanisms = list[..count].to_vec();
        self.sessions.clear();
        self.running.clear();
        self.objects.clear();
        self.open();
        self.log_in();
        self.find();
    }

    fn open(&mut self) {
        let mut session = 0usize;
        let flags = (CKF_SERIAL_SESSION
            | if self.random.one_in(2) {
                CKF_RW_SESSION
            } else {
                0
            }) as usize;
        let place = &raw mut session as usize;
        let rv = self
            .module
            .call("C_OpenSession", &[self.slot, flags, 0, 0, place]);
        assert_eq!(rv, CKR_OK, "C_OpenSession");
        self.sessions.push(session);
    }

    fn log_in(&mut self) {
        let pin = PIN.as_bytes();
        let rv = self.module.call(
            "C_Login",
            &[
                self.sessions[0],
                CKU_USER as usize,
                pin.as_ptr() as usize,
                pin.len(),
            ],
        );
        assert!(
            [CKR_OK, CKR_USER_ALREADY_LOGGED_IN].contains(&rv),
            "C_Login: {}",
            rv_name(rv)
        );
    }

    /// All objects that there are.
    fn find(&mut self) {
        let mut all = [0u64; 256];
        let mut count = 0usize;
        let session = self.sessions[0];
        self.module.call("C_FindObjectsFinal", &[session]);
        assert_eq!(
            self.module.call("C_FindObjectsInit", &[session, 0, 0]),
            CKR_OK
        );
        let place = &raw mut count as usize;
        let rv = self.module.call(
            "C_FindObjects",
            &[session, all.as_mut_ptr() as usize, 256, place],
        );
        assert_eq!(rv, CKR_OK, "C_FindObjects");
        assert_eq!(self.module.call("C_FindObjectsFinal", &[session]), CKR_OK);
        self.objects = all[..count].to_vec();
    }

    /// One call, and everything that has to be true of it.
    fn step(&mut self, number: u64) {
        if number % 8000 == 7999 {
            assert_eq!(self.module.call("C_Finalize", &[0]), CKR_OK, "C_Finalize");
            self.start();
        }
        if self.sessions.is_empty() || (self.sessions.len() < 4 && self.random.one_in(50)) {
            self.open();
        }
        if number.is_multiple_of(64) {
            self.log_in();
            self.find();
        }
        let (name, kinds) = self.function();
        // The costly ones seldom.
        if matches!(
            name,
            "C_SetPIN" | "C_LoginUser" | "C_Login" | "C_GenerateKeyPair"
        ) && !self.random.one_in(20)
        {
            return;
        }
        // And those after which there is less to try, or a login, which is meant to take its time.
        let ends_login = name == "C_Logout" || name == "C_CloseSession" && self.sessions.len() == 1;
        let ends = matches!(name, "C_CloseSession" | "C_DestroyObject");
        if ends_login && !self.random.one_in(60) || ends && !self.random.one_in(8) {
            return;
        }
        let mut call = Call::default();
        for kind in kinds {
            self.argument(*kind, name, &mut call);
        }
        let mut line = format!("{number} {name} {} {:x?}\n", call.said, call.arguments);
        line.truncate(4000);
        self.last_call
            .write_at(format!("{line:<4001}").as_bytes(), 0)
            .expect("last-call");
        let rv = self.module.call(name, &call.arguments);
        let told = rv_name(rv);
        assert_ne!(rv, CKR_GENERAL_ERROR, "{line}");
        assert!(!told.starts_with("0x"), "{told}: {line}");
        assert!(
            call.memory.is_whole(),
            "{told}, a byte beyond a buffer: {line}"
        );
        for secret in &self.secrets {
            let shows = |bytes: &[u8]| holds(bytes, secret);
            assert!(
                !call.memory.contents().any(shows),
                "{told}, a private value: {line}"
            );
        }
        if rv == CKR_OK {
            self.accepted += 1;
            if let Some(operation) = name.strip_suffix("Init") {
                self.running.push((call.arguments[0], &operation[2..]));
            }
            for (room, at) in &call.out {
                let len = call.memory.read_number(*at) as usize;
                let units = if name == "C_GetSlotList" { 8 } else { 1 };
                let room = call.memory.read(*room).len();
                assert!(
                    len * units <= room,
                    "{len} bytes in a room of {room}: {line}"
                );
            }
            for at in &call.new {
                self.objects.push(call.memory.read_number(*at));
            }
            if name == "C_CloseSession" {
                self.sessions
                    .retain(|session| *session != call.arguments[0]);
            }
        }
    }

    /// The next function. Half of the time one for an operation that has begun, in its session.
    fn function(&mut self) -> (&'static str, &'static [Of]) {
        self.session = None;
        if self.running.is_empty() || self.random.one_in(2) {
            return self.random.one_of(FUNCTIONS);
        }
        let at = self.random.below(self.running.len());
        let (session, operation) = self.running[at];
        if self.running.len() > 20 || self.random.one_in(8) {
            self.running.swap_remove(at);
        }
        let of_it = |(name, _): &&(&'static str, &'static [Of])| {
            name.starts_with("C_") && name[2..].starts_with(operation) && !name.ends_with("Init")
        };
        let functions: Vec<_> = FUNCTIONS.iter().filter(of_it).copied().collect();
        self.session = Some(session);
        match functions[..] {
            [] => self.random.one_of(FUNCTIONS),
            _ => self.random.one_of(&functions),
        }
    }

    fn argument(&mut self, kind: Of, function: &str, call: &mut Call) {
        match kind {
            Of::Session => {
                let session = match self.random.below(40) {
                    1.. if self.session.is_some() => self.session.unwrap_or_default(),
                    0 => self.random.number() as usize,
                    _ => self.random.one_of(&self.sessions),
                };
                call.arguments.push(session);
            }
            Of::Slot => {
                let slot = if self.random.one_in(8) {
                    self.random.number() as usize
                } else {
                    self.slot
                };
                call.arguments.push(slot);
            }
            Of::Object => {
                let object = match self.random.below(20) {
                    0 => self.random.number(),
                    _ if self.objects.is_empty() => 0,
                    _ => self.random.one_of(&self.objects),
                };
                call.arguments.push(object as usize);
            }
            Of::Mechanism => self.mechanism(call),
            Of::Template => {
                let entries = self.random.template(function);
                self.place_template(&entries, call);
            }
            Of::Wanted => {
                let entries: Vec<_> = (0..self.random.below(6))
                    .map(|_| {
                        let room = self.random.one_of(&[0usize, 1, 4, 8, 20, 300, 5000]);
                        let value = if self.random.one_in(3) {
                            Value::Null(room)
                        } else {
                            Value::Room(room)
                        };
                        (self.random.attribute(), value)
                    })
                    .collect();
                let (at, count, _) = template(&mut call.memory, &entries);
                call.said += &format!("{entries:x?}");
                call.arguments.extend([at, count]);
            }
            Of::In => {
                let len = self.random.one_of(&[
                    0usize, 1, 8, 15, 16, 20, 32, 40, 48, 64, 100, 128, 256, 257, 512, 1200,
                ]);
                let bytes = self.random.bytes(len);
                let at = if self.random.one_in(4) {
                    call.memory.unaligned(&bytes)
                } else {
                    call.memory.bytes(&bytes)
                };
                match self.random.below(20) {
                    0 => call.arguments.extend([0, self.random.number() as usize]),
                    1 => call.arguments.extend([at, usize::MAX]),
                    2 => call.arguments.extend([at, isize::MAX as usize + 1]),
                    _ => call.arguments.extend([at, len]),
                }
            }
            Of::Out => {
                let len = self
                    .random
                    .one_of(&[0usize, 1, 7, 8, 15, 16, 20, 63, 64, 255, 256, 2000, 5000]);
                match self.random.below(12) {
                    0 => {
                        let at = call.memory.number(self.random.number());
                        call.arguments.extend([0, at]);
                    }
                    1 => {
                        let room = call.memory.room(len);
                        call.arguments.extend([room, 0]);
                    }
                    _ => {
                        let (room, at) = (call.memory.room(len), call.memory.number(0));
                        let told = if function == "C_GetSlotList" {
                            len / 8
                        } else {
                            len
                        };
                        // SAFETY: the place is this call's own.
                        unsafe { *(at as *mut u64) = told as u64 };
                        call.out.push((room, at));
                        call.arguments.extend([room, at]);
                    }
                }
            }
            Of::Fill => {
                let len = self.random.one_of(&[0usize, 1, 100, 5000]);
                let room = if self.random.one_in(8) {
                    0
                } else {
                    call.memory.room(len)
                };
                call.arguments.extend([room, len]);
            }
            Of::New => {
                if self.random.one_in(20) {
                    call.arguments.push(0);
                } else {
                    let at = call.memory.number(0);
                    call.new.push(at);
                    call.arguments.push(at);
                }
            }
            Of::Info => {
                let at = if self.random.one_in(8) {
                    0
                } else {
                    call.memory.room(1024)
                };
                call.arguments.push(at);
            }
            Of::Found => {
                let count = self.random.below(5);
                let (room, at) = (call.memory.room(count * 8), call.memory.number(0));
                call.arguments.extend([room, count, at]);
            }
            Of::Parameter => {
                let parameter = self.random.parameter(0);
                let (at, len) = place_parameter(&mut call.memory, &parameter);
                call.arguments.extend([at, len]);
            }
            Of::Flags => {
                let number = match self.random.below(3) {
                    0 => self.random.number(),
                    1 => self.random.one_of(&self.mechanisms),
                    _ => self.random.below(4) as u64,
                };
                call.arguments.push(number as usize);
            }
            Of::Pin => {
                let pin = self.random.one_of(&[PIN, WRONG_PIN, ""]);
                let at = call.memory.bytes(pin.as_bytes());
                call.arguments.extend([at, pin.len()]);
            }
        }
    }

    fn mechanism(&mut self, call: &mut Call) {
        let kind = match self.random.below(30) {
            0 => self.random.number(),
            _ => self.random.one_of(&self.mechanisms),
        };
        let parameter = if self.random.one_in(3) {
            self.random.parameter(kind)
        } else {
            self.random.fitting(kind)
        };
        call.said += &format!("{kind:#x} {parameter:x?} ");
        let (at, len) = place_parameter(&mut call.memory, &parameter);
        // A structure that is told to be shorter than it is, or one that is not there.
        let (at, len) = match self.random.below(20) {
            0 => match self.random.below(len + 1) {
                // The first 40 bytes of a CK_GCM_PARAMS would be one of 2.40, with a number for a pointer.
                40 => (at, 39),
                shorter => (at, shorter),
            },
            1 => (0, len),
            2 => (at, usize::MAX),
            _ => (at, len),
        };
        let words: Vec<u8> = [kind as usize, at, len]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        let place = match self.random.below(12) {
            0 => 0,
            1 => call.memory.unaligned(&words),
            _ => call.memory.bytes(&words),
        };
        call.arguments.push(place);
    }

    fn place_template(&mut self, entries: &[(u64, Value)], call: &mut Call) {
        let (at, count, _) = template(&mut call.memory, entries);
        call.said += &format!("{entries:x?} ");
        match self.random.below(30) {
            0 => call.arguments.extend([0, count]),
            1 => call.arguments.extend([at, usize::MAX]),
            2 => call.arguments.extend([at, isize::MAX as usize / 24 + 1]),
            3 => {
                let copy = call.memory.read(at).to_vec();
                let at = call.memory.unaligned(&copy);
                call.arguments.extend([at, count]);
            }
            _ => call.arguments.extend([at, count]),
        }
    }
}

#[test]
fn damaged_arguments_do_no_harm() {
    isolated("damaged_arguments_do_no_harm", prepare, || {
        let number = |name: &str| {
            let value = env::var(name).ok();
            value.map(|value| {
                value
                    .parse::<u64>()
                    .unwrap_or_else(|_| panic!("{name} is a number"))
            })
        };
        let seconds = number("CTK_FUZZ_SECONDS");
        let now = || SystemTime::UNIX_EPOCH.elapsed().expect("a time").as_nanos() as u64;
        let seed = number("CTK_FUZZ_SEED").unwrap_or_else(|| seconds.map_or(1, |_| now()));
        println!("CTK_FUZZ_SEED={seed}");
        let variable = |name| env::var(name).expect("a variable");
        let unhex = |digits: &str| {
            let pairs = (0..digits.len()).step_by(2);
            pairs
                .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("digits"))
                .collect()
        };
        let mut walk = Walk {
            module: Module::load(),
            random: Random::new(seed),
            slot: 0,
            sessions: Vec::new(),
            objects: Vec::new(),
            mechanisms: Vec::new(),
            secrets: variable(SECRETS).split_whitespace().map(unhex).collect(),
            last_call: File::create(variable(LAST_CALL)).expect("last-call"),
            accepted: 0,
            running: Vec::new(),
            session: None,
        };
        walk.start();
        let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(0));
        let mut calls = 0;
        while match seconds {
            Some(_) => Instant::now() < end,
            None => calls < SHORT,
        } {
            walk.step(calls);
            calls += 1;
        }
        println!("{calls} calls, {} accepted", walk.accepted);
        // A walk that nothing is accepted of looks at the first checks only.
        assert!(
            walk.accepted > calls / 20,
            "{} of {calls} accepted",
            walk.accepted
        );
        let log = std::fs::read_to_string(variable(LOG)).unwrap_or_default();
        assert!(!log.contains("defect"), "{log}");
    });
}
