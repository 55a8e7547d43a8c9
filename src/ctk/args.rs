//! The command line, as people write it.

use std::{path::PathBuf, sync::LazyLock};

use clap::{Args, Parser, Subcommand, ValueEnum};
use ctk_host::{PinSource, config};

use crate::{
    card::{CardCommand, PinCommand},
    network::ServiceArguments,
};

/// Paragraphs are one line each, which the terminal and man(1) break where they like; what is indented stays as it is, and so
/// has at most 78 columns.
const AFTER: &str = "\
Passwords and PINs are asked for on the terminal, or read as lines of standard input if that is not a terminal. None is \
asked for that a stored PIN gives or that a file does not have.

Keys at a service are registered with ctk add csc and ctk add aws-kms, which ask on the terminal for what is not said. \
A SOURCE says where a secret is and is never the secret itself: file:PATH (which only its owner may read), env:NAME, \
credential:NAME (of systemd), or command:PROGRAM if --commands allows it. What is asked of the service is shown on the \
terminal while it is waited for.

A smart card needs no registration: it is there as soon as it is in a reader. Its name is that of the reader, or a part of \
it. Making keys and writing certificates wants its administrator: the management key of a PIV card, the admin PIN of an \
OpenPGP card.

Configuration: the one file that CTK_CONFIG names; else ~/.config/ctk/ctk.toml, ~/.config/ctk/tokens.d/*.toml, \
/etc/ctk/ctk.toml and /etc/ctk/tokens.d/*.toml. Where HOME is not set, ~ is the user's home in the system's list.

With --json a command prints one JSON object:

  list      {tokens: [TOKEN], readers: [{reader, card: CARD|null, error}],
             problems: [PROBLEM]}
  show      TOKEN or CARD
  add       TOKEN with module (a path or null); of a service
            {tokens: [TOKEN], left_out: [TEXT], module}
  refresh   {tokens: [REFRESHED], ok}
  update    TOKEN with module (a path or null)
  remove    {name, configuration, file}
  passwd    {name, file}
  test      {name, keys: [{id, label, key, results: [RESULT]}], ok}
  card info CARD
  card init {reader, serial, changed}
  card generate
            {reader, id, key, public_key, file, request}
  card request
            {reader, id, request, file}
  card import-cert, card delete-cert
            {reader, id, subject, expires}
  pin       {reader, secret}
  doctor    {checks: [CHECK], ok}
  watch     a line for each {time, reader, reason, event:
             reader|present|inserted|unusable|removed,
             card: {kind, label, serial}|null}
  a failure {error}

  TOKEN     {name, label, driver, serial, file, configuration, line,
             scope: user|system|chosen, order, removable, hidden, programs,
             not_programs, pin, login, commands, settings: {NAME: VALUE},
             identities: [IDENTITY]}
  IDENTITY  {id, label, key, uses: [sign|decrypt|agree],
             before_use: nothing|pin|pin-each-time, facts: {NAME: VALUE},
             subject, issuer, not_before, not_after, days_left, expired,
             hidden, uri}
  REFRESHED {name, state: same|changed|skipped|failed, came: [CHANGE],
             gone: [CHANGE], changed: [CHANGE], certificates_came: NUMBER,
             certificates_gone: NUMBER, left_out: [TEXT], error}
  CHANGE    {id, label, key, what: [TEXT]}
  CARD      {reader, kind, label, manufacturer, model, serial,
             pin: {state: ok|wrong|last|locked, tries_left, min_length,
             max_length, on_reader}, admin: {state, tries_left}, keys: [KEY]}
  KEY       {place, id, label, key, uses,
             before_use: nothing|pin|pin-each-time, subject, issuer,
             not_before, not_after, days_left, expired, uri}
  PROBLEM   {file, line, token, message}
  RESULT    {algorithm, ok, error}
  CHECK     {state: ok|hint|warning|problem, subject, message}

The key of an IDENTITY is null for a certificate without key, and what only a certificate says is null for a key \
without one. settings are those of a network token as they stand in the configuration, with the source of a secret, and \
facts what the service says of a key; both are empty for others. left_out says what the service has besides and why it is \
not there.

What is wrong with the configuration is also said on standard error, and a failure always is.

Exit status: 0 done, 1 failed, 2 wrong usage. doctor and test end with 1 if they find something wrong, refresh if one \
token failed, with the others done; list tells problems and ends with 0, for the other tokens can be used.";

/// Registers certificates and private keys as tokens, for every program that speaks PKCS#11
#[derive(Debug, Parser)]
#[command(name = "ctk", version, long_version = long_version(), after_long_help = AFTER)]
pub(crate) struct Arguments {
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one, and it is moved once"
)]
pub(crate) enum Command {
    /// Register a PKCS#12 file (.p12, .pfx), or the keys of a signing service, as a token
    ///
    /// The file stays where it is, and the keys stay at the service. A file that is called as a kind of service is given
    /// with its folder, like ./csc.
    Add(AddArguments),
    /// List the tokens and cards with their keys
    List,
    /// Show everything about a token, or about the card in a reader
    Show(NameArguments),
    /// Take over a renewed file, or change what is configured
    Update(UpdateArguments),
    /// Ask the services of network tokens again, and store what they have now
    ///
    /// Files that need no password are read again too. Labels, order and what is hidden stay as they are.
    Refresh(RefreshArguments),
    /// Forget a token; its file stays
    Remove(RemoveArguments),
    /// Log in to a token or card, and sign, decrypt and agree on secrets with each of its keys
    ///
    /// At a service each key is used once for each thing that it is for, which the service may charge for; that is said
    /// before.
    Test(NameArguments),
    /// Give a token's file another password
    ///
    /// The file is encrypted again with AES-256 and takes the place of the old one as a whole. From standard input the
    /// old password is the first line, and the new one the second.
    Passwd(NameArguments),
    /// Look at smart cards, make keys on them, and give them certificates
    Card {
        #[command(subcommand)]
        command: CardCommand,
    },
    /// Change or unblock the PIN of a smart card; ctk passwd does it for a file
    Pin {
        #[command(subcommand)]
        command: PinCommand,
    },
    /// Say which cards come and go, each in a line, until Ctrl-C
    Watch,
    /// Say what is wrong with this machine's set-up and what to do
    Doctor {
        /// Look only at this, but more closely
        part: Option<DoctorPart>,
        /// The network token to look at alone
        #[arg(requires = "part")]
        name: Option<String>,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff)
    Man,
}

/// What the doctor can look at alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum DoctorPart {
    /// Smart cards, their readers and what serves them
    Card,
    /// The services of network tokens and the way to them
    Network,
}

#[derive(Args, Debug)]
pub(crate) struct NameArguments {
    /// The token's name, or that of the reader with the card
    pub(crate) name: String,
}

#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    subcommand_value_name = "SERVICE",
    subcommand_help_heading = "Services"
)]
pub(crate) struct AddArguments {
    /// The PKCS#12 file
    #[arg(required = true)]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) new: NewArguments,
    #[command(subcommand)]
    pub(crate) service: Option<ServiceArguments>,
}

/// What a person may choose about a token that is registered, whatever its keys are in.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct NewArguments {
    /// What commands call the token [default: from the file's name]
    #[arg(long, value_parser = name)]
    pub(crate) name: Option<String>,
    /// Register it for the whole machine, in /etc/ctk
    #[arg(long)]
    pub(crate) system: bool,
    #[command(flatten)]
    pub(crate) settings: SettingArguments,
}

#[derive(Args, Debug)]
pub(crate) struct UpdateArguments {
    /// The token's name
    pub(crate) name: String,
    /// The file it is in now; without any option the same file is read again
    #[arg(long)]
    pub(crate) file: Option<PathBuf>,
    /// Change a setting of a network token, by its name in the configuration; an empty value takes it away, a list is given
    /// entry by entry
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) settings: SettingArguments,
}

#[derive(Args, Debug)]
pub(crate) struct RefreshArguments {
    /// The tokens' names [default: all]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// What a person may choose about a token.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub(crate) struct SettingArguments {
    /// What programs show [default: from the file's name]
    #[arg(long, value_parser = label)]
    pub(crate) label: Option<String>,
    /// Its place among the tokens: lower is earlier [default: 0]
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) order: Option<i64>,
    /// Tell programs that it can be removed: some look at no others
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) removable: Option<bool>,
    /// Where the PIN comes from: app (the program asks), file:PATH, env:NAME, credential:NAME,
    /// command:PROGRAM
    #[arg(long, value_name = "SOURCE", value_parser = PinSource::parse)]
    pub(crate) pin: Option<PinSource>,
    /// Let programs be run for secrets: command:PROGRAM as their source is refused otherwise
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) commands: Option<bool>,
    /// When a stored PIN is used: when the program logs in, or when it uses a key
    #[arg(long)]
    pub(crate) login: Option<LoginArgument>,
    /// Hide an identity from programs, by its CKA_ID or label; can be given several times, "" for none
    #[arg(long, value_name = "ID|LABEL")]
    pub(crate) hide: Vec<String>,
    /// Show the token to this program only, by name or path; can be given several times, "" for all
    #[arg(long = "program", value_name = "PROGRAM")]
    pub(crate) programs: Vec<String>,
    /// Hide the token from this program; can be given several times, "" for none
    #[arg(long = "not-program", value_name = "PROGRAM")]
    pub(crate) not_programs: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum LoginArgument {
    App,
    OnUse,
}

#[derive(Args, Debug)]
pub(crate) struct RemoveArguments {
    /// The token's name
    pub(crate) name: String,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// What `ctk --version` says; `ctk -V` says the first line.
fn long_version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        format!(
            "{}\ncrypto library: {}",
            env!("CARGO_PKG_VERSION"),
            ctk_crypto::library_version()
        )
    });
    &TEXT
}

fn name(text: &str) -> Result<String, String> {
    config::check_name(text).map(|()| text.to_owned())
}

fn label(text: &str) -> Result<String, String> {
    config::check_label(text).map(|()| text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_is_indented_fits_in_a_terminal() {
        let indented = |line: &&str| line.starts_with(' ');
        assert!(AFTER.lines().filter(indented).count() > 10);
        for line in AFTER.lines().filter(indented) {
            assert!(line.len() <= 78, "{line}");
        }
    }
}
