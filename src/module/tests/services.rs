//! A token like a service's: its key signs hashes only, in the forms that the service has, and nobody logs in to it.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod operations;
mod support;

use std::{
    ptr::null_mut,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use cryptoki_sys::*;
use ctk_crypto::{Decryption, PrivateKey, Reduction, RsaEncryption, hash};
use ctk_pkcs11::{SlotSource, abi::*};
use ctk_token::*;
use operations::{self as op, Answer, Mechanism, Session};
use support::{Identity, Module, PIN, find, key, login, open, ulong, value};

const MESSAGE: &[u8] = b"pay to the bearer on demand";
const LEN: u32 = 32;

type During = Box<dyn FnMut() + Send>;

/// The service, with one RSA key.
struct Service {
    private: PrivateKey,
    contents: Arc<KeychainContents>,
    constraint: Constraint,
    /// How often the key was used.
    uses: AtomicUsize,
    /// What happens in the middle of the next signature.
    during: Mutex<Option<During>>,
}

/// As services are: three hashes, salts as long as the hash, one OAEP.
fn offers(operation: Operation, algorithm: KeyAlgorithm) -> bool {
    let has = |digest| [Digest::Sha256, Digest::Sha384, Digest::Sha512].contains(&digest);
    match (operation, algorithm) {
        (Operation::Sign, KeyAlgorithm::RsaPkcs1Digest(digest)) => has(digest),
        (Operation::Sign, KeyAlgorithm::RsaPssDigest(pss)) => {
            pss == Pss {
                digest: Digest::Sha256,
                mgf: Digest::Sha256,
                salt_len: LEN,
            }
        }
        (Operation::Decrypt, KeyAlgorithm::RsaOaep(oaep)) => {
            oaep == Oaep {
                digest: Digest::Sha256,
                mgf: Digest::Sha256,
            }
        }
        _ => false,
    }
}

impl Service {
    fn new(constraint: Constraint) -> Arc<Self> {
        let identity = Identity::rsa(1024, 1);
        let der = identity.key.private_key_to_pkcs8().unwrap();
        let key = Key {
            sign: constraint,
            decrypt: constraint,
            ..Key::new(ObjectId::new(b"key"), "Key", &[1], identity.public_key())
        };
        let items = vec![Item::Key(Box::new(key))];
        Arc::new(Self {
            private: PrivateKey::from_pkcs8(&der).unwrap(),
            contents: Arc::new(KeychainContents {
                generation: 1,
                items,
            }),
            constraint,
            uses: AtomicUsize::new(0),
            during: Mutex::default(),
        })
    }

    fn start(self: &Arc<Self>) -> Module {
        let token: Arc<dyn Token> = Arc::new(Face(Arc::clone(self)));
        Module::start_with(Box::new(Source(Arc::new(Place(token)))))
    }

    fn public_key(&self) -> &PublicKey {
        self.private.public_key()
    }

    fn uses(&self) -> usize {
        self.uses.load(Ordering::SeqCst)
    }
}

struct Source(Arc<Place>);
struct Place(Arc<dyn Token>);
struct Face(Arc<Service>);
struct Use(Arc<Service>);
struct Login;

impl SlotSource for Source {
    fn slots(&self) -> Vec<Arc<dyn Slot>> {
        vec![Arc::clone(&self.0) as _]
    }
    fn wait_for_change(&self, _: Instant) -> Result<Wait> {
        Err(TokenError::NotSupported)
    }
}

impl Slot for Place {
    fn id(&self) -> &str {
        "service"
    }
    fn token(&self) -> Option<Arc<dyn Token>> {
        Some(Arc::clone(&self.0))
    }
}

impl Token for Face {
    fn info(&self) -> TokenInfo {
        let login = match self.0.constraint {
            Constraint::Auth(..) => LoginPolicy::App,
            _ => LoginPolicy::OnUse,
        };
        TokenInfo {
            login,
            ..TokenInfo::software("Service", "Service", "1")
        }
    }
    fn contents(&self) -> Arc<KeychainContents> {
        Arc::clone(&self.0.contents)
    }
    fn create_session(&self) -> Result<Arc<dyn TokenSession>> {
        Ok(Arc::new(Use(Arc::clone(&self.0))))
    }
}

impl AuthOperation for Login {
    fn method(&self) -> AuthMethod {
        AuthMethod::Password
    }
    fn finish(self: Box<Self>, secret: AuthSecret<'_>) -> Result<()> {
        match secret {
            AuthSecret::Pin(PIN) => Ok(()),
            _ => Err(TokenError::AuthenticationFailed { tries: None }),
        }
    }
}

impl TokenSession for Use {
    fn begin_auth(&self, _: Role, _: Option<&ObjectId>) -> Result<Box<dyn AuthOperation + '_>> {
        match self.0.constraint {
            Constraint::Auth(..) => Ok(Box::new(Login)),
            _ => Err(TokenError::NotSupported),
        }
    }
    fn supports(&self, operation: Operation, _: &ObjectId, algorithm: KeyAlgorithm) -> bool {
        offers(operation, algorithm)
    }
    fn sign(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        input: &[u8],
        signature: &mut [u8],
    ) -> Result<usize> {
        assert!(
            self.supports(Operation::Sign, key, algorithm),
            "{algorithm:?} is asked for"
        );
        let during = self.0.during.lock().unwrap().take();
        if let Some(mut during) = during {
            during();
        }
        self.0.uses.fetch_add(1, Ordering::SeqCst);
        let by = |form| self.0.private.supports(Operation::Sign, form);
        let reduction = Reduction::new(algorithm, self.0.public_key(), by)?.unwrap();
        let mut place = None;
        let request = reduction.apply(input, &mut place)?;
        self.0
            .private
            .sign(request.algorithm, request.input, signature)
    }
    fn decrypt(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        input: &[u8],
        plaintext: &mut [u8],
    ) -> Result<usize> {
        assert!(
            self.supports(Operation::Decrypt, key, algorithm),
            "{algorithm:?} is asked for"
        );
        self.0.uses.fetch_add(1, Ordering::SeqCst);
        let KeyAlgorithm::RsaOaep(Oaep { digest, mgf }) = algorithm else {
            return Err(TokenError::NotSupported);
        };
        let asked = RsaEncryption::Oaep {
            digest,
            mgf,
            label: Vec::new(),
        };
        let raw = |form| form == KeyAlgorithm::RsaRaw;
        let decryption = Decryption::new(asked, self.0.public_key(), raw)?.unwrap();
        let mut block = vec![0; input.len()];
        let len = self
            .0
            .private
            .decrypt(KeyAlgorithm::RsaRaw, input, &mut block)?;
        decryption.finish(input, &block[..len], &[0; 32], plaintext)
    }
}

/// A DigestInfo, as a program writes it.
fn digest_info(digest: Digest, key: &PublicKey) -> Vec<u8> {
    let padded = |form| form == KeyAlgorithm::RsaPkcs1;
    let asked = KeyAlgorithm::RsaPkcs1Digest(digest);
    let plan = Reduction::new(asked, key, padded).unwrap().unwrap();
    let hash = hash(digest, MESSAGE).unwrap();
    let mut place = None;
    plan.apply(&hash, &mut place).unwrap().input.to_vec()
}

fn init(session: Session, mechanism: &Mechanism) -> Answer<()> {
    let answer = op::sign_init(session, mechanism, key(session, 1));
    // Whether it is set up or not, the next one can be.
    unsafe { C_SignInit(session, null_mut(), 0) };
    answer
}

fn oaep(digest: Digest, mgf: Digest, label: &'static [u8]) -> Mechanism {
    let (hash_alg, _) = op::pss_hash(digest);
    let (_, mgf) = op::pss_hash(mgf);
    Mechanism::with(
        CKM_RSA_PKCS_OAEP,
        &CK_RSA_PKCS_OAEP_PARAMS {
            hashAlg: hash_alg,
            mgf,
            source: CKZ_DATA_SPECIFIED,
            pSourceData: label.as_ptr().cast_mut().cast(),
            ulSourceDataLen: label.len() as CK_ULONG,
        },
    )
}

#[test]
fn rsa_pkcs_is_signed_by_its_digest_info() {
    let service = Service::new(Constraint::Free);
    let module = service.start();
    let session = module.open();
    let plain = Mechanism::new(CKM_RSA_PKCS);
    for digest in [Digest::Sha256, Digest::Sha384, Digest::Sha512] {
        let info = digest_info(digest, service.public_key());
        op::sign_init(session, &plain, key(session, 1)).unwrap();
        let signature = op::sign(session, &info).unwrap();
        let form = KeyAlgorithm::RsaPkcs1Message(digest);
        let verified = ctk_crypto::verify(service.public_key(), form, MESSAGE, &signature);
        assert_eq!(verified, Ok(true), "{digest:?}");

        // In two parts, and as what can be recovered.
        op::sign_init(session, &plain, key(session, 1)).unwrap();
        op::sign_update(session, &info[..7]).unwrap();
        op::sign_update(session, &info[7..]).unwrap();
        assert_eq!(op::sign_final(session), Ok(signature.clone()));
        op::sign_recover_init(session, &plain, key(session, 1)).unwrap();
        assert_eq!(op::sign_recover(session, &info), Ok(signature));
    }
    let uses = service.uses();
    assert_eq!(uses, 9);
    let sha1 = digest_info(Digest::Sha1, service.public_key());
    for (data, expected) in [
        (&sha1[..], CKR_DATA_INVALID),
        (&[7; 36], CKR_DATA_INVALID),
        (&[], CKR_DATA_INVALID),
        (&[7; 118], CKR_DATA_LEN_RANGE),
    ] {
        op::sign_init(session, &plain, key(session, 1)).unwrap();
        assert_eq!(
            op::sign(session, data),
            Err(expected),
            "{} bytes",
            data.len()
        );
        // The operation is over.
        assert_eq!(
            op::sign_update(session, b"x"),
            Err(CKR_OPERATION_NOT_INITIALIZED)
        );
    }
    assert_eq!(service.uses(), uses, "the service was asked in vain");
}

#[test]
fn what_the_service_does_not_do_is_refused_before_it_is_asked() {
    let service = Service::new(Constraint::Free);
    let module = service.start();
    let session = module.open();
    let allowed = value(session, key(session, 1), CKA_ALLOWED_MECHANISMS).unwrap();
    let allowed: Vec<_> = allowed.chunks(size_of::<CK_ULONG>()).map(ulong).collect();
    let expected = [
        CKM_RSA_PKCS,
        CKM_SHA256_RSA_PKCS,
        CKM_SHA384_RSA_PKCS,
        CKM_SHA512_RSA_PKCS,
        CKM_RSA_PKCS_PSS,
        CKM_SHA256_RSA_PKCS_PSS,
        CKM_RSA_PKCS_OAEP,
    ];
    assert_eq!(allowed, expected);

    for (mechanism, expected) in [
        (Mechanism::new(CKM_SHA256_RSA_PKCS), Ok(())),
        (
            Mechanism::new(CKM_SHA1_RSA_PKCS),
            Err(CKR_MECHANISM_INVALID),
        ),
        (Mechanism::new(CKM_RSA_X_509), Err(CKR_MECHANISM_INVALID)),
        (Mechanism::pss(CKM_RSA_PKCS_PSS, Digest::Sha256, 32), Ok(())),
        (
            Mechanism::pss(CKM_SHA256_RSA_PKCS_PSS, Digest::Sha256, 32),
            Ok(()),
        ),
        // Possible, but not so.
        (
            Mechanism::pss(CKM_RSA_PKCS_PSS, Digest::Sha256, 20),
            Err(CKR_MECHANISM_PARAM_INVALID),
        ),
        (
            Mechanism::pss(CKM_RSA_PKCS_PSS, Digest::Sha384, 48),
            Err(CKR_MECHANISM_PARAM_INVALID),
        ),
        (
            Mechanism::pss(CKM_SHA256_RSA_PKCS_PSS, Digest::Sha256, 0),
            Err(CKR_MECHANISM_PARAM_INVALID),
        ),
        // Impossible, whatever the salt.
        (
            Mechanism::pss(CKM_SHA384_RSA_PKCS_PSS, Digest::Sha384, 48),
            Err(CKR_MECHANISM_INVALID),
        ),
    ] {
        assert_eq!(init(session, &mechanism), expected, "{mechanism:?}");
    }
    let mgf = Mechanism::with(
        CKM_RSA_PKCS_PSS,
        &CK_RSA_PKCS_PSS_PARAMS {
            hashAlg: CKM_SHA256,
            mgf: CKG_MGF1_SHA1,
            sLen: 32,
        },
    );
    assert_eq!(init(session, &mgf), Err(CKR_MECHANISM_PARAM_INVALID));

    let sha256 = oaep(Digest::Sha256, Digest::Sha256, b"");
    for (mechanism, expected) in [
        (
            oaep(Digest::Sha256, Digest::Sha256, b"label"),
            CKR_MECHANISM_PARAM_INVALID,
        ),
        (
            oaep(Digest::Sha256, Digest::Sha1, b""),
            CKR_MECHANISM_PARAM_INVALID,
        ),
        (
            oaep(Digest::Sha1, Digest::Sha1, b""),
            CKR_MECHANISM_PARAM_INVALID,
        ),
        (Mechanism::new(CKM_RSA_PKCS), CKR_MECHANISM_INVALID),
        (Mechanism::new(CKM_RSA_X_509), CKR_MECHANISM_INVALID),
    ] {
        let answer = op::decrypt_init(session, &mechanism, key(session, 1));
        assert_eq!(answer, Err(expected), "{mechanism:?}");
    }
    assert_eq!(service.uses(), 0, "the service was asked in vain");

    let asked = RsaEncryption::Oaep {
        digest: Digest::Sha256,
        mgf: Digest::Sha256,
        label: Vec::new(),
    };
    let mut ciphertext = vec![0; 128];
    ctk_crypto::encrypt(&asked, service.public_key(), b"a secret", &mut ciphertext).unwrap();
    op::decrypt_init(session, &sha256, key(session, 1)).unwrap();
    assert_eq!(op::decrypt(session, &ciphertext).unwrap(), b"a secret");
}

#[test]
fn what_no_key_of_the_token_does_is_not_listed() {
    let service = Service::new(Constraint::Free);
    let _module = service.start();
    let listed = op::mechanisms();
    for (mechanism, expected) in [
        (CKM_RSA_PKCS, true),
        (CKM_SHA256_RSA_PKCS, true),
        (CKM_RSA_PKCS_PSS, true),
        (CKM_RSA_PKCS_OAEP, true),
        (CKM_RSA_X_509, false),
        (CKM_SHA1_RSA_PKCS, false),
        (CKM_SHA384_RSA_PKCS_PSS, false),
        // There is no key of these types that could do or not do it.
        (CKM_ECDSA, true),
        (CKM_ECDH1_DERIVE, true),
        (CKM_RSA_PKCS_KEY_PAIR_GEN, true),
        (CKM_SHA256, true),
        (CKM_AES_GCM, true),
    ] {
        assert_eq!(listed.contains(&mechanism), expected, "{mechanism:#x}");
        let info = op::mechanism_info(mechanism);
        assert_eq!(info.is_ok(), expected, "{mechanism:#x}");
    }
    assert_eq!(
        op::mechanism_info(CKM_RSA_X_509).err(),
        Some(CKR_MECHANISM_INVALID)
    );
    let flags = |mechanism| op::mechanism_info(mechanism).unwrap().flags;
    let plain = flags(CKM_RSA_PKCS);
    let signs = CKF_SIGN | CKF_SIGN_RECOVER | CKF_VERIFY | CKF_ENCRYPT | CKF_WRAP;
    assert_eq!(plain & signs, signs);
    assert_eq!(plain & (CKF_DECRYPT | CKF_UNWRAP), 0);
    assert_ne!(flags(CKM_RSA_PKCS_OAEP) & CKF_DECRYPT, 0);
}

#[test]
fn a_login_that_nobody_can_check_is_refused_and_not_needed() {
    let service = Service::new(Constraint::Free);
    let module = service.start();
    let session = module.open();
    let mut info = unsafe { std::mem::zeroed::<CK_TOKEN_INFO>() };
    assert_eq!(unsafe { C_GetTokenInfo(0, &raw mut info) }, CKR_OK);
    assert_eq!(
        info.flags & (CKF_LOGIN_REQUIRED | CKF_PROTECTED_AUTHENTICATION_PATH),
        0
    );
    for pin in [PIN, b"", b"anything"] {
        for user in [CKU_USER, CKU_SO] {
            let expected = match user {
                CKU_USER => CKR_USER_TYPE_INVALID,
                // The SO is refused for the read-only session first.
                _ => CKR_SESSION_READ_ONLY_EXISTS,
            };
            assert_eq!(login(session, user, Some(pin)), expected);
        }
    }
    assert_eq!(login(session, CKU_USER, None), CKR_ARGUMENTS_BAD);
    assert_eq!(unsafe { C_Logout(session) }, CKR_USER_NOT_LOGGED_IN);
    // The keys are there and can be used, before and after.
    assert_eq!(find(session, &[]).len(), 2);
    let mechanism = Mechanism::new(CKM_SHA256_RSA_PKCS);
    op::sign_init(session, &mechanism, key(session, 1)).unwrap();
    assert_eq!(
        login(session, CKU_CONTEXT_SPECIFIC, Some(PIN)),
        CKR_OPERATION_NOT_INITIALIZED
    );
    op::sign(session, MESSAGE).unwrap();
}

/// What `work` answers, which a thread of its own may not come back from.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    let answer = receiver.recv_timeout(Duration::from_secs(30));
    assert!(answer.is_ok(), "it waits for itself");
    answer.unwrap()
}

/// A host name is looked up by a library of the program, which comes back to the module.
#[test]
fn a_key_that_is_used_from_inside_its_own_use_is_refused() {
    let constraints = [
        Constraint::Free,
        Constraint::Auth(AuthId(0), Reuse::Session),
        Constraint::Auth(AuthId(0), Reuse::Operation),
    ];
    for constraint in constraints {
        let service = Service::new(constraint);
        let module = service.start();
        let needs_login = constraint != Constraint::Free;
        let session = if needs_login {
            module.open_and_login()
        } else {
            module.open()
        };
        let mechanism = Mechanism::new(CKM_SHA256_RSA_PKCS);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (inner_heard, inner_mechanism) = (Arc::clone(&heard), mechanism.clone());
        *service.during.lock().unwrap() = Some(Box::new(move || {
            let mut heard = inner_heard.lock().unwrap();
            // Looking around is harmless.
            op::mechanisms();
            let inner = open(0, CKF_SERIAL_SESSION);
            op::sign_init(inner, &inner_mechanism, key(inner, 1)).unwrap();
            if needs_login {
                heard.push(login(inner, CKU_CONTEXT_SPECIFIC, Some(PIN)));
            }
            heard.push(op::sign(inner, MESSAGE).unwrap_err());
            assert_eq!(op::digest_init(inner, &Mechanism::new(CKM_SHA256)), Ok(()));
            op::digest(inner, MESSAGE).unwrap();
            assert_eq!(unsafe { C_CloseSession(inner) }, CKR_OK);
        }));
        let signed = in_time(move || {
            op::sign_init(session, &mechanism, key(session, 1)).unwrap();
            if matches!(constraint, Constraint::Auth(_, Reuse::Operation)) {
                assert_eq!(login(session, CKU_CONTEXT_SPECIFIC, Some(PIN)), CKR_OK);
            }
            op::sign(session, MESSAGE)
        });
        let form = KeyAlgorithm::RsaPkcs1Message(Digest::Sha256);
        let right = ctk_crypto::verify(service.public_key(), form, MESSAGE, &signed.unwrap());
        assert_eq!(right, Ok(true));
        let heard = heard.lock().unwrap();
        let login = match constraint {
            Constraint::Auth(_, Reuse::Operation) => Some(CKR_FUNCTION_FAILED),
            // A context login is for keys that want one each time.
            Constraint::Auth(..) => Some(CKR_OPERATION_NOT_INITIALIZED),
            _ => None,
        };
        let expected: Vec<_> = login.into_iter().chain([CKR_FUNCTION_REJECTED]).collect();
        assert_eq!(*heard, expected, "{constraint:?}");
        assert_eq!(service.uses(), 1);
    }
}

/// Nothing of the module is locked while the service works: other threads use the same key.
#[test]
fn other_threads_use_the_key_meanwhile() {
    let service = Service::new(Constraint::Free);
    let module = service.start();
    let session = module.open();
    let sign = |session| {
        let mechanism = Mechanism::new(CKM_SHA256_RSA_PKCS);
        op::sign_init(session, &mechanism, key(session, 1)).unwrap();
        op::sign(session, MESSAGE).unwrap()
    };
    let others = Arc::new(Mutex::new(None));
    let place = Arc::clone(&others);
    *service.during.lock().unwrap() = Some(Box::new(move || {
        let other = std::thread::spawn(move || sign(open(0, CKF_SERIAL_SESSION)));
        *place.lock().unwrap() = Some(other.join().unwrap());
    }));
    let own = in_time(move || sign(session));
    assert_eq!(others.lock().unwrap().take(), Some(own));
    assert_eq!(service.uses(), 2);
}
