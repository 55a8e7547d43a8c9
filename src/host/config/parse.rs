//! From the text of a file to tokens and problems. A wrong line costs the token it belongs to.

mod contents;

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::{
    CardsConfig, Problem,
    fields::{Fields, Lines, Mistake, Origin},
    token::{
        Login, MAX_SERIAL, Place, Scope, Setting, Settings, TokenConfig, check_label, check_name,
        cut_label,
    },
};
use crate::{
    Environment,
    drivers::{self, Key, Kind, Row},
    pin::PinSource,
    secret::SecretSource,
};

/// The keys of every token, whatever its driver.
pub(crate) const COMMON_KEYS: [&str; 14] = [
    "name",
    "driver",
    "label",
    "serial",
    "order",
    "removable",
    "hidden",
    "programs",
    "not_programs",
    "pin",
    "login",
    "commands",
    "certificate",
    "key",
];
/// The table of the cards in this machine's readers.
const CARDS: &str = "smartcard";
const CARDS_KEYS: [&str; 6] = [
    "enabled",
    "readers",
    "not_readers",
    "programs",
    "not_programs",
    "hidden",
];

const NO_COMMANDS: &str = "a command is run only for a token with commands = true; add that line if you trust the program";

/// How many problems of one file are told: who has mended these can ask again.
const MAX_PROBLEMS: usize = 100;

/// What a file said.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) tokens: Vec<TokenConfig>,
    pub(crate) cards: Vec<CardsConfig>,
    pub(crate) problems: Vec<Problem>,
}

/// Reads the text of `file`.
pub(crate) fn parse(file: &Path, scope: Scope, text: &[u8], environment: &Environment) -> Parsed {
    let mut reader = Reader {
        file,
        scope,
        environment,
        parsed: Parsed::default(),
    };
    match str::from_utf8(text) {
        Ok(text) => reader.read(text),
        Err(error) => {
            let valid = text.get(..error.valid_up_to()).unwrap_or_default();
            let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
            reader.problem(
                Some(line),
                None,
                "this line is not UTF-8 text; save the file as UTF-8",
            );
        }
    }
    reader.parsed
}

struct Reader<'a> {
    file: &'a Path,
    scope: Scope,
    environment: &'a Environment,
    parsed: Parsed,
}

impl Reader<'_> {
    fn read(&mut self, text: &str) {
        let lines = Lines::new(text);
        if let Ok(table) = DeTable::parse(text) {
            let origin = Origin {
                lines: &lines,
                offset: 0,
            };
            return self.read_top(table.get_ref(), origin);
        }
        // Each table by itself, so that a mistake stays where it is.
        for range in split(text) {
            let origin = Origin {
                lines: &lines,
                offset: range.start,
            };
            self.read_piece(text.get(range).unwrap_or_default(), origin);
        }
    }

    fn read_piece(&mut self, piece: &str, origin: Origin<'_>) {
        let (table, errors) = DeTable::parse_recoverable(piece);
        let Some(error) = errors.first() else {
            return self.read_top(table.get_ref(), origin);
        };
        let start = error.span().map_or(0, |span| span.start);
        let name = first_name(table.get_ref());
        let cost = name
            .as_ref()
            .map(|name| format!(", so token {name:?} is not used"));
        let message = format!("{}{}", error.message(), cost.unwrap_or_default());
        let line = origin.lines.line(origin.offset + start);
        self.problem(Some(line), name, message);
        if table.get_ref().contains_key(CARDS) {
            self.broken_cards(origin.lines.line(origin.offset));
        }
    }

    fn read_top(&mut self, table: &DeTable<'_>, origin: Origin<'_>) {
        let mut top = Fields::new(table, origin, 1);
        top.refuse_unknown("the file, outside of [[token]]", &["token", CARDS]);
        let tokens = top.tables("token");
        let cards = top.table(CARDS);
        let has_cards = table.contains_key(CARDS);
        self.problems(None, top.into_mistakes());
        match cards {
            Some(fields) => self.read_cards(fields),
            None if has_cards => self.broken_cards(origin.lines.line(origin.offset)),
            None => {}
        }
        for fields in tokens {
            self.read_token(fields);
        }
    }

    fn read_token(&mut self, mut fields: Fields<'_>) {
        let stem = self.file.file_stem().unwrap_or_default().to_string_lossy();
        let name = fields.text("name").unwrap_or_else(|| stem.into_owned());
        if let Err(message) = check_name(&name) {
            fields.refuse("name", message);
        }
        let token = self.token(&mut fields, name.clone());
        let mistakes = fields.into_mistakes();
        match token {
            Some(token) if mistakes.is_empty() => self.parsed.tokens.push(token),
            _ => self.problems(Some(&name), mistakes),
        }
    }

    fn read_cards(&mut self, mut fields: Fields<'_>) {
        fields.refuse_unknown("table [smartcard]", &CARDS_KEYS);
        let mut texts = |key| fields.texts(key).unwrap_or_default();
        let cards = CardsConfig {
            readers: texts("readers"),
            not_readers: texts("not_readers"),
            programs: texts("programs"),
            not_programs: texts("not_programs"),
            hidden: texts("hidden"),
            enabled: fields.boolean("enabled").unwrap_or(true),
            place: Some(self.place(fields.line())),
        };
        let line = fields.line();
        let mistakes = fields.into_mistakes();
        if mistakes.is_empty() {
            return self.parsed.cards.push(cards);
        }
        self.problems(None, mistakes);
        self.broken_cards(line);
    }

    fn broken_cards(&mut self, line: usize) {
        self.problem(
            Some(line),
            None,
            "no smart card is shown until the table [smartcard] is mended",
        );
        self.parsed.cards.push(CardsConfig {
            enabled: false,
            place: Some(self.place(line)),
            ..CardsConfig::default()
        });
    }

    fn place(&self, line: usize) -> Place {
        Place {
            file: self.file.to_owned(),
            line,
            scope: self.scope,
        }
    }

    /// The token of a table. If the table has no mistakes, there is one.
    fn token(&self, fields: &mut Fields<'_>, name: String) -> Option<TokenConfig> {
        let owner = format!("token {name:?}");
        let row = self.driver(fields, &owner);
        if let Some(row) = row {
            let known: Vec<_> = COMMON_KEYS
                .iter()
                .copied()
                .chain(row.keys.iter().map(|key| key.name))
                .collect();
            fields.refuse_unknown(&owner, &known);
        }
        let label = fields
            .text("label")
            .unwrap_or_else(|| cut_label(&name).to_owned());
        if let Err(message) = check_label(&label) {
            fields.refuse("label", message);
        }
        let serial = fields.text("serial").unwrap_or_default();
        if serial.len() > MAX_SERIAL || !serial.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = format!("serial must have at most {MAX_SERIAL} letters, digits or signs");
            fields.refuse("serial", message);
        }
        let (pin, login) = self.pin(fields);
        let commands = fields.boolean("commands").unwrap_or_default();
        if !commands && matches!(pin, PinSource::Command(_)) {
            fields.refuse("pin", NO_COMMANDS);
        }
        let keys = row.map_or(&[][..], |row| &row.keys);
        let facts = row.map_or(&[][..], |row| &row.key_facts);
        let token = TokenConfig {
            settings: self.settings(fields, keys, &owner, commands),
            contents: self.contents(fields, facts, &owner),
            order: fields.integer("order").unwrap_or_default(),
            removable: fields.boolean("removable").unwrap_or_default(),
            hidden: fields.texts("hidden").unwrap_or_default(),
            programs: fields.texts("programs").unwrap_or_default(),
            not_programs: fields.texts("not_programs").unwrap_or_default(),
            driver: row?.name.to_owned(),
            place: self.place(fields.line()),
            name,
            label,
            serial,
            pin,
            login,
            commands,
        };
        Some(token)
    }

    fn driver(&self, fields: &mut Fields<'_>, owner: &str) -> Option<&'static Row> {
        let name = fields.required_text("driver", owner)?;
        let row = drivers::row(&name);
        if row.is_none() {
            let known: Vec<_> = drivers::rows().iter().map(|row| row.name).collect();
            let known = known.join(", ");
            fields.refuse(
                "driver",
                format!("no driver {name:?}; this build has: {known}"),
            );
        }
        row
    }

    /// What is written of `keys`. Without `commands` no secret may come from one.
    fn settings(
        &self,
        fields: &mut Fields<'_>,
        keys: &[Key],
        owner: &str,
        commands: bool,
    ) -> Settings {
        let mut settings = Settings::default();
        for key in keys {
            if key.required {
                fields.require(key.name, owner);
            }
            let setting = match key.kind {
                Kind::Text => fields.text(key.name).map(Setting::Text),
                Kind::Texts => fields.texts(key.name).map(Setting::Texts),
                Kind::Flag => fields.boolean(key.name).map(Setting::Flag),
                Kind::Number => fields.integer(key.name).map(Setting::Number),
                Kind::Path => {
                    self.parsed(fields, key.name, |text| self.path(text).map(Setting::Path))
                }
                Kind::Secret => self.parsed(fields, key.name, |text| {
                    let source = self.source(SecretSource::parse(text)?)?;
                    match source.is_command() && !commands {
                        true => Err(NO_COMMANDS.to_owned()),
                        false => Ok(Setting::Secret(source)),
                    }
                }),
            };
            if let Some(setting) = setting {
                if let Err(message) = setting.check(key.name) {
                    fields.refuse(key.name, format!("{}: {message}", key.name));
                }
                settings.0.insert(key.name.to_owned(), setting);
            }
        }
        settings
    }

    /// A text that means something else.
    fn parsed<T>(
        &self,
        fields: &mut Fields<'_>,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = fields.text(key)?;
        match parse(&text) {
            Ok(parsed) => Some(parsed),
            Err(message) => {
                fields.refuse(key, format!("{key}: {message}"));
                None
            }
        }
    }

    /// A source with whole paths in it.
    fn source(&self, source: SecretSource) -> Result<SecretSource, String> {
        Ok(match source {
            SecretSource::File(path) => SecretSource::File(self.path(&path.to_string_lossy())?),
            // A name without a slash is looked for in PATH.
            SecretSource::Command(command) if command.program().contains('/') => {
                let program = self.path(command.program())?;
                SecretSource::Command(command.with_program(&program))
            }
            other => other,
        })
    }

    fn pin(&self, fields: &mut Fields<'_>) -> (PinSource, Login) {
        let pin = match fields.text("pin").map(|text| PinSource::parse(&text)) {
            None => Ok(PinSource::App),
            Some(Ok(pin)) => match pin.source() {
                None => Ok(pin),
                Some(source) => self.source(source).map(PinSource::from),
            },
            Some(Err(message)) => Err(message),
        };
        let pin = match pin {
            Ok(pin) => pin,
            Err(message) => {
                fields.refuse("pin", message);
                return (PinSource::App, Login::App);
            }
        };
        let login = fields.text("login");
        let login = login.map(|text| {
            let found = Login::ALL
                .iter()
                .find(|(name, _)| *name == text)
                .map(|(_, login)| *login);
            if found.is_none() {
                fields.refuse(
                    "login",
                    format!("login must be \"app\" or \"on-use\", not {text:?}"),
                );
            }
            found.unwrap_or_default()
        });
        let login = login.unwrap_or_default();
        if login == Login::OnUse && pin == PinSource::App {
            let message = "login = \"on-use\" needs a PIN source: add pin = \"file:/path\", \
                           \"env:NAME\", \"credential:NAME\" or \"command:PROGRAM\"";
            fields.refuse("login", message);
        }
        (pin, login)
    }

    /// An absolute path of what a person wrote: `~/` is the home of the user whose file it is, and a relative path
    /// begins at the file's folder.
    fn path(&self, text: &str) -> Result<PathBuf, String> {
        if text.is_empty() || text.contains('\0') {
            return Err("the path must not be empty".to_owned());
        }
        if let Some(rest) = text.strip_prefix("~/") {
            if self.scope == Scope::System {
                return Err(format!(
                    "{text:?} begins with ~, which is nobody's home here; write the whole path"
                ));
            }
            let home = self.environment.home.as_ref();
            let home =
                home.ok_or_else(|| format!("{text:?} begins with ~, but HOME is not known"))?;
            return Ok(home.join(rest));
        }
        Ok(self
            .file
            .parent()
            .map_or_else(|| PathBuf::from(text), |folder| folder.join(text)))
    }

    fn problems(&mut self, token: Option<&str>, mistakes: Vec<Mistake>) {
        for mistake in mistakes {
            self.problem(
                Some(mistake.line),
                token.map(str::to_owned),
                mistake.message,
            );
        }
    }

    fn problem(&mut self, line: Option<usize>, token: Option<String>, message: impl Into<String>) {
        let told = self.parsed.problems.len();
        if told > MAX_PROBLEMS {
            return;
        }
        let (token, message) = match told {
            MAX_PROBLEMS => (
                None,
                "this is wrong too, and maybe more after it".to_owned(),
            ),
            _ => (token, message.into()),
        };
        self.parsed.problems.push(Problem {
            file: self.file.to_owned(),
            line,
            token,
            message,
        });
    }
}

/// Cuts a file before each line that is a `[[token]]` or `[smartcard]` header.
fn split(text: &str) -> Vec<Range<usize>> {
    let mut starts = vec![0];
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        // A name may stand in quotes (TOML 1.0, "Keys").
        let is_name = |c: &char| !c.is_whitespace() && *c != '"' && *c != '\'';
        let header: String = line.chars().filter(is_name).collect();
        let is_header = header.starts_with("[[token]]") || header.starts_with("[smartcard]");
        if is_header && offset > 0 {
            starts.push(offset);
        }
        offset += line.len();
    }
    let ends = starts.iter().copied().skip(1).chain([text.len()]);
    starts
        .iter()
        .copied()
        .zip(ends)
        .map(|(start, end)| start..end)
        .collect()
}

fn first_name(table: &DeTable<'_>) -> Option<String> {
    let token = table.get("token")?.get_ref().as_array()?.first()?;
    let name = token.get_ref().as_table()?.get("name")?.get_ref();
    DeValue::as_str(name).map(str::to_owned)
}
