//! A program on a terminal of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, tcgetattr};

/// A child whose standard input, output and error are a pseudo-terminal.
pub struct Pty {
    child: Child,
    keyboard: File,
    /// Kept open, so that the terminal's modes can be looked at when the child is gone.
    terminal: OwnedFd,
    screen: Receiver<Vec<u8>>,
    seen: String,
    before: Termios,
}

impl Pty {
    /// Starts a command on a new terminal.
    ///
    /// # Panics
    /// If the host has no terminal to give or the command does not start.
    pub fn spawn(command: &mut Command) -> Pty {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("a terminal");
        unlockpt(&master).expect("a terminal");
        let name = ptsname(&master, Vec::new()).expect("its name");
        let terminal = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())
            .expect("the other end");
        let stdio = || Stdio::from(terminal.try_clone().expect("a descriptor"));
        let before = tcgetattr(&terminal).expect("modes");
        let child = command
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .expect("the command starts");
        let keyboard = File::from(master);
        let mut output = keyboard.try_clone().expect("a descriptor");
        let (to, screen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut bytes) {
                if to.send(bytes[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Pty {
            child,
            keyboard,
            terminal,
            screen,
            seen: String::new(),
            before,
        }
    }

    /// Types.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn type_in(&mut self, text: &str) {
        self.keyboard
            .write_all(text.as_bytes())
            .expect("a keyboard");
    }

    /// Waits until `text` stands on the screen, after what was waited for before.
    ///
    /// # Panics
    /// If it does not come within `time`.
    pub fn wait_for(&mut self, text: &str, time: Duration) {
        let end = Instant::now() + time;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.seen += &String::from_utf8_lossy(&bytes),
                Err(_) => panic!("no {text:?} within {time:?} after: {}", self.seen),
            }
        }
    }

    /// True while keys go to the program as they are, instead of line by line.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.terminal).expect("modes");
        !modes
            .local_modes
            .intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// True if the terminal has the modes that it had before the program started.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn is_restored(&self) -> bool {
        let modes = tcgetattr(&self.terminal).expect("modes");
        modes.local_modes == self.before.local_modes
            && modes.input_modes == self.before.input_modes
            && modes.output_modes == self.before.output_modes
            && modes.control_modes == self.before.control_modes
    }

    /// Sends the program a signal.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a program");
    }

    /// Waits for the end of the program.
    ///
    /// # Panics
    /// If it does not end within `time`.
    pub fn end(&mut self, time: Duration) -> ExitStatus {
        let end = Instant::now() + time;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < end, "still there after {time:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // After a failed test it may still run.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
