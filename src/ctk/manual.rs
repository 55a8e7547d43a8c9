//! The manual: one page with a section for each command, which are too short for pages of their own.

use std::io::{self, Write};

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::args::Arguments;

/// What every command has, and is said once.
const COMMON: [&str; 2] = ["help", "json"];

/// The page in roff, as man(1) reads it.
pub(crate) fn page() -> io::Result<Vec<u8>> {
    let mut ctk = Arguments::command().disable_help_subcommand(true);
    ctk.build();
    let man = Man::new(ctk.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    writeln!(page, ".SH COMMANDS")?;
    for command in ctk.get_subcommands() {
        write_command(&mut page, command.get_name(), command)?;
    }
    let mut notes = Vec::new();
    man.render_extra_section(&mut notes)?;
    let notes = String::from_utf8_lossy(&notes);
    let (_, notes) = notes.split_once(".SH EXTRA\n").unwrap_or(("", &notes));
    writeln!(page, ".SH NOTES")?;
    for paragraph in notes.trim_end().split("\n\n") {
        match paragraph.starts_with(' ') {
            true => writeln!(page, ".PP\n.nf\n{paragraph}\n.fi")?,
            false => writeln!(page, ".PP\n{paragraph}")?,
        }
    }
    Ok(page)
}

/// A command, and after it those that it has itself.
fn write_command(page: &mut Vec<u8>, name: &str, command: &Command) -> io::Result<()> {
    let of_command: Vec<_> = command.get_subcommands().cloned().collect();
    let mut command = command.clone();
    for common in COMMON {
        command = command.mut_arg(common, |argument| argument.hide(true));
    }
    writeln!(page, ".SS ctk {name}")?;
    let man = Man::new(command);
    let mut text = Vec::new();
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    for line in String::from_utf8_lossy(&text).lines() {
        match line {
            ".SH DESCRIPTION" => writeln!(page, ".PP")?,
            // Sections of a page, which this is none of; and what each part puts first is there once already.
            _ if line.starts_with(".SH ")
                || line.starts_with(".ie ")
                || line.starts_with(".el ") => {}
            _ => writeln!(page, "{line}")?,
        }
    }
    for command in &of_command {
        let name = format!("{name} {}", command.get_name());
        write_command(page, &name, command)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_every_command_is_in_the_page() {
        let page = String::from_utf8(page().unwrap()).unwrap();
        let ctk = Arguments::command();
        let commands = ctk.get_subcommands().flat_map(|command| {
            let own = command.get_subcommands();
            let own = own.map(|own| (format!("{} {}", command.get_name(), own.get_name()), own));
            std::iter::once((command.get_name().to_owned(), command)).chain(own)
        });
        let (mut count, mut hidden) = (0, Vec::new());
        for (name, command) in commands {
            count += 1;
            let heading = format!(".SS ctk {name}\n");
            let (_, section) = page.split_once(&heading).expect(&heading);
            let section = section.split(".SS ").next().unwrap();
            assert!(section.contains(&command.get_about().unwrap().to_string()[..10]));
            for argument in command.get_arguments() {
                if argument.is_hide_set() {
                    hidden.push(format!("{name} {}", argument.get_id()));
                    continue;
                }
                let named = match argument.get_long() {
                    Some(long) => format!("--{long}").replace('-', "\\-"),
                    None => match argument.get_value_names() {
                        Some([name, ..]) => name.to_string(),
                        _ => argument.get_id().as_str().to_uppercase(),
                    },
                };
                assert!(section.contains(&named), "{named}: {section}");
            }
        }
        assert_eq!(page.matches("\n.SS ctk ").count(), count);
        // Where no key has a PIN.
        assert_eq!(hidden, ["add aws-kms pin", "add aws-kms login"]);
        assert_eq!(page.matches("\n.SH COMMANDS\n").count(), 1);
        assert!(
            page.contains("\n.PP\n.nf\n  TOKEN     {name") && page.contains("\n.PP\nExit status")
        );
        assert!(!page.contains("ctk\\-add(1)"));
    }
}
