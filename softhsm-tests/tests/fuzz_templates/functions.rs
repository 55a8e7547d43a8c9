//! The functions and their arguments.

/// What an argument of a function is.
#[derive(Clone, Copy, Debug)]
pub enum Of {
    Session,
    Slot,
    Object,
    Mechanism,
    /// Attributes, and how many.
    Template,
    /// Attributes to be filled, and how many.
    Wanted,
    /// Bytes and their length.
    In,
    /// A buffer and a pointer to its length.
    Out,
    /// A buffer and its length.
    Fill,
    /// Where a new object's handle goes.
    New,
    /// Room for a structure.
    Info,
    /// Where handles go, how many, and how many there were.
    Found,
    /// A parameter of a message and its length.
    Parameter,
    /// One of a few numbers.
    Flags,
    Pin,
}

use Of::{
    Fill, Flags, Found, In, Info, Mechanism, New, Object, Out, Parameter as Part, Pin,
    Session as S, Slot, Template, Wanted,
};

/// Every function but those that begin and end all, or wait.
pub const FUNCTIONS: &[(&str, &[Of])] = &[
    ("C_GetInfo", &[Info]),
    ("C_GetSlotList", &[Flags, Out]),
    ("C_GetSlotInfo", &[Slot, Info]),
    ("C_GetTokenInfo", &[Slot, Info]),
    ("C_GetMechanismInfo", &[Slot, Flags, Info]),
    ("C_GetSessionInfo", &[S, Info]),
    ("C_Login", &[S, Flags, Pin]),
    ("C_Logout", &[S]),
    ("C_InitPIN", &[S, In]),
    ("C_SetPIN", &[S, In, In]),
    ("C_CloseSession", &[S]),
    ("C_CreateObject", &[S, Template, New]),
    ("C_CopyObject", &[S, Object, Template, New]),
    ("C_DestroyObject", &[S, Object]),
    ("C_GetObjectSize", &[S, Object, Info]),
    ("C_GetAttributeValue", &[S, Object, Wanted]),
    ("C_SetAttributeValue", &[S, Object, Template]),
    ("C_FindObjectsInit", &[S, Template]),
    ("C_FindObjects", &[S, Found]),
    ("C_FindObjectsFinal", &[S]),
    ("C_EncryptInit", &[S, Mechanism, Object]),
    ("C_Encrypt", &[S, In, Out]),
    ("C_EncryptUpdate", &[S, In, Out]),
    ("C_EncryptFinal", &[S, Out]),
    ("C_DecryptInit", &[S, Mechanism, Object]),
    ("C_Decrypt", &[S, In, Out]),
    ("C_DecryptUpdate", &[S, In, Out]),
    ("C_DecryptFinal", &[S, Out]),
    ("C_DigestInit", &[S, Mechanism]),
    ("C_Digest", &[S, In, Out]),
    ("C_DigestUpdate", &[S, In]),
    ("C_DigestKey", &[S, Object]),
    ("C_DigestFinal", &[S, Out]),
    ("C_SignInit", &[S, Mechanism, Object]),
    ("C_Sign", &[S, In, Out]),
    ("C_SignUpdate", &[S, In]),
    ("C_SignFinal", &[S, Out]),
    ("C_SignRecoverInit", &[S, Mechanism, Object]),
    ("C_SignRecover", &[S, In, Out]),
    ("C_VerifyInit", &[S, Mechanism, Object]),
    ("C_Verify", &[S, In, In]),
    ("C_VerifyUpdate", &[S, In]),
    ("C_VerifyFinal", &[S, In]),
    ("C_VerifyRecoverInit", &[S, Mechanism, Object]),
    ("C_VerifyRecover", &[S, In, Out]),
    ("C_DigestEncryptUpdate", &[S, In, Out]),
    ("C_DecryptDigestUpdate", &[S, In, Out]),
    ("C_SignEncryptUpdate", &[S, In, Out]),
    ("C_DecryptVerifyUpdate", &[S, In, Out]),
    ("C_GenerateKey", &[S, Mechanism, Template, New]),
    (
        "C_GenerateKeyPair",
        &[S, Mechanism, Template, Template, New, New],
    ),
    ("C_WrapKey", &[S, Mechanism, Object, Object, Out]),
    ("C_UnwrapKey", &[S, Mechanism, Object, In, Template, New]),
    ("C_DeriveKey", &[S, Mechanism, Object, Template, New]),
    ("C_SeedRandom", &[S, In]),
    ("C_GenerateRandom", &[S, Fill]),
    ("C_LoginUser", &[S, Flags, Pin, In]),
    ("C_SessionCancel", &[S, Flags]),
    ("C_MessageEncryptInit", &[S, Mechanism, Object]),
    ("C_EncryptMessage", &[S, Part, In, In, Out]),
    ("C_MessageEncryptFinal", &[S]),
    ("C_MessageDecryptInit", &[S, Mechanism, Object]),
    ("C_MessageDecryptFinal", &[S]),
    ("C_MessageSignInit", &[S, Mechanism, Object]),
    ("C_SignMessage", &[S, Part, In, Out]),
    ("C_SignMessageBegin", &[S, Part]),
    ("C_SignMessageNext", &[S, Part, In, Out]),
    ("C_MessageSignFinal", &[S]),
    ("C_MessageVerifyInit", &[S, Mechanism, Object]),
    ("C_VerifyMessage", &[S, Part, In, In]),
    ("C_VerifyMessageBegin", &[S, Part]),
    ("C_VerifyMessageNext", &[S, Part, In, In]),
    ("C_MessageVerifyFinal", &[S]),
    (
        "C_EncapsulateKey",
        &[S, Mechanism, Object, Template, Out, New],
    ),
    (
        "C_DecapsulateKey",
        &[S, Mechanism, Object, Template, In, New],
    ),
    ("C_VerifySignatureInit", &[S, Mechanism, Object, In]),
    ("C_VerifySignature", &[S, In]),
    ("C_VerifySignatureUpdate", &[S, In]),
    ("C_VerifySignatureFinal", &[S]),
    ("C_GetSessionValidationFlags", &[S, Flags, Info]),
];
