//! What programs make on a token and delete there: key pairs and certificates (PKCS#11 §5.7.1,
//! §5.7.3, §5.18.2). The token decides who may, and says which objects came of it.

use cryptoki_sys::*;
use ctk_token::{KeyType, NewKey, ObjectId, TokenError, TokenSession};

use super::{Catalog, Class, catalog::View, wish::Wish};
use crate::{
    error::{During, Error, Result},
    session::Session,
};

/// Has the token make a key pair of this kind, as templates wish that
/// [`make::check_key_pair`](super::make::check_key_pair) has seen: the handles of the public and of
/// the private key, also for an SO, who does not see the private one.
///
/// What the keys can be used for, who has to log in for that, and their labels follow from their
/// place on the token: the templates' other attributes are the program's hopes.
///
/// # Errors
/// CKR_TEMPLATE_INCONSISTENT if the templates name two identities, CKR_ATTRIBUTE_VALUE_INVALID for
/// one that the token has no place for, CKR_TEMPLATE_INCOMPLETE for none where the token cannot
/// tell which place is free, CKR_USER_NOT_LOGGED_IN without the role that may, and what
/// the token lacks of this kind of key: CKR_CURVE_NOT_SUPPORTED and its siblings.
pub(crate) fn generate_key_pair(
    session: &Session,
    public: &Wish,
    private: &Wish,
    key_type: KeyType,
) -> Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)> {
    let identity = agreed(public, private, CKA_ID)?;
    let label = private.bytes(CKA_LABEL).or(public.bytes(CKA_LABEL));
    let label = label.filter(|label| !label.is_empty()).map(str::from_utf8);
    let wanted = NewKey {
        key_type,
        identity,
        label: label
            .transpose()
            .map_err(|_| Error::AttributeValueInvalid)?,
    };
    let (id, catalog) = change(session, |token| {
        token.generate_key(&wanted).map_err(|error| match error {
            TokenError::BadParameter => (lacking(key_type), error),
            TokenError::ObjectNotFound if identity.is_none() => {
                log::warn!(
                    "the token does not tell which places hold a key: name the place by CKA_ID"
                );
                (Error::TemplateIncomplete, error)
            }
            error => (Error::from_token(During::Making, &error), error),
        })
    })?;
    let handle = |class| catalog.handle(class, &id).ok_or(Error::DeviceError);
    Ok((handle(Class::PublicKey)?, handle(Class::PrivateKey)?))
}

/// What both templates say of an attribute, if one says something.
fn agreed<'a>(
    public: &'a Wish,
    private: &'a Wish,
    kind: CK_ATTRIBUTE_TYPE,
) -> Result<Option<&'a [u8]>> {
    let said = |wish: &'a Wish| wish.bytes(kind).filter(|value| !value.is_empty());
    match (said(public), said(private)) {
        (Some(one), Some(other)) if one != other => Err(Error::TemplateInconsistent),
        (one, other) => Ok(one.or(other)),
    }
}

/// How a program hears that a token does not make keys of this kind.
fn lacking(key_type: KeyType) -> Error {
    match key_type {
        KeyType::Rsa { .. } => Error::AttributeValueInvalid,
        KeyType::Ec(_) | KeyType::Ed25519 | KeyType::Ed448 | KeyType::X25519 | KeyType::X448 => {
            Error::CurveNotSupported
        }
        KeyType::MlDsa44
        | KeyType::MlDsa65
        | KeyType::MlDsa87
        | KeyType::MlKem512
        | KeyType::MlKem768
        | KeyType::MlKem1024 => Error::ParameterSetNotSupported,
    }
}

/// Writes a certificate to the place of this identity, or of the key that it is about if the
/// identity is empty.
///
/// # Errors
/// CKR_TEMPLATE_INCONSISTENT if there is none but only where to find it,
/// CKR_ATTRIBUTE_VALUE_INVALID for an identity that the token has no place for or another key in,
/// and as above.
pub(super) fn import_certificate(
    session: &Session,
    identity: &[u8],
    der: &[u8],
) -> Result<CK_OBJECT_HANDLE> {
    if der.is_empty() {
        return Err(Error::TemplateInconsistent);
    }
    let identity = Some(identity).filter(|identity| !identity.is_empty());
    let (id, catalog) = change(session, |token| {
        let imported = token.import_certificate(identity, der);
        imported.map_err(|error| (Error::from_token(During::Storing, &error), error))
    })?;
    let handle = catalog.handle(Class::Certificate, &id);
    handle.ok_or(Error::DeviceError)
}

/// Deletes an object of the token: certificates of tokens that can be written, as CKA_DESTROYABLE
/// says.
///
/// # Errors
/// CKR_ACTION_PROHIBITED for all others, and as above.
pub(super) fn delete(session: &Session, view: &View<'_>) -> Result<()> {
    let (Some(certificate), true) = (view.certificate(), view.insertion.is_writable()) else {
        return Err(Error::ActionProhibited);
    };
    if !session.read_write {
        return Err(Error::SessionReadOnly);
    }
    change(session, |token| {
        let deleted = token.delete(&certificate.id);
        deleted.map_err(|error| (Error::from_token(During::Deleting, &error), error))?;
        Ok(certificate.id.clone())
    })
    .map(drop)
}

/// Changes the token, and says which item came of it and what the token holds then.
///
/// A token that wants another role says so, and the login that there is stays.
fn change(
    session: &Session,
    work: impl FnOnce(&dyn TokenSession) -> std::result::Result<ObjectId, (Error, TokenError)>,
) -> Result<(ObjectId, std::sync::Arc<Catalog>)> {
    let insertion = &session.insertion;
    let token_session = insertion.token_session()?;
    let id = work(&*token_session).map_err(|(error, cause)| {
        insertion.heed(&token_session, &cause);
        error
    })?;
    Ok((id, insertion.catalog()?))
}
