//! Command line: argv to one of the subcommands.
