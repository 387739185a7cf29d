//! What the command line says: our own words, and the forms that scripts written for stock use.
//!
//! Go's flags have one dash or two and take their value after `=` or a space; [`normalised`] gives them two, and clap
//! does the rest. No subcommand means `run`.

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use std::ffi::OsString;
use std::path::PathBuf;

/// A time series server for clients of InfluxDB 1.x.
#[derive(Debug, Parser)]
#[command(name = "millrace", args_conflicts_with_subcommands = true, args_override_self = true)]
pub struct Arguments {
    /// What to do; `run` when nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of `run`.
    #[command(flatten)]
    pub run: RunArguments,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server (the default).
    #[command(args_override_self = true)]
    Run(RunArguments),
    /// Print the effective configuration.
    #[command(args_override_self = true)]
    Config(ConfigArguments),
    /// Show what the segments, logs and series of a data directory take. No server may have it open.
    #[command(args_override_self = true)]
    Inspect(InspectArguments),
    /// Read and check every byte of a data directory. No server may have it open. Exit code: 0 all sound, 1 damage
    /// found, 2 could not be done.
    #[command(args_override_self = true)]
    Verify(ToolArguments),
    /// Print the version.
    Version,
}

/// Flags of `run`.
#[derive(Debug, Default, Args)]
pub struct RunArguments {
    /// Flags that settle settings.
    #[command(flatten)]
    pub config: ConfigArguments,
    /// Write the process id to this file.
    #[arg(long, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,
    /// Write a CPU profile of the whole run to this file when the server stops.
    #[arg(long, value_name = "FILE")]
    pub cpuprofile: Option<PathBuf>,
    /// Accepted for the sake of old scripts.
    #[arg(long, value_name = "FILE", hide = true)]
    pub memprofile: Option<PathBuf>,
    /// Accepted for the sake of old scripts; ignored there too.
    #[arg(long, value_name = "NAME", hide = true)]
    pub hostname: Option<String>,
}

/// Flags that `run` and `config` share.
#[derive(Debug, Default, Args)]
pub struct ConfigArguments {
    /// Configuration file in the form of InfluxDB 1.x; /dev/null for built-in settings. Without it:
    /// $INFLUXDB_CONFIG_PATH, ~/.influxdb/influxdb.conf, /etc/influxdb/influxdb.conf, built-in settings.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory that holds everything [default: ./data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1:8086]
    #[arg(long, value_name = "HOST:PORT")]
    pub bind: Option<String>,
    /// Processors to use [default: all this process may run on]
    #[arg(long, value_name = "N")]
    pub cores: Option<u64>,
}

/// Flags of what looks at a data directory.
#[derive(Debug, Default, Args)]
pub struct ToolArguments {
    /// Configuration file that names the directory; found as by `run`.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The directory [default: ./data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

impl ToolArguments {
    /// The settings they stand for.
    pub fn config(&self) -> ConfigArguments {
        ConfigArguments { config: self.config.clone(), data: self.data.clone(), ..ConfigArguments::default() }
    }
}

/// Flags of `inspect`.
#[derive(Debug, Default, Args)]
pub struct InspectArguments {
    /// Which directory, and how to print.
    #[command(flatten)]
    pub tool: ToolArguments,
    /// List the blocks of this segment instead.
    #[arg(long, value_name = "FILE")]
    pub segment: Option<PathBuf>,
}

/// Flags that may have one dash.
const FLAGS: [&str; 9] = ["config", "data", "bind", "cores", "pidfile", "cpuprofile", "memprofile", "hostname", "help"];

/// Gives each known flag of one dash its second.
pub fn normalised(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    arguments.map(|argument| doubled(&argument).unwrap_or(argument)).collect()
}

fn doubled(argument: &OsString) -> Option<OsString> {
    let text = argument.to_str()?;
    let flag = text.strip_prefix('-')?;
    let name = flag.split('=').next().unwrap_or_default();
    FLAGS.contains(&name).then(|| OsString::from(format!("-{text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Arguments {
        let words = std::iter::once("millrace").chain(line.split_whitespace()).map(OsString::from);
        Arguments::try_parse_from(normalised(words)).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    fn run(line: &str) -> RunArguments {
        match parsed(line) {
            Arguments { command: None, run } | Arguments { command: Some(Command::Run(run)), .. } => run,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn stocks_forms_and_ours_mean_the_same() {
        for line in ["-config a", "--config a", "-config=a", "--config=a", "run -config a", "run --config=a"] {
            assert_eq!(run(line).config.config, Some(PathBuf::from("a")), "{line}");
        }
        let all = run("run -config a -pidfile p -cpuprofile c -memprofile m -hostname h --data d --bind :1 --cores 2");
        assert_eq!(all.pidfile, Some(PathBuf::from("p")));
        assert_eq!(all.config.data, Some(PathBuf::from("d")));
        assert_eq!((all.config.bind.as_deref(), all.config.cores), (Some(":1"), Some(2)));
        assert_eq!(run("").config.config, None);
    }

    #[test]
    fn the_last_of_several_counts() {
        for line in ["run -config a -config b", "-config a --config=b"] {
            assert_eq!(run(line).config.config, Some(PathBuf::from("b")), "{line}");
        }
    }

    #[test]
    fn other_commands_are_known() {
        assert!(matches!(parsed("version").command, Some(Command::Version)));
        match parsed("config -config /dev/null").command {
            Some(Command::Config(arguments)) => assert_eq!(arguments.config, Some(PathBuf::from("/dev/null"))),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn tools_take_the_directory_as_run_does() {
        match parsed("verify -config a --data d --json").command {
            Some(Command::Verify(arguments)) => {
                assert!(arguments.json);
                assert_eq!(arguments.config().config, Some(PathBuf::from("a")));
                assert_eq!(arguments.config().data, Some(PathBuf::from("d")));
            }
            other => panic!("{other:?}"),
        }
        match parsed("inspect -data=d --segment s").command {
            Some(Command::Inspect(arguments)) => {
                assert_eq!((arguments.segment, arguments.tool.json), (Some(PathBuf::from("s")), false));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn values_that_look_like_flags_stay_as_they_are() {
        assert_eq!(doubled(&OsString::from("-1")), None);
        assert_eq!(doubled(&OsString::from("--config")), None);
        assert_eq!(doubled(&OsString::from("-unknown")), None);
    }
}
