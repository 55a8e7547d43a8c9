//! Texts that are damaged on the way, read here and by `serde_json`'s own values: both say the same.

use serde_json::Value;

use super::*;
use crate::walk::{Turns, walk};

const GOOD: [&str; 5] = [
    r#"{"name":"ä\u00e4\ud834\udd1e\b\f\n\r\t\/\\\"\u0000","number":3600,"text":"2048","flag":"true","null":null}"#,
    r#"{"texts":["a","\"b\\",1,null,["c"]],"objects":[{"id":"1"},{},{"id":{"id":2}}],"a":{"b":[true,false]}}"#,
    r#" { "SAD" : "a\/b" , "expiresIn" : 36.5e2 , "x" : -0.0 , "y" : "5" , "" : [ ] , "z" : { } } "#,
    r#"{"credentialIDs":["c/1","c/2"],"nextPageToken":"2","a":1,"a":"two","b":[[[[]]]]}"#,
    "{}",
];

/// Whatever a text is: it is taken exactly if serde_json takes it for an object or would if it were less strict about
/// depth and numbers, and says of each member what serde_json says.
#[test]
fn another_reader_reads_the_same() {
    let (mut taken, mut refused, mut beyond) = (0, 0, 0);
    let steps = walk(3000, |turns| {
        if turns.one_in(30) {
            return writes(turns);
        }
        let good = turns.one_of(&GOOD);
        let text = turns.damaged_json(good.as_bytes());
        let object = Object::read(&text);
        match (serde_json::from_slice::<Value>(&text), object) {
            (Ok(Value::Object(expected)), Some(object)) => {
                agrees(&object, &expected);
                taken += 1;
            }
            (Ok(other), object) => {
                assert!(!other.is_object() && object.is_none(), "{other}");
                refused += 1;
            }
            (Err(_), None) => refused += 1,
            (Err(error), Some(object)) => {
                // Nothing else is looked at before somebody asks for it.
                let why = error.to_string();
                let known = ["recursion limit", "number out of range", "hex escape"];
                assert!(known.iter().any(|known| why.contains(known)), "{why}");
                is_bounded(&object, text.len());
                beyond += 1;
            }
        }
    });
    let least = [taken, refused, beyond].into_iter().min();
    assert!(least > Some(steps / 200), "{taken} {refused} {beyond}");
}

fn agrees(object: &Object<'_>, expected: &serde_json::Map<String, Value>) {
    for (name, value) in expected {
        // Of members with one name the first counts here, and the last there.
        let same = object.members.iter().filter(|(known, _)| known == name);
        if same.count() > 1 {
            continue;
        }
        assert_eq!(object.text(name).as_deref(), value.as_str(), "{name}");
        let secret = object.secret(name);
        let secret = secret.as_deref().map(String::as_str);
        assert_eq!(secret, value.as_str(), "{name}");
        let inner = object.object(name);
        match value {
            Value::Object(value) => agrees(&inner.unwrap(), value),
            _ => assert!(inner.is_none(), "{name}"),
        }
        let elements = match value {
            Value::Array(elements) => elements.as_slice(),
            one => std::slice::from_ref(one),
        };
        let elements = &elements[..elements.len().min(MAX_ELEMENTS)];
        let texts: Vec<_> = elements.iter().filter_map(Value::as_str).collect();
        assert!(object.texts(name) == texts, "{name}");
        let expected: Vec<_> = elements.iter().filter_map(Value::as_object).collect();
        let objects = object.objects(name);
        assert_eq!(objects.len(), expected.len(), "{name}");
        // An object alone was looked at above.
        if value.is_array() {
            let both = objects.iter().zip(expected);
            both.for_each(|(object, expected)| agrees(object, expected));
        }
        let flag = match value.as_str() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => value.as_bool(),
        };
        // Nobody escapes letters of a truth value, nor digits.
        let is_plain = !object.member(name).unwrap().contains('\\');
        assert!(object.flag(name) == flag || !is_plain, "{name}");
        if let Some(number) = value.as_f64() {
            let number = value.as_u64().or((number > 0.0).then_some(number as u64));
            assert_eq!(object.number(name).unwrap_or(0), number.unwrap_or(0));
        } else if object.number(name).is_some() {
            let text = value.as_str().unwrap().trim();
            assert!(text.starts_with(|char: char| char.is_ascii_digit()));
        }
    }
    let members = object.members.len();
    assert!((expected.len()..=MAX_ELEMENTS).contains(&members));
}

/// Of what another reader does not read: there are no more texts in it than there are bytes.
fn is_bounded(object: &Object<'_>, len: usize) {
    assert!(object.members.len() <= MAX_ELEMENTS);
    let mut sum = 0;
    for (name, raw) in &object.members {
        sum += name.len() + raw.get().len();
        let (text, secret) = (object.text(name), object.secret(name));
        assert_eq!(text.as_deref(), secret.as_deref().map(String::as_str));
        // What grows leaves a copy behind.
        let room = object.member(name).unwrap().len();
        assert!(secret.is_none_or(|secret| secret.capacity() <= room));
        let texts = object.texts(name);
        assert!(texts.len() <= MAX_ELEMENTS);
        assert!(texts.iter().map(String::len).sum::<usize>() <= len);
        assert!(object.objects(name).len() <= MAX_ELEMENTS);
        let _ = (object.number(name), object.flag(name), object.object(name));
    }
    assert!(sum <= len, "{sum} of {len} bytes");
}

/// What is written is read by another reader, and here.
fn writes(turns: &mut Turns) {
    const LETTERS: [&str; 12] = [
        "a", "\"", "\\", "\0", "\n", "\u{1f}", "\u{7f}", "ä", "\u{2028}", "𝄞", "/", "\u{feff}",
    ];
    fn word(turns: &mut Turns) -> String {
        let len = [3, 30, 3000][turns.below(3)];
        let len = turns.below(len);
        (0..len).map(|_| turns.one_of(&LETTERS)).collect()
    }
    let words: Vec<_> = (0..turns.below(5)).map(|_| word(turns)).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let (name, text, number) = (word(turns), word(turns), turns.below(usize::MAX) as u64);
    let written = Body::new()
        .objects("objects", vec![Body::new().text(&name, &text)])
        .texts("texts", &words)
        .number("number", number)
        .flag("flag", turns.one_in(2))
        .finish();
    turns.tries(&written);
    let read: Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(read["objects"][0][&name], *text);
    assert_eq!(read["texts"], Value::from(words));
    assert_eq!(read["number"], number);
    agrees(&Object::read(&written).unwrap(), read.as_object().unwrap());
}
