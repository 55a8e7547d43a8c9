//! The crypto library in a loop, with keys that are parsed once: what a module can reach at best.

use std::{fs, path::Path, time::Duration};

use openssl::{
    md_ctx::MdCtx,
    pkey::{PKey, Private},
    pkey_ctx::PkeyCtx,
    rsa::Padding,
};
use softhsm_bench::{Key, counted, serve, timed};

const USAGE: &str = "bench-bare FOLDER, where FOLDER has the keys as rsa2048.key, p256.key …";

fn main() {
    let folder = std::env::args_os().nth(1).expect(USAGE);
    let load = |key: Key| -> Result<PKey<Private>, String> {
        let file = Path::new(&folder).join(format!("{}.key", key.name()));
        let pem = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        PKey::private_key_from_pem(&pem).map_err(|error| error.to_string())
    };
    serve(|words| match *words {
        ["version"] => Ok(openssl::version::version().to_owned()),
        ["sign", name, threads, millis] => {
            let key = Key::from_name(name).ok_or("no such key")?;
            let parsed = load(key)?;
            let threads: usize = threads.parse().map_err(|_| "how many threads?")?;
            let duration = Duration::from_millis(millis.parse().map_err(|_| "how long?")?);
            let signers = (0..threads).map(|_| signer(key, &parsed)).collect();
            Ok(timed(signers, duration).answer())
        }
        ["count", name, count] => {
            let key = Key::from_name(name).ok_or("no such key")?;
            let parsed = load(key)?;
            let count = count.parse().map_err(|_| "how many?")?;
            Ok(counted(signer(key, &parsed), count).answer())
        }
        _ => Err(USAGE.to_owned()),
    });
}

/// One signature by the library's most direct call, with all made ready that can be.
fn signer(key: Key, parsed: &PKey<Private>) -> Box<dyn FnMut() + Send + '_> {
    let input = key.input();
    let mut signature = [0; 1024];
    match key {
        Key::Rsa2048 | Key::Rsa4096 => {
            let rsa = parsed.rsa().expect("an RSA key");
            Box::new(move || {
                rsa.private_encrypt(&input, &mut signature, Padding::PKCS1)
                    .expect("a signature");
            })
        }
        Key::P256 | Key::P384 => {
            let mut context = PkeyCtx::new(parsed).expect("a context");
            context.sign_init().expect("a context for signing");
            Box::new(move || {
                context
                    .sign(&input, Some(&mut signature))
                    .expect("a signature");
            })
        }
        Key::Ed25519 => {
            let mut context = MdCtx::new().expect("a context");
            context
                .digest_sign_init(None, parsed)
                .expect("a context for signing");
            Box::new(move || {
                context
                    .digest_sign(&input, Some(&mut signature))
                    .expect("a signature");
            })
        }
    }
}
