//! Session objects that are copied, changed and destroyed (PKCS#11 §5.7.2, §5.7.3, §5.7.6).

use cryptoki_sys::*;
use softhsm_tests::calls::Value;

use super::session_objects::{Template, aes, and, data, with};
use crate::script::{Arg, S, Script, Start, number};

pub fn all() -> Vec<Script> {
    vec![copies(), changes(), destroys()]
}

fn copies() -> Script {
    let mut s = Script::new("copy", Start::LoggedIn);
    s.create("key", aes(), "k");
    s.create(
        "key that is sensitive",
        with(aes(), CKA_SENSITIVE, Value::Bool(true)),
        "sensitive",
    );
    s.create(
        "key that stays inside",
        with(aes(), CKA_EXTRACTABLE, Value::Bool(false)),
        "inside",
    );
    s.create(
        "key that is not copied",
        and(aes(), CKA_COPYABLE, Value::Bool(false)),
        "single",
    );
    s.create(
        "private key",
        with(aes(), CKA_PRIVATE, Value::Bool(true)),
        "private",
    );
    let copies: Vec<(&str, &'static str, Template)> = vec![
        ("as it is", "k", vec![]),
        (
            "with a label",
            "k",
            vec![(CKA_LABEL, Value::Bytes(b"copy".to_vec()))],
        ),
        (
            "made sensitive",
            "k",
            vec![(CKA_SENSITIVE, Value::Bool(true))],
        ),
        (
            "made readable",
            "sensitive",
            vec![(CKA_SENSITIVE, Value::Bool(false))],
        ),
        (
            "made extractable",
            "inside",
            vec![(CKA_EXTRACTABLE, Value::Bool(true))],
        ),
        ("not copyable", "single", vec![]),
        (
            "made public",
            "private",
            vec![(CKA_PRIVATE, Value::Bool(false))],
        ),
        ("made private", "k", vec![(CKA_PRIVATE, Value::Bool(true))]),
        ("another class", "k", vec![(CKA_CLASS, number(CKO_DATA))]),
        (
            "another value",
            "k",
            vec![(CKA_VALUE, Value::Bytes(vec![1; 16]))],
        ),
        (
            "an unknown attribute",
            "k",
            vec![(0x7fff_0000, Value::Bytes(vec![1]))],
        ),
        (
            "CKA_TOKEN of 4 bytes",
            "k",
            vec![(CKA_TOKEN, Value::Bytes(vec![0; 4]))],
        ),
        ("to the token", "k", vec![(CKA_TOKEN, Value::Bool(true))]),
        (
            "a token's private key",
            "rsa private",
            vec![(CKA_TOKEN, Value::Bool(false))],
        ),
        (
            "a token's certificate",
            "rsa certificate",
            vec![(CKA_TOKEN, Value::Bool(false))],
        ),
    ];
    for (title, key, template) in copies {
        s.call(
            title,
            "C_CopyObject",
            [
                S,
                Arg::Handle(key),
                Arg::Template(template),
                Arg::New("copy"),
            ],
        );
    }
    s.call(
        "no object",
        "C_CopyObject",
        [S, Arg::Number(0), Arg::NullBytes(0), Arg::New("copy")],
    );
    s.call(
        "no place for the handle",
        "C_CopyObject",
        [S, Arg::Handle("k"), Arg::NullBytes(0), Arg::Null],
    );
    s
}

fn changes() -> Script {
    let mut s = Script::new("change", Start::LoggedIn);
    s.create("key", aes(), "k");
    s.create(
        "key that is sensitive",
        with(aes(), CKA_SENSITIVE, Value::Bool(true)),
        "sensitive",
    );
    s.create(
        "key that stays inside",
        with(aes(), CKA_EXTRACTABLE, Value::Bool(false)),
        "inside",
    );
    s.create(
        "key that is not changed",
        and(aes(), CKA_MODIFIABLE, Value::Bool(false)),
        "fixed",
    );
    s.create("data", data(), "d");
    let changes: Vec<(&str, &'static str, Template)> = vec![
        (
            "label",
            "k",
            vec![(CKA_LABEL, Value::Bytes(b"new".to_vec()))],
        ),
        ("id", "k", vec![(CKA_ID, Value::Bytes(b"new".to_vec()))]),
        ("sensitive", "k", vec![(CKA_SENSITIVE, Value::Bool(true))]),
        (
            "not sensitive",
            "sensitive",
            vec![(CKA_SENSITIVE, Value::Bool(false))],
        ),
        (
            "extractable",
            "inside",
            vec![(CKA_EXTRACTABLE, Value::Bool(true))],
        ),
        (
            "fixed",
            "fixed",
            vec![(CKA_LABEL, Value::Bytes(b"new".to_vec()))],
        ),
        ("class", "k", vec![(CKA_CLASS, number(CKO_DATA))]),
        ("key type", "k", vec![(CKA_KEY_TYPE, number(CKK_DES3))]),
        ("value", "k", vec![(CKA_VALUE, Value::Bytes(vec![1; 16]))]),
        ("token", "k", vec![(CKA_TOKEN, Value::Bool(true))]),
        ("private", "k", vec![(CKA_PRIVATE, Value::Bool(true))]),
        ("local", "k", vec![(CKA_LOCAL, Value::Bool(true))]),
        ("unknown", "k", vec![(0x7fff_0000, Value::Bytes(vec![1]))]),
        (
            "of another class",
            "k",
            vec![(CKA_MODULUS, Value::Bytes(vec![1]))],
        ),
        (
            "use of 4 bytes",
            "k",
            vec![(CKA_ENCRYPT, Value::Bytes(vec![0; 4]))],
        ),
        ("use", "k", vec![(CKA_ENCRYPT, Value::Bool(false))]),
        (
            "value of data",
            "d",
            vec![(CKA_VALUE, Value::Bytes(b"new".to_vec()))],
        ),
        (
            "application",
            "d",
            vec![(CKA_APPLICATION, Value::Bytes(b"new".to_vec()))],
        ),
        (
            "one good, one bad",
            "k",
            vec![
                (CKA_LABEL, Value::Bytes(b"half".to_vec())),
                (CKA_CLASS, number(CKO_DATA)),
            ],
        ),
        (
            "a token's label",
            "rsa public",
            vec![(CKA_LABEL, Value::Bytes(b"new".to_vec()))],
        ),
    ];
    for (title, key, template) in changes {
        s.call(
            title,
            "C_SetAttributeValue",
            [S, Arg::Handle(key), Arg::Template(template)],
        );
    }
    s.call(
        "label afterwards",
        "C_GetAttributeValue",
        [
            S,
            Arg::Handle("k"),
            Arg::Template(vec![(CKA_LABEL, Value::Room(64))]),
        ],
    );
    s.call(
        "NULL for a template",
        "C_SetAttributeValue",
        [S, Arg::Handle("k"), Arg::NullBytes(1)],
    );
    s.call(
        "nothing",
        "C_SetAttributeValue",
        [S, Arg::Handle("k"), Arg::NullBytes(0)],
    );
    s.call(
        "no object",
        "C_SetAttributeValue",
        [
            S,
            Arg::Number(0),
            Arg::Template(vec![(CKA_LABEL, Value::Bytes(vec![1]))]),
        ],
    );
    s
}

fn destroys() -> Script {
    let mut s = Script::new("destroy", Start::LoggedIn);
    s.create("key", aes(), "k");
    s.create(
        "key that stays",
        and(aes(), CKA_DESTROYABLE, Value::Bool(false)),
        "stays",
    );
    s.call(
        "begin with it",
        "C_EncryptInit",
        [
            S,
            Arg::Mechanism(CKM_AES_ECB, softhsm_tests::calls::Parameter::None),
            Arg::Handle("k"),
        ],
    );
    s.call("destroy", "C_DestroyObject", [S, Arg::Handle("k")]);
    s.call(
        "encrypt with what is gone",
        "C_Encrypt",
        [S, Arg::Bytes(vec![1; 16]), Arg::Room(16)],
    );
    s.call("destroy again", "C_DestroyObject", [S, Arg::Handle("k")]);
    s.call(
        "use it",
        "C_EncryptInit",
        [
            S,
            Arg::Mechanism(CKM_AES_ECB, softhsm_tests::calls::Parameter::None),
            Arg::Handle("k"),
        ],
    );
    s.call(
        "destroy what stays",
        "C_DestroyObject",
        [S, Arg::Handle("stays")],
    );
    s.call("destroy nothing", "C_DestroyObject", [S, Arg::Number(0)]);
    s.call(
        "destroy in no session",
        "C_DestroyObject",
        [Arg::Number(0), Arg::Handle("stays")],
    );
    s.call(
        "destroy a token's key in a read-only session",
        "C_DestroyObject",
        [S, Arg::Handle("rsa public")],
    );
    s
}
