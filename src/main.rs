//! The `gusset` binary.

#[cfg(feature = "cli")]
fn main() -> std::process::ExitCode {
    gusset::cli::main()
}

#[cfg(not(feature = "cli"))]
fn main() -> std::process::ExitCode {
    eprintln!("gusset: this binary was built without the feature `cli`");
    std::process::ExitCode::from(2)
}
