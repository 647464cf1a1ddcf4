// SPDX-License-Identifier: MIT OR Apache-2.0

//! A terminal by `tmux`, if it is there: another emulator than that of the other tests.

use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a screen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether it is there. If not, the tests that ask do nothing, unless `TCPSTAT_REQUIRE_TMUX` is
/// set.
pub(crate) fn is_there() -> bool {
    let is_there = Command::new("tmux").arg("-V").output().is_ok();
    let required = std::env::var_os("TCPSTAT_REQUIRE_TMUX").is_some();
    assert!(is_there || !required, "there is no tmux");
    is_there
}

/// A server of this test alone, with one window. It ends when this is dropped.
pub(crate) struct Tmux {
    socket: tempfile::TempDir,
}

impl Tmux {
    /// Starts `command` in a window of 80x24.
    pub(crate) fn start(command: &Command) -> Self {
        let tmux = Self {
            socket: tempfile::TempDir::new().unwrap(),
        };
        let mut arguments = vec!["new-session", "-d", "-x", "80", "-y", "24", "env"];
        let variables: Vec<String> = command
            .get_envs()
            .filter(|(name, _)| *name != "TERM")
            .filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?)))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        arguments.extend(variables.iter().map(String::as_str));
        arguments.push(command.get_program().to_str().unwrap());
        arguments.extend(
            command
                .get_args()
                .map(|argument| argument.to_str().unwrap()),
        );
        tmux.must(&arguments);
        tmux
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let socket = self.socket.path().join("tmux");
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(socket).args(["-f", "/dev/null"]);
        tmux.args(arguments).output().unwrap()
    }

    fn must(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Presses a key, by tmux' name for it, and waits until the screen shows a text.
    pub(crate) fn press(&self, key: &str, text: &str) {
        self.must(&["send-keys", key]);
        self.wait_for(text);
    }

    /// Waits until the screen shows a text.
    pub(crate) fn wait_for(&self, text: &str) {
        let start = Instant::now();
        loop {
            let screen = self.must(&["capture-pane", "-p"]);
            if screen.contains(text) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "no {text:?} on:\n{screen}");
            sleep(Duration::from_millis(20));
        }
    }

    /// Presses a key, and waits until the command has ended, and with it the server.
    pub(crate) fn press_last(&self, key: &str) {
        self.must(&["send-keys", key]);
        let start = Instant::now();
        while self.run(&["capture-pane", "-p"]).status.success() {
            assert!(start.elapsed() < PATIENCE, "it has not ended");
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // It may have ended with its command.
        self.run(&["kill-server"]);
    }
}
