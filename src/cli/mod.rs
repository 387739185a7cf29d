//! Command line: argv to one of the subcommands, and a failure to one line on stderr and an exit code: 1, or 2 from
//! those that look at a data directory and keep 1 for damage.

pub mod arguments;
pub mod logging;
pub mod run;
pub mod tools;

use self::arguments::Arguments;
use self::arguments::Command;
use self::arguments::ConfigArguments;
use self::arguments::normalised;
use crate::config;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::Flags;
use clap::Parser;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// What clients look for in `version`: the version of stock whose answers are given here, and honestly whose it is.
pub const VERSION_LINE: &str = concat!("InfluxDB v1.8.10 (git: millrace ", env!("CARGO_PKG_VERSION"), ")");

/// Does what the arguments say; they begin with the program's own name.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(normalised(arguments)) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Asked for help is no failure; stdout or stderr accordingly.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let outcome = match arguments.command.unwrap_or(Command::Run(arguments.run)) {
        Command::Inspect(arguments) => return looked("inspect", tools::inspect(&arguments)),
        Command::Verify(arguments) => return looked("verify", tools::verify(&arguments)),
        Command::Run(arguments) => run::run(&arguments).map_err(|error| format!("run: {error}")),
        Command::Config(arguments) => print_config(&arguments).map_err(|error| format!("config: {error}")),
        Command::Version => print(VERSION_LINE).map_err(|error| format!("version: {error}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

/// The exit code of what looks at a data directory.
fn looked(name: &str, outcome: tools::Outcome) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::from(2)
        }
    }
}

/// The effective settings, as a file that means the same.
fn print_config(arguments: &ConfigArguments) -> Result<(), Box<dyn std::error::Error>> {
    let path = config_path(arguments);
    if let Some(path) = &path {
        eprintln!("Merging with configuration at: {}", path.display());
    }
    let raw = config::load_raw(path.as_deref(), &environment, &flags(arguments))?;
    Config::check(&raw)?;
    for notice in &raw.notices {
        eprintln!("{notice}");
    }
    print(&config::settled(raw).print())?;
    Ok(())
}

/// To stdout; a reader that has gone away (`| head`) is an error and not a panic.
fn print(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{}", text.trim_end())
}

/// Settings as the arguments, the environment and the file they name have them.
fn load_config(arguments: &ConfigArguments) -> Result<Config, ConfigError> {
    Config::load(config_path(arguments).as_deref(), &environment, &flags(arguments))
}

fn config_path(arguments: &ConfigArguments) -> Option<PathBuf> {
    config::locate::path(arguments.config.as_deref(), &environment, &|path| path.exists())
}

fn flags(arguments: &ConfigArguments) -> Flags {
    Flags { data_dir: arguments.data.clone(), bind_address: arguments.bind.clone(), core_count: arguments.cores }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_line_is_what_clients_look_for() {
        assert!(VERSION_LINE.starts_with("InfluxDB v1.8.10 (git: millrace "));
    }
}
