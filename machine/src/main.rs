//! The `viommu` program.

fn main() -> std::process::ExitCode {
    viommu::cli::main()
}
