//! C_SeedRandom and C_GenerateRandom (PKCS#11 §5.19): the token's own random numbers, if it has
//! any.

use zeroize::Zeroizing;

use crate::{
    abi::ptr::{Array, Input},
    error::{During, Error, Result},
    session::Session,
};

/// How much is asked of the token at a time, in bytes.
const CHUNK: usize = 4096;

/// C_SeedRandom. No token of ours takes a seed.
pub(crate) fn seed(session: &Session, seed: Result<Input<'_>>) -> Result<()> {
    seed?;
    Err(if session.insertion.token.info().has_random {
        Error::RandomSeedNotSupported
    } else {
        Error::RandomNoRng
    })
}

/// C_GenerateRandom.
pub(crate) fn generate(session: &Session, out: Result<Array<'_, u8>>) -> Result<()> {
    let out = out?;
    if !session.insertion.token.info().has_random {
        return Err(Error::RandomNoRng);
    }
    let token_session = session.insertion.token_session()?;
    let mut chunk = Zeroizing::new([0; CHUNK]);
    for offset in (0..out.room()).step_by(CHUNK) {
        let len = CHUNK.min(out.room() - offset);
        let part = chunk.get_mut(..len).unwrap_or_default();
        token_session
            .random(part)
            .map_err(|error| Error::from_token(During::Random, &error))?;
        out.write(offset, part);
    }
    Ok(())
}
