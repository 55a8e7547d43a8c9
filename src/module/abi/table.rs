//! The function table: one row for each of the 104 functions of PKCS#11 3.2, in the order of its
//! lists.
//!
//! A row is the function's signature, what has to hold before its body runs, and the body: nothing
//! for the functions that work before C_Initialize, `in library` for those that need it, and `on
//! session` for those whose handle is looked up first. Bodies live in the file of their chapter and
//! see checked pointers only.

use std::ffi::c_void;

use cryptoki_sys::*;

use super::{Function, V2_40, V3_0, V3_2, info_of, ptr};
use crate::{
    decrypt, derive, digest, dual, encapsulate, encrypt,
    error::{Error, Result},
    general, generate, login, mechanism, message,
    object::{self, create, find},
    random, recover, session, sign, slots, verify, verify_signature, wrap,
};

/// What a function answers that this release does not have.
fn unsupported() -> Result<()> {
    Err(Error::FunctionNotSupported)
}

cryptoki! {
v2_40 {
    C_Initialize(pInitArgs: *mut c_void) => general::initialize(ptr::initialize_args(pInitArgs));
    C_Finalize(pReserved: *mut c_void) => general::finalize(pReserved.is_null());
    C_GetInfo(pInfo: *mut CK_INFO) in _library => general::info(V3_2, ptr::place(pInfo));
    C_GetFunctionList(
        ppFunctionList: *mut *mut CK_FUNCTION_LIST
    ) => general::function_list(ptr::place(ppFunctionList));
    C_GetSlotList(
        tokenPresent: CK_BBOOL, pSlotList: *mut CK_SLOT_ID, pulCount: *mut CK_ULONG
    ) in library =>
        slots::list(&library, tokenPresent != CK_FALSE, ptr::list(pSlotList, pulCount));
    C_GetSlotInfo(
        slotID: CK_SLOT_ID, pInfo: *mut CK_SLOT_INFO
    ) in library => slots::slot_info(&library, slotID, ptr::place(pInfo));
    C_GetTokenInfo(
        slotID: CK_SLOT_ID, pInfo: *mut CK_TOKEN_INFO
    ) in library => slots::token_info(&library, slotID, ptr::place(pInfo));
    C_GetMechanismList(
        slotID: CK_SLOT_ID, pMechanismList: *mut CK_MECHANISM_TYPE, pulCount: *mut CK_ULONG
    ) in library => mechanism::list(&library, slotID, ptr::list(pMechanismList, pulCount));
    C_GetMechanismInfo(
        slotID: CK_SLOT_ID, type_: CK_MECHANISM_TYPE, pInfo: *mut CK_MECHANISM_INFO
    ) in library => mechanism::info(&library, slotID, type_, ptr::place(pInfo));
    C_InitToken(
        slotID: CK_SLOT_ID, pPin: *mut CK_UTF8CHAR, ulPinLen: CK_ULONG,
        pLabel: *mut CK_UTF8CHAR
    ) in _library => unsupported();
    C_InitPIN(
        hSession: CK_SESSION_HANDLE, pPin: *mut CK_UTF8CHAR, ulPinLen: CK_ULONG
    ) on session(hSession) => login::init_pin(&session, ptr::pin(pPin, ulPinLen));
    C_SetPIN(
        hSession: CK_SESSION_HANDLE, pOldPin: *mut CK_UTF8CHAR, ulOldLen: CK_ULONG,
        pNewPin: *mut CK_UTF8CHAR, ulNewLen: CK_ULONG
    ) on session(hSession) =>
        login::set_pin(&session, ptr::pin(pOldPin, ulOldLen), ptr::pin(pNewPin, ulNewLen));
    C_OpenSession(
        slotID: CK_SLOT_ID, flags: CK_FLAGS, pApplication: *mut c_void, Notify: CK_NOTIFY,
        phSession: *mut CK_SESSION_HANDLE
    ) in library => session::open(&library, slotID, flags, ptr::place(phSession));
    C_CloseSession(hSession: CK_SESSION_HANDLE) in library => session::close(&library, hSession);
    C_CloseAllSessions(slotID: CK_SLOT_ID) in library => session::close_all(&library, slotID);
    C_GetSessionInfo(
        hSession: CK_SESSION_HANDLE, pInfo: *mut CK_SESSION_INFO
    ) on session(hSession) => session::info(&session, ptr::place(pInfo));
    C_GetOperationState(
        hSession: CK_SESSION_HANDLE, pOperationState: *mut CK_BYTE,
        pulOperationStateLen: *mut CK_ULONG
    ) in _library => unsupported();
    C_SetOperationState(
        hSession: CK_SESSION_HANDLE, pOperationState: *mut CK_BYTE,
        ulOperationStateLen: CK_ULONG, hEncryptionKey: CK_OBJECT_HANDLE,
        hAuthenticationKey: CK_OBJECT_HANDLE
    ) in _library => unsupported();
    C_Login(
        hSession: CK_SESSION_HANDLE, userType: CK_USER_TYPE, pPin: *mut CK_UTF8CHAR,
        ulPinLen: CK_ULONG
    ) on session(hSession) => login::login(&session, userType, ptr::pin(pPin, ulPinLen));
    C_Logout(hSession: CK_SESSION_HANDLE) on session(hSession) => login::logout(&session);
    C_CreateObject(
        hSession: CK_SESSION_HANDLE, pTemplate: *mut CK_ATTRIBUTE, ulCount: CK_ULONG,
        phObject: *mut CK_OBJECT_HANDLE
    ) on session(hSession) =>
        create::create(&session, ptr::template(pTemplate, ulCount), ptr::place(phObject));
    C_CopyObject(
        hSession: CK_SESSION_HANDLE, hObject: CK_OBJECT_HANDLE, pTemplate: *mut CK_ATTRIBUTE,
        ulCount: CK_ULONG, phNewObject: *mut CK_OBJECT_HANDLE
    ) on session(hSession) =>
        create::copy(
            &session, hObject, ptr::template(pTemplate, ulCount), ptr::place(phNewObject)
        );
    C_DestroyObject(
        hSession: CK_SESSION_HANDLE, hObject: CK_OBJECT_HANDLE
    ) on session(hSession) =>
        create::destroy(&session, hObject);
    C_GetObjectSize(
        hSession: CK_SESSION_HANDLE, hObject: CK_OBJECT_HANDLE, pulSize: *mut CK_ULONG
    ) on session(hSession) =>
        object::size(&session, hObject, ptr::place(pulSize));
    C_GetAttributeValue(
        hSession: CK_SESSION_HANDLE, hObject: CK_OBJECT_HANDLE, pTemplate: *mut CK_ATTRIBUTE,
        ulCount: CK_ULONG
    ) on session(hSession) =>
        object::attribute_value(&session, hObject, ptr::template(pTemplate, ulCount));
    C_SetAttributeValue(
        hSession: CK_SESSION_HANDLE, hObject: CK_OBJECT_HANDLE, pTemplate: *mut CK_ATTRIBUTE,
        ulCount: CK_ULONG
    ) on session(hSession) =>
        create::set_attribute_value(&session, hObject, ptr::template(pTemplate, ulCount));
    C_FindObjectsInit(
        hSession: CK_SESSION_HANDLE, pTemplate: *mut CK_ATTRIBUTE, ulCount: CK_ULONG
    ) on session(hSession) => find::init(&session, ptr::template(pTemplate, ulCount));
    C_FindObjects(
        hSession: CK_SESSION_HANDLE, phObject: *mut CK_OBJECT_HANDLE,
        ulMaxObjectCount: CK_ULONG, pulObjectCount: *mut CK_ULONG
    ) on session(hSession) =>
        find::next(&session, ptr::array(phObject, ulMaxObjectCount), ptr::place(pulObjectCount));
    C_FindObjectsFinal(hSession: CK_SESSION_HANDLE) on session(hSession) => find::finish(&session);
    C_EncryptInit(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM, hKey: CK_OBJECT_HANDLE
    ) on session(hSession) =>
        encrypt::init(&session, ptr::mechanism(pMechanism), hKey);
    C_Encrypt(
        hSession: CK_SESSION_HANDLE, pData: *mut CK_BYTE, ulDataLen: CK_ULONG,
        pEncryptedData: *mut CK_BYTE, pulEncryptedDataLen: *mut CK_ULONG
    ) on session(hSession) =>
        encrypt::encrypt(
            &session, ptr::input(pData, ulDataLen), ptr::list(pEncryptedData, pulEncryptedDataLen)
        );
    C_EncryptUpdate(
        hSession: CK_SESSION_HANDLE, pPart: *mut CK_BYTE, ulPartLen: CK_ULONG,
        pEncryptedPart: *mut CK_BYTE, pulEncryptedPartLen: *mut CK_ULONG
    ) on session(hSession) =>
        encrypt::update(
            &session, ptr::input(pPart, ulPartLen), ptr::list(pEncryptedPart, pulEncryptedPartLen)
        );
    C_EncryptFinal(
        hSession: CK_SESSION_HANDLE, pLastEncryptedPart: *mut CK_BYTE,
        pulLastEncryptedPartLen: *mut CK_ULONG
    ) on session(hSession) =>
        encrypt::finish(&session, ptr::list(pLastEncryptedPart, pulLastEncryptedPartLen));
    C_DecryptInit(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM, hKey: CK_OBJECT_HANDLE
    ) on session(hSession) =>
        decrypt::init(&session, ptr::mechanism(pMechanism), hKey);
    C_Decrypt(
        hSession: CK_SESSION_HANDLE, pEncryptedData: *mut CK_BYTE,
        ulEncryptedDataLen: CK_ULONG, pData: *mut CK_BYTE, pulDataLen: *mut CK_ULONG
    ) on session(hSession) =>
        decrypt::decrypt(
            &session, ptr::input(pEncryptedData, ulEncryptedDataLen), ptr::list(pData, pulDataLen)
        );
    C_DecryptUpdate(
        hSession: CK_SESSION_HANDLE, pEncryptedPart: *mut CK_BYTE,
        ulEncryptedPartLen: CK_ULONG, pPart: *mut CK_BYTE, pulPartLen: *mut CK_ULONG
    ) on session(hSession) =>
        decrypt::update(
            &session, ptr::input(pEncryptedPart, ulEncryptedPartLen), ptr::list(pPart, pulPartLen)
        );
    C_DecryptFinal(
        hSession: CK_SESSION_HANDLE, pLastPart: *mut CK_BYTE, pulLastPartLen: *mut CK_ULONG
    ) on session(hSession) =>
        decrypt::finish(&session, ptr::list(pLastPart, pulLastPartLen));
    C_DigestInit(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM
    ) on session(hSession) =>
        digest::init(&session, ptr::mechanism(pMechanism));
    C_Digest(
        hSession: CK_SESSION_HANDLE, pData: *mut CK_BYTE, ulDataLen: CK_ULONG,
        pDigest: *mut CK_BYTE, pulDigestLen: *mut CK_ULONG
    ) on session(hSession) =>
        digest::digest(&session, ptr::input(pData, ulDataLen), ptr::list(pDigest, pulDigestLen));
    C_DigestUpdate(
        hSession: CK_SESSION_HANDLE, pPart: *mut CK_BYTE, ulPartLen: CK_ULONG
    ) on session(hSession) =>
        digest::update(&session, ptr::input(pPart, ulPartLen));
    C_DigestKey(hSession: CK_SESSION_HANDLE, hKey: CK_OBJECT_HANDLE) on session(hSession) =>
        digest::key(&session, hKey);
    C_DigestFinal(
        hSession: CK_SESSION_HANDLE, pDigest: *mut CK_BYTE, pulDigestLen: *mut CK_ULONG
    ) on session(hSession) =>
        digest::finish(&session, ptr::list(pDigest, pulDigestLen));
    C_SignInit(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM, hKey: CK_OBJECT_HANDLE
    ) on session(hSession) => sign::init(&session, ptr::mechanism(pMechanism), hKey);
    C_Sign(
        hSession: CK_SESSION_HANDLE, pData: *mut CK_BYTE, ulDataLen: CK_ULONG,
        pSignature: *mut CK_BYTE, pulSignatureLen: *mut CK_ULONG
    ) on session(hSession) =>
        sign::sign(&session, ptr::input(pData, ulDataLen), ptr::list(pSignature, pulSignatureLen));
    C_SignUpdate(
        hSession: CK_SESSION_HANDLE, pPart: *mut CK_BYTE, ulPartLen: CK_ULONG
    ) on session(hSession) => sign::update(&session, ptr::input(pPart, ulPartLen));
    C_SignFinal(
        hSession: CK_SESSION_HANDLE, pSignature: *mut CK_BYTE, pulSignatureLen: *mut CK_ULONG
    ) on session(hSession) => sign::finish(&session, ptr::list(pSignature, pulSignatureLen));
    C_SignRecoverInit(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM, hKey: CK_OBJECT_HANDLE
    ) on session(hSession) =>
        recover::sign_init(&session, ptr::mechanism(pMechanism), hKey);
    C_SignRecover(
        hSession: CK_SESSION_HANDLE, pData: *mut CK_BYTE, ulDataLen: CK_ULONG,
        pSignature: *mut CK_BYTE, pulSignatureLen: *mut CK_ULONG
    ) on session(hSession) =>
        recover::sign(
            &session, ptr::input(pData, ulDataLen), ptr::list(pSignature, pulSignatureLen)
        );
    C_VerifyInit(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM, hKey: CK_OBJECT_HANDLE
    ) on session(hSession) =>
        verify::init(&session, ptr::mechanism(pMechanism), hKey);
    C_Verify(
        hSession: CK_SESSION_HANDLE, pData: *mut CK_BYTE, ulDataLen: CK_ULONG,
        pSignature: *mut CK_BYTE, ulSignatureLen: CK_ULONG
    ) on session(hSession) =>
        verify::verify(
            &session, ptr::input(pData, ulDataLen), ptr::input(pSignature, ulSignatureLen)
        );
    C_VerifyUpdate(
        hSession: CK_SESSION_HANDLE, pPart: *mut CK_BYTE, ulPartLen: CK_ULONG
    ) on session(hSession) =>
        verify::update(&session, ptr::input(pPart, ulPartLen));
    C_VerifyFinal(
        hSession: CK_SESSION_HANDLE, pSignature: *mut CK_BYTE, ulSignatureLen: CK_ULONG
    ) on session(hSession) =>
        verify::finish(&session, ptr::input(pSignature, ulSignatureLen));
    C_VerifyRecoverInit(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM, hKey: CK_OBJECT_HANDLE
    ) on session(hSession) =>
        recover::verify_init(&session, ptr::mechanism(pMechanism), hKey);
    C_VerifyRecover(
        hSession: CK_SESSION_HANDLE, pSignature: *mut CK_BYTE, ulSignatureLen: CK_ULONG,
        pData: *mut CK_BYTE, pulDataLen: *mut CK_ULONG
    ) on session(hSession) =>
        recover::verify(
            &session, ptr::input(pSignature, ulSignatureLen), ptr::list(pData, pulDataLen)
        );
    C_DigestEncryptUpdate(
        hSession: CK_SESSION_HANDLE, pPart: *mut CK_BYTE, ulPartLen: CK_ULONG,
        pEncryptedPart: *mut CK_BYTE, pulEncryptedPartLen: *mut CK_ULONG
    ) on session(hSession) =>
        dual::digest_encrypt(
            &session, ptr::input(pPart, ulPartLen), ptr::list(pEncryptedPart, pulEncryptedPartLen)
        );
    C_DecryptDigestUpdate(
        hSession: CK_SESSION_HANDLE, pEncryptedPart: *mut CK_BYTE,
        ulEncryptedPartLen: CK_ULONG, pPart: *mut CK_BYTE, pulPartLen: *mut CK_ULONG
    ) on session(hSession) =>
        dual::decrypt_digest(
            &session, ptr::input(pEncryptedPart, ulEncryptedPartLen), ptr::list(pPart, pulPartLen)
        );
    C_SignEncryptUpdate(
        hSession: CK_SESSION_HANDLE, pPart: *mut CK_BYTE, ulPartLen: CK_ULONG,
        pEncryptedPart: *mut CK_BYTE, pulEncryptedPartLen: *mut CK_ULONG
    ) on session(hSession) =>
        dual::sign_encrypt(
            &session, ptr::input(pPart, ulPartLen), ptr::list(pEncryptedPart, pulEncryptedPartLen)
        );
    C_DecryptVerifyUpdate(
        hSession: CK_SESSION_HANDLE, pEncryptedPart: *mut CK_BYTE,
        ulEncryptedPartLen: CK_ULONG, pPart: *mut CK_BYTE, pulPartLen: *mut CK_ULONG
    ) on session(hSession) =>
        dual::decrypt_verify(
            &session, ptr::input(pEncryptedPart, ulEncryptedPartLen), ptr::list(pPart, pulPartLen)
        );
    C_GenerateKey(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM,
        pTemplate: *mut CK_ATTRIBUTE, ulCount: CK_ULONG, phKey: *mut CK_OBJECT_HANDLE
    ) on session(hSession) =>
        generate::key(
            &session, ptr::mechanism(pMechanism), ptr::template(pTemplate, ulCount),
            ptr::place(phKey)
        );
    C_GenerateKeyPair(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM,
        pPublicKeyTemplate: *mut CK_ATTRIBUTE, ulPublicKeyAttributeCount: CK_ULONG,
        pPrivateKeyTemplate: *mut CK_ATTRIBUTE, ulPrivateKeyAttributeCount: CK_ULONG,
        phPublicKey: *mut CK_OBJECT_HANDLE, phPrivateKey: *mut CK_OBJECT_HANDLE
    ) on session(hSession) =>
        generate::key_pair(
            &session, ptr::mechanism(pMechanism),
            ptr::template(pPublicKeyTemplate, ulPublicKeyAttributeCount),
            ptr::template(pPrivateKeyTemplate, ulPrivateKeyAttributeCount),
            ptr::place(phPublicKey), ptr::place(phPrivateKey)
        );
    C_WrapKey(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM,
        hWrappingKey: CK_OBJECT_HANDLE, hKey: CK_OBJECT_HANDLE, pWrappedKey: *mut CK_BYTE,
        pulWrappedKeyLen: *mut CK_ULONG
    ) on session(hSession) =>
        wrap::wrap(
            &session, ptr::mechanism(pMechanism), hWrappingKey, hKey,
            ptr::list(pWrappedKey, pulWrappedKeyLen)
        );
    C_UnwrapKey(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM,
        hUnwrappingKey: CK_OBJECT_HANDLE, pWrappedKey: *mut CK_BYTE, ulWrappedKeyLen: CK_ULONG,
        pTemplate: *mut CK_ATTRIBUTE, ulAttributeCount: CK_ULONG, phKey: *mut CK_OBJECT_HANDLE
    ) on session(hSession) =>
        wrap::unwrap(
            &session, ptr::mechanism(pMechanism), hUnwrappingKey,
            ptr::input(pWrappedKey, ulWrappedKeyLen), ptr::template(pTemplate, ulAttributeCount),
            ptr::place(phKey)
        );
    C_DeriveKey(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM, hBaseKey: CK_OBJECT_HANDLE,
        pTemplate: *mut CK_ATTRIBUTE, ulAttributeCount: CK_ULONG, phKey: *mut CK_OBJECT_HANDLE
    ) on session(hSession) =>
        derive::derive(
            &session, ptr::mechanism(pMechanism), hBaseKey,
            ptr::template(pTemplate, ulAttributeCount), ptr::place(phKey)
        );
    C_SeedRandom(
        hSession: CK_SESSION_HANDLE, pSeed: *mut CK_BYTE, ulSeedLen: CK_ULONG
    ) on session(hSession) => random::seed(&session, ptr::input(pSeed, ulSeedLen));
    C_GenerateRandom(
        hSession: CK_SESSION_HANDLE, pRandomData: *mut CK_BYTE, ulRandomLen: CK_ULONG
    ) on session(hSession) => random::generate(&session, ptr::array(pRandomData, ulRandomLen));
    C_GetFunctionStatus(
        hSession: CK_SESSION_HANDLE
    ) on _session(hSession) => Err(Error::FunctionNotParallel);
    C_CancelFunction(
        hSession: CK_SESSION_HANDLE
    ) on _session(hSession) => Err(Error::FunctionNotParallel);
    C_WaitForSlotEvent(
        flags: CK_FLAGS, pSlot: *mut CK_SLOT_ID, pReserved: *mut c_void
    ) in library =>
        slots::wait_for_event(&library, flags, ptr::place(pSlot), pReserved.is_null());
}
v3_0 {
    C_GetInterfaceList(
        pInterfacesList: *mut CK_INTERFACE, pulCount: *mut CK_ULONG
    ) => general::interface_list(ptr::list(pInterfacesList, pulCount));
    C_GetInterface(
        pInterfaceName: *mut CK_UTF8CHAR, pVersion: *mut CK_VERSION,
        ppInterface: *mut *mut CK_INTERFACE, flags: CK_FLAGS
    ) =>
        general::interface(
            ptr::name(pInterfaceName), ptr::optional(pVersion), ptr::place(ppInterface), flags
        );
    C_LoginUser(
        hSession: CK_SESSION_HANDLE, userType: CK_USER_TYPE, pPin: *mut CK_UTF8CHAR,
        ulPinLen: CK_ULONG, pUsername: *mut CK_UTF8CHAR, ulUsernameLen: CK_ULONG
    ) on session(hSession) =>
        login::login_user(
            &session, userType, ptr::pin(pPin, ulPinLen),
            ptr::optional_input(pUsername, ulUsernameLen)
        );
    C_SessionCancel(
        hSession: CK_SESSION_HANDLE, flags: CK_FLAGS
    ) on session(hSession) => session::cancel(&session, flags);
    C_MessageEncryptInit(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM, hKey: CK_OBJECT_HANDLE
    ) in _library => unsupported();
    C_EncryptMessage(
        hSession: CK_SESSION_HANDLE, pParameter: *mut c_void, ulParameterLen: CK_ULONG,
        pAssociatedData: *mut CK_BYTE, ulAssociatedDataLen: CK_ULONG, pPlaintext: *mut CK_BYTE,
        ulPlaintextLen: CK_ULONG, pCiphertext: *mut CK_BYTE, pulCiphertextLen: *mut CK_ULONG
    ) in _library => unsupported();
    C_EncryptMessageBegin(
        hSession: CK_SESSION_HANDLE, pParameter: *mut c_void, ulParameterLen: CK_ULONG,
        pAssociatedData: *mut CK_BYTE, ulAssociatedDataLen: CK_ULONG
    ) in _library => unsupported();
    C_EncryptMessageNext(
        hSession: CK_SESSION_HANDLE, pParameter: *mut c_void, ulParameterLen: CK_ULONG,
        pPlaintextPart: *mut CK_BYTE, ulPlaintextPartLen: CK_ULONG,
        pCiphertextPart: *mut CK_BYTE, pulCiphertextPartLen: *mut CK_ULONG, flags: CK_FLAGS
    ) in _library => unsupported();
    C_MessageEncryptFinal(hSession: CK_SESSION_HANDLE) in _library => unsupported();
    C_MessageDecryptInit(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM, hKey: CK_OBJECT_HANDLE
    ) in _library => unsupported();
    C_DecryptMessage(
        hSession: CK_SESSION_HANDLE, pParameter: *mut c_void, ulParameterLen: CK_ULONG,
        pAssociatedData: *mut CK_BYTE, ulAssociatedDataLen: CK_ULONG,
        pCiphertext: *mut CK_BYTE, ulCiphertextLen: CK_ULONG, pPlaintext: *mut CK_BYTE,
        pulPlaintextLen: *mut CK_ULONG
    ) in _library => unsupported();
    C_DecryptMessageBegin(
        hSession: CK_SESSION_HANDLE, pParameter: *mut c_void, ulParameterLen: CK_ULONG,
        pAssociatedData: *mut CK_BYTE, ulAssociatedDataLen: CK_ULONG
    ) in _library => unsupported();
    C_DecryptMessageNext(
        hSession: CK_SESSION_HANDLE, pParameter: *mut c_void, ulParameterLen: CK_ULONG,
        pCiphertextPart: *mut CK_BYTE, ulCiphertextPartLen: CK_ULONG,
        pPlaintextPart: *mut CK_BYTE, pulPlaintextPartLen: *mut CK_ULONG, flags: CK_FLAGS
    ) in _library => unsupported();
    C_MessageDecryptFinal(hSession: CK_SESSION_HANDLE) in _library => unsupported();
    C_MessageSignInit(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM, hKey: CK_OBJECT_HANDLE
    ) on session(hSession) =>
        message::sign_init(&session, ptr::mechanism(pMechanism), hKey);
    C_SignMessage(
        hSession: CK_SESSION_HANDLE, pParameter: *mut c_void, ulParameterLen: CK_ULONG,
        pData: *mut CK_BYTE, ulDataLen: CK_ULONG, pSignature: *mut CK_BYTE,
        pulSignatureLen: *mut CK_ULONG
    ) on session(hSession) =>
        message::sign(
            &session, ptr::input(pParameter.cast(), ulParameterLen),
            ptr::input(pData, ulDataLen), ptr::list(pSignature, pulSignatureLen)
        );
    C_SignMessageBegin(
        hSession: CK_SESSION_HANDLE, pParameter: *mut c_void, ulParameterLen: CK_ULONG
    ) on session(hSession) =>
        message::sign_begin(&session, ptr::input(pParameter.cast(), ulParameterLen));
    C_SignMessageNext(
        hSession: CK_SESSION_HANDLE, pParameter: *mut c_void, ulParameterLen: CK_ULONG,
        pData: *mut CK_BYTE, ulDataLen: CK_ULONG, pSignature: *mut CK_BYTE,
        pulSignatureLen: *mut CK_ULONG
    ) on session(hSession) =>
        message::sign_next(
            &session, ptr::input(pParameter.cast(), ulParameterLen),
            ptr::input(pData, ulDataLen), ptr::optional_list(pSignature, pulSignatureLen)
        );
    C_MessageSignFinal(hSession: CK_SESSION_HANDLE) on session(hSession) =>
        message::sign_end(&session);
    C_MessageVerifyInit(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM, hKey: CK_OBJECT_HANDLE
    ) on session(hSession) =>
        message::verify_init(&session, ptr::mechanism(pMechanism), hKey);
    C_VerifyMessage(
        hSession: CK_SESSION_HANDLE, pParameter: *mut c_void, ulParameterLen: CK_ULONG,
        pData: *mut CK_BYTE, ulDataLen: CK_ULONG, pSignature: *mut CK_BYTE,
        ulSignatureLen: CK_ULONG
    ) on session(hSession) =>
        message::verify(
            &session, ptr::input(pParameter.cast(), ulParameterLen),
            ptr::input(pData, ulDataLen), ptr::input(pSignature, ulSignatureLen)
        );
    C_VerifyMessageBegin(
        hSession: CK_SESSION_HANDLE, pParameter: *mut c_void, ulParameterLen: CK_ULONG
    ) on session(hSession) =>
        message::verify_begin(&session, ptr::input(pParameter.cast(), ulParameterLen));
    C_VerifyMessageNext(
        hSession: CK_SESSION_HANDLE, pParameter: *mut c_void, ulParameterLen: CK_ULONG,
        pData: *mut CK_BYTE, ulDataLen: CK_ULONG, pSignature: *mut CK_BYTE,
        ulSignatureLen: CK_ULONG
    ) on session(hSession) =>
        message::verify_next(
            &session, ptr::input(pParameter.cast(), ulParameterLen),
            ptr::input(pData, ulDataLen), ptr::optional_input(pSignature, ulSignatureLen)
        );
    C_MessageVerifyFinal(hSession: CK_SESSION_HANDLE) on session(hSession) =>
        message::verify_end(&session);
}
v3_2 {
    C_EncapsulateKey(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM,
        hPublicKey: CK_OBJECT_HANDLE, pTemplate: *mut CK_ATTRIBUTE, ulAttributeCount: CK_ULONG,
        pCiphertext: *mut CK_BYTE, pulCiphertextLen: *mut CK_ULONG,
        phKey: *mut CK_OBJECT_HANDLE
    ) on session(hSession) =>
        encapsulate::encapsulate(
            &session, ptr::mechanism(pMechanism), hPublicKey,
            ptr::template(pTemplate, ulAttributeCount), ptr::list(pCiphertext, pulCiphertextLen),
            ptr::place(phKey)
        );
    C_DecapsulateKey(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM,
        hPrivateKey: CK_OBJECT_HANDLE, pTemplate: *mut CK_ATTRIBUTE,
        ulAttributeCount: CK_ULONG, pCiphertext: *mut CK_BYTE, ulCiphertextLen: CK_ULONG,
        phKey: *mut CK_OBJECT_HANDLE
    ) on session(hSession) =>
        encapsulate::decapsulate(
            &session, ptr::mechanism(pMechanism), hPrivateKey,
            ptr::template(pTemplate, ulAttributeCount),
            ptr::input(pCiphertext, ulCiphertextLen), ptr::place(phKey)
        );
    C_VerifySignatureInit(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM, hKey: CK_OBJECT_HANDLE,
        pSignature: *mut CK_BYTE, ulSignatureLen: CK_ULONG
    ) on session(hSession) =>
        verify_signature::init(
            &session, ptr::mechanism(pMechanism), hKey, ptr::input(pSignature, ulSignatureLen)
        );
    C_VerifySignature(
        hSession: CK_SESSION_HANDLE, pData: *mut CK_BYTE, ulDataLen: CK_ULONG
    ) on session(hSession) =>
        verify_signature::verify(&session, ptr::input(pData, ulDataLen));
    C_VerifySignatureUpdate(
        hSession: CK_SESSION_HANDLE, pPart: *mut CK_BYTE, ulPartLen: CK_ULONG
    ) on session(hSession) =>
        verify_signature::update(&session, ptr::input(pPart, ulPartLen));
    C_VerifySignatureFinal(hSession: CK_SESSION_HANDLE) on session(hSession) =>
        verify_signature::finish(&session);
    C_GetSessionValidationFlags(
        hSession: CK_SESSION_HANDLE, type_: CK_SESSION_VALIDATION_FLAGS_TYPE,
        pFlags: *mut CK_FLAGS
    ) on session(hSession) =>
        session::validation_flags(&session, type_, ptr::place(pFlags));
    C_AsyncComplete(
        hSession: CK_SESSION_HANDLE, pFunctionName: *mut CK_UTF8CHAR,
        pResult: *mut CK_ASYNC_DATA
    ) in _library => unsupported();
    C_AsyncGetID(
        hSession: CK_SESSION_HANDLE, pFunctionName: *mut CK_UTF8CHAR, pulID: *mut CK_ULONG
    ) in _library => unsupported();
    C_AsyncJoin(
        hSession: CK_SESSION_HANDLE, pFunctionName: *mut CK_UTF8CHAR, ulID: CK_ULONG,
        pData: *mut CK_BYTE, ulData: CK_ULONG
    ) in _library => unsupported();
    C_WrapKeyAuthenticated(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM,
        hWrappingKey: CK_OBJECT_HANDLE, hKey: CK_OBJECT_HANDLE, pAssociatedData: *mut CK_BYTE,
        ulAssociatedDataLen: CK_ULONG, pWrappedKey: *mut CK_BYTE,
        pulWrappedKeyLen: *mut CK_ULONG
    ) in _library => unsupported();
    C_UnwrapKeyAuthenticated(
        hSession: CK_SESSION_HANDLE, pMechanism: *mut CK_MECHANISM,
        hUnwrappingKey: CK_OBJECT_HANDLE, pWrappedKey: *mut CK_BYTE, ulWrappedKeyLen: CK_ULONG,
        pTemplate: *mut CK_ATTRIBUTE, ulAttributeCount: CK_ULONG,
        pAssociatedData: *mut CK_BYTE, ulAssociatedDataLen: CK_ULONG,
        phKey: *mut CK_OBJECT_HANDLE
    ) in _library => unsupported();
}}
