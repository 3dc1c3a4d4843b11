//! Questions on a terminal. What is typed for a secret is not shown.

use std::io::{self, BufRead as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Somebody who can be asked.
pub(super) trait Terminal {
    /// Says something.
    fn say(&mut self, text: &str) -> io::Result<()>;

    /// The next line of the answers, without its end. `None`: there are no more.
    fn line(&mut self, is_secret: bool) -> io::Result<Option<String>>;

    /// Everything up to the end of the input.
    fn rest(&mut self) -> io::Result<String>;
}

/// Questions go to standard error, so that standard output has only what was done; answers come from standard input.
pub(super) struct Console;

impl Terminal for Console {
    fn say(&mut self, text: &str) -> io::Result<()> {
        let mut err = io::stderr().lock();
        err.write_all(text.as_bytes())?;
        err.flush()
    }

    fn line(&mut self, is_secret: bool) -> io::Result<Option<String>> {
        let mut line = String::new();
        let hidden = if is_secret { Some(Hidden::begin()?) } else { None };
        let length = io::stdin().lock().read_line(&mut line)?;
        if hidden.is_some() {
            // The line break of the answer was not shown either.
            self.say("\n")?;
        }
        Ok((length > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
    }

    fn rest(&mut self) -> io::Result<String> {
        io::read_to_string(io::stdin().lock())
    }
}

/// While this lives, the terminal does not show what is typed.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
