//! Which authentication objects suffice (`auth.expression` of version 2): names with AND, OR, XOR and parentheses.

/// How many objects a credential can have here: every choice of them is looked at.
const MAX_OBJECTS: usize = 8;
/// The longest expression, in bytes, which bounds its depth.
const MAX_EXPRESSION: usize = 1000;

/// The smallest choice of `ids` that fulfils the expression, as indices; the earlier ones of `ids` rather than the later,
/// and those for which `avoids` holds only if it must be. Without an expression all are wanted. `None` if no choice fulfils
/// it, or it is none.
pub(super) fn smallest(
    expression: Option<&str>,
    ids: &[&str],
    avoids: impl Fn(usize) -> bool,
) -> Option<Vec<usize>> {
    let Some(expression) = expression.map(str::trim).filter(|text| !text.is_empty()) else {
        return Some((0..ids.len()).collect());
    };
    if ids.len() > MAX_OBJECTS || expression.len() > MAX_EXPRESSION {
        return None;
    }
    let mut choices: Vec<u32> = (1..1_u32 << ids.len()).collect();
    let avoided = (0..ids.len()).filter(|index| avoids(*index));
    let avoided = avoided.fold(0_u32, |avoided, index| avoided | 1 << index);
    choices.sort_by_key(|choice| {
        (
            (choice & avoided).count_ones(),
            choice.count_ones(),
            *choice,
        )
    });
    let fulfils = |choice: &u32| {
        let has = |id: &str| {
            let index = ids.iter().position(|known| *known == id)?;
            Some(choice >> index & 1 == 1)
        };
        evaluate(expression, &has) == Some(true)
    };
    let choice = choices.into_iter().find(fulfils)?;
    Some(
        (0..ids.len())
            .filter(|index| choice >> index & 1 == 1)
            .collect(),
    )
}

/// Whether the expression is fulfilled; `None` if it is malformed or names what nobody knows.
fn evaluate(expression: &str, has: &dyn Fn(&str) -> Option<bool>) -> Option<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    let value = any(&mut rest, has)?;
    rest.is_empty().then_some(value)
}

/// OR and XOR bind less than AND.
fn any(words: &mut &[&str], has: &dyn Fn(&str) -> Option<bool>) -> Option<bool> {
    let mut value = all(words, has)?;
    while let Some((word, rest)) = words.split_first() {
        let is_xor = word.eq_ignore_ascii_case("xor");
        if !is_xor && !word.eq_ignore_ascii_case("or") {
            break;
        }
        *words = rest;
        let other = all(words, has)?;
        value = if is_xor { value ^ other } else { value | other };
    }
    Some(value)
}

fn all(words: &mut &[&str], has: &dyn Fn(&str) -> Option<bool>) -> Option<bool> {
    let mut value = one(words, has)?;
    while let Some((word, rest)) = words.split_first() {
        if !word.eq_ignore_ascii_case("and") {
            break;
        }
        *words = rest;
        value &= one(words, has)?;
    }
    Some(value)
}

fn one(words: &mut &[&str], has: &dyn Fn(&str) -> Option<bool>) -> Option<bool> {
    let (word, rest) = words.split_first()?;
    *words = rest;
    if *word != "(" {
        return has(word);
    }
    let value = any(words, has)?;
    let (end, rest) = words.split_first()?;
    *words = rest;
    (*end == ")").then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_choice_is_taken() {
        let ids = ["PIN", "OTP", "PHONE"];
        for (expression, expected) in [
            (None, Some(vec![0, 1, 2])),
            (Some(" "), Some(vec![0, 1, 2])),
            (Some("PIN"), Some(vec![0])),
            (Some("PIN AND OTP"), Some(vec![0, 1])),
            (Some("PHONE OR PIN and OTP"), Some(vec![2])),
            (Some("(PIN OR PHONE) AND OTP"), Some(vec![0, 1])),
            (Some("PIN XOR OTP"), Some(vec![0])),
            (Some("((PHONE))"), Some(vec![2])),
            (Some("PIN AND"), None),
            (Some("(PIN"), None),
            (Some("PIN OTP"), None),
            (Some("FACE"), None),
            (Some("PIN XOR PIN"), None),
        ] {
            assert_eq!(
                smallest(expression, &ids, |_| false),
                expected,
                "{expression:?}"
            );
        }
        let either = Some("PHONE OR PIN AND OTP");
        assert_eq!(smallest(either, &ids, |index| index == 2), Some(vec![0, 1]));
    }

    #[test]
    fn size_and_depth_have_bounds() {
        let deep = format!("{}PIN{}", "(".repeat(400), ")".repeat(400));
        assert_eq!(smallest(Some(&deep), &["PIN"], |_| false), Some(vec![0]));
        let deeper = format!("{}PIN{}", "(".repeat(100_000), ")".repeat(100_000));
        assert_eq!(smallest(Some(&deeper), &["PIN"], |_| false), None);
        assert_eq!(smallest(Some("a"), &["a"; 9], |_| false), None);
    }
}
