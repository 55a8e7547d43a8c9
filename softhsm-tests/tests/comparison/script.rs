//! A script: calls with their arguments as data, which any module can be given.

use cryptoki_sys::*;
use softhsm_tests::calls::{Parameter, Value};

/// What has been done before the first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The module is loaded.
    Loaded,
    /// C_Initialize.
    Initialised,
    /// Two read-only sessions, named S and home, and the token's public objects by their names.
    Session,
    /// The user is logged in with it, and private keys have names too.
    LoggedIn,
}

/// Calls in an order, for one process.
#[derive(Debug)]
pub struct Script {
    pub name: &'static str,
    pub start: Start,
    /// Each operation is begun in a session of its own, so that what one leaves behind does not reach the next.
    pub own_sessions: bool,
    pub steps: Vec<Step>,
}

/// One call.
#[derive(Debug)]
pub struct Step {
    pub title: String,
    pub function: &'static str,
    pub arguments: Vec<Arg>,
    /// Name for what it writes, for later steps.
    pub keep: Option<&'static str>,
    /// Made in a new session S.
    pub fresh: bool,
    /// What is written differs each time: only its length is compared.
    pub random: bool,
}

/// An argument, or a pointer and its length, which are two.
#[derive(Clone, Debug)]
pub enum Arg {
    /// The slot of the token.
    Slot,
    /// A session or object by name.
    Handle(&'static str),
    /// This very number.
    Number(u64),
    Null,
    /// A pointer to these bytes, and their length.
    Bytes(Vec<u8>),
    /// Bytes that an earlier step wrote, with their length.
    Kept(&'static str),
    /// What a step of this name, in an earlier script, wrote in the other module.
    Peers(&'static str),
    /// The same with the last byte changed.
    Damaged(&'static str),
    /// NULL and this length.
    NullBytes(u64),
    Mechanism(u64, Parameter),
    /// A pointer to the entries, and their number.
    Template(Vec<(u64, Value)>),
    /// A buffer, and a pointer to its length.
    Room(usize),
    /// NULL, and a pointer to a length.
    Query,
    /// A buffer, and its length by value.
    Fill(usize),
    /// A buffer for a structure of at most that many bytes, of which nothing is compared.
    Structure(usize),
    /// Where a new handle is written, which gets this name.
    New(&'static str),
    /// Where handles are written, how many at most, and how many there were.
    Found(usize),
    /// A pointer to CK_C_INITIALIZE_ARGS: flags, how many of the four callbacks, pReserved.
    Initialize(u64, usize, usize),
}

/// The session that scripts begin with.
pub const S: Arg = Arg::Handle("S");
/// A session that is there from the first step to the last, for what has to stay.
pub const HOME: Arg = Arg::Handle("home");

impl Script {
    pub fn new(name: &'static str, start: Start) -> Self {
        Self {
            name,
            start,
            own_sessions: false,
            steps: Vec::new(),
        }
    }

    /// A script whose operations are each begun in a new session S.
    pub fn with_own_sessions(name: &'static str, start: Start) -> Self {
        Self {
            own_sessions: true,
            ..Self::new(name, start)
        }
    }

    /// Adds a call.
    pub fn call(
        &mut self,
        title: impl Into<String>,
        function: &'static str,
        arguments: impl Into<Vec<Arg>>,
    ) -> &mut Step {
        let title = title.into();
        let is_new = self.steps.iter().all(|step| step.title != title);
        assert!(is_new, "{}: two steps {title:?}", self.name);
        self.steps.push(Step {
            title,
            function,
            arguments: arguments.into(),
            keep: None,
            fresh: false,
            random: false,
        });
        self.steps.last_mut().expect("a step")
    }

    /// Begins an operation: C_SignInit and its like.
    pub fn init(
        &mut self,
        title: impl Into<String>,
        function: &'static str,
        mechanism: u64,
        parameter: &Parameter,
        key: &'static str,
    ) -> &mut Step {
        let mechanism = Arg::Mechanism(mechanism, parameter.clone());
        let fresh = self.own_sessions;
        let step = self.call(title, function, [S, mechanism, Arg::Handle(key)]);
        step.fresh = fresh;
        step
    }

    /// Makes a session object.
    pub fn create(
        &mut self,
        title: impl Into<String>,
        template: Vec<(u64, Value)>,
        name: &'static str,
    ) -> &mut Step {
        let arguments = [HOME, Arg::Template(template), Arg::New(name)];
        self.call(title, "C_CreateObject", arguments)
    }

    /// Makes an AES or generic secret key of the session that may do everything.
    pub fn secret_key(&mut self, key_type: u64, value: &[u8], name: &'static str) {
        self.create(format!("key {name}"), secret(key_type, value), name);
    }
}

impl Step {
    /// Names what is written.
    pub fn keep(&mut self, name: &'static str) -> &mut Self {
        self.keep = Some(name);
        self
    }

    /// Is made in a new session S.
    pub fn fresh(&mut self) -> &mut Self {
        self.fresh = true;
        self
    }

    /// What is written is random.
    pub fn random(&mut self) -> &mut Self {
        self.random = true;
        self
    }
}

/// The template of a secret key that may do everything.
pub fn secret(key_type: u64, value: &[u8]) -> Vec<(u64, Value)> {
    let mut template = vec![
        (CKA_CLASS, Value::Number(CKO_SECRET_KEY)),
        (CKA_KEY_TYPE, Value::Number(key_type)),
        (CKA_VALUE, Value::Bytes(value.to_vec())),
        (CKA_SENSITIVE, Value::Bool(false)),
        (CKA_EXTRACTABLE, Value::Bool(true)),
        (CKA_PRIVATE, Value::Bool(false)),
        (CKA_TOKEN, Value::Bool(false)),
    ];
    for kind in [
        CKA_ENCRYPT,
        CKA_DECRYPT,
        CKA_SIGN,
        CKA_VERIFY,
        CKA_WRAP,
        CKA_UNWRAP,
        CKA_DERIVE,
    ] {
        template.push((kind, Value::Bool(true)));
    }
    template
}

pub fn bytes(bytes: impl AsRef<[u8]>) -> Arg {
    Arg::Bytes(bytes.as_ref().to_vec())
}

pub fn number(number: u64) -> Value {
    Value::Number(number)
}
