//! Configuration: which files count, what they say, and how they are written.

mod cards;
mod fields;
mod parse;
mod problem;
mod text;
mod token;
pub(crate) mod trust;
pub mod write;

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

pub use cards::CardsConfig;
pub use problem::Problem;
pub use text::{from_hex, to_hex};
pub use token::{
    CertificateFacts, Contents, KeyFacts, Login, MAX_LABEL, MAX_NAME, MAX_SERIAL, Place, Scope,
    Setting, Settings, TokenConfig, check_label, check_name, cut_label,
};

use crate::Environment;
use trust::Refusal;

#[cfg(test)]
pub(crate) use parse::COMMON_KEYS;

/// The name of the main file in a folder of configuration.
pub(crate) const MAIN_FILE: &str = "ctk.toml";
/// The folder beside it with a file for each token.
pub(crate) const TOKENS_FOLDER: &str = "tokens.d";

/// Everything that is configured for a process.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Configuration {
    /// The tokens, by order and then name. All of them, also those that this program may not see.
    pub tokens: Vec<TokenConfig>,
    /// The cards in this machine's readers. A table with a mistake shows none: what it was to keep
    /// from whom is not known.
    pub cards: CardsConfig,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// The files that were read, in that order.
    pub files: Vec<PathBuf>,
}

impl Configuration {
    /// Reads what counts for a process: `$CTK_CONFIG` alone if it is set; else the user's files and
    /// then the machine's. With more rights than its caller, a process reads the machine's only.
    ///
    /// A token of the user's hides one of the machine's with the same name, also if it has a
    /// mistake: else the user's PIN would go to another key store.
    pub fn read(environment: &Environment) -> Self {
        let mut configuration = Self::default();
        let chosen = environment
            .config_file
            .as_deref()
            .filter(|_| !environment.secure);
        if let Some(file) = chosen {
            configuration.read_chosen(file, environment);
        } else {
            if let Some(folder) = environment.user_folder() {
                configuration.read_folder(&folder, Scope::User, environment);
            }
            let broken = configuration.broken_names();
            configuration.read_folder(&environment.system_folder, Scope::System, environment);
            configuration.tokens.retain(|token| {
                token.place.scope != Scope::System || !broken.contains(&token.name)
            });
        }
        configuration.refuse_duplicates();
        configuration
            .tokens
            .sort_by(|a, b| (a.order, &a.name).cmp(&(b.order, &b.name)));
        configuration
    }

    /// The token of this name.
    pub fn token(&self, name: &str) -> Option<&TokenConfig> {
        self.tokens.iter().find(|token| token.name == name)
    }

    fn read_chosen(&mut self, file: &Path, environment: &Environment) {
        if !file.is_absolute() {
            return self.problem(
                file,
                "CTK_CONFIG must be the whole path of a file, from / on",
            );
        }
        if !self.read_file(file, Scope::Chosen, environment) {
            self.problem(file, "CTK_CONFIG names a file that does not exist");
        }
    }

    fn read_folder(&mut self, folder: &Path, scope: Scope, environment: &Environment) {
        self.read_file(&folder.join(MAIN_FILE), scope, environment);
        let folder = folder.join(TOKENS_FOLDER);
        match toml_files(&folder) {
            Ok(files) => {
                for file in files {
                    self.read_file(&file, scope, environment);
                }
            }
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {}
                io::ErrorKind::PermissionDenied if scope == Scope::System => {}
                _ => self.problem(&folder, format!("cannot be read: {error}")),
            },
        }
    }

    /// Reads one file, and says whether it is there.
    fn read_file(&mut self, file: &Path, scope: Scope, environment: &Environment) -> bool {
        match trust::read(file, environment.euid) {
            Ok(None) => return false,
            Ok(Some(text)) => {
                let parsed = parse::parse(file, scope, &text, environment);
                self.files.push(file.to_owned());
                self.tokens.extend(parsed.tokens);
                self.take_cards(parsed.cards);
                self.problems.extend(parsed.problems);
            }
            // The machine's administrator has not meant it for this user.
            Err(Refusal::Closed) if scope == Scope::System => {}
            Err(refusal) => self.problem(file, refusal.to_string()),
        }
        true
    }

    /// The first table counts: the user's, else the machine's.
    fn take_cards(&mut self, found: Vec<CardsConfig>) {
        for cards in found {
            let (Some(place), before) = (&cards.place, &self.cards.place) else {
                continue;
            };
            match before {
                None => self.cards = cards,
                Some(before) if before.scope == place.scope => self.problems.push(Problem {
                    message: format!(
                        "there is a table [smartcard] in {}:{} already, so this one is not used",
                        before.file.display(),
                        before.line
                    ),
                    file: place.file.clone(),
                    line: Some(place.line),
                    token: None,
                }),
                Some(_) => {}
            }
        }
    }

    /// The names of the tokens that the problems so far have cost. Where none is known, it is the
    /// file's.
    fn broken_names(&self) -> HashSet<String> {
        let name = |problem: &Problem| {
            let folder = problem.file.parent().and_then(Path::file_name);
            let has_own_file = folder == Some(OsStr::new(TOKENS_FOLDER));
            let stem = problem.file.file_stem().filter(|_| has_own_file);
            let stem = stem.map(|stem| stem.to_string_lossy().into_owned());
            problem.token.clone().or(stem)
        };
        self.problems.iter().filter_map(name).collect()
    }

    fn refuse_duplicates(&mut self) {
        let mut owners: HashMap<String, Place> = HashMap::new();
        let (mut kept, mut problems) = (Vec::new(), Vec::new());
        for token in self.tokens.drain(..) {
            match owners.get(&token.name) {
                None => {
                    owners.insert(token.name.clone(), token.place.clone());
                    kept.push(token);
                }
                Some(owner) if owner.scope == token.place.scope => problems.push(Problem {
                    message: format!(
                        "the name {:?} is taken by {}:{}; give this token another name",
                        token.name,
                        owner.file.display(),
                        owner.line
                    ),
                    file: token.place.file,
                    line: Some(token.place.line),
                    token: Some(token.name),
                }),
                Some(_) => {}
            }
        }
        self.tokens = kept;
        self.problems.extend(problems);
    }

    fn problem(&mut self, file: &Path, message: impl Into<String>) {
        self.problems.push(Problem {
            file: file.to_owned(),
            line: None,
            token: None,
            message: message.into(),
        });
    }
}

/// The files of a folder that count, sorted by name. Hidden ones are half-written ones and those of
/// editors.
fn toml_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let path = folder.join(&name);
        if path.extension() == Some(OsStr::new("toml")) && !name.as_bytes().starts_with(b".") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(all(test, feature = "pkcs12"))]
mod tests;
