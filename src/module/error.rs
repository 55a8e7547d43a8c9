//! The errors of PKCS#11 that this module returns, and what becomes of the contract's.

use cryptoki_sys::*;
use ctk_token::TokenError;

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $rv:ident,)*) => {
        /// Everything but CKR_OK that a function of this module can answer (PKCS#11 §5.1).
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Error { $(#[doc = concat!("[`", stringify!($rv), "`]")] $(#[$doc])* $name,)* }

        impl Error {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The value on the C side.
            pub const fn rv(self) -> CK_RV {
                match self { $(Self::$name => $rv,)* }
            }

            /// The name that a person knows it by.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($rv),)* }
            }
        }
    };
}

errors! {
    HostMemory = CKR_HOST_MEMORY,
    SlotIdInvalid = CKR_SLOT_ID_INVALID,
    GeneralError = CKR_GENERAL_ERROR,
    FunctionFailed = CKR_FUNCTION_FAILED,
    ArgumentsBad = CKR_ARGUMENTS_BAD,
    NoEvent = CKR_NO_EVENT,
    CantLock = CKR_CANT_LOCK,
    ActionProhibited = CKR_ACTION_PROHIBITED,
    AttributeReadOnly = CKR_ATTRIBUTE_READ_ONLY,
    AttributeSensitive = CKR_ATTRIBUTE_SENSITIVE,
    AttributeTypeInvalid = CKR_ATTRIBUTE_TYPE_INVALID,
    AttributeValueInvalid = CKR_ATTRIBUTE_VALUE_INVALID,
    CurveNotSupported = CKR_CURVE_NOT_SUPPORTED,
    DataInvalid = CKR_DATA_INVALID,
    DataLenRange = CKR_DATA_LEN_RANGE,
    DomainParamsInvalid = CKR_DOMAIN_PARAMS_INVALID,
    DeviceError = CKR_DEVICE_ERROR,
    DeviceMemory = CKR_DEVICE_MEMORY,
    DeviceRemoved = CKR_DEVICE_REMOVED,
    EncryptedDataInvalid = CKR_ENCRYPTED_DATA_INVALID,
    EncryptedDataLenRange = CKR_ENCRYPTED_DATA_LEN_RANGE,
    FunctionCanceled = CKR_FUNCTION_CANCELED,
    FunctionNotParallel = CKR_FUNCTION_NOT_PARALLEL,
    FunctionNotSupported = CKR_FUNCTION_NOT_SUPPORTED,
    FunctionRejected = CKR_FUNCTION_REJECTED,
    KeyHandleInvalid = CKR_KEY_HANDLE_INVALID,
    KeySizeRange = CKR_KEY_SIZE_RANGE,
    KeyTypeInconsistent = CKR_KEY_TYPE_INCONSISTENT,
    KeyFunctionNotPermitted = CKR_KEY_FUNCTION_NOT_PERMITTED,
    KeyIndigestible = CKR_KEY_INDIGESTIBLE,
    KeyNotWrappable = CKR_KEY_NOT_WRAPPABLE,
    KeyUnextractable = CKR_KEY_UNEXTRACTABLE,
    MechanismInvalid = CKR_MECHANISM_INVALID,
    MechanismParamInvalid = CKR_MECHANISM_PARAM_INVALID,
    ObjectHandleInvalid = CKR_OBJECT_HANDLE_INVALID,
    OperationActive = CKR_OPERATION_ACTIVE,
    OperationCancelFailed = CKR_OPERATION_CANCEL_FAILED,
    OperationNotInitialized = CKR_OPERATION_NOT_INITIALIZED,
    ParameterSetNotSupported = CKR_PARAMETER_SET_NOT_SUPPORTED,
    PinIncorrect = CKR_PIN_INCORRECT,
    PinInvalid = CKR_PIN_INVALID,
    PinLenRange = CKR_PIN_LEN_RANGE,
    PinExpired = CKR_PIN_EXPIRED,
    PinLocked = CKR_PIN_LOCKED,
    SessionClosed = CKR_SESSION_CLOSED,
    SessionHandleInvalid = CKR_SESSION_HANDLE_INVALID,
    SessionParallelNotSupported = CKR_SESSION_PARALLEL_NOT_SUPPORTED,
    SessionReadOnly = CKR_SESSION_READ_ONLY,
    SessionReadOnlyExists = CKR_SESSION_READ_ONLY_EXISTS,
    SessionReadWriteSoExists = CKR_SESSION_READ_WRITE_SO_EXISTS,
    SessionAsyncNotSupported = CKR_SESSION_ASYNC_NOT_SUPPORTED,
    SignatureInvalid = CKR_SIGNATURE_INVALID,
    SignatureLenRange = CKR_SIGNATURE_LEN_RANGE,
    TemplateIncomplete = CKR_TEMPLATE_INCOMPLETE,
    TemplateInconsistent = CKR_TEMPLATE_INCONSISTENT,
    TokenNotPresent = CKR_TOKEN_NOT_PRESENT,
    TokenWriteProtected = CKR_TOKEN_WRITE_PROTECTED,
    UserAlreadyLoggedIn = CKR_USER_ALREADY_LOGGED_IN,
    UserAnotherAlreadyLoggedIn = CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
    UserNotLoggedIn = CKR_USER_NOT_LOGGED_IN,
    UserTypeInvalid = CKR_USER_TYPE_INVALID,
    UnwrappingKeyHandleInvalid = CKR_UNWRAPPING_KEY_HANDLE_INVALID,
    UnwrappingKeySizeRange = CKR_UNWRAPPING_KEY_SIZE_RANGE,
    UnwrappingKeyTypeInconsistent = CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
    WrappedKeyInvalid = CKR_WRAPPED_KEY_INVALID,
    WrappedKeyLenRange = CKR_WRAPPED_KEY_LEN_RANGE,
    WrappingKeyHandleInvalid = CKR_WRAPPING_KEY_HANDLE_INVALID,
    WrappingKeySizeRange = CKR_WRAPPING_KEY_SIZE_RANGE,
    WrappingKeyTypeInconsistent = CKR_WRAPPING_KEY_TYPE_INCONSISTENT,
    RandomSeedNotSupported = CKR_RANDOM_SEED_NOT_SUPPORTED,
    RandomNoRng = CKR_RANDOM_NO_RNG,
    BufferTooSmall = CKR_BUFFER_TOO_SMALL,
    CryptokiNotInitialized = CKR_CRYPTOKI_NOT_INITIALIZED,
    CryptokiAlreadyInitialized = CKR_CRYPTOKI_ALREADY_INITIALIZED,
}

/// The result of every function body.
pub type Result<T> = std::result::Result<T, Error>;

/// What the module was doing when a token answered with an error: some errors mean another CK_RV in
/// another function.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum During {
    /// Opening the application's session with a token.
    Opening,
    /// C_Login.
    Login,
    /// C_SetPIN.
    ChangePin,
    /// C_InitPIN.
    InitPin,
    /// Reading what a token holds, for whatever needs to know: C_FindObjectsInit and its like.
    Loading,
    /// C_GetAttributeValue of a data object, whose value is read from the token.
    Reading,
    /// C_GenerateKeyPair, by the token.
    Making,
    /// C_CreateObject, on the token.
    Storing,
    /// C_DestroyObject, on the token.
    Deleting,
    /// Setting an operation up: C_SignInit and its like.
    Init,
    /// Carrying it out: C_Sign, C_SignUpdate, C_SignFinal and their like, for what takes data.
    Operation,
    /// C_Decrypt and its like, which take encrypted data.
    Decrypting,
    /// C_UnwrapKey, which takes a wrapped key.
    Unwrapping,
    /// C_DeriveKey and C_DecapsulateKey, whose peer comes in a parameter.
    Deriving,
    /// C_GenerateRandom.
    Random,
}

impl Error {
    /// The one place in which an error of the contract becomes an error of PKCS#11. The reason goes
    /// to the log.
    ///
    /// CKR_DEVICE_ERROR is chosen for whatever keeps a key store from being reached, because it
    /// leaves a program's sessions as they are; CKR_ARGUMENTS_BAD never comes from a key store.
    ///
    /// Outside C_Login the program gave no PIN, so that none of its PINs can have been wrong: a
    /// stored one was, and CKR_USER_NOT_LOGGED_IN lets the program log in with one of its own.
    pub fn from_token(during: During, error: &TokenError) -> Self {
        log::warn!("{during:?}: {error}");
        match error {
            TokenError::TokenRemoved => Self::DeviceRemoved,
            // The program asked for nothing that could be wrong, or be allowed by a login.
            _ if during == During::Loading => Self::DeviceError,
            TokenError::AuthenticationNeeded | TokenError::StateLost => match during {
                // For who is not logged in there is no such object.
                During::Reading => Self::ObjectHandleInvalid,
                _ => Self::UserNotLoggedIn,
            },
            TokenError::AuthenticationFailed { .. }
            | TokenError::PinLocked
            | TokenError::PinLength { .. }
            | TokenError::PinExpired
                if !matches!(during, During::Login | During::ChangePin | During::InitPin) =>
            {
                match during {
                    During::Reading => Self::FunctionFailed,
                    _ => Self::UserNotLoggedIn,
                }
            }
            TokenError::AuthenticationFailed { .. } => Self::PinIncorrect,
            TokenError::PinLocked => Self::PinLocked,
            TokenError::PinLength { .. } => Self::PinLenRange,
            TokenError::PinExpired => Self::PinExpired,
            TokenError::CanceledByUser => match during {
                During::Reading | During::Storing | During::Deleting => Self::FunctionFailed,
                _ => Self::FunctionCanceled,
            },
            TokenError::Denied => match during {
                During::Operation | During::Decrypting | During::Unwrapping | During::Deriving => {
                    Self::FunctionRejected
                }
                _ => Self::FunctionFailed,
            },
            TokenError::Refused(_) => Self::FunctionFailed,
            TokenError::NotSupported => match during {
                // The only thing that a token can lack at login is the role.
                During::Login => Self::UserTypeInvalid,
                During::Init | During::Deriving | During::Making => Self::MechanismInvalid,
                During::Random => Self::RandomNoRng,
                During::ChangePin | During::InitPin => Self::FunctionNotSupported,
                During::Storing => Self::TemplateInconsistent,
                During::Deleting => Self::ActionProhibited,
                _ => Self::FunctionFailed,
            },
            TokenError::BadParameter => match during {
                During::Init | During::Deriving => Self::MechanismParamInvalid,
                During::Making | During::Storing => Self::AttributeValueInvalid,
                _ => Self::FunctionFailed,
            },
            TokenError::DataLength => match during {
                During::Decrypting => Self::EncryptedDataLenRange,
                During::Unwrapping => Self::WrappedKeyLenRange,
                During::Deriving => Self::MechanismParamInvalid,
                During::Storing => Self::AttributeValueInvalid,
                During::Init | During::Operation => Self::DataLenRange,
                _ => Self::FunctionFailed,
            },
            TokenError::DataInvalid => match during {
                During::Decrypting => Self::EncryptedDataInvalid,
                During::Unwrapping => Self::WrappedKeyInvalid,
                During::Deriving => Self::MechanismParamInvalid,
                // Characters that a PIN cannot have.
                During::ChangePin | During::InitPin => Self::PinInvalid,
                During::Storing => Self::AttributeValueInvalid,
                During::Init | During::Operation => Self::DataInvalid,
                _ => Self::FunctionFailed,
            },
            TokenError::BadCiphertext => match during {
                During::Unwrapping => Self::WrappedKeyInvalid,
                During::Decrypting | During::Operation => Self::EncryptedDataInvalid,
                _ => Self::FunctionFailed,
            },
            TokenError::ObjectNotFound => match during {
                During::Init | During::Deriving => Self::KeyHandleInvalid,
                During::Unwrapping => Self::UnwrappingKeyHandleInvalid,
                During::Reading | During::Deleting => Self::ObjectHandleInvalid,
                // A CKA_ID that the token has no place for.
                During::Making | During::Storing => Self::AttributeValueInvalid,
                // None of the other functions was given a handle that could be wrong.
                _ => Self::FunctionFailed,
            },
            TokenError::ReadOnly(_) => match during {
                During::Reading => Self::FunctionFailed,
                During::Deleting => Self::ActionProhibited,
                _ => Self::TokenWriteProtected,
            },
            TokenError::NoSpace => Self::DeviceMemory,
            TokenError::TimedOut => match during {
                // A dialog that nobody answered.
                During::Login | During::ChangePin | During::InitPin => Self::FunctionCanceled,
                _ => Self::DeviceError,
            },
            TokenError::Unreachable(_) | TokenError::Corrupted(_) => Self::DeviceError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_own_value_and_none_is_ok() {
        let mut values: Vec<_> = Error::ALL.iter().map(|error| error.rv()).collect();
        assert!(!values.contains(&CKR_OK));
        values.sort_unstable();
        values.dedup();
        assert_eq!(values.len(), Error::ALL.len());
    }

    #[test]
    fn a_wrong_secret_says_so_and_a_key_store_out_of_reach_never_blames_the_caller() {
        let failed = TokenError::AuthenticationFailed { tries: Some(2) };
        let reason = || ctk_token::Reason::new("no such file");
        assert_eq!(
            Error::from_token(During::Login, &failed),
            Error::PinIncorrect
        );
        for during in [During::Login, During::Operation, During::Opening] {
            for error in [
                TokenError::Unreachable(reason()),
                TokenError::Corrupted(reason()),
            ] {
                assert_eq!(Error::from_token(during, &error), Error::DeviceError);
            }
        }
        for error in [
            failed,
            TokenError::PinLocked,
            TokenError::PinLength { min: 4, max: 8 },
            TokenError::PinExpired,
        ] {
            for during in [
                During::Opening,
                During::Init,
                During::Operation,
                During::Random,
            ] {
                assert_eq!(Error::from_token(during, &error), Error::UserNotLoggedIn);
            }
        }
        let gone = |during| Error::from_token(during, &TokenError::ObjectNotFound);
        assert_eq!(gone(During::Init), Error::KeyHandleInvalid);
        assert_eq!(gone(During::Operation), Error::FunctionFailed);
        assert_eq!(gone(During::Opening), Error::FunctionFailed);
        let unsupported = |during| Error::from_token(during, &TokenError::NotSupported);
        assert_eq!(unsupported(During::Login), Error::UserTypeInvalid);
        assert_eq!(unsupported(During::Init), Error::MechanismInvalid);
        assert_eq!(unsupported(During::Random), Error::RandomNoRng);
    }

    /// Every error of the contract.
    fn every_error() -> Vec<TokenError> {
        let reason = || ctk_token::Reason::new("reason");
        let all = vec![
            TokenError::AuthenticationNeeded,
            TokenError::AuthenticationFailed { tries: None },
            TokenError::PinLocked,
            TokenError::PinLength { min: 4, max: 8 },
            TokenError::PinExpired,
            TokenError::CanceledByUser,
            TokenError::Denied,
            TokenError::NotSupported,
            TokenError::BadParameter,
            TokenError::DataLength,
            TokenError::DataInvalid,
            TokenError::BadCiphertext,
            TokenError::ObjectNotFound,
            TokenError::ReadOnly(reason()),
            TokenError::Refused(reason()),
            TokenError::NoSpace,
            TokenError::TokenRemoved,
            TokenError::StateLost,
            TokenError::Unreachable(reason()),
            TokenError::TimedOut,
            TokenError::Corrupted(reason()),
        ];
        // One that is new has to be in the list.
        let place = |error: &TokenError| match error {
            TokenError::AuthenticationNeeded => 0,
            TokenError::AuthenticationFailed { .. } => 1,
            TokenError::PinLocked => 2,
            TokenError::PinLength { .. } => 3,
            TokenError::PinExpired => 4,
            TokenError::CanceledByUser => 5,
            TokenError::Denied => 6,
            TokenError::NotSupported => 7,
            TokenError::BadParameter => 8,
            TokenError::DataLength => 9,
            TokenError::DataInvalid => 10,
            TokenError::BadCiphertext => 11,
            TokenError::ObjectNotFound => 12,
            TokenError::ReadOnly(_) => 13,
            TokenError::Refused(_) => 14,
            TokenError::NoSpace => 15,
            TokenError::TokenRemoved => 16,
            TokenError::StateLost => 17,
            TokenError::Unreachable(_) => 18,
            TokenError::TimedOut => 19,
            TokenError::Corrupted(_) => 20,
        };
        assert!(all.iter().map(place).eq(0..21));
        all
    }

    /// What the functions may answer besides CKR_FUNCTION_FAILED, CKR_DEVICE_ERROR,
    /// CKR_DEVICE_MEMORY and CKR_DEVICE_REMOVED, which are in every list of PKCS#11 §5 that is
    /// meant here.
    fn listed(during: During) -> Vec<Error> {
        use Error::*;
        match during {
            // Of whatever function needs the token's session first.
            During::Opening => vec![UserNotLoggedIn, FunctionCanceled, TokenWriteProtected],
            // CKR_PIN_EXPIRED, CKR_PIN_LEN_RANGE and CKR_USER_NOT_LOGGED_IN (for a context login
            // whose user's is lost) are not in C_Login's list, and say what they say in §5.1.6.
            During::Login => vec![
                PinIncorrect,
                PinLocked,
                PinExpired,
                PinLenRange,
                FunctionCanceled,
                UserTypeInvalid,
                UserNotLoggedIn,
                TokenWriteProtected,
            ],
            // C_InitPIN's list has no wrong secret of the SO's: it takes for granted that C_Login
            // found out. CKR_FUNCTION_NOT_SUPPORTED is every function's (§5.1.1).
            During::ChangePin | During::InitPin => vec![
                PinIncorrect,
                PinInvalid,
                PinLocked,
                PinExpired,
                PinLenRange,
                FunctionCanceled,
                FunctionNotSupported,
                UserNotLoggedIn,
                TokenWriteProtected,
            ],
            During::Loading => vec![],
            During::Reading => vec![ObjectHandleInvalid],
            During::Making => vec![
                AttributeValueInvalid,
                FunctionCanceled,
                MechanismInvalid,
                TokenWriteProtected,
                UserNotLoggedIn,
            ],
            During::Storing => vec![
                AttributeValueInvalid,
                TemplateInconsistent,
                TokenWriteProtected,
                UserNotLoggedIn,
            ],
            // C_DestroyObject's list leaves out that somebody has to log in; nothing else says so.
            During::Deleting => vec![ActionProhibited, ObjectHandleInvalid, UserNotLoggedIn],
            During::Init => vec![
                DataInvalid,
                DataLenRange,
                FunctionCanceled,
                KeyHandleInvalid,
                MechanismInvalid,
                MechanismParamInvalid,
                TokenWriteProtected,
                UserNotLoggedIn,
            ],
            During::Operation => vec![
                DataInvalid,
                DataLenRange,
                EncryptedDataInvalid,
                FunctionCanceled,
                FunctionRejected,
                TokenWriteProtected,
                UserNotLoggedIn,
            ],
            During::Decrypting => vec![
                EncryptedDataInvalid,
                EncryptedDataLenRange,
                FunctionCanceled,
                FunctionRejected,
                TokenWriteProtected,
                UserNotLoggedIn,
            ],
            During::Unwrapping => vec![
                FunctionCanceled,
                FunctionRejected,
                TokenWriteProtected,
                UnwrappingKeyHandleInvalid,
                UserNotLoggedIn,
                WrappedKeyInvalid,
                WrappedKeyLenRange,
            ],
            During::Deriving => vec![
                FunctionCanceled,
                FunctionRejected,
                KeyHandleInvalid,
                MechanismInvalid,
                MechanismParamInvalid,
                TokenWriteProtected,
                UserNotLoggedIn,
            ],
            During::Random => vec![
                FunctionCanceled,
                RandomNoRng,
                TokenWriteProtected,
                UserNotLoggedIn,
            ],
        }
    }

    #[test]
    fn each_function_answers_what_it_may_and_all_of_that() {
        use std::collections::BTreeSet;
        let always = [
            Error::FunctionFailed,
            Error::DeviceError,
            Error::DeviceMemory,
            Error::DeviceRemoved,
        ];
        for during in [
            During::Opening,
            During::Login,
            During::ChangePin,
            During::InitPin,
            During::Loading,
            During::Reading,
            During::Making,
            During::Storing,
            During::Deleting,
            During::Init,
            During::Operation,
            During::Decrypting,
            During::Unwrapping,
            During::Deriving,
            During::Random,
        ] {
            let errors = every_error();
            let answers = errors
                .iter()
                .map(|error| Error::from_token(during, error))
                .filter(|answer| !always.contains(answer))
                .map(Error::name);
            let answers: BTreeSet<_> = answers.collect();
            let listed: BTreeSet<_> = listed(during).into_iter().map(Error::name).collect();
            assert_eq!(answers, listed, "{during:?}");
            let gone = Error::from_token(during, &TokenError::TokenRemoved);
            assert_eq!(gone, Error::DeviceRemoved);
        }
    }
}
