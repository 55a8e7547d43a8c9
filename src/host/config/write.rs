//! Writing configuration: whole files at once, keeping a person's comments and everything that is not ours to change.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value, value};

use super::{
    Contents, Login, Problem, Scope, Setting, TokenConfig,
    fields::Lines,
    text::{to_base64, to_hex},
    trust,
};
use crate::{Environment, PinSource, drivers};

/// Where a new token of this name is written: the file that `$CTK_CONFIG` names, or the token's own file in the
/// user's or (`system`) the machine's folder. `None` without a home.
pub fn place(environment: &Environment, system: bool, name: &str) -> Option<(PathBuf, Scope)> {
    let own = |folder: &Path| {
        folder
            .join(super::TOKENS_FOLDER)
            .join(format!("{name}.toml"))
    };
    if system {
        return Some((own(&environment.system_folder), Scope::System));
    }
    if let Some(file) = environment
        .config_file
        .as_ref()
        .filter(|_| !environment.secure)
    {
        return Some((file.clone(), Scope::Chosen));
    }
    Some((own(&environment.user_folder()?), Scope::User))
}

/// Whose configuration a file is.
pub fn scope(environment: &Environment, file: &Path) -> Scope {
    let chosen = environment.config_file.as_deref() == Some(file);
    match chosen && !environment.secure {
        true => Scope::Chosen,
        false if file.starts_with(&environment.system_folder) => Scope::System,
        false => Scope::User,
    }
}

/// Adds a token to the file of its [`Place`](super::Place), which is made if there is none.
///
/// # Errors
/// What is wrong with the file, or that one of its tables has this name already, be it usable or not; nothing is
/// changed then.
pub fn add(token: &TokenConfig, environment: &Environment) -> Result<(), Problem> {
    let file = &token.place.file;
    check(token)?;
    let mut document = read(file, environment)?.unwrap_or_default();
    let tokens = document
        .entry("token")
        .or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let tokens = tokens
        .as_array_of_tables_mut()
        .ok_or_else(|| inline(file))?;
    if positions(tokens, file, &token.name).next().is_some() {
        let message = format!("has a token {:?} already; choose another name", token.name);
        return Err(problem(file, None, message));
    }
    let mut table = Table::new();
    fill(&mut table, token);
    tokens.push(table);
    write(file, &document, token.place.scope)
}

/// Writes what a token says now into its table. Keys that have their default are left out, other text stays.
///
/// # Errors
/// What is wrong with the file, or that it has no table of this name, or several, one of which a person needs yet;
/// nothing is changed then.
pub fn update(token: &TokenConfig, environment: &Environment) -> Result<(), Problem> {
    let file = &token.place.file;
    check(token)?;
    let mut document = read(file, environment)?.ok_or_else(|| gone(file, &token.name))?;
    let tokens = tables(&mut document, file)?;
    let at = position(tokens, file, &token.name)?;
    if let Some(table) = tokens.get_mut(at) {
        fill(table, token);
    }
    write(file, &document, token.place.scope)
}

/// Takes the token of this name out of its file, whether it is usable or not, and the file away if nothing else is in
/// it.
///
/// # Errors
/// As [`update`].
pub fn remove(name: &str, file: &Path, environment: &Environment) -> Result<(), Problem> {
    let mut document = read(file, environment)?.ok_or_else(|| gone(file, name))?;
    let is_all = document.iter().count() == 1;
    let tokens = tables(&mut document, file)?;
    let at = position(tokens, file, name)?;
    let scope = scope(environment, file);
    if tokens.len() == 1 && is_all && scope != Scope::Chosen && is_own_file(file) {
        return fs::remove_file(file).map_err(|error| failed(file, "removed", &error));
    }
    tokens.remove(at);
    write(file, &document, scope)
}

/// Refuses what would not be read again.
fn check(token: &TokenConfig) -> Result<(), Problem> {
    let facts = token.contents.keys.iter().flat_map(|key| &key.facts.0);
    for (name, setting) in token.settings.0.iter().chain(facts) {
        let refused = |message| {
            problem(
                &token.place.file,
                None,
                format!("is not written: {name}: {message}"),
            )
        };
        setting.check(name).map_err(refused)?;
    }
    match token.needs_commands() && !token.commands {
        true => {
            let message = "is not written: a secret of the token comes from a command, and commands are not allowed";
            Err(problem(&token.place.file, None, message.to_owned()))
        }
        false => Ok(()),
    }
}

fn is_own_file(file: &Path) -> bool {
    let folder = file.parent().and_then(Path::file_name);
    folder.is_some_and(|folder| folder == super::TOKENS_FOLDER)
}

fn fill(table: &mut Table, token: &TokenConfig) {
    set(table, "name", Some(token.name.as_str().into()));
    set(table, "driver", Some(token.driver.as_str().into()));
    let row = drivers::row(&token.driver);
    for key in row.map_or(&[][..], |row| &row.keys) {
        set(
            table,
            key.name,
            token.settings.0.get(key.name).and_then(written),
        );
    }
    set(table, "label", Some(token.label.as_str().into()));
    set(
        table,
        "serial",
        (!token.serial.is_empty()).then(|| token.serial.as_str().into()),
    );
    set(
        table,
        "order",
        (token.order != 0).then(|| token.order.into()),
    );
    set(table, "removable", token.removable.then(|| true.into()));
    set(table, "hidden", list(&token.hidden));
    set(table, "programs", list(&token.programs));
    set(table, "not_programs", list(&token.not_programs));
    set(
        table,
        "pin",
        (token.pin != PinSource::App).then(|| token.pin.to_string().into()),
    );
    set(
        table,
        "login",
        (token.login != Login::App).then(|| token.login.as_str().into()),
    );
    set(table, "commands", token.commands.then(|| true.into()));
    set_contents(table, &token.contents);
}

/// A setting as it is written; `None` for what says no more than nothing.
fn written(setting: &Setting) -> Option<Value> {
    match setting {
        Setting::Path(path) => Some(path.to_string_lossy().into_owned().into()),
        Setting::Text(text) => Some(text.as_str().into()),
        Setting::Texts(texts) => list(texts),
        Setting::Flag(flag) => Some((*flag).into()),
        Setting::Number(number) => Some((*number).into()),
        Setting::Secret(source) => Some(source.to_string().into()),
    }
}

/// Sets a key if its value is another one, so that the way it is written stays otherwise; `None` takes it away.
fn set(table: &mut Table, key: &str, new: Option<Value>) {
    let Some(mut new) = new else {
        table.remove(key);
        return;
    };
    let Some(old) = table.get_mut(key).and_then(Item::as_value_mut) else {
        table.insert(key, value(new));
        return;
    };
    if !is_same(old, &new) {
        *new.decor_mut() = old.decor().clone();
        *old = new;
    }
}

/// Whether both mean the same, however they are written.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.value() == b.value(),
        (Value::Integer(a), Value::Integer(b)) => a.value() == b.value(),
        (Value::Boolean(a), Value::Boolean(b)) => a.value() == b.value(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        _ => false,
    }
}

fn list(texts: &[String]) -> Option<Value> {
    (!texts.is_empty()).then(|| Value::Array(texts.iter().map(String::as_str).collect::<Array>()))
}

fn set_contents(table: &mut Table, contents: &Contents) {
    let certificates = contents.certificates.iter().map(|certificate| {
        vec![
            ("label", certificate.label.as_str().into()),
            ("id", to_hex(&certificate.identity).into()),
            ("der", to_base64(&certificate.der).into()),
        ]
    });
    let keys = contents.keys.iter().map(|key| {
        let mut entry = vec![
            ("label", key.label.as_str().into()),
            ("id", to_hex(&key.identity).into()),
            ("public", to_base64(&key.spki).into()),
        ];
        let subject = key.subject.as_ref();
        entry.extend(subject.map(|subject| ("subject", to_base64(subject).into())));
        let facts = key.facts.0.iter();
        entry.extend(facts.filter_map(|(name, fact)| Some((name.as_str(), written(fact)?))));
        entry
    });
    set_tables(table, "certificate", "der", certificates.collect());
    set_tables(table, "key", "public", keys.collect());
}

/// One key or certificate: what is written of it, by names.
type Entry<'a> = Vec<(&'a str, Value)>;

/// Sets the tables of this name. One that is about the same thing, by what `what` says or else by its id, stays with the
/// comments in it and before it.
fn set_tables(table: &mut Table, name: &str, what: &str, entries: Vec<Entry<'_>>) {
    if entries.is_empty() {
        table.remove(name);
        return;
    }
    let old = table.get_mut(name).and_then(Item::as_array_of_tables_mut);
    let old = old.map(std::mem::take).unwrap_or_default();
    let mut old: Vec<Table> = old.into_iter().collect();
    let mut found: Vec<Option<Table>> = entries.iter().map(|_| None).collect();
    for by in [what, "id"] {
        for (entry, found) in entries.iter().zip(&mut found) {
            let mut fields = entry.iter();
            let wanted = fields.find(|(name, _)| *name == by).map(|(_, value)| value);
            let is_it = |table: &Table| {
                let own = table.get(by).and_then(Item::as_value);
                own.zip(wanted)
                    .is_some_and(|(own, wanted)| is_same(own, wanted))
            };
            if found.is_none()
                && let Some(at) = old.iter().position(is_it)
            {
                *found = Some(old.remove(at));
            }
        }
    }
    let mut tables = ArrayOfTables::new();
    for (entry, found) in entries.into_iter().zip(found) {
        let mut table = found.unwrap_or_default();
        // It stands where its place in the list is.
        table.set_position(None);
        table.retain(|own, _| entry.iter().any(|(name, _)| own == *name));
        for (name, value) in entry {
            set(&mut table, name, Some(value));
        }
        tables.push(table);
    }
    table.insert(name, Item::ArrayOfTables(tables));
}

fn read(file: &Path, environment: &Environment) -> Result<Option<DocumentMut>, Problem> {
    let read = trust::read(file, environment.euid);
    let Some(bytes) = read.map_err(|refusal| problem(file, None, refusal.to_string()))? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes)
        .map_err(|_| problem(file, None, "is not UTF-8 text".to_owned()))?;
    let document = text.parse::<DocumentMut>().map_err(|error| {
        let line = error.span().map(|span| Lines::new(&text).line(span.start));
        problem(file, line, format!("{}; mend this first", error.message()))
    })?;
    Ok(Some(document))
}

fn tables<'a>(
    document: &'a mut DocumentMut,
    file: &Path,
) -> Result<&'a mut ArrayOfTables, Problem> {
    document
        .get_mut("token")
        .and_then(Item::as_array_of_tables_mut)
        .ok_or_else(|| inline(file))
}

/// Where the only table of this name is: of two, nobody knows which one is meant.
fn position(tokens: &ArrayOfTables, file: &Path, name: &str) -> Result<usize, Problem> {
    let mut found = positions(tokens, file, name);
    let first = found.next().ok_or_else(|| gone(file, name))?;
    match found.next() {
        None => Ok(first),
        Some(_) => {
            let message = format!(
                "has several [[token]] tables with the name {name:?}; give each its own name in this file first"
            );
            Err(problem(file, None, message))
        }
    }
}

fn positions(tokens: &ArrayOfTables, file: &Path, name: &str) -> impl Iterator<Item = usize> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    // A name that is not text is refused, and the table is then spoken of by the file's.
    let is_named = move |table: &Table| match table.get("name").and_then(Item::as_str) {
        Some(own) => own == name,
        None => stem == name,
    };
    let tables = tokens.iter().enumerate();
    tables
        .filter(move |(_, table)| is_named(table))
        .map(|(at, _)| at)
}

/// Replaces a file as a whole: a program that reads it meanwhile, or a crash, finds the old or the new one.
fn write(file: &Path, document: &DocumentMut, scope: Scope) -> Result<(), Problem> {
    // A link stays one: what it leads to is replaced.
    let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = target
        .parent()
        .ok_or_else(|| problem(file, None, "has no folder".to_owned()))?;
    // What the machine's configuration says is for everybody; it holds no secret.
    let (file_mode, folder_mode) = match scope {
        Scope::System => (0o644, 0o755),
        Scope::User | Scope::Chosen => (0o600, 0o700),
    };
    let made = DirBuilder::new()
        .recursive(true)
        .mode(folder_mode)
        .create(folder);
    made.map_err(|error| failed(folder, "made", &error))?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let new = folder.join(format!(".{name}.{}.new", std::process::id()));
    let written = write_new(&new, &target, &document.to_string(), file_mode)
        .and_then(|()| fs::rename(&new, &target))
        .and_then(|()| File::open(folder)?.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written.map_err(|error| failed(file, "written", &error))
}

/// Writes `text` with the rights of the file that it replaces.
fn write_new(new: &Path, target: &Path, text: &str, mode: u32) -> io::Result<()> {
    let _ = fs::remove_file(new);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(new)?;
    if let Ok(old) = fs::metadata(target) {
        let own = file.metadata()?;
        if (old.uid(), old.gid()) != (own.uid(), own.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o755))?;
    } else {
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn problem(file: &Path, line: Option<usize>, message: String) -> Problem {
    Problem {
        file: file.to_owned(),
        line,
        token: None,
        message,
    }
}

fn failed(file: &Path, what: &str, error: &io::Error) -> Problem {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => "; run the command as the user who owns it",
        _ => "",
    };
    problem(file, None, format!("cannot be {what}: {error}{advice}"))
}

fn inline(file: &Path) -> Problem {
    let message = "has its tokens not as [[token]] tables, which only a person can edit";
    problem(file, None, message.to_owned())
}

fn gone(file: &Path, name: &str) -> Problem {
    problem(
        file,
        None,
        format!("has no token {name:?} any more; run the command again"),
    )
}
