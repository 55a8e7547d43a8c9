//! A module's own process: loads it, logs in, and does what the benchmark asks for.

use std::{path::Path, ptr, time::Duration};

use cryptoki_sys::*;
use softhsm_bench::{Each, Key, counted, serve, timed};
use softhsm_tests::module::{Module, text};

const USAGE: &str = "BENCH_PIN=PIN bench-module MODULE LABEL";
/// Certificates that searches are spread over.
const TARGETS: usize = 16;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let module = arguments.next().expect(USAGE);
    let label = arguments.next().expect(USAGE);
    let token = Token::open(Path::new(&module), &label);
    serve(|words| token.answer(words));
}

/// Calls a function of the module and gives its CK_RV as an error.
macro_rules! call {
    ($token:expr, $function:ident ( $($argument:expr),* )) => {{
        let function = $token.functions.$function.expect(stringify!($function));
        // SAFETY: pointers and lengths are those of values that live through the call.
        let rv = unsafe { function($($argument),*) };
        if rv == CKR_OK { Ok(()) } else { Err(format!("{} gives {rv:#x}", stringify!($function))) }
    }};
}

/// The token that is measured, with a session that stays open and so keeps it logged in.
struct Token {
    functions: &'static CK_FUNCTION_LIST,
    slot: CK_SLOT_ID,
    session: CK_SESSION_HANDLE,
}

/// What a search asks for: types and values of its template.
type Wanted = Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>;

impl Token {
    fn open(path: &Path, label: &str) -> Self {
        let functions = Module::load_from(path).list_2_40();
        let mut token = Self {
            functions,
            slot: 0,
            session: 0,
        };
        let mut arguments = CK_C_INITIALIZE_ARGS {
            CreateMutex: None,
            DestroyMutex: None,
            LockMutex: None,
            UnlockMutex: None,
            flags: CKF_OS_LOCKING_OK,
            pReserved: ptr::null_mut(),
        };
        call!(token, C_Initialize((&raw mut arguments).cast())).expect("initialised");
        token.slot = token
            .slots()
            .into_iter()
            .find(|&slot| token.label(slot).as_deref() == Some(label))
            .unwrap_or_else(|| panic!("no token with the label {label:?}"));
        token.session = token.session().expect("a session");
        if let Ok(pin) = std::env::var("BENCH_PIN") {
            token.log_in(&pin).expect("a login");
        }
        token
    }

    fn slots(&self) -> Vec<CK_SLOT_ID> {
        let mut slots = vec![0; 256];
        let mut count = 256;
        call!(
            self,
            C_GetSlotList(CK_TRUE, slots.as_mut_ptr(), &raw mut count)
        )
        .expect("slots");
        slots.truncate(usize::try_from(count).expect("a count"));
        slots
    }

    fn label(&self, slot: CK_SLOT_ID) -> Option<String> {
        let mut info = std::mem::MaybeUninit::<CK_TOKEN_INFO>::uninit();
        call!(self, C_GetTokenInfo(slot, info.as_mut_ptr())).ok()?;
        // SAFETY: the call succeeded, so it is filled.
        Some(text(&unsafe { info.assume_init() }.label))
    }

    fn session(&self) -> Result<CK_SESSION_HANDLE, String> {
        let mut session = 0;
        let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        call!(
            self,
            C_OpenSession(self.slot, flags, ptr::null_mut(), None, &raw mut session)
        )?;
        Ok(session)
    }

    fn close(&self, session: CK_SESSION_HANDLE) -> Result<(), String> {
        call!(self, C_CloseSession(session))
    }

    fn log_in(&self, pin: &str) -> Result<(), String> {
        let mut pin = pin.as_bytes().to_vec();
        let len = ulong(pin.len());
        call!(self, C_Login(self.session, CKU_USER, pin.as_mut_ptr(), len))
    }

    fn answer(&self, words: &[&str]) -> Result<String, String> {
        let millis = |text: &str| text.parse().map(Duration::from_millis);
        match *words {
            ["sign", name, threads, time] => {
                let time = millis(time).map_err(|_| "how long?")?;
                let threads: usize = threads.parse().map_err(|_| "how many threads?")?;
                let key = Key::from_name(name).ok_or("no such key")?;
                let handle = self.private_key(key)?;
                let sessions: Vec<_> = (0..threads)
                    .map(|_| self.session())
                    .collect::<Result<_, _>>()?;
                let signers = sessions
                    .iter()
                    .map(|&session| self.signer(session, key, handle))
                    .collect();
                let answer = timed(signers, time).answer();
                for session in sessions {
                    self.close(session)?;
                }
                Ok(answer)
            }
            ["each", name, count] => {
                let key = Key::from_name(name).ok_or("no such key")?;
                let count = count.parse().map_err(|_| "how many?")?;
                let handle = self.private_key(key)?;
                let signer = self.signer(self.session, key, handle);
                Ok(Each::measure(signer, count).answer())
            }
            ["signature", name] => {
                let key = Key::from_name(name).ok_or("no such key")?;
                let handle = self.private_key(key)?;
                let mut signature = vec![0; 1024];
                let len = self.sign(self.session, key, handle, &key.input(), &mut signature)?;
                signature.truncate(len);
                Ok(hex(&signature))
            }
            ["find", what, time] => {
                let time = millis(time).map_err(|_| "how long?")?;
                Ok(timed(vec![self.finder(what)?], time).answer())
            }
            ["attributes", time] => {
                let time = millis(time).map_err(|_| "how long?")?;
                Ok(timed(vec![self.reader()?], time).answer())
            }
            ["count", what, count] => {
                let count = count.parse().map_err(|_| "how many?")?;
                let allocations = match Key::from_name(what) {
                    Some(key) => {
                        let handle = self.private_key(key)?;
                        counted(self.signer(self.session, key, handle), count)
                    }
                    None if what == "attributes" => counted(self.reader()?, count),
                    None => counted(self.finder(what)?, count),
                };
                Ok(allocations.answer())
            }
            ["create", list] => self.create(Path::new(list)),
            _ => Err(USAGE.to_owned()),
        }
    }

    /// C_SignInit and C_Sign.
    fn signer(
        &self,
        session: CK_SESSION_HANDLE,
        key: Key,
        handle: CK_OBJECT_HANDLE,
    ) -> impl FnMut() + Send + '_ {
        let input = key.input();
        let mut signature = vec![0; 1024];
        move || {
            self.sign(session, key, handle, &input, &mut signature)
                .expect("a signature");
        }
    }

    fn sign(
        &self,
        session: CK_SESSION_HANDLE,
        key: Key,
        handle: CK_OBJECT_HANDLE,
        input: &[u8],
        signature: &mut [u8],
    ) -> Result<usize, String> {
        let mut mechanism = CK_MECHANISM {
            mechanism: match key {
                Key::Rsa2048 | Key::Rsa4096 => CKM_RSA_PKCS,
                Key::P256 | Key::P384 => CKM_ECDSA,
                Key::Ed25519 => CKM_EDDSA,
            },
            pParameter: ptr::null_mut(),
            ulParameterLen: 0,
        };
        let mut len = ulong(signature.len());
        call!(self, C_SignInit(session, &raw mut mechanism, handle))?;
        let data = input.as_ptr().cast_mut();
        let data_len = ulong(input.len());
        call!(
            self,
            C_Sign(
                session,
                data,
                data_len,
                signature.as_mut_ptr(),
                &raw mut len
            )
        )?;
        usize::try_from(len).map_err(|error| error.to_string())
    }

    /// The first private key of this type.
    fn private_key(&self, key: Key) -> Result<CK_OBJECT_HANDLE, String> {
        const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
        const P384: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x22];
        let kind = match key {
            Key::Rsa2048 | Key::Rsa4096 => CKK_RSA,
            Key::P256 | Key::P384 => CKK_EC,
            Key::Ed25519 => CKK_EC_EDWARDS,
        };
        let wanted = vec![
            (CKA_CLASS, CKO_PRIVATE_KEY.to_ne_bytes().to_vec()),
            (CKA_KEY_TYPE, kind.to_ne_bytes().to_vec()),
        ];
        let fits = |handle: &CK_OBJECT_HANDLE| {
            let read = |kind| self.attribute(*handle, kind).unwrap_or_default();
            match key {
                Key::Rsa2048 => read(CKA_MODULUS).len() == 256,
                Key::Rsa4096 => read(CKA_MODULUS).len() == 512,
                Key::P256 => read(CKA_EC_PARAMS) == P256,
                Key::P384 => read(CKA_EC_PARAMS) == P384,
                Key::Ed25519 => true,
            }
        };
        self.find(&wanted, 256)?
            .into_iter()
            .find(fits)
            .ok_or_else(|| format!("no {} key", key.title()))
    }

    fn find(&self, wanted: &Wanted, max: usize) -> Result<Vec<CK_OBJECT_HANDLE>, String> {
        let mut handles = vec![0; max];
        let count = self.find_into(&mut template(wanted), &mut handles)?;
        handles.truncate(count);
        Ok(handles)
    }

    /// C_FindObjectsInit, C_FindObjects and C_FindObjectsFinal.
    fn find_into(
        &self,
        template: &mut [CK_ATTRIBUTE],
        handles: &mut [CK_OBJECT_HANDLE],
    ) -> Result<usize, String> {
        let mut count = 0;
        call!(
            self,
            C_FindObjectsInit(self.session, template.as_mut_ptr(), ulong(template.len()))
        )?;
        let found = call!(
            self,
            C_FindObjects(
                self.session,
                handles.as_mut_ptr(),
                ulong(handles.len()),
                &raw mut count
            )
        );
        call!(self, C_FindObjectsFinal(self.session))?;
        found?;
        usize::try_from(count).map_err(|error| error.to_string())
    }

    fn attribute(
        &self,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Result<Vec<u8>, String> {
        let mut value = vec![0; 4096];
        let mut entry = entry(kind, &mut value);
        call!(
            self,
            C_GetAttributeValue(self.session, object, &raw mut entry, 1)
        )?;
        value.truncate(usize::try_from(entry.ulValueLen).map_err(|error| error.to_string())?);
        Ok(value)
    }

    fn certificates(&self) -> Result<Vec<CK_OBJECT_HANDLE>, String> {
        let class = vec![(CKA_CLASS, CKO_CERTIFICATE.to_ne_bytes().to_vec())];
        let all = self.find(&class, 20_000)?;
        if all.is_empty() {
            return Err("no certificate".to_owned());
        }
        Ok(all)
    }

    /// Searches for certificates one after another that are spread over all there are. Each is found, and no other.
    fn finder(&self, what: &str) -> Result<impl FnMut() + Send + '_, String> {
        let kinds: &[CK_ATTRIBUTE_TYPE] = match what {
            "id" => &[CKA_ID],
            "label" => &[CKA_LABEL],
            "subject" => &[CKA_SUBJECT],
            "issuer-serial" => &[CKA_ISSUER, CKA_SERIAL_NUMBER],
            _ => return Err("find what?".to_owned()),
        };
        let all = self.certificates()?;
        let step = all.len().div_ceil(TARGETS);
        let mut targets = Vec::new();
        for &handle in all.iter().step_by(step) {
            let wanted: Wanted = kinds
                .iter()
                .map(|&kind| Ok((kind, self.attribute(handle, kind)?)))
                .collect::<Result<_, String>>()?;
            targets.push((handle, wanted));
        }
        let mut next = 0;
        let mut handles = [0; 8];
        Ok(move || {
            let (handle, wanted) = &targets[next];
            next = (next + 1) % targets.len();
            let mut entries = [CK_ATTRIBUTE {
                type_: 0,
                pValue: ptr::null_mut(),
                ulValueLen: 0,
            }; 2];
            for (place, (kind, value)) in entries.iter_mut().zip(wanted) {
                *place = fixed_entry(*kind, value);
            }
            let found = self
                .find_into(&mut entries[..wanted.len()], &mut handles)
                .expect("a search");
            assert_eq!(&handles[..found], [*handle], "what the search found");
        })
    }

    /// Reads VALUE and ID of a certificate in one call.
    fn reader(&self) -> Result<impl FnMut() + Send + '_, String> {
        let all = self.certificates()?;
        let step = all.len().div_ceil(TARGETS);
        let targets: Vec<_> = all.into_iter().step_by(step).collect();
        let mut next = 0;
        let (mut value, mut id) = (vec![0; 4096], vec![0; 256]);
        Ok(move || {
            let target = targets[next];
            next = (next + 1) % targets.len();
            let mut entries = [entry(CKA_VALUE, &mut value), entry(CKA_ID, &mut id)];
            call!(
                self,
                C_GetAttributeValue(self.session, target, entries.as_mut_ptr(), 2)
            )
            .expect("attributes");
            assert!(
                entries[0].ulValueLen > 100 && entries[1].ulValueLen > 0,
                "what was read"
            );
        })
    }

    /// Puts certificates onto the token, one for each line of the file: VALUE, ID, LABEL, SUBJECT, ISSUER and
    /// SERIAL_NUMBER in hexadecimal.
    fn create(&self, list: &Path) -> Result<String, String> {
        let list = std::fs::read_to_string(list).map_err(|error| error.to_string())?;
        let mut count = 0;
        for line in list.lines() {
            let fields: Vec<_> = line
                .split(' ')
                .map(|field| unhex(field).ok_or_else(|| format!("not hexadecimal: {field}")))
                .collect::<Result<_, _>>()?;
            let [der, id, label, subject, issuer, serial] = fields.as_slice() else {
                return Err("six fields a line".to_owned());
            };
            let wanted: Wanted = vec![
                (CKA_CLASS, CKO_CERTIFICATE.to_ne_bytes().to_vec()),
                (CKA_CERTIFICATE_TYPE, CKC_X_509.to_ne_bytes().to_vec()),
                (CKA_TOKEN, vec![CK_TRUE]),
                (CKA_PRIVATE, vec![CK_FALSE]),
                (CKA_VALUE, der.clone()),
                (CKA_ID, id.clone()),
                (CKA_LABEL, label.clone()),
                (CKA_SUBJECT, subject.clone()),
                (CKA_ISSUER, issuer.clone()),
                (CKA_SERIAL_NUMBER, serial.clone()),
            ];
            let mut template = template(&wanted);
            let mut handle = 0;
            call!(
                self,
                C_CreateObject(
                    self.session,
                    template.as_mut_ptr(),
                    ulong(template.len()),
                    &raw mut handle
                )
            )?;
            count += 1;
        }
        Ok(count.to_string())
    }
}

fn template(wanted: &Wanted) -> Vec<CK_ATTRIBUTE> {
    wanted
        .iter()
        .map(|(kind, value)| fixed_entry(*kind, value))
        .collect()
}

/// An entry that the module only reads.
fn fixed_entry(kind: CK_ATTRIBUTE_TYPE, value: &[u8]) -> CK_ATTRIBUTE {
    CK_ATTRIBUTE {
        type_: kind,
        pValue: value.as_ptr().cast_mut().cast(),
        ulValueLen: ulong(value.len()),
    }
}

/// An entry with room for the module to write.
fn entry(kind: CK_ATTRIBUTE_TYPE, room: &mut [u8]) -> CK_ATTRIBUTE {
    CK_ATTRIBUTE {
        type_: kind,
        pValue: room.as_mut_ptr().cast(),
        ulValueLen: ulong(room.len()),
    }
}

fn ulong(len: usize) -> CK_ULONG {
    CK_ULONG::try_from(len).expect("a length")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}
