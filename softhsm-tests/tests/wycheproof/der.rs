//! As much DER as the vectors need: elements are written, and read strictly.

/// INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// BIT STRING.
pub(crate) const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// OBJECT IDENTIFIER.
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
/// SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;

/// An element.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let mut element = vec![tag];
    if len < 0x80 {
        element.push(u8::try_from(len).expect("a short length"));
    } else {
        let octets = len.to_be_bytes();
        let zeros = octets.iter().take_while(|octet| **octet == 0).count();
        element.push(0x80 | u8::try_from(octets.len() - zeros).expect("a number of octets"));
        element.extend_from_slice(&octets[zeros..]);
    }
    element.extend_from_slice(content);
    element
}

/// A SEQUENCE of these elements.
pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(SEQUENCE, &parts.concat())
}

/// A SET of these elements.
pub(crate) fn set(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x31, &parts.concat())
}

/// A value in an explicit tag with the number 0.
pub(crate) fn explicit(content: &[u8]) -> Vec<u8> {
    tlv(0xA0, content)
}

/// An OCTET STRING.
pub(crate) fn octets(content: &[u8]) -> Vec<u8> {
    tlv(OCTET_STRING, content)
}

/// A small INTEGER.
pub(crate) fn integer(value: u8) -> Vec<u8> {
    assert!(value < 0x80);
    tlv(INTEGER, &[value])
}

/// An OBJECT IDENTIFIER.
pub(crate) fn oid(dotted: &str) -> Vec<u8> {
    let mut arcs = dotted
        .split('.')
        .map(|arc| arc.parse::<u32>().expect("an arc"));
    let first = arcs.next().expect("an arc") * 40 + arcs.next().expect("an arc");
    let mut content = Vec::new();
    for arc in std::iter::once(first).chain(arcs) {
        let groups = (32 - arc.leading_zeros()).div_ceil(7).max(1);
        for group in (0..groups).rev() {
            let seven = u8::try_from(arc >> (7 * group) & 0x7F).expect("seven bits");
            content.push(if group == 0 { seven } else { seven | 0x80 });
        }
    }
    tlv(OBJECT_IDENTIFIER, &content)
}

/// The content of the first element, if it has this tag and DER's one form of its length, and what
/// follows it.
pub(crate) fn read(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk()?;
    if found != tag {
        return None;
    }
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let octets = rest.get(..usize::from(first & 0x7F))?;
        let len = octets.iter().try_fold(0usize, |len, octet| {
            Some(len.checked_mul(256)? + usize::from(*octet))
        })?;
        // Neither BER's indefinite length nor a longer form than it takes.
        if octets.first()? == &0 || len < 0x80 {
            return None;
        }
        (len, &rest[octets.len()..])
    };
    rest.split_at_checked(len)
}

/// The content of the only element.
pub(crate) fn only(tag: u8, der: &[u8]) -> Option<&[u8]> {
    read(tag, der)
        .filter(|(_, rest)| rest.is_empty())
        .map(|(content, _)| content)
}

/// The first element, an INTEGER that is not negative, as so many bytes; and what follows it.
fn unsigned(der: &[u8], len: usize) -> Option<(Vec<u8>, &[u8])> {
    let (content, rest) = read(INTEGER, der)?;
    let magnitude = match content {
        [] | [0x80..=0xFF, ..] | [0, 0..0x80, ..] => return None,
        [0, magnitude @ ..] => magnitude,
        magnitude => magnitude,
    };
    let zeros = len.checked_sub(magnitude.len())?;
    Some(([vec![0; zeros], magnitude.to_vec()].concat(), rest))
}

/// Ecdsa-Sig-Value (RFC 3279 §2.2.3) as r‖s, each `len` bytes: what PKCS#11 calls a signature. `None`
/// for what is not DER, and for numbers that do not fit.
pub(crate) fn ecdsa_signature(der: &[u8], len: usize) -> Option<Vec<u8>> {
    let content = only(SEQUENCE, der)?;
    let (r, rest) = unsigned(content, len)?;
    let (s, rest) = unsigned(rest, len)?;
    rest.is_empty().then(|| [r, s].concat())
}

/// The parameters and the public key of a SubjectPublicKeyInfo whose AlgorithmIdentifier says
/// id-ecPublicKey with a named curve (RFC 5480 §2.1.1). `None` for everything else.
pub(crate) fn ec_public_key(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let (algorithm, rest) = read(SEQUENCE, only(SEQUENCE, spki)?)?;
    let parameters = algorithm.strip_prefix(&oid("1.2.840.10045.2.1")[..])?;
    only(OBJECT_IDENTIFIER, parameters)?;
    let bits = only(BIT_STRING, rest)?;
    Some((parameters, bits.strip_prefix(&[0])?))
}
