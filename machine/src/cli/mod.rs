//! The command line: arguments ([`args`]), what they mean ([`pseries`], [`pc`] and what they share in [`images`] and [`boot`]), the run ([`session`]), what is printed ([`output`]).
//!
//! Exit status: 0 all is well; 1 the run failed (the guest died, a check did not hold); 2 the user has to mend something.

pub mod args;
pub mod boot;
pub mod check;
pub mod disk;
pub mod guests;
pub mod images;
pub mod logger;
pub mod output;
pub mod pc;
pub mod pseries;
pub mod report;
pub mod session;
pub mod status;
pub mod terminal;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{AcpiPlatform, Args, Command, Platform, TreePlatform};

/// How a command failed.
#[derive(Debug)]
pub enum Failure {
    /// Something the user can mend: exit status 2.
    User(String),
    /// The run failed: exit status 1.
    Run(String),
    /// Nobody reads standard output any more, and there was nothing else to do: exit status 0.
    Closed,
}

impl Failure {
    /// A user's mistake.
    pub fn user(message: impl ToString) -> Self {
        Failure::User(message.to_string())
    }

    /// A failed run.
    pub fn run(message: impl ToString) -> Self {
        Failure::Run(message.to_string())
    }
}

/// Parses the process's arguments, does what they say and gives the exit status.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let (message, status) = match run(args) {
        Ok(()) | Err(Failure::Closed) => return ExitCode::SUCCESS,
        Err(Failure::User(message)) => (message, 2),
        Err(Failure::Run(message)) => (message, 1),
    };
    output::complain(&format!("viommu: {message}"));
    ExitCode::from(status)
}

fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Boot { platform } => match platform {
            Platform::Pseries(args) => pseries::run(&args),
            Platform::Pc(args) => pc::run(&args),
        },
        Command::Dt {
            platform: TreePlatform::Pseries(args),
        } => pseries::print_tree(&args),
        Command::Acpi {
            platform: AcpiPlatform::Pc(args),
        } => pc::print_tables(&args),
        Command::Guest { action } => guests::run(&action),
        Command::Selftest(selftest) => guests::selftest(&selftest),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "viommu", &mut script);
            output::put_bytes(&script)
        }
    }
}
