//! The guest's console as the machine sees it: bytes to pass on, lines to look at, phases of the boot.

/// A landmark of a boot.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// Virtual time in nanoseconds since power-on.
    pub at_ns: u64,
    /// Instructions retired until then.
    pub instructions: u64,
}

/// Lines longer than this are cut for looking at (not for output), in bytes.
const LINE_MAX: usize = 4096;
/// The log kept for checks ends here, in bytes.
const LOG_MAX: usize = 32 << 20;

/// Begins a Linux kernel's last words.
const PANIC: &str = "Kernel panic - not syncing: ";
/// Lines after which it says nothing more.
const PANIC_ENDS: [&str; 2] = ["---[ end Kernel panic", "Rebooting in "];

/// What a landmark is recognised by, and its name.
const LANDMARKS: [(&str, &str); 6] = [
    ("Linux version ", "kernel: first line"),
    ("Run /init as init process", "kernel: starts userspace"),
    ("viommu-init: userspace reached", "userspace reached"),
    ("ibm,create-pe-dma-window", "DMA window created"),
    ("viommu-init: done", "userspace done"),
    ("reboot: Power down", "kernel: power down"),
];

/// The console's output so far.
#[derive(Clone, Debug, Default)]
pub struct Console {
    log: String,
    line: Vec<u8>,
    last: String,
    phases: Vec<Phase>,
    until: Option<String>,
    until_seen: bool,
    /// A Linux kernel's last words, and whether it has said them all.
    panic: Option<(String, bool)>,
    fresh: Vec<u8>,
}

impl Console {
    /// A console that looks for `until`.
    pub fn new(until: Option<String>) -> Self {
        Console {
            until,
            ..Console::default()
        }
    }

    /// The guest wrote `bytes` at `now_ns`, after `instructions`.
    pub fn write(&mut self, bytes: &[u8], now_ns: u64, instructions: u64) {
        self.fresh.extend_from_slice(bytes);
        for &b in bytes {
            if b == b'\n' {
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8_lossy(&line);
                self.end_line(line.trim_end_matches('\r'), now_ns, instructions);
            } else if self.line.len() < LINE_MAX {
                self.line.push(b);
            }
        }
        if let Some(until) = &self.until
            && !self.line.is_empty()
            && String::from_utf8_lossy(&self.line).contains(until.as_str())
        {
            self.until_seen = true;
        }
    }

    fn end_line(&mut self, line: &str, now_ns: u64, instructions: u64) {
        for (mark, name) in LANDMARKS {
            if line.contains(mark) && !self.phases.iter().any(|p| p.name == name) {
                self.phase(name, now_ns, instructions);
            }
        }
        self.look_for_panic(line);
        self.until_seen |= self
            .until
            .as_ref()
            .is_some_and(|u| line.contains(u.as_str()));
        if self.log.len() + line.len() < LOG_MAX {
            self.log.push_str(line);
            self.log.push('\n');
        }
        if !line.trim().is_empty() {
            self.last = line.to_owned();
        }
    }

    fn look_for_panic(&mut self, line: &str) {
        if let Some((_, over)) = &mut self.panic {
            *over |= PANIC_ENDS.iter().any(|end| line.contains(end));
        } else if let Some((_, words)) = line.split_once(PANIC) {
            self.panic = Some((words.to_owned(), false));
        }
    }

    /// A Linux kernel's last words, once it has said all that it says before it stops or reboots; with `at_once`, without waiting for
    /// that.
    pub fn panic(&self, at_once: bool) -> Option<&str> {
        let (words, over) = self.panic.as_ref()?;
        (*over || at_once).then_some(words)
    }

    /// Notes a landmark that the console does not show.
    pub fn phase(&mut self, name: &str, at_ns: u64, instructions: u64) {
        self.phases.push(Phase {
            name: name.to_owned(),
            at_ns,
            instructions,
        });
    }

    /// Bytes written since the last call, for the terminal.
    pub fn take_fresh(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.fresh)
    }

    /// True once the pattern has appeared.
    pub fn until_seen(&self) -> bool {
        self.until_seen
    }

    /// All complete lines.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// The last line that is not empty.
    pub fn last_line(&self) -> &str {
        &self.last
    }

    /// Landmarks so far, in order.
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }
}
