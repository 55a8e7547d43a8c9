//! What the walk begins from: files of every writer at hand, with the least of password hashing.

use ctk_pkcs12::{Inventory, inspect};

use super::support::{
    Workshop, shrouded,
    writer::{self, bag, certificate_bag, data, friendly_name, local_key_id, sequence},
};

pub(crate) const PASSWORD: &str = "correct";

/// A whole file.
pub(crate) struct Seed {
    pub(crate) file: Vec<u8>,
    pub(crate) inventory: Inventory,
    /// Whether it costs much password hashing, which its writer does not let anybody choose.
    pub(crate) is_dear: bool,
}

pub(crate) fn make(workshop: &Workshop) -> Vec<Seed> {
    for kind in ["rsa", "ec", "ed25519"] {
        workshop.identity(kind, kind);
    }
    let mut cheap = openssl(workshop);
    cheap.extend(by_hand(workshop));
    // Each also with indefinite lengths and strings in pieces.
    let in_ber: Vec<_> = cheap.iter().map(|file| writer::to_ber(file, 0)).collect();
    cheap.extend(in_ber);
    let dear = [nss(workshop), gnutls(workshop), java(workshop)];
    let cheap = cheap.into_iter().map(|file| (file, false));
    let seed = |(file, is_dear): (Vec<u8>, bool)| {
        let path = workshop.write("seed.p12", &file);
        let inventory = inspect(&path, PASSWORD.as_bytes()).unwrap();
        Seed {
            file,
            inventory,
            is_dear,
        }
    };
    cheap
        .chain(dear.map(|file| (file, true)))
        .map(seed)
        .collect()
}

fn openssl(workshop: &Workshop) -> Vec<Vec<u8>> {
    let few = "-noiter -nomaciter";
    let export = |name: &str, options: &str| {
        workshop.openssl(&format!(
            "pkcs12 -export -inkey {name}.key -in {name}.crt -out out.p12 -name {name} \
             -passout pass:{PASSWORD} {few} {options}"
        ));
        workshop.read("out.p12")
    };
    vec![
        export("ec", ""),
        export("ed25519", "-legacy"),
        export("ec", "-nomac"),
        export("rsa", "-keypbe NONE -certpbe NONE"),
        export("ec", "-keypbe NONE -certpbe NONE"),
        export("ed25519", "-certpbe NONE -macalg sha512"),
    ]
}

fn nss(workshop: &Workshop) -> Vec<u8> {
    workshop.run("certutil", &["-N", "-d", "sql:.", "--empty-password"]);
    workshop.openssl(&format!(
        "pkcs12 -export -inkey ec.key -in ec.crt -out in.p12 -name ec -passout pass:{PASSWORD}"
    ));
    workshop.run("pk12util", &["-i", "in.p12", "-d", "sql:.", "-W", PASSWORD]);
    let arguments = ["-o", "nss.p12", "-d", "sql:.", "-n", "ec", "-W", PASSWORD];
    workshop.run("pk12util", &arguments);
    workshop.read("nss.p12")
}

fn gnutls(workshop: &Workshop) -> Vec<u8> {
    let line = format!(
        "--to-p12 --load-privkey ec.key --load-certificate ec.crt --p12-name ec --outder \
         --outfile gnutls.p12 --pkcs-cipher 3des-pkcs12 --password {PASSWORD}"
    );
    workshop.run("certtool", &line.split_whitespace().collect::<Vec<_>>());
    workshop.read("gnutls.p12")
}

/// With a secret key, in a bag that nobody else writes.
fn java(workshop: &Workshop) -> Vec<u8> {
    for line in [
        format!(
            "-importkeystore -srckeystore in.p12 -srcstorepass {PASSWORD} \
             -destkeystore java.p12 -deststoretype PKCS12 -deststorepass {PASSWORD}"
        ),
        format!(
            "-genseckey -alias secret -keyalg AES -keysize 128 -keystore java.p12 \
             -storepass {PASSWORD}"
        ),
    ] {
        workshop.run("keytool", &line.split_whitespace().collect::<Vec<_>>());
    }
    workshop.read("java.p12")
}

/// Bags in bags, every attribute, keys of every protection that openssl has, and scrypt.
fn by_hand(workshop: &Workshop) -> Vec<Vec<u8>> {
    let protections = [
        "-v1 PBE-SHA1-RC4-40 -iter 1",
        "-v1 PBE-SHA1-2DES -iter 1",
        "-v2 rc2-40-cbc -iter 1",
        "-v2 aes-128-cbc -v2prf hmacWithSHA512 -iter 1",
        "-scrypt -scrypt_N 16 -scrypt_r 1 -scrypt_p 1",
    ];
    let file = |options: &&str| {
        let attributes = [friendly_name("Näme"), local_key_id(&[1])];
        let key = shrouded(workshop, "ec", PASSWORD, options);
        let key = bag(writer::SHROUDED_KEY_BAG, &key, &attributes);
        let certificates = sequence(&[
            certificate_bag(&workshop.der("ec"), &attributes),
            certificate_bag(&workshop.der("rsa"), &[]),
        ]);
        let nested = bag(writer::SAFE_CONTENTS_BAG, &certificates, &[]);
        let safe = sequence(&[data(&sequence(&[key])), data(&sequence(&[nested]))]);
        writer::pfx(&safe, Some(writer::sha1_mac(&safe, PASSWORD)))
    };
    protections.iter().map(file).collect()
}
