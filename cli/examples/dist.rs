// SPDX-License-Identifier: MIT OR Apache-2.0

//! Writes the manual pages and the shell completions, generated from the description of the command
//! line, below DIR in the layout of `/usr`. `make dist` and packagers use it.
//!
//!     cargo run --example dist -- DIR [DATE]
//!
//! It is an example, so that the command itself does not depend on the generators.

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::Command;
use clap_complete::{Generator, Shell};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};
use tcpstat_cli::explain;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (dir, date) = match &arguments[..] {
        [dir] => (dir, ""),
        [dir, date] => (dir, date.as_str()),
        _ => {
            eprintln!("usage: dist DIR [DATE]      DATE: the day of the manual pages, 2026-12-31");
            return ExitCode::from(2);
        }
    };
    match write_all(Path::new(dir), date) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dist: {dir}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes every page and every completion below `dir`.
fn write_all(dir: &Path, date: &str) -> io::Result<()> {
    let mut command = tcpstat_cli::command().disable_help_subcommand(true);
    command.build();
    let man = dir.join("share/man/man1");
    fs::create_dir_all(&man)?;
    for page in pages(&command) {
        let name = format!("{}.1", name(page));
        fs::write(man.join(name), page_text(page, &command, date)?)?;
    }
    for (shell, folder) in [
        (Shell::Bash, "share/bash-completion/completions"),
        (Shell::Zsh, "share/zsh/site-functions"),
        (Shell::Fish, "share/fish/vendor_completions.d"),
    ] {
        let folder = dir.join(folder);
        fs::create_dir_all(&folder)?;
        let name = shell.file_name("tcpstat");
        fs::write(folder.join(name), completions(shell, &command)?)?;
    }
    Ok(())
}

/// The completions of a shell: those of `clap_complete`, and what these leave out.
fn completions(shell: Shell, command: &Command) -> io::Result<String> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut tcpstat_cli::command(), "tcpstat", &mut text);
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    match shell {
        Shell::Bash => replaced(&text, "    prev=\"$3\"\n", BASH_PREVIOUS),
        Shell::Fish => {
            let text = replaced(&text, "    or return\n", FISH_OR_RETURN)?;
            Ok(text + &fish_arguments(command))
        }
        _ => Ok(text),
    }
}

/// bash splits `--format=j` at the equals sign.
const BASH_PREVIOUS: &str = r#"    prev="$3"
    if [[ ${prev} == "=" ]]; then
        prev="${COMP_WORDS[COMP_CWORD - 2]}"
    fi
"#;

/// After `tcpstat --format `, the option has no value yet, and argparse fails.
const FISH_OR_RETURN: &str = "    or begin
        set -e cmd[-1]
        argparse -s (__fish_tcpstat_global_optspecs) -- $cmd 2>/dev/null
    end
    or return
";

/// `text` with the only `part` replaced. If a generator writes something else now, it is an error.
fn replaced(text: &str, part: &str, by: &str) -> io::Result<String> {
    match text.split_once(part) {
        Some((before, after)) if !after.contains(part) => Ok(format!("{before}{by}{after}")),
        _ => Err(io::Error::other(format!(
            "clap_complete no longer writes exactly one {part:?}"
        ))),
    }
}

/// The values of arguments that are not options, such as topics, for fish.
fn fish_arguments(command: &Command) -> String {
    let mut text = String::new();
    for below in command.get_subcommands() {
        let values = below
            .get_positionals()
            .flat_map(|argument| argument.get_possible_values());
        let values: Vec<String> = values
            .map(|value| {
                let help = value
                    .get_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                let help = help.replace('\\', r"\\").replace('\'', r"\'");
                // In the double quotes below.
                let help = help.replace('"', "\\\"").replace('$', r"\$");
                format!(r"{}\t'{help}'", value.get_name())
            })
            .collect();
        if !values.is_empty() {
            text += &format!(
                "complete -c tcpstat -n \"__fish_tcpstat_using_subcommand {}\" -f -a \"{}\"\n",
                below.get_name(),
                values.join("\n")
            );
        }
    }
    text
}

/// The command and all commands below it. Each has a page.
fn pages(command: &Command) -> Vec<&Command> {
    let below = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set());
    std::iter::once(command)
        .chain(below.flat_map(pages))
        .collect()
}

/// A page's name: `tcpstat-explain`.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

/// A manual page: the sections of `clap_mangen`, the explanations, the end of the help, and the
/// other pages.
fn page_text(command: &Command, top: &Command, date: &str) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone())
        .date(date)
        .source(format!("tcpstat {}", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut roff = Roff::new();
    if command.get_name() == "explain" {
        explanations(&mut roff);
    }
    if let Some(help) = command.get_after_help() {
        notes(&mut roff, &help.to_string());
    }
    see_also(&mut roff, command, top);
    roff.to_writer(&mut text)?;
    Ok(text)
}

/// The texts of `tcpstat explain`, for all topics.
fn explanations(roff: &mut Roff) {
    roff.control("SH", ["STATES AND QUEUES"]);
    for topic in explain::TOPICS {
        roff.control("TP", []);
        roff.text([bold(topic.name)]);
        roff.text([roman(topic.means)]);
        for (label, line) in [
            ("Many:", topic.many),
            ("Look:", topic.look),
            ("Act:", topic.act),
            ("Next:", topic.next),
        ] {
            roff.control("br", []);
            roff.text([italic(label), roman(format!(" {line}"))]);
        }
    }
}

/// The end of the help. It has blocks, some of them with a heading that ends with a colon, followed
/// by indented lines or by text.
fn notes(roff: &mut Roff, help: &str) {
    roff.control("SH", ["NOTES"]);
    for block in help.split("\n\n") {
        let text = match block.split_once(':') {
            Some((heading, text)) if !heading.contains('\n') => {
                roff.control("SS", []);
                roff.text([roman(heading)]);
                text
            }
            _ => {
                roff.control("PP", []);
                block
            }
        };
        let aligned = text.contains("\n ");
        if aligned {
            roff.control("nf", []);
        }
        for line in text.trim_start_matches([' ', '\n']).lines() {
            roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        if aligned {
            roff.control("fi", []);
        }
    }
}

fn see_also(roff: &mut Roff, command: &Command, top: &Command) {
    roff.control("SH", ["SEE ALSO"]);
    let mut others: Vec<_> = pages(top)
        .into_iter()
        .map(name)
        .filter(|other| *other != name(command))
        .flat_map(|other| [bold(other), roman("(1), ")])
        .collect();
    others.extend([bold("ss"), roman("(8), "), bold("tcp"), roman("(7)")]);
    roff.text(others);
}

#[cfg(test)]
mod tests {
    use super::*;

    // scripts/check tests that the shells and mandoc accept these files.
    #[test]
    fn every_command_has_a_page_and_every_shell_its_completions() {
        let dir = tempfile::tempdir().unwrap();
        write_all(dir.path(), "2025-12-31").unwrap();

        let top = tcpstat_cli::command();
        let mut expected: Vec<String> = top
            .get_subcommands()
            .map(|command| format!("tcpstat-{}.1", command.get_name()))
            .chain(["tcpstat.1".to_owned()])
            .collect();
        expected.sort();
        let man = dir.path().join("share/man/man1");
        let mut pages: Vec<String> = fs::read_dir(&man)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        pages.sort();
        assert_eq!(pages, expected);

        let explain = fs::read_to_string(man.join("tcpstat-explain.1")).unwrap();
        for topic in explain::TOPICS {
            assert!(
                explain.contains(&format!(
                    "\n.TP\n\\fB{}\\fR\n",
                    topic.name.replace('-', "\\-")
                )),
                "{explain}"
            );
        }
        let completions = |path: &str| dir.path().join("share").join(path);
        for (shell, path, words) in [
            (
                "bash",
                "bash-completion/completions/tcpstat.bash",
                &["proc-root", "accept-queue", "close-wait"][..],
            ),
            (
                "zsh",
                "zsh/site-functions/_tcpstat",
                &["proc-root", "accept-queue", "close-wait"],
            ),
            (
                "fish",
                "fish/vendor_completions.d/tcpstat.fish",
                &["proc-root", "accept-queue", "close-wait"],
            ),
        ] {
            let path = completions(path);
            let text = fs::read_to_string(&path).unwrap();
            let commands = top.get_subcommands().map(Command::get_name);
            for word in commands.chain(words.iter().copied()) {
                assert!(text.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn completions_offer_values_where_the_generator_has_none() {
        let mut command = tcpstat_cli::command();
        command.build();
        let bash = completions(Shell::Bash, &command).unwrap();
        assert!(bash.contains(BASH_PREVIOUS), "{bash}");
        let fish = completions(Shell::Fish, &command).unwrap();
        assert!(fish.contains(FISH_OR_RETURN), "{fish}");
        let topics = fish.lines().skip_while(|line| {
            !line.starts_with("complete -c tcpstat -n \"__fish_tcpstat_using_subcommand explain\" -f -a \"established\\t'the")
        });
        assert_eq!(topics.count(), explain::TOPICS.len());
        let close = r"close\t'not connected. Such a socket is in none of the kernel\'s tables, so 0 is normal.'";
        assert_eq!(
            fish.lines().last().map(|line| line.starts_with("other")),
            Some(true)
        );
        assert!(fish.contains(&format!("\n{close}\n")), "{fish}");
    }

    #[test]
    fn a_generator_that_has_changed_is_an_error() {
        assert_eq!(replaced("abc", "b", "x").unwrap(), "axc");
        for text in ["abcb", "ac"] {
            let error = replaced(text, "b", "x").unwrap_err().to_string();
            assert!(error.contains("exactly one \"b\""), "{error}");
        }
    }
}
