//! The program: all of it is in the library, floor 5.

fn main() -> std::process::ExitCode {
    waitcopy::cli::main()
}
