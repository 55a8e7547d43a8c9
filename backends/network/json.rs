//! JSON (RFC 8259) as services speak it: what is sent is written into memory that is zeroized, what is answered is read
//! without a copy of what may be secret, and as tolerantly as services are careless.

use std::{fmt, marker::PhantomData};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::{Zeroize, Zeroizing};

/// The most members of an object, and elements of an array, that are looked at.
const MAX_ELEMENTS: usize = 20_000;

/// An object on its way to a service. It may hold secrets: no copy of them stays behind when it grows.
pub(crate) struct Body {
    bytes: Zeroizing<Vec<u8>>,
}

impl Body {
    /// An object without members.
    pub(crate) fn new() -> Self {
        let mut body = Self {
            bytes: Zeroizing::new(Vec::with_capacity(1024)),
        };
        body.push(b"{");
        body
    }

    /// With a text.
    pub(crate) fn text(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        self.string(value);
        self
    }

    /// With a text, if there is one.
    pub(crate) fn optional(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    /// With a whole number.
    pub(crate) fn number(mut self, name: &str, value: u64) -> Self {
        self.name(name);
        self.push(value.to_string().as_bytes());
        self
    }

    /// With a truth value.
    pub(crate) fn flag(mut self, name: &str, value: bool) -> Self {
        self.name(name);
        self.push(if value { b"true" } else { b"false" });
        self
    }

    /// With an array of texts.
    pub(crate) fn texts(mut self, name: &str, values: &[&str]) -> Self {
        self.name(name);
        self.push(b"[");
        for (index, value) in values.iter().enumerate() {
            self.push(if index == 0 { b"" } else { b"," });
            self.string(value);
        }
        self.push(b"]");
        self
    }

    /// With an array of objects.
    pub(crate) fn objects(mut self, name: &str, values: Vec<Self>) -> Self {
        self.name(name);
        self.push(b"[");
        for (index, value) in values.into_iter().enumerate() {
            self.push(if index == 0 { b"" } else { b"," });
            self.push(&value.finish());
        }
        self.push(b"]");
        self
    }

    /// What is sent.
    pub(crate) fn finish(mut self) -> Zeroizing<Vec<u8>> {
        self.push(b"}");
        self.bytes
    }

    fn name(&mut self, name: &str) {
        if self.bytes.len() > 1 {
            self.push(b",");
        }
        self.string(name);
        self.push(b":");
    }

    fn string(&mut self, text: &str) {
        self.push(b"\"");
        for byte in text.bytes() {
            match byte {
                b'"' | b'\\' => self.push(&[b'\\', byte]),
                ..0x20 => {
                    let digit = |value: u8| b"0123456789abcdef".get(usize::from(value)).copied();
                    let high = digit(byte >> 4).unwrap_or(b'0');
                    self.push(&[
                        b'\\',
                        b'u',
                        b'0',
                        b'0',
                        high,
                        digit(byte & 15).unwrap_or(b'0'),
                    ]);
                }
                _ => self.push(&[byte]),
            }
        }
        self.push(b"\"");
    }

    fn push(&mut self, bytes: &[u8]) {
        let needed = self.bytes.len() + bytes.len();
        if needed > self.bytes.capacity() {
            // A vector that grows by itself leaves what it held behind.
            let mut larger = Vec::with_capacity(needed * 2);
            larger.extend_from_slice(&self.bytes);
            self.bytes.zeroize();
            self.bytes = Zeroizing::new(larger);
        }
        self.bytes.extend_from_slice(bytes);
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body(…)")
    }
}

/// An object that a service has sent. A member of another type than is asked for counts as none.
pub(crate) struct Object<'a> {
    members: Vec<(String, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// Reads an object; `None` for what is none. However deep it nests, nothing here recurses.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    fn member(&self, name: &str) -> Option<&'a str> {
        let found = self.members.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.get())
    }

    /// The text of this name.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.member(name)?).ok()
    }

    /// The text of this name, of which no copy is left behind.
    pub(crate) fn secret(&self, name: &str) -> Option<Zeroizing<String>> {
        unescape(self.member(name)?)
    }

    /// The number of this name, rounded down, also if it is written as a text; not for negative ones.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        let raw = self.member(name)?.trim_matches('"').trim();
        // Rust would take "inf" for a number.
        if !raw.starts_with(|char: char| char.is_ascii_digit()) {
            return None;
        }
        let float = || raw.parse::<f64>().ok();
        // Saturates.
        raw.parse()
            .ok()
            .or_else(|| float().map(|number| number as u64))
    }

    /// The truth value of this name, also if it is written as a text.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        match self.member(name)?.trim_matches('"') {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The texts in the array of this name; a text alone is an array of one.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let elements = self.elements(name).into_iter();
        elements
            .filter_map(|raw| serde_json::from_str(raw).ok())
            .collect()
    }

    /// The object of this name.
    pub(crate) fn object(&self, name: &str) -> Option<Self> {
        serde_json::from_str(self.member(name)?).ok()
    }

    /// The objects in the array of this name; an object alone is an array of one.
    pub(crate) fn objects(&self, name: &str) -> Vec<Self> {
        let elements = self.elements(name).into_iter();
        elements
            .filter_map(|raw| serde_json::from_str(raw).ok())
            .collect()
    }

    fn elements(&self, name: &str) -> Vec<&'a str> {
        let Some(raw) = self.member(name) else {
            return Vec::new();
        };
        match serde_json::from_str::<Array<'a>>(raw) {
            Ok(array) => array.0.into_iter().map(RawValue::get).collect(),
            Err(_) => vec![raw],
        }
    }
}

impl fmt::Debug for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Object(…)")
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(PhantomData))
    }
}

struct Members<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for Members<'a> {
    type Value = Object<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while members.len() < MAX_ELEMENTS {
            match map.next_entry()? {
                Some(member) => members.push(member),
                None => return Ok(Object { members }),
            }
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Object { members })
    }
}

struct Array<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Array<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

struct Elements<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for Elements<'a> {
    type Value = Array<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < MAX_ELEMENTS {
            match seq.next_element()? {
                Some(element) => elements.push(element),
                None => return Ok(Array(elements)),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Array(elements))
    }
}

/// The text of a JSON string. What stands here has passed the parser; a lone surrogate is no text.
fn unescape(raw: &str) -> Option<Zeroizing<String>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    // Never longer than its escapes, so it never grows.
    let mut text = Zeroizing::new(String::with_capacity(inner.len()));
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at_checked(at)?;
        text.push_str(plain);
        let kind = *escape.as_bytes().get(1)?;
        rest = escape.get(2..)?;
        text.push(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let (first, after) = code_unit(rest)?;
                rest = after;
                match char::from_u32(u32::from(first)) {
                    Some(char) => char,
                    None => {
                        let (second, after) = code_unit(rest.strip_prefix("\\u")?)?;
                        rest = after;
                        char::decode_utf16([first, second]).next()?.ok()?
                    }
                }
            }
            _ => return None,
        });
    }
    text.push_str(rest);
    Some(text)
}

fn code_unit(rest: &str) -> Option<(u16, &str)> {
    let (digits, rest) = rest.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, rest))
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let long = "x".repeat(5000);
        let odd = "\"\\\u{1}\n\u{7f}ä€𝄞/";
        let bytes = Body::new()
            .text("odd", odd)
            .optional("absent", None)
            .optional("long", Some(&long))
            .number("number", u64::MAX)
            .flag("flag", true)
            .texts("none", &[])
            .texts("texts", &["a", odd])
            .objects("objects", vec![Body::new(), Body::new().text("id", "1")])
            .finish();
        let object = Object::read(&bytes).unwrap();
        assert_eq!(object.text("odd").unwrap(), odd);
        assert_eq!(*object.secret("odd").unwrap(), odd);
        assert!(object.text("absent").is_none());
        assert_eq!(*object.secret("long").unwrap(), long);
        assert_eq!(object.number("number"), Some(u64::MAX));
        assert_eq!(object.flag("flag"), Some(true));
        assert!(object.texts("none").is_empty());
        assert_eq!(object.texts("texts"), ["a", odd]);
        let objects = object.objects("objects");
        assert_eq!(objects.len(), 2);
        assert_eq!(objects[1].text("id").unwrap(), "1");
        let other: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(other["odd"], odd);
    }

    #[test]
    fn secrets_are_unescaped_as_the_parser_does() {
        for raw in [
            r#""""#,
            r#""plain""#,
            r#""a\/b\\c\"d""#,
            r#""\b\f\n\r\t""#,
            r#""\u0041\u00e4\u20AC\ud834\udd1e""#,
            "\"ä€𝄞\"",
        ] {
            let expected: String = serde_json::from_str(raw).unwrap();
            assert_eq!(*unescape(raw).unwrap(), expected, "{raw}");
        }
        for raw in [
            r#""\ud834""#,
            r#""\udd1e""#,
            r#""\ud834\u0041""#,
            "5",
            "null",
            "\"",
        ] {
            assert!(unescape(raw).is_none(), "{raw}");
        }
    }

    #[test]
    fn other_types_are_taken_where_they_can_only_mean_one_thing() {
        let object = br#"{"a":"2048","b":3600.9,"c":-1,"d":"true","e":"no","f":1e300,"g":"one",
            "h":{"i":1},"j":[1,"x",null],"k":"inf","l":"NaN","a":1}"#;
        let object = Object::read(object).unwrap();
        assert_eq!(object.number("a"), Some(2048));
        assert_eq!(object.number("b"), Some(3600));
        assert_eq!(object.number("c"), None);
        assert_eq!(object.number("f"), Some(u64::MAX));
        for none in ["g", "h", "j", "k", "l"] {
            assert_eq!(object.number(none), None, "{none}");
        }
        assert_eq!(object.flag("d"), Some(true));
        assert_eq!(object.flag("e"), None);
        assert_eq!(object.texts("g"), ["one"]);
        assert_eq!(object.texts("j"), ["x"]);
        assert_eq!(object.objects("h").len(), 1);
        assert_eq!(object.text("b"), None);
        assert!(object.secret("b").is_none());
        assert!(object.object("a").is_none());
    }

    #[test]
    fn depth_and_number_have_bounds() {
        let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let object = Object::read(deep.as_bytes()).unwrap();
        assert!(object.texts("a").is_empty());
        let wide = format!("{{{}\"last\":1}}", r#""":0,"#.repeat(100_000));
        let object = Object::read(wide.as_bytes()).unwrap();
        assert_eq!(object.members.len(), MAX_ELEMENTS);
        for broken in ["", "{", "[]", "{}x", "5", "null", "{\"a\":}", "\u{feff}{}"] {
            assert!(Object::read(broken.as_bytes()).is_none(), "{broken}");
        }
    }

    #[test]
    fn nothing_is_shown() {
        let body = Body::new().text("PIN", "1234");
        assert_eq!(format!("{body:?}"), "Body(…)");
        let object = Object::read(br#"{"SAD":"secret"}"#).unwrap();
        assert_eq!(format!("{object:?}"), "Object(…)");
    }
}
