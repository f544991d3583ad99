//! The binary `arklow`; everything it does is in the library of this package.

use std::process::ExitCode;

fn main() -> ExitCode {
    arklow::main()
}
