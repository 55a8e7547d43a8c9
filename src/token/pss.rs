//! The parameters that a key for RSASSA-PSS carries (RFC 4055).

use der::asn1::ObjectIdentifier;
use x509_cert::spki::AlgorithmIdentifierRef;

use crate::{Digest, Pss, Reason, Result, TokenError, key::RSASSA_PSS};

/// RSASSA-PSS-params (RFC 4055 §3.1).
#[derive(der::Sequence)]
struct PssParameters<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    hash: Option<AlgorithmIdentifierRef<'a>>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    mgf: Option<AlgorithmIdentifierRef<'a>>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    salt_len: Option<u32>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    trailer: Option<u32>,
}

const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");

/// What a key for RSASSA-PSS only is restricted to; `None` for other keys and for one without parameters.
pub(crate) fn restriction(algorithm: AlgorithmIdentifierRef<'_>) -> Result<Option<Pss>> {
    let (RSASSA_PSS, Some(parameters)) = (algorithm.oid, algorithm.parameters) else {
        return Ok(None);
    };
    let malformed = |error: der::Error| {
        TokenError::Corrupted(Reason::new(format!("not RSASSA-PSS parameters: {error}")))
    };
    let parameters: PssParameters<'_> = parameters.decode_as().map_err(malformed)?;
    let digest = |identifier: Option<AlgorithmIdentifierRef<'_>>| match identifier {
        None => Ok(Digest::Sha1),
        Some(identifier) => Digest::from_oid(identifier.oid).ok_or(TokenError::NotSupported),
    };
    let mgf = match parameters.mgf {
        None => Digest::Sha1,
        Some(mgf) if mgf.oid == MGF1 => {
            let inside = mgf.parameters.ok_or(TokenError::NotSupported)?;
            digest(Some(inside.decode_as().map_err(malformed)?))?
        }
        Some(_) => return Err(TokenError::NotSupported),
    };
    if parameters.trailer.is_some_and(|trailer| trailer != 1) {
        return Err(TokenError::NotSupported);
    }
    Ok(Some(Pss {
        digest: digest(parameters.hash)?,
        mgf,
        salt_len: parameters.salt_len.unwrap_or(20),
    }))
}
