//! What shells make of the scripts that complete the command line.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

fn script(shell: &str) -> String {
    let printed =
        Command::new(env!("CARGO_BIN_EXE_mcp-deputy")).args(["completions", shell]).output().unwrap();
    assert_eq!(printed.status.code(), Some(0));
    String::from_utf8(printed.stdout).unwrap()
}

/// What a shell prints for a script; `None` where there is no such shell.
fn run(shell: &str, arguments: &[&str], script: &str) -> Option<String> {
    let mut command = Command::new(shell);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        println!("there is no {shell} here");
        return None;
    };
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{shell}: {said}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn bash_completes_commands_verbs_and_options() {
    let script = script("bash");
    for (line, found) in [
        (&["gr"][..], "grants"),
        (&["clients", "rev"], "revoke"),
        (&["grants", "list", "--us"], "--user"),
        (&["completions", "z"], "zsh"),
        (&["health", "--re"], "--ready"),
        (&["nonsense", "ser"], "serve"),
        // A value is not ours to complete.
        (&["grants", "list", "--user", ""], ""),
    ] {
        let words = line.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        let ask = format!(
            "{script}\nCOMP_WORDS=(mcp-deputy {words}); COMP_CWORD={}; _mcp_deputy; echo \"${{COMPREPLY[*]}}\"\n",
            line.len()
        );
        if let Some(said) = run("bash", &["--norc"], &ask) {
            assert_eq!(said.trim(), found, "{line:?}");
        }
    }
}

#[test]
fn zsh_and_fish_take_their_scripts() {
    run("zsh", &["-f", "-n"], &script("zsh"));
    let ask = format!("{}\ncomplete -C 'mcp-deputy clients rev'\n", script("fish"));
    if let Some(said) = run("fish", &["--no-config"], &ask) {
        assert!(said.starts_with("revoke\t"), "{said}");
    }
}

#[test]
fn every_shell_is_told_of_every_command() {
    let help = Command::new(env!("CARGO_BIN_EXE_mcp-deputy")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let behind = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = behind
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() >= 9, "{commands:?}");
    for shell in ["bash", "fish", "powershell", "zsh"] {
        let script = script(shell);
        for command in &commands {
            assert!(script.contains(&format!("'/{command}'")), "{shell}: {command}");
        }
        assert!(script.contains("/clients/revoke") && script.contains("token-file"), "{shell}");
    }
}
