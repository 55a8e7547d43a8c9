//! C_SeedRandom and C_GenerateRandom (PKCS#11 §5.19): the token's own random numbers, if it has
//! any, and else those of the crypto library.

use zeroize::Zeroizing;

use crate::{
    abi::ptr::{Array, Input},
    error::{During, Error, Result},
    session::Session,
};

/// How much is made at a time, in bytes.
const CHUNK: usize = 4096;

/// C_SeedRandom. Neither a token of ours nor the crypto library takes a seed.
pub(crate) fn seed(session: &Session, seed: Result<Input<'_>>) -> Result<()> {
    let _ = session;
    seed?;
    Err(Error::RandomSeedNotSupported)
}

/// C_GenerateRandom.
pub(crate) fn generate(session: &Session, out: Result<Array<'_, u8>>) -> Result<()> {
    let out = out?;
    let insertion = &session.insertion;
    let of_token = if insertion.token.info().has_random {
        Some(insertion.token_session()?)
    } else {
        None
    };
    let mut chunk = Zeroizing::new([0; CHUNK]);
    for offset in (0..out.room()).step_by(CHUNK) {
        let len = CHUNK.min(out.room() - offset);
        let part = chunk.get_mut(..len).unwrap_or_default();
        match &of_token {
            Some(token) => token.random(part),
            None => ctk_crypto::random(part),
        }
        .map_err(|error| Error::from_token(During::Random, &error))?;
        out.write(offset, part);
    }
    Ok(())
}
