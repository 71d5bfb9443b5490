//! The arguments of a demo.

use std::process::ExitCode;
use std::str::FromStr;

pub use lexopt::Arg;
pub use lexopt::Error;
use lexopt::Parser;
pub use lexopt::ValueExt;

/// The options of a demo.
pub trait Options: Default {
    /// The name of the demo.
    const NAME: &'static str;
    /// The description of all options, for a person.
    const USAGE: &'static str;

    /// Takes one option, with its value from the parser.
    ///
    /// # Errors
    /// If there is no such option, or its value is not one.
    fn take(&mut self, argument: Arg<'_>, values: &mut Values<'_>) -> Result<(), Error>;
}

/// The values behind an option.
#[derive(Debug)]
pub struct Values<'a>(&'a mut Parser);

impl Values<'_> {
    /// Returns the value of the option.
    ///
    /// # Errors
    /// If there is none, or it cannot be parsed.
    pub fn parse<T: FromStr<Err: Into<Box<dyn std::error::Error + Send + Sync>>>>(&mut self) -> Result<T, Error> {
        self.0.value()?.parse()
    }
}

/// Parses the arguments behind the program's name; `None` if help is wanted.
///
/// # Errors
/// If an argument is not understood.
pub fn parse<O: Options>(arguments: impl IntoIterator<Item = String>) -> Result<Option<O>, Error> {
    let (mut options, mut parser) = (O::default(), Parser::from_args(arguments));
    loop {
        // The argument borrows the parser, from which its value comes.
        let argument = match parser.next()? {
            None => return Ok(Some(options)),
            Some(Arg::Long("help") | Arg::Short('h')) => return Ok(None),
            Some(Arg::Long(name)) => Owned::Long(name.to_owned()),
            Some(Arg::Short(letter)) => Owned::Short(letter),
            Some(Arg::Value(value)) => Owned::Value(value),
        };
        let values = &mut Values(&mut parser);
        match argument {
            Owned::Long(name) => options.take(Arg::Long(&name), values)?,
            Owned::Short(letter) => options.take(Arg::Short(letter), values)?,
            Owned::Value(value) => options.take(Arg::Value(value), values)?,
        }
    }
}

enum Owned {
    Long(String),
    Short(char),
    Value(std::ffi::OsString),
}

/// Returns the options of this program.
///
/// # Errors
/// The exit status, if help was wanted and given, or an argument was not understood.
pub fn of_this_program<O: Options>() -> Result<O, ExitCode> {
    match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => Ok(options),
        Ok(None) => {
            println!("{}", O::USAGE);
            Err(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("{}: {error}; see --help", O::NAME);
            Err(ExitCode::from(2))
        }
    }
}
