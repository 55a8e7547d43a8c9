//! Runs a script against one module, and writes down what each step answered.

use std::{collections::HashMap, ffi::c_void, fmt::Write as _, io::Write as _};

use cryptoki_sys::*;
use softhsm_tests::{
    bed::PIN,
    calls::{Memory, Value, mechanism, rv_name, template},
    module::Module,
};

use crate::script::{Arg, Script, Start, Step};

/// The label of the token in both modules.
pub const TOKEN: &str = "token";
/// What a line of a transcript begins with.
pub const MARK: &str = "STEP";
/// What a line begins with that has the name and the digits of something kept for the other module.
pub const KEPT: &str = "KEPT";

/// A buffer that a step gives to the module.
enum Output {
    /// The buffer and where its length is written.
    Room(usize, usize),
    /// Where a length is written.
    Length(usize),
    /// A buffer that is filled altogether.
    Fill(usize),
    /// Attributes: the template, and where the values are.
    Attributes(usize, Vec<(usize, usize)>),
    /// A name and where its handle is written.
    Handle(&'static str, usize),
}

struct Runner {
    module: Module,
    slot: usize,
    handles: HashMap<String, u64>,
    kept: HashMap<&'static str, Vec<u8>>,
    /// What the other module wrote in earlier scripts, by its name, as digits.
    peers: HashMap<String, String>,
}

/// Runs a script in this process, with a line on standard output for each step.
pub fn run(script: &Script, module: &str, ids: &str, peers: &str) {
    let mut runner = Runner {
        module: Module::load_from(module.as_ref()),
        slot: 0,
        handles: HashMap::new(),
        kept: HashMap::new(),
        peers: crate::compare::kept(peers),
    };
    runner.begin(script.start, ids);
    let mut stdout = std::io::stdout();
    for (number, step) in script.steps.iter().enumerate() {
        let answer = runner.step(step);
        // At once: the next step may end this process.
        writeln!(stdout, "{MARK}\t{number}\t{answer}").expect("standard output");
        stdout.flush().expect("standard output");
    }
}

impl Runner {
    fn must(&self, function: &str, arguments: &[usize]) {
        let rv = self.module.call(function, arguments);
        assert_eq!(rv, CKR_OK, "{function} is {}", rv_name(rv));
    }

    /// Brings the module into the state that a script starts from. `ids` has a line "NAME ID" for each identity.
    fn begin(&mut self, start: Start, ids: &str) {
        if start == Start::Loaded {
            return;
        }
        self.must("C_Initialize", &[0]);
        self.slot = self.find_slot();
        if start == Start::Initialised {
            return;
        }
        let session = self.open("home");
        self.open("S");
        if start == Start::LoggedIn {
            let pin = PIN.as_bytes();
            let user = CKU_USER as usize;
            self.must(
                "C_Login",
                &[session, user, pin.as_ptr() as usize, pin.len()],
            );
        }
        for line in ids.lines() {
            let (name, id) = line.split_once(' ').expect("a name and an id");
            let id = unhex(id);
            for (class, text) in [
                (CKO_PRIVATE_KEY, "private"),
                (CKO_PUBLIC_KEY, "public"),
                (CKO_CERTIFICATE, "certificate"),
            ] {
                let wanted = [
                    (CKA_CLASS, Value::Number(class)),
                    (CKA_ID, Value::Bytes(id.clone())),
                ];
                if let Some(handle) = self.find(session, &wanted) {
                    self.handles.insert(format!("{name} {text}"), handle);
                }
            }
        }
    }

    fn open(&mut self, name: &str) -> usize {
        let mut session = 0usize;
        let place = &raw mut session as usize;
        self.must(
            "C_OpenSession",
            &[self.slot, CKF_SERIAL_SESSION as usize, 0, 0, place],
        );
        self.handles.insert(name.to_owned(), session as u64);
        session
    }

    fn find_slot(&self) -> usize {
        let mut slots = [0usize; 16];
        let mut count = slots.len();
        let place = &raw mut count as usize;
        self.must("C_GetSlotList", &[1, slots.as_mut_ptr() as usize, place]);
        let labelled = slots[..count].iter().find(|&&slot| {
            let mut memory = Memory::default();
            let info = memory.room(size_of::<CK_TOKEN_INFO>());
            self.must("C_GetTokenInfo", &[slot, info]);
            let label = &memory.read(info)[..32];
            String::from_utf8_lossy(label).trim_end() == TOKEN
        });
        *labelled.expect("the token")
    }

    fn find(&self, session: usize, wanted: &[(u64, Value)]) -> Option<u64> {
        let mut memory = Memory::default();
        let (at, len, _) = template(&mut memory, wanted);
        self.must("C_FindObjectsInit", &[session, at, len]);
        let mut handle = 0u64;
        let mut count = 0usize;
        let places = (&raw mut handle as usize, &raw mut count as usize);
        self.must("C_FindObjects", &[session, places.0, 1, places.1]);
        self.must("C_FindObjectsFinal", &[session]);
        (count == 1).then_some(handle)
    }

    /// Makes the call. What it answered, as a line: the name of the return value, then what was written.
    fn step(&mut self, step: &Step) -> String {
        if step.fresh {
            self.must("C_CloseSession", &[self.handles["S"] as usize]);
            self.open("S");
        }
        let mut memory = Memory::default();
        let mut arguments = Vec::new();
        let mut outputs = Vec::new();
        for argument in &step.arguments {
            if let Err(missing) = self.place(argument, &mut memory, &mut arguments, &mut outputs) {
                return format!("not reached: no {missing}");
            }
        }
        let rv = self.module.call(step.function, &arguments);
        let mut answer = rv_name(rv);
        for output in outputs {
            self.tell(step, rv, &output, &memory, &mut answer);
        }
        if !memory.is_whole() {
            answer += "\twrote outside of the buffer";
        }
        answer
    }

    fn place(
        &self,
        argument: &Arg,
        memory: &mut Memory,
        arguments: &mut Vec<usize>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), &'static str> {
        match argument {
            Arg::Slot => arguments.push(self.slot),
            Arg::Handle(name) => {
                arguments.push(*self.handles.get(*name).ok_or(*name)? as usize);
            }
            Arg::Number(number) => arguments.push(*number as usize),
            Arg::Null => arguments.push(0),
            Arg::Bytes(bytes) => arguments.extend([memory.bytes(bytes), bytes.len()]),
            Arg::Kept(name) => {
                let bytes = self.kept.get(name).ok_or(*name)?;
                arguments.extend([memory.bytes(bytes), bytes.len()]);
            }
            Arg::Peers(name) => {
                let digits = self.peers.get(*name).ok_or(*name)?;
                let bytes = unhex(digits);
                arguments.extend([memory.bytes(&bytes), bytes.len()]);
            }
            Arg::Damaged(name) => {
                let mut bytes = self.kept.get(name).ok_or(*name)?.clone();
                *bytes.last_mut().ok_or(*name)? ^= 1;
                arguments.extend([memory.bytes(&bytes), bytes.len()]);
            }
            Arg::NullBytes(len) => arguments.extend([0, *len as usize]),
            Arg::Mechanism(kind, parameter) => {
                arguments.push(mechanism(memory, *kind, parameter));
            }
            Arg::Template(entries) => {
                let (at, len, values) = template(memory, entries);
                let rooms = entries
                    .iter()
                    .zip(values)
                    .filter_map(|((_, value), at)| match value {
                        Value::Room(len) => Some((at, *len)),
                        Value::Null(_) => Some((0, 0)),
                        _ => None,
                    });
                let rooms: Vec<_> = rooms.collect();
                if step_reads(&rooms) {
                    outputs.push(Output::Attributes(at, rooms));
                }
                arguments.extend([at, len]);
            }
            Arg::Room(len) => {
                let (room, at) = (memory.room(*len), memory.number(*len as u64));
                arguments.extend([room, at]);
                outputs.push(Output::Room(room, at));
            }
            Arg::Query => {
                let at = memory.number(0xABCD);
                arguments.extend([0, at]);
                outputs.push(Output::Length(at));
            }
            Arg::Fill(len) => {
                let room = memory.room(*len);
                arguments.extend([room, *len]);
                outputs.push(Output::Fill(room));
            }
            Arg::Structure(len) => arguments.push(memory.room(*len)),
            Arg::New(name) => {
                let at = memory.number(0);
                arguments.push(at);
                outputs.push(Output::Handle(name, at));
            }
            Arg::Found(max) => {
                let room = memory.room(max * size_of::<CK_OBJECT_HANDLE>());
                let at = memory.number(0xABCD);
                arguments.extend([room, *max, at]);
                outputs.push(Output::Length(at));
            }
            Arg::Initialize(flags, callbacks, reserved) => {
                let callback = |number| match number < *callbacks {
                    true => mutex as unsafe extern "C" fn(*mut c_void) -> CK_RV as usize,
                    false => 0,
                };
                let words = [0, 1, 2, 3].map(callback);
                let [a, b, c, d] = words;
                arguments.push(memory.words(&[a, b, c, d, *flags as usize, *reserved]));
            }
        }
        Ok(())
    }

    /// Writes down one output, and keeps it under its name.
    fn tell(
        &mut self,
        step: &Step,
        rv: CK_RV,
        output: &Output,
        memory: &Memory,
        answer: &mut String,
    ) {
        let add = |answer: &mut String, text: String| {
            write!(answer, "\t{text}").expect("text");
        };
        match output {
            Output::Room(room, at) => {
                let len = memory.read_number(*at);
                if rv != CKR_OK {
                    // The length is told with this error only.
                    if rv == CKR_BUFFER_TOO_SMALL {
                        add(answer, format!("{len} bytes"));
                    }
                    return;
                }
                let written = memory.read(*room).get(..len as usize);
                let Some(written) = written else {
                    add(answer, format!("{len} bytes, more than there was room for"));
                    return;
                };
                self.keep(step, written);
                add(answer, shown(written, step.random));
            }
            Output::Length(at) if rv == CKR_OK => {
                add(answer, format!("{}", memory.read_number(*at)))
            }
            Output::Fill(room) if rv == CKR_OK => {
                self.keep(step, memory.read(*room));
                add(answer, shown(memory.read(*room), step.random));
            }
            Output::Length(_) | Output::Fill(_) => {}
            Output::Attributes(at, rooms) => {
                let words = memory.read(*at);
                for (entry, (place, room)) in words.chunks_exact(24).zip(rooms) {
                    let len = u64::from_ne_bytes(entry[16..].try_into().expect("a number"));
                    add(
                        answer,
                        match usize::try_from(len) {
                            _ if len == CK_UNAVAILABLE_INFORMATION => "unavailable".to_owned(),
                            Ok(len) if *place != 0 && len <= *room => {
                                let value = &memory.read(*place)[..len];
                                self.keep(step, value);
                                shown(value, step.random)
                            }
                            _ => format!("{len} bytes"),
                        },
                    );
                }
            }
            Output::Handle(name, at) => {
                if rv == CKR_OK {
                    let handle = memory.read_number(*at);
                    if handle == 0 {
                        add(answer, "handle 0".to_owned());
                    }
                    self.handles.insert((*name).to_owned(), handle);
                } else {
                    self.handles.remove(*name);
                }
            }
        }
    }

    fn keep(&mut self, step: &Step, bytes: &[u8]) {
        if let Some(name) = step.keep {
            println!("{KEPT}\t{name}\t{}", hex(bytes));
            self.kept.insert(name, bytes.to_vec());
        }
    }
}

/// Whether a template is one that the module fills.
fn step_reads(rooms: &[(usize, usize)]) -> bool {
    rooms.iter().any(|(at, _)| *at != 0) || rooms == [(0, 0)]
}

unsafe extern "C" fn mutex(_: *mut c_void) -> CK_RV {
    CKR_OK
}

/// Bytes as digits, or their number if they are random.
fn shown(bytes: &[u8], random: bool) -> String {
    if random {
        return format!("{} random bytes", bytes.len());
    }
    format!("={}", hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Vec<u8> {
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("digits"))
        .collect()
}
