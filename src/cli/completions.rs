//! `completions`: what a shell needs to complete the command line.
//!
//! The command line is walked, so nothing here knows a command by name, and no generator has to be shipped: each script is a
//! list of places (`clients list`) and of what may follow there. What is not a word of ours is completed as a file.

use std::{
    fmt::Write as _,
    io::{self, Write},
    process::ExitCode,
};

use clap::{Command, ValueEnum};

/// A shell.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Shell {
    /// Bash: `source <(mcp-deputy completions bash)`
    Bash,
    /// Fish: `mcp-deputy completions fish > ~/.config/fish/completions/mcp-deputy.fish`
    Fish,
    /// PowerShell: `mcp-deputy completions powershell | Out-String | Invoke-Expression`
    Powershell,
    /// Zsh: into a file `_mcp-deputy` in a folder of `$fpath`
    Zsh,
}

/// Where the cursor may be, and what may follow.
struct Place {
    /// Such as `/clients/list`; empty at the beginning.
    path: String,
    words: Vec<Word>,
}

struct Word {
    text: String,
    help: String,
    /// Whether a value follows it.
    takes_value: bool,
}

/// Prints the script.
pub(super) fn run(mut command: Command, shell: Shell) -> ExitCode {
    command.build();
    let mut places = Vec::new();
    walk(&command, "", &mut places);
    let script = match shell {
        Shell::Bash => bash(&places),
        Shell::Fish => fish(&places),
        Shell::Powershell => powershell(&places),
        Shell::Zsh => zsh(&places),
    };
    let _ = io::stdout().write_all(script.as_bytes());
    ExitCode::SUCCESS
}

fn walk(command: &Command, path: &str, places: &mut Vec<Place>) {
    let inner =
        || command.get_subcommands().filter(|inner| inner.get_name() != "help" && !inner.is_hide_set());
    let first_line = |text: Option<&clap::builder::StyledStr>| {
        let text = text.map(ToString::to_string).unwrap_or_default();
        text.lines().next().unwrap_or_default().replace('`', "")
    };
    let mut words: Vec<Word> = inner()
        .map(|inner| Word {
            text: inner.get_name().to_owned(),
            help: first_line(inner.get_about()),
            takes_value: false,
        })
        .collect();
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        let help = first_line(argument.get_help());
        match argument.get_long() {
            Some(long) => words.push(Word {
                text: format!("--{long}"),
                help,
                takes_value: argument.get_action().takes_values(),
            }),
            None => words.extend(argument.get_possible_values().iter().map(|value| Word {
                text: value.get_name().to_owned(),
                help: String::new(),
                takes_value: false,
            })),
        }
    }
    places.push(Place { path: path.to_owned(), words });
    for inner in inner() {
        walk(inner, &format!("{path}/{}", inner.get_name()), places);
    }
}

/// In single quotes of Bash and Zsh.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The paths of all places but the first, as patterns of a `case`.
fn known(places: &[Place]) -> String {
    let known: Vec<_> = places.iter().skip(1).map(|place| quoted(&place.path)).collect();
    known.join("|")
}

fn with_values(places: &[Place]) -> String {
    let mut words: Vec<&str> = places
        .iter()
        .flat_map(|place| &place.words)
        .filter(|word| word.takes_value)
        .map(|word| word.text.as_str())
        .collect();
    words.sort_unstable();
    words.dedup();
    words.join("|")
}

fn bash(places: &[Place]) -> String {
    let mut cases = String::new();
    for place in places {
        let words: Vec<&str> = place.words.iter().map(|word| word.text.as_str()).collect();
        let _ = writeln!(cases, "    {}) words={} ;;", quoted(&place.path), quoted(&words.join(" ")));
    }
    format!(
        "_mcp_deputy() {{\n  local cur=\"${{COMP_WORDS[COMP_CWORD]}}\" prev=\"${{COMP_WORDS[COMP_CWORD-1]}}\" at='' word words=''\n  \
         case \"$prev\" in {values}) COMPREPLY=(); return ;; esac\n  \
         for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do\n    case \"$at/$word\" in {known}) at=\"$at/$word\" ;; esac\n  done\n  \
         case \"$at\" in\n{cases}  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}}\n\
         complete -o default -F _mcp_deputy mcp-deputy\n",
        values = with_values(places),
        known = known(places),
    )
}

fn zsh(places: &[Place]) -> String {
    let mut cases = String::new();
    for place in places {
        let words: Vec<String> =
            place.words.iter().map(|word| quoted(&format!("{}:{}", word.text, word.help))).collect();
        let _ = writeln!(cases, "    {}) list=({}) ;;", quoted(&place.path), words.join(" "));
    }
    format!(
        "#compdef mcp-deputy\n_mcp_deputy() {{\n  local at='' word\n  local -a list\n  \
         case \"${{words[CURRENT-1]}}\" in {values}) _files; return ;; esac\n  \
         for word in \"${{(@)words[2,CURRENT-1]}}\"; do\n    case \"$at/$word\" in {known}) at=\"$at/$word\" ;; esac\n  done\n  \
         case \"$at\" in\n{cases}  esac\n  _describe 'mcp-deputy' list || _files\n}}\n\
         if [ \"$funcstack[1]\" = '_mcp-deputy' ]; then _mcp_deputy \"$@\"; else compdef _mcp_deputy mcp-deputy; fi\n",
        values = with_values(places),
        known = known(places),
    )
}

fn fish(places: &[Place]) -> String {
    // Between single quotes fish takes a backslash before a quote or a backslash.
    let quoted = |text: &str| format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"));
    let known: Vec<_> = places.iter().skip(1).map(|place| quoted(&place.path)).collect();
    let mut script = format!(
        "function __mcp_deputy_at\n  set -l at ''\n  for word in (commandline -opc)[2..-1]\n    \
         if contains -- \"$at/$word\" {}\n      set at \"$at/$word\"\n    end\n  end\n  test \"$at\" = \"$argv[1]\"\nend\n",
        known.join(" "),
    );
    for place in places {
        let at = quoted(&format!("__mcp_deputy_at \"{}\"", place.path));
        for word in &place.words {
            let help = quoted(&word.help);
            let _ = match word.text.strip_prefix("--") {
                Some(long) if word.takes_value => {
                    writeln!(script, "complete -c mcp-deputy -n {at} -l {long} -r -d {help}")
                }
                Some(long) => writeln!(script, "complete -c mcp-deputy -n {at} -l {long} -d {help}"),
                None => {
                    writeln!(script, "complete -c mcp-deputy -n {at} -f -a {} -d {help}", quoted(&word.text))
                }
            };
        }
    }
    script
}

fn powershell(places: &[Place]) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let mut table = String::new();
    for place in places {
        let words: Vec<String> = place
            .words
            .iter()
            .map(|word| {
                let help = if word.help.is_empty() { &word.text } else { &word.help };
                format!("@({}, {})", quoted(&word.text), quoted(help))
            })
            .collect();
        // A list of one list would be taken for that one.
        let comma = if words.len() == 1 { "," } else { "" };
        let _ = writeln!(table, "    {} = @({comma}{})", quoted(&place.path), words.join(", "));
    }
    format!(
        "Register-ArgumentCompleter -Native -CommandName 'mcp-deputy' -ScriptBlock {{\n  param($word, $ast, $cursor)\n  \
         $places = @{{\n{table}  }}\n  $at = ''\n  \
         foreach ($element in $ast.CommandElements | Select-Object -Skip 1) {{\n    \
         if ($places.ContainsKey(\"$at/$element\")) {{ $at = \"$at/$element\" }}\n  }}\n  \
         $places[$at] | Where-Object {{ $_[0] -like \"$word*\" }} | ForEach-Object {{\n    \
         [System.Management.Automation.CompletionResult]::new($_[0], $_[0], 'ParameterValue', $_[1])\n  }}\n}}\n"
    )
}
